"""The functional core of MetalLB and the shells that both images share.

Arrows point one way: runtime, kube -> allocation, announcement -> config -> api -> domain. The PURE packages (domain, api, config,
allocation, announcement) take time, randomness and the host name as arguments; a test holds them to it.
"""
