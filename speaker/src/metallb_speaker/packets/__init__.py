"""Codecs of what a speaker puts on and takes off a link: Ethernet, ARP, Neighbour Discovery, and the kernel's packet filters.

PURE: bytes in, values out, and back. No module here opens a socket or reads a clock.
"""
