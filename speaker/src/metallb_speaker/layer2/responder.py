"""Answering for the held addresses on one link.

- Two sockets, ARP and NDP, each behind a filter of our prefixes, so that the noise of a broadcast domain costs this process nothing.
- The held addresses are an immutable map that is replaced as a whole: reading it is one attribute load, and withdrawing takes effect with the
  next frame.
- The link's address is what netlink said last; the owner of the responder sets `mac` when it changes.
- A readable socket is drained for a bounded number of frames, so that one flooded link cannot starve the others.
- A failing send is counted, never raised: the asker asks again.
"""

import asyncio
import dataclasses
import socket
from collections.abc import Callable, Container, Mapping
from types import MappingProxyType

from metallb_core.domain import addresses
from metallb_speaker.layer2 import filtered, groups, link, verdict
from metallb_speaker.packets import bpf, ethernet

_BATCH = 32
_FRAME = 1600

OnClaim = Callable[[str, bytes, bytes], None]
Judge = Callable[[bytes, bytes, Container[bytes], Container[bytes]], verdict.Answer | verdict.Claim | None]


@dataclasses.dataclass(slots=True)
class Tally:
    """Packets about one address since the last report."""

    received: int = 0
    sent: int = 0
    gratuitous: int = 0


Held = Mapping[bytes, Tally]
NOTHING: Held = MappingProxyType({})


class Responder:
    """The sockets of one link. `on_claim` gets (link name, address of 4 or 16 bytes, claimant's hardware address)."""

    def __init__(
        self,
        where: link.Link,
        loop: asyncio.AbstractEventLoop,
        on_claim: OnClaim,
        own: Container[bytes],
        arp_filter: bpf.Program,
        ndp_filter: bpf.Program,
    ) -> None:
        """Open what the link serves. Raises OSError."""
        self.name = where.name
        self.index = where.index
        self.mac = where.mac
        self.held: Held = NOTHING
        self.own = own
        self.send_failures = 0
        self._loop = loop
        self._on_claim = on_claim
        self._arp: socket.socket | None = None
        self._ndp: socket.socket | None = None
        self._groups: groups.Groups | None = None
        try:
            if where.serves(addresses.Family.IPV4):
                self._arp = filtered.open_socket(where.name, ethernet.TYPE_ARP, arp_filter)
            if where.serves(addresses.Family.IPV6):
                self._ndp = filtered.open_socket(where.name, ethernet.TYPE_IPV6, ndp_filter)
                self._groups = groups.Groups(self._ndp, where.index)
        except OSError:
            self.close()
            raise
        if self._arp is not None:
            loop.add_reader(self._arp, self._read, self._arp, verdict.on_arp)
        if self._ndp is not None:
            loop.add_reader(self._ndp, self._read, self._ndp, verdict.on_ndp)

    def serves(self, family: addresses.Family) -> bool:
        """Whether a socket for `family` is open."""
        return (self._arp if family == addresses.Family.IPV4 else self._ndp) is not None

    def set_filters(self, arp_filter: bpf.Program, ndp_filter: bpf.Program) -> None:
        """Exchange the filters. Raises OSError."""
        if self._arp is not None:
            filtered.attach(self._arp, arp_filter)
        if self._ndp is not None:
            filtered.attach(self._ndp, ndp_filter)

    def join(self, address: addresses.Address) -> None:
        """Hear solicitations for an IPv6 address; nothing for IPv4, which is broadcast. Raises OSError."""
        if self._groups is not None and address.family == addresses.Family.IPV6:
            self._groups.join(address)

    def leave(self, address: addresses.Address) -> None:
        """Undo one `join`. Raises OSError."""
        if self._groups is not None and address.family == addresses.Family.IPV6:
            self._groups.leave(address)

    def announce(self, address: addresses.Address, tally: Tally) -> None:
        """Send what announces `address` to every neighbour."""
        sock = self._arp if address.family == addresses.Family.IPV4 else self._ndp
        if sock is None:
            return
        for frame in verdict.announcement_frames(address, self.mac):
            if self._send(sock, frame):
                tally.gratuitous += 1

    def close(self) -> None:
        """Stop answering at once. Idempotent."""
        if self._groups is not None:
            self._groups.close()
            self._groups = None
        for sock in (self._arp, self._ndp):
            if sock is not None:
                self._loop.remove_reader(sock)
                sock.close()
        self._arp = self._ndp = None

    def _send(self, sock: socket.socket, frame: bytes) -> bool:
        try:
            sock.send(frame)
        except OSError:  # the link went down or was removed, or its queue is full
            self.send_failures += 1
            return False
        return True

    def _read(self, sock: socket.socket, judge: Judge) -> None:
        for _ in range(_BATCH):
            try:
                frame = sock.recv(_FRAME)
            except OSError:  # nothing left, or the link went down, which netlink reports too
                return
            held = self.held
            outcome = judge(frame, self.mac, held, self.own)
            if outcome is None:
                continue
            if isinstance(outcome, verdict.Answer):
                tally = held[outcome.address]
                tally.received += 1
                if self._send(sock, outcome.frame):
                    tally.sent += 1
                continue
            self._on_claim(self.name, outcome.address, outcome.mac)
            if sock.fileno() < 0:
                return  # the claim made the owner close this responder
