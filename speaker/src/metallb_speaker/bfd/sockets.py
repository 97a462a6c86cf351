"""The UDP sockets of BFD: RFC 5881 section 4, RFC 5883 section 5.

- Receiving sockets are shared: one for each family, port and VRF. They take no address, so that they work before the address is there.
- The first receiving socket of a port is bound without the right to share it, which it gets only afterwards: another BFD daemon on this node
  is an error that is told, not a thief of half the packets. Sockets of this process in other VRFs may then join.
- A session sends from a socket of its own, since its source port has to be its own. That socket is not connected: an ICMP error would
  otherwise cost the next packet.
- Everything is sent with 255 hops, and with the traffic class of routing protocols.
"""

import contextlib
import errno
import random
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

from metallb_core.domain import addresses
from metallb_speaker.bfd import registry, settings

_IP_PKTINFO, _IP_RECVTTL = 8, 12  # absent from the socket module
_CONTROL_CLASS = 0xC0
_FAMILIES = {addresses.Family.IPV4: socket.AF_INET, addresses.Family.IPV6: socket.AF_INET6}
_ANCILLARY = 256
_LARGEST = 512
BATCH = 64
_ATTEMPTS = 32
_RECEIVE_BUFFER = 1 << 20


class Place(NamedTuple):
    """What distinguishes receiving sockets."""

    family: addresses.Family
    port: int
    vrf: str


def address_of(address: addresses.Address, port: int, index: int = 0) -> tuple[object, ...]:
    """The socket address; `index` of the link matters to link-local addresses."""
    if address.family is addresses.Family.IPV4:
        return str(address), port
    return str(address), port, 0, index


def is_link_local(address: addresses.Address) -> bool:
    """Whether an address means something on one link only: fe80::/10."""
    return address.family is addresses.Family.IPV6 and address.value >> 118 == 0xFE80 >> 6


def _bind_to_device(sock: socket.socket, name: str) -> None:
    if name:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")


def _send_with_hops(sock: socket.socket, family: addresses.Family, hops: int) -> None:
    if family is addresses.Family.IPV4:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _CONTROL_CLASS)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _CONTROL_CLASS)


def open_receiver(place: Place, ours: Iterable[Place], *, hops: int = settings.HOPS) -> socket.socket:
    """A non-blocking socket that tells of each datagram how it came; what it sends goes out with `hops`. Raises OSError.

    `ours` are the places of the sockets that are open already.
    """
    sock = socket.socket(_FAMILIES[place.family], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if place.family is addresses.Family.IPV4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        _send_with_hops(sock, place.family, hops)
        _bind_to_device(sock, place.vrf)
        if any((each.family, each.port) == (place.family, place.port) for each in ours):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("", place.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        sock.close()
        raise
    return sock


class Datagram(NamedTuple):
    """One datagram and how it came; `port` is the sender's, `scope` its link for a link-local sender."""

    data: bytes
    path: registry.Path
    port: int
    scope: int


def receive(sock: socket.socket, place: Place) -> list[Datagram]:
    """What has arrived, at most a batch."""
    found: list[Datagram] = []
    for _ in range(BATCH):
        try:
            data, ancillary, _, sender = sock.recvmsg(_LARGEST, _ANCILLARY)
        except BlockingIOError:
            break
        except OSError:
            continue  # an error that some earlier packet caused
        index, hops, destination = 0, 0, b""
        for level, kind, value in ancillary:
            if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
                index, destination = struct.unpack_from("=i", value)[0], value[8:12]
            elif level == socket.IPPROTO_IP and kind == socket.IP_TTL:
                hops = struct.unpack_from("=i", value)[0]
            elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
                index, destination = struct.unpack_from("=i", value, 16)[0], value[:16]
            elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_HOPLIMIT:
                hops = struct.unpack_from("=i", value)[0]
        if not destination:
            continue
        path = registry.Path(
            source=addresses.Address.from_packed(
                socket.inet_pton(_FAMILIES[place.family], str(sender[0]).partition("%")[0])
            ),
            destination=addresses.Address.from_packed(destination),
            interface=name_of(index),
            vrf=place.vrf,
            multihop=place.port == settings.MULTIHOP_PORT,
            hops=hops,
        )
        found.append(Datagram(data, path, sender[1], sender[3] if len(sender) > 3 else 0))
    return found


def index_of(name: str) -> int:
    """The number of a link or VRF; zero for an empty name and for one that is gone."""
    with contextlib.suppress(OSError, ValueError):
        return socket.if_nametoindex(name) if name else 0
    return 0


def name_of(index: int) -> str:
    """The name of a link; empty if it is gone."""
    with contextlib.suppress(OSError):
        return socket.if_indextoname(index)
    return ""


class Sender:
    """The sending end of one session: opened with the first packet, and anew after an error."""

    def __init__(self, config: settings.Config) -> None:
        self._config = config
        self._socket: socket.socket | None = None
        self._target: tuple[object, ...] = ()
        self._port = random.randint(settings.FIRST_SOURCE_PORT, settings.LAST_SOURCE_PORT)

    @property
    def port(self) -> int:
        """The source port."""
        return self._port

    def send(self, data: bytes) -> None:
        """Send one packet. Raises OSError; the next one may succeed."""
        if self._socket is None:
            self._socket = self._open()
        try:
            self._socket.sendto(data, self._target)
        except BlockingIOError:
            return  # the link is full: the packet is lost, as any may be
        except OSError:
            # Its link or address may be gone, and those that come back with the same name need a new socket.
            self.close()
            raise

    def close(self) -> None:
        """Close. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        config = self._config
        family = config.peer.family
        index = socket.if_nametoindex(config.interface) if config.interface else 0
        sock = socket.socket(_FAMILIES[family], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            _bind_to_device(sock, config.interface or config.vrf)
            _send_with_hops(sock, family, settings.HOPS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # nothing is read here
            self._bind(sock, index)
        except OSError:
            sock.close()
            raise
        port = settings.MULTIHOP_PORT if config.multihop else settings.SINGLE_HOP_PORT
        self._target = address_of(config.peer, port, index if is_link_local(config.peer) else 0)
        return sock

    def _bind(self, sock: socket.socket, index: int) -> None:
        """Bind to the port of before, or to another one that is free."""
        local = self._config.local
        for attempt in range(_ATTEMPTS):
            try:
                if local is None:
                    sock.bind(("", self._port))
                else:
                    sock.bind(address_of(local, self._port, index if is_link_local(local) else 0))
            except OSError as error:
                if error.errno != errno.EADDRINUSE or attempt == _ATTEMPTS - 1:
                    raise
                self._port = random.randint(settings.FIRST_SOURCE_PORT, settings.LAST_SOURCE_PORT)
            else:
                return
