"""Cluster membership on the wire protocol of hashicorp/memberlist, so that speakers of both implementations form one group.

Everything here but `transport` and `aead` is pure: bytes and the time come in, bytes to send and changes come out.
"""
