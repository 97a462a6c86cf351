"""A real Kubernetes on one machine: an API server alone for tests, or whole nodes in network namespaces.

Rules: everything here is the real program; nothing is imported by an image; each lab has a name, and whatever it
starts, mounts or creates carries that name or is recorded under it, so that `down` can remove all of it and nothing
else. Traffic goes only to loopback and to the lab's own namespaces.
"""
