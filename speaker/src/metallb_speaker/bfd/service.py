"""The sessions of this node on real sockets, in the deadline process.

- Before a deadline is judged, every socket is read: after a pause of this process, of whatever cause, the packets that came meanwhile are in
  the sockets, and no session goes down for want of them.
- One timer, for the earliest deadline of all sessions. After every event the registry is asked anew.
- Trouble with a socket is told once until it is over, and tried again: the next packet opens the session's socket, a timer the shared ones.
- A VRF that was deleted and made again has another number, and a socket bound to the former one hears nothing any more: it is replaced.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterable, Mapping

from metallb_core.domain import addresses
from metallb_speaker.bfd import chance, mirror, registry, session, settings, sockets

_RETRY = 1.0  # seconds between attempts to open the shared sockets
_LOOK_AGAIN = 10.0  # seconds after which the shared sockets, and whether this host forwards, are looked at again
_BATCHES = 32  # of packets that are read before a deadline is judged, at most: a flood must not hold the process
_FAREWELL = 0.5  # seconds, more than farewells take


class Service:
    """Owns sockets, timer and registry. All calls come from the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        random: chance.Random,
        *,
        on_change: Callable[[Mapping[str, settings.Status]], None],
        on_warning: Callable[[str], None],
    ) -> None:
        """`on_change` gets the status of every session that has another one than before; all of them after `configure`."""
        self._loop = loop
        self._on_change = on_change
        self._on_warning = on_warning
        self._registry = registry.Registry(random)
        self._mirror = mirror.Mirror(loop, knows=self._registry.knows, on_returned=self._echo_returned)
        self._receivers: dict[sockets.Place, socket.socket] = {}
        self._devices: dict[sockets.Place, int] = {}
        self._senders: dict[int, sockets.Sender] = {}
        self._told: dict[str, settings.Status] = {}
        self._counted: dict[str, tuple[int, settings.Counters]] = {}
        self._complaints: dict[object, str] = {}
        self._silent: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()  # no session is left
        self._closed = False

    def configure(self, configs: Iterable[settings.Config]) -> None:
        """Have exactly these sessions, and tell of all of them."""
        if self._closed:
            return
        self._registry.configure(configs, self._loop.time())
        self._told.clear()
        self._open_shared()
        self._settle()

    def statuses(self) -> dict[str, settings.Status]:
        """The status of each session by its key."""
        return {each.config.key: each.status for each in self._registry.sessions}

    def counters(self) -> dict[str, settings.Counters]:
        """What each session counted since the last call, without those that counted nothing."""
        counted: dict[str, tuple[int, settings.Counters]] = {}
        found: dict[str, settings.Counters] = {}
        for each in self._registry.sessions:
            key = each.config.key
            before = self._counted.get(key)
            # A session that replaced another one of this key has counted from zero.
            since = before[1] if before is not None and before[0] == each.discriminator else settings.Counters()
            counted[key] = each.discriminator, each.counters
            if each.counters != since:
                found[key] = each.counters.minus(since)
        self._counted = counted
        return found

    async def wait_shut_down(self) -> None:
        """Tell every peer that the sessions are switched off, and close. Takes a fraction of a second."""
        if self._closed:
            return
        self._registry.shut_down(self._loop.time())
        self._settle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await self._emptied.wait()
        self.close()

    def close(self) -> None:
        """Close everything and tell nobody. Idempotent."""
        self._closed = True
        for handle in (self._timer, self._retry):
            if handle is not None:
                handle.cancel()
        for place in tuple(self._receivers):
            self._forget(place)
        for sender in self._senders.values():
            sender.close()
        self._senders.clear()
        self._mirror.close()

    # Sockets

    def _open_shared(self) -> None:
        """Have the receiving sockets that the sessions need, as far as possible."""
        wanted: set[sockets.Place] = set()
        reflecting: set[sockets.Place] = set()
        for each in self._registry.everyone:
            config = each.config
            family = config.peer.family
            port = settings.MULTIHOP_PORT if config.multihop else settings.SINGLE_HOP_PORT
            wanted.add(sockets.Place(family, port, config.vrf))
            if not config.multihop:
                reflecting.add(sockets.Place(family, settings.ECHO_PORT, config.vrf))
        for place in tuple(self._receivers):
            if place not in wanted or self._devices[place] != sockets.index_of(place.vrf):
                self._forget(place)
        failed = False
        for place in sorted(wanted - self._receivers.keys()):
            try:
                sock = sockets.open_receiver(place, self._receivers)
            except OSError as error:
                failed = True
                where = f" in VRF {place.vrf}" if place.vrf else ""
                why = "; is another BFD daemon running on this node?" if error.errno == errno.EADDRINUSE else ""
                self._complain(
                    place, f"cannot receive BFD packets on UDP port {place.port}{where}: {error.strerror}{why}"
                )
                continue
            self._complaints.pop(place, None)
            self._receivers[place] = sock
            self._devices[place] = sockets.index_of(place.vrf)
            self._loop.add_reader(sock, self._readable, place)
        echoes = True
        try:
            self._mirror.reflect(reflecting)
            self._complaints.pop("echo", None)
        except OSError as error:
            failed, echoes = True, False
            self._complain(
                "echo",
                f"cannot receive BFD echo packets on UDP port {settings.ECHO_PORT}: {error.strerror};"
                " peers are told not to send any",
            )
        forwarding = {family: mirror.forwards(family) for family in addresses.Family}
        now = self._loop.time()
        for each in self._registry.sessions:
            each.offer_echo(echoes and forwarding[each.config.peer.family], now)
        if self._retry is not None:
            self._retry.cancel()
        self._retry = self._loop.call_later(_RETRY if failed else _LOOK_AGAIN, self._look_again) if wanted else None

    def _look_again(self) -> None:
        self._open_shared()
        self._settle()

    def _forget(self, place: sockets.Place) -> None:
        sock = self._receivers.pop(place)
        self._loop.remove_reader(sock)
        sock.close()

    # Events

    def _readable(self, place: sockets.Place) -> None:
        self._read(place)
        self._settle()

    def _read(self, place: sockets.Place) -> bool:
        """Take in a batch of what has arrived. Whether there may be more."""
        now = self._loop.time()
        found = sockets.receive(self._receivers[place], place)
        for datagram in found:
            self._registry.receive(datagram.data, datagram.path, now)
        return len(found) == sockets.BATCH

    def _echo_returned(self, data: bytes) -> None:
        if self._registry.echo_returned(data, self._loop.time()) is not None:
            self._settle()

    def _expired(self) -> None:
        self._timer = None
        for place in self._receivers:
            for _ in range(_BATCHES):
                if not self._read(place):
                    break
        self._mirror.drain()
        self._registry.advance(self._loop.time())
        self._settle()

    def _settle(self) -> None:
        """Send what the sessions have to say, tell what changed, and set the timer."""
        for each in self._registry.everyone:
            if each.outgoing or each.echoes:
                self._send(each)
        self._registry.forget_finished()
        if not any(self._registry.everyone):
            self._emptied.set()
        self._close_senders()
        self._tell()
        if self._closed:
            return
        deadline = self._registry.next_deadline()
        if self._timer is not None:
            if self._timer.when() == deadline:
                return
            self._timer.cancel()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._expired)

    def _send(self, each: session.Session) -> None:
        sender = self._senders.get(each.discriminator)
        if sender is None:
            sender = self._senders[each.discriminator] = sockets.Sender(each.config)
        outgoing, each.outgoing = each.outgoing, []
        for packet in outgoing:
            try:
                sender.send(packet.serialise())
            except (OSError, ValueError) as error:  # ValueError: a name that no link can have
                why = error.strerror if isinstance(error, OSError) else str(error)
                self._complain(each.discriminator, f"cannot send BFD packets to {each.config.peer}: {why}")
            else:
                self._complaints.pop(each.discriminator, None)
        echoes, each.echoes = each.echoes, []
        path = self._registry.path(each)
        for echo in echoes:
            if path is not None:
                self._mirror.send(echo, path, sender.port)
        if each.echo_is_silent and each.discriminator not in self._silent:
            self._silent.add(each.discriminator)
            self._on_warning(
                f"BFD echo packets to {each.config.peer} do not come back: it forwards nothing, or filters them;"
                " control packets alone watch this path"
            )

    def _close_senders(self) -> None:
        if len(self._senders) > 0:
            alive = {each.discriminator for each in self._registry.everyone}
            for discriminator in self._senders.keys() - alive:
                self._senders.pop(discriminator).close()
                self._complaints.pop(discriminator, None)
                self._silent.discard(discriminator)

    def _tell(self) -> None:
        now = self.statuses()
        changed = {key: status for key, status in now.items() if self._told.get(key) != status}
        self._told = now
        if changed:
            self._on_change(changed)

    def _complain(self, about: object, text: str) -> None:
        if self._complaints.get(about) != text:
            self._complaints[about] = text
            with contextlib.suppress(Exception):
                self._on_warning(text)
