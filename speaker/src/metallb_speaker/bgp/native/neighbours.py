"""Finding the router of a peer that is named by interface (BGP unnumbered): it advertises itself on the link, and we do.

- One raw ICMPv6 socket, bound to the interface; NET_RAW is what it needs. Nothing else is listened to: the kernel filters by type.
- We ask (Router Solicitation) until a router is known, and advertise ourselves all the time: FRR and its like connect to, and accept, only a
  neighbour whose advertisement they saw. Ours has no lifetime, so that nobody routes by it.
- A link has one router by rights. Where it has more, the first one is tried, then the others in turn as connections fail.
- An interface that is not there, is down, or comes back with another index is looked for again at every turn.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from metallb_core.domain import addresses
from metallb_core.runtime import clock, log
from metallb_speaker.bgp.native import discovery

_LOG: Final = log.get("bgp")
_ICMP6_FILTER: Final = 1  # RFC 3542 section 3.2, as linux/icmpv6.h numbers it
_ALL_NODES: Final = "ff02::1"
_ALL_ROUTERS: Final = "ff02::2"
_GET_HARDWARE_ADDRESS: Final = 0x8927  # SIOCGIFHWADDR
_ETHERNET: Final = 1
# RFC 4861 section 10: three initial advertisements, not closer than 3 s; ours go on every 10 s, as FRR's do on such links.
_FIRST_TURNS: Final = 3
_FIRST_SECONDS: Final = 3.0
_TURN_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 1.0
# A router that was not heard for so long is no alternative to one that fails. FRR's default lifetime is three intervals.
_STALE_SECONDS: Final = 30.0
_ROUTERS_AT_MOST: Final = 16


class Neighbour:
    """The router on one interface: `router` is its link-local address once known, `problem` says why it is not. `index` is the interface's.

    `on_change` is called when either of the first two is another one.
    """

    def __init__(self, interface: str, time: clock.Clock, on_change: Callable[[], None]) -> None:
        self.interface = interface
        self.router: addresses.Address | None = None
        self.index = 0
        self.problem = f"no router has been heard on interface {interface!r} yet"
        self._time = time
        self._on_change = on_change
        self._found = asyncio.Event()
        self._heard: dict[addresses.Address, float] = {}
        self._answered = -_ANSWER_SECONDS
        self._unlucky = False

    async def wait_found(self) -> addresses.Address:
        """Wait until a router is known."""
        while self.router is None:
            await self._found.wait()
        return self.router

    def reject(self) -> None:
        """No connection came about with `router`: take another one that was heard lately, if there is one."""
        now = self._time.monotonic()
        fresh = [each for each, when in self._heard.items() if when > now - _STALE_SECONDS]
        if self.router in fresh:
            after = fresh.index(self.router) + 1
            self.router = (fresh[after:] + fresh)[0]
        elif fresh:
            self.router = fresh[0]
        else:
            self._forget(f"no router has been heard on interface {self.interface!r} for {_STALE_SECONDS:g} s")

    def _forget(self, problem: str) -> None:
        self.router = None
        changed = problem != self.problem
        self.problem = problem
        self._found.clear()
        if changed:
            self._on_change()

    async def run(self) -> None:
        """Find and be found, until cancelled."""
        while True:
            try:
                opened, self.index = _open(self.interface)
            except OSError as error:
                self._complain(error)
                await self._time.sleep(_FIRST_SECONDS)
                continue
            with opened:
                await self._serve(opened)

    def _complain(self, error: OSError) -> None:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        self._heard.clear()
        self._forget(f"interface {self.interface!r} cannot be used: {why}")
        if not self._unlucky:
            _LOG.info("cannot look for a router", interface=self.interface, error=why)
        self._unlucky = True

    async def _serve(self, opened: socket.socket) -> None:
        """Until the interface is another one or gone."""
        loop = asyncio.get_running_loop()
        mac = _hardware_address(opened, self.interface)
        loop.add_reader(opened, self._readable, opened, mac)
        try:
            turn = 0
            while True:
                if socket.if_nametoindex(self.interface) != self.index:
                    return
                if self.router is None:
                    _send(opened, discovery.solicitation(mac), _ALL_ROUTERS)
                self._advertise(opened, mac)
                self._unlucky = False
                turn += 1
                await self._time.sleep(_FIRST_SECONDS if turn < _FIRST_TURNS else _TURN_SECONDS)
        except OSError as error:
            self._complain(error)
            await self._time.sleep(_FIRST_SECONDS)
        finally:
            loop.remove_reader(opened)

    def _advertise(self, opened: socket.socket, mac: bytes) -> None:
        self._answered = self._time.monotonic()
        _send(opened, discovery.advertisement(mac), _ALL_NODES)

    def _readable(self, opened: socket.socket, mac: bytes) -> None:
        try:
            message, ancillary, _, source = opened.recvmsg(2048, 64)
        except OSError:
            return
        hops = next((struct.unpack("=i", each[2])[0] for each in ancillary if each[1] == socket.IPV6_HOPLIMIT), 0)
        if discovery.is_solicitation(message, hops):
            if self._time.monotonic() - self._answered >= _ANSWER_SECONDS:
                with contextlib.suppress(OSError):
                    self._advertise(opened, mac)
            return
        router = addresses.Address.parse(source[0].partition("%")[0])
        if discovery.is_advertisement(message, router, hops):
            self._hear(router)

    def _hear(self, router: addresses.Address) -> None:
        if router not in self._heard and len(self._heard) >= _ROUTERS_AT_MOST:
            del self._heard[min(self._heard, key=lambda each: self._heard[each])]
        self._heard[router] = self._time.monotonic()
        if self.router is None:
            self.router = router
            self.problem = ""
            self._found.set()
            self._on_change()


def _open(interface: str) -> tuple[socket.socket, int]:
    """A raw socket for router discovery on one interface, and the interface's index. Raises OSError."""
    index = socket.if_nametoindex(interface)
    kinds = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    opened = socket.socket(socket.AF_INET6, kinds, socket.IPPROTO_ICMPV6)
    try:
        wanted = bytearray(b"\xff" * 32)  # a set bit blocks its type
        for kind in (discovery.SOLICITATION, discovery.ADVERTISEMENT):
            word = struct.unpack_from("=I", wanted, kind // 32 * 4)[0] & ~(1 << kind % 32)
            struct.pack_into("=I", wanted, kind // 32 * 4, word)
        opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, bytes(wanted))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        for option, value in (
            (socket.IPV6_MULTICAST_HOPS, discovery.HOP_LIMIT),
            (socket.IPV6_UNICAST_HOPS, discovery.HOP_LIMIT),
            (socket.IPV6_MULTICAST_LOOP, 0),
            (socket.IPV6_MULTICAST_IF, index),
            (socket.IPV6_RECVHOPLIMIT, 1),
        ):
            opened.setsockopt(socket.IPPROTO_IPV6, option, value)
        group = socket.inet_pton(socket.AF_INET6, _ALL_ROUTERS) + struct.pack("=I", index)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    except BaseException:
        opened.close()
        raise
    return opened, index


def _hardware_address(opened: socket.socket, interface: str) -> bytes:
    """The interface's 6 bytes; empty for a link without such an address."""
    request = struct.pack("=16sH14x8x", interface.encode(), 0)
    try:
        answer = fcntl.ioctl(opened, _GET_HARDWARE_ADDRESS, request)
    except OSError:
        return b""
    kind = struct.unpack_from("=H", answer, 16)[0]
    return answer[18:24] if kind == _ETHERNET else b""


def _send(opened: socket.socket, message: bytes, group: str) -> None:
    with contextlib.suppress(BlockingIOError):
        opened.sendto(message, (group, 0))
