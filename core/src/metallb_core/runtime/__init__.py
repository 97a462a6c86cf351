"""SHELL. What every process needs around the core: clock, queue, back-off, supervision, flags, logs, metrics, health, TLS.

`clock` alone reads a clock. Nothing here knows Kubernetes.
"""
