"""An echo packet as an IP packet: from our address to our address, so that the peer's forwarding plane turns it round (RFC 5881 section 4).

- Built by hand, because a socket would deliver a packet to ourselves at once; read by hand, because the kernel drops a packet that comes from
  outside with one of its own addresses as the source.
- Only what is sent here is read: no IP options, no fragments, no extension headers.
"""

import struct

from metallb_core.domain import addresses
from metallb_speaker.bfd import settings
from metallb_speaker.packets import bpf

ETHERTYPES = {addresses.Family.IPV4: 0x0800, addresses.Family.IPV6: 0x86DD}
_UDP = 17
_CONTROL_CLASS = 0xC0  # CS6, what routing protocols use
_UDP_HEADER = struct.Struct("!HHHH")
_V4 = struct.Struct("!BBHHHBBH4s4s")
_V6 = struct.Struct("!IHBB16s16s")


class MalformedDatagramError(ValueError):
    """Bytes that are not an IP packet with a UDP datagram as it is built here."""


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def serialise(address: addresses.Address, port: int, payload: bytes) -> bytes:
    """The IP packet from `address` to itself, from UDP port `port` to the echo port."""
    packed = address.packed()
    length = _UDP_HEADER.size + len(payload)
    pseudo = packed + packed + struct.pack("!II", length, _UDP)
    header = _UDP_HEADER.pack(port, settings.ECHO_PORT, length, 0)
    checksum = _checksum(pseudo + header + payload) or 0xFFFF
    datagram = _UDP_HEADER.pack(port, settings.ECHO_PORT, length, checksum) + payload
    if address.family is addresses.Family.IPV4:
        fields = (0x45, _CONTROL_CLASS, _V4.size + length, 0, 0x4000, settings.HOPS, _UDP)
        return _V4.pack(*fields, _checksum(_V4.pack(*fields, 0, packed, packed)), packed, packed) + datagram
    return _V6.pack(6 << 28 | _CONTROL_CLASS << 20, length, _UDP, settings.HOPS, packed, packed) + datagram


def parse(data: bytes) -> tuple[addresses.Address, bytes]:
    """(destination, payload) of an echo packet with equal source and destination. Raises MalformedDatagramError."""
    if len(data) >= _V4.size and data[0] == 0x45:
        protocol, source, destination, offset = data[9], data[12:16], data[16:20], _V4.size
    elif len(data) >= _V6.size and data[0] >> 4 == 6:
        protocol, source, destination, offset = data[6], data[8:24], data[24:40], _V6.size
    else:
        raise MalformedDatagramError("neither a plain IPv4 nor an IPv6 packet")
    if protocol != _UDP or source != destination:
        raise MalformedDatagramError("no UDP datagram from an address to itself")
    if len(data) < offset + _UDP_HEADER.size:
        raise MalformedDatagramError(f"{len(data)} bytes are too short for a UDP datagram")
    _, port, length, _ = _UDP_HEADER.unpack_from(data, offset)
    if port != settings.ECHO_PORT or not _UDP_HEADER.size <= length <= len(data) - offset:
        raise MalformedDatagramError(f"port {port} and length {length}: no echo packet")
    return addresses.Address.from_packed(bytes(destination)), data[offset + _UDP_HEADER.size : offset + length]


def filter_of(family: addresses.Family) -> bpf.Program:
    """Let through UDP datagrams to the echo port, for a packet socket of type SOCK_DGRAM: the IP header comes first."""
    protocol, port = (9, 22) if family is addresses.Family.IPV4 else (6, 42)
    return (
        bpf.Instruction(bpf.LOAD_BYTE, 0, 0, protocol),
        bpf.Instruction(bpf.JUMP_EQUAL, 0, 3, _UDP),
        bpf.Instruction(bpf.LOAD_HALF, 0, 0, port),
        bpf.Instruction(bpf.JUMP_EQUAL, 0, 1, settings.ECHO_PORT),
        bpf.Instruction(bpf.RETURN, 0, 0, bpf.ACCEPT_ALL),
        bpf.Instruction(bpf.RETURN, 0, 0, 0),
    )
