"""Packet sockets that deliver only what a filter lets through.

- A socket is opened with protocol 0, which delivers nothing, gets its filter, and is bound last: no frame slips in before the filter.
- A filter is exchanged in place; the kernel swaps it between two frames.
- Only CAP_NET_RAW is needed, for opening. No promiscuous mode, no change to the link.
"""

import array
import socket
import struct

from metallb_speaker.packets import bpf

_ATTACH_FILTER = 26  # SO_ATTACH_FILTER, absent from the socket module
_ADD_MEMBERSHIP, _DROP_MEMBERSHIP = 1, 2  # PACKET_ADD_MEMBERSHIP, PACKET_DROP_MEMBERSHIP at level SOL_PACKET
_LEVEL_PACKET = 263
_MULTICAST = 0  # PACKET_MR_MULTICAST
_RECEIVE_BUFFER = 1 << 20


def attach(sock: socket.socket, program: bpf.Program) -> None:
    """Install `program` in place of the filter before. Raises OSError."""
    code = array.array("B", bpf.serialise(program))
    address, _ = code.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(program), address))


def open_socket(name: str, ethertype: int, program: bpf.Program) -> socket.socket:
    """A non-blocking socket for whole Ethernet frames of one type on the link `name`. Raises OSError."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        attach(sock, program)
        sock.bind((name, ethertype))
    except OSError:
        sock.close()
        raise
    return sock


def join(sock: socket.socket, index: int, mac: bytes) -> None:
    """Make the link with this index receive frames to the group `mac` for as long as the socket lives. Raises OSError."""
    sock.setsockopt(_LEVEL_PACKET, _ADD_MEMBERSHIP, struct.pack("@iHH8s", index, _MULTICAST, len(mac), mac))


def leave(sock: socket.socket, index: int, mac: bytes) -> None:
    """Undo one `join`. Raises OSError."""
    sock.setsockopt(_LEVEL_PACKET, _DROP_MEMBERSHIP, struct.pack("@iHH8s", index, _MULTICAST, len(mac), mac))
