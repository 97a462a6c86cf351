"""The converter of MetalLB's configuration before 0.13, a ConfigMap, into custom resources."""
