"""Echo packets on real links: ours go out and are read when they come back, the peers' are sent back.

- Ours go to the peer's hardware address with our own IP address as source and destination, through a packet socket (NET_RAW), and the peer's
  forwarding plane returns them (RFC 5881 section 4). The kernel drops what returns, since it bears its own address; the packet socket sees
  it first.
- A peer's packet of that kind is forwarded by our kernel, if it forwards at all; nothing is to be done here. FRR sends IPv6 echo packets to our
  address instead, and expects the daemon to send them back: that is done for single-hop peers, with one hop less, so that nothing circles.
- Each link that carries ours has one packet socket for each family, and keeps it until the sessions are gone.
"""

import asyncio
import contextlib
import pathlib
import socket
from collections.abc import Callable

from metallb_core.domain import addresses
from metallb_speaker.bfd import datagrams, neighbours, packets, registry, settings, sockets
from metallb_speaker.layer2 import filtered

_BATCH = 64
_LARGEST = 512
_REFRESH = 5.0  # seconds for which a neighbour's hardware address is taken for granted
_FORWARDING = {
    addresses.Family.IPV4: pathlib.Path("/proc/sys/net/ipv4/ip_forward"),
    addresses.Family.IPV6: pathlib.Path("/proc/sys/net/ipv6/conf/all/forwarding"),
}


def forwards(family: addresses.Family) -> bool:
    """Whether this host forwards packets of the family, and with them the peers' echo packets."""
    with contextlib.suppress(OSError):
        return _FORWARDING[family].read_text().strip() not in ("", "0")
    return False


def _open_link(name: str, family: addresses.Family) -> socket.socket:
    """A packet socket that begins at the IP header; filtered before it is bound, so that nothing else slips in. Raises OSError."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    try:
        filtered.attach(sock, datagrams.filter_of(family))
        sock.bind((name, datagrams.ETHERTYPES[family]))
    except OSError:
        sock.close()
        raise
    return sock


class Mirror:
    """Owns the echo sockets. `on_returned` gets the payload of each of our packets that came back."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        knows: Callable[[addresses.Address, str], bool],
        on_returned: Callable[[bytes], None],
    ) -> None:
        self._loop = loop
        self._knows = knows
        self._on_returned = on_returned
        self._reflectors: dict[sockets.Place, socket.socket] = {}
        self._links: dict[tuple[str, addresses.Family], socket.socket] = {}
        self._hardware: dict[tuple[str, addresses.Address], tuple[float, bytes]] = {}

    def reflect(self, places: set[sockets.Place]) -> None:
        """Send back what arrives at these places, and nowhere else. Raises OSError; what is open then stays open."""
        for place in self._reflectors.keys() - places:
            self._forget(self._reflectors.pop(place))
        for place in sorted(places - self._reflectors.keys()):
            sock = sockets.open_receiver(place, self._reflectors, hops=settings.LEAST_HOPS)
            self._reflectors[place] = sock
            self._loop.add_reader(sock, self._reflect, place)

    def send(self, packet: packets.Echo, path: registry.Path, port: int) -> None:
        """Send an echo packet to the peer that `path` came from. What cannot be sent is lost."""
        destination = self._find(path)
        if destination is None:
            return
        family = path.source.family
        with contextlib.suppress(OSError):
            self._link(path.interface, family).sendto(
                datagrams.serialise(path.destination, port, packet.serialise()),
                (path.interface, datagrams.ETHERTYPES[family], 0, 0, destination),
            )

    def drain(self) -> None:
        """Read what has come back."""
        for sock in tuple(self._links.values()):
            self._read(sock)

    def close(self) -> None:
        """Close everything. Idempotent."""
        for sock in (*self._reflectors.values(), *self._links.values()):
            self._forget(sock)
        self._reflectors.clear()
        self._links.clear()
        self._hardware.clear()

    def _find(self, path: registry.Path) -> bytes | None:
        now = self._loop.time()
        known = self._hardware.get((path.interface, path.source))
        if known is not None and now < known[0] + _REFRESH:
            return known[1]
        found = None
        with contextlib.suppress(OSError):
            found = neighbours.find(path.source, socket.if_nametoindex(path.interface))
        if found is None:
            self._hardware.pop((path.interface, path.source), None)
        else:
            self._hardware[path.interface, path.source] = (now, found)
        return found

    def _link(self, name: str, family: addresses.Family) -> socket.socket:
        sock = self._links.get((name, family))
        if sock is None:
            sock = self._links[name, family] = _open_link(name, family)
            self._loop.add_reader(sock, self._read, sock)
        return sock

    def _read(self, sock: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                data = sock.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                self._abandon(sock)  # the link is gone
                return
            with contextlib.suppress(datagrams.MalformedDatagramError):
                self._on_returned(datagrams.parse(data)[1])

    def _abandon(self, sock: socket.socket) -> None:
        self._links = {key: each for key, each in self._links.items() if each is not sock}
        self._forget(sock)

    def _reflect(self, place: sockets.Place) -> None:
        sock = self._reflectors[place]
        for datagram in sockets.receive(sock, place):
            path = datagram.path
            if path.hops == settings.HOPS and self._knows(path.source, path.vrf):
                with contextlib.suppress(OSError):
                    sock.sendto(datagram.data, sockets.address_of(path.source, datagram.port, datagram.scope))

    def _forget(self, sock: socket.socket) -> None:
        self._loop.remove_reader(sock)
        sock.close()
