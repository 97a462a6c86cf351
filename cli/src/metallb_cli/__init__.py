"""What runs on people's machines: `kubectl metallb` and the converter of old configurations.

Neither needs a cluster. Rules are those of `metallb_core.config`, so that what is accepted here is accepted there.
"""
