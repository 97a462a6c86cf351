"""The hardware address of a neighbour, asked of the kernel's table: one request, one answer, no dump and no capability.

The kernel resolves by itself whatever we send control packets to, so that an entry is there while a session is up.
"""

import contextlib
import socket
import struct

from metallb_core.domain import addresses

_GET, _NEW = 30, 28  # RTM_GETNEIGH, RTM_NEWNEIGH
_REQUEST = 1
_DESTINATION, _HARDWARE = 1, 2  # NDA_DST, NDA_LLADDR
_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # REACHABLE, STALE, DELAY, PROBE, NOARP, PERMANENT
_HEADER = struct.Struct("=IHHII")
_NEIGHBOUR = struct.Struct("=BBHiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_PATIENCE = 0.1  # seconds; the kernel answers within the call that asks


def request(address: addresses.Address, index: int) -> bytes:
    """The netlink message that asks for the neighbour `address` on the link `index`."""
    packed = address.packed()
    family = socket.AF_INET if address.family is addresses.Family.IPV4 else socket.AF_INET6
    body = _NEIGHBOUR.pack(family, 0, 0, index, 0, 0, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _DESTINATION) + packed
    return _HEADER.pack(_HEADER.size + len(body), _GET, _REQUEST, 1, 0) + body


def hardware_address(answer: bytes) -> bytes | None:
    """What the answer says; None if there is no usable entry."""
    if len(answer) < _HEADER.size + _NEIGHBOUR.size:
        return None
    length, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind != _NEW or not _NEIGHBOUR.unpack_from(answer, _HEADER.size)[4] & _USABLE:
        return None
    offset, end = _HEADER.size + _NEIGHBOUR.size, min(length, len(answer))
    while offset + _ATTRIBUTE.size <= end:
        size, name = _ATTRIBUTE.unpack_from(answer, offset)
        if size < _ATTRIBUTE.size:
            return None
        if name == _HARDWARE:
            return answer[offset + _ATTRIBUTE.size : offset + size]
        offset += (size + 3) & ~3
    return None


def find(address: addresses.Address, index: int) -> bytes | None:
    """The hardware address of `address` on the link with this index; None if the kernel has none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(_PATIENCE)
        sock.send(request(address, index))
        return hardware_address(sock.recv(4096))
    return None
