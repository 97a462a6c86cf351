"""Two ends of a BFD session, a cable between them, and a clock that moves only when told to.

- Time goes from one deadline or arrival to the next; a packet is under way for DELAY seconds. Nothing here waits for real time.
- Packets cross the cable as bytes, so that a test sees what the codec makes of them. What is lost, and whether echo packets come back, is the
  test's to say.
- What a builder fills in by itself is a single-hop session between HERE and THERE with the default profile.
"""

import dataclasses
import functools
import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any, Final

from metallb_core.domain import addresses
from metallb_speaker.bfd import packets, registry, session, settings

S = packets.State
HERE: Final = addresses.Address.parse("192.0.2.1")
THERE: Final = addresses.Address.parse("192.0.2.2")
DELAY: Final = 0.001
# Fields of a control packet from a peer that is no more than a test's words; intervals in microseconds, as on the wire.
CONTROL: Final[dict[str, Any]] = {
    "multiplier": 3,
    "my_discriminator": 77,
    "desired_min_tx": 300_000,
    "required_min_rx": 300_000,
}


def config(peer: addresses.Address = THERE, **changes: Any) -> settings.Config:
    """A session with `peer`; `changes` are fields of `settings.Config`, intervals in milliseconds."""
    return settings.Config(**{"key": "k", "peer": peer, **changes})


class End:
    """One node: a registry, what it sent and when, and the states it went through. While `frozen` its process does not run."""

    def __init__(self, address: addresses.Address, seed: int) -> None:
        self.address = address
        self.registry = registry.Registry(random.Random(seed))
        self.sent: list[tuple[float, packets.Control]] = []
        self.echoes: list[tuple[float, packets.Echo]] = []
        self.history: list[tuple[float, packets.State]] = []
        self.frozen = False

    @property
    def session(self) -> session.Session:
        """The only session of this end."""
        (only,) = self.registry.sessions
        return only

    @property
    def state(self) -> packets.State:
        """The state of the only session of this end."""
        return self.session.state


class Link:
    """A cable between two ends. `lost(sender, packet)` says what does not arrive; `loops` is whether echo packets come back."""

    def __init__(self) -> None:
        self.now = 100.0
        self.a = End(HERE, 1)
        self.b = End(THERE, 2)
        self.lost: Callable[[End, packets.Control], bool] = lambda sender, packet: False
        self.loops = True
        self.hops = 255
        self._order = itertools.count()
        self._flying: list[tuple[float, int, Callable[[], None]]] = []

    def configure(self, end: End, *configs: settings.Config) -> None:
        """Give an end its whole set of sessions."""
        end.registry.configure(configs, self.now)
        self.collect(end)

    def other(self, end: End) -> End:
        """The end at the other side."""
        return self.b if end is self.a else self.a

    def deliver(self, sender: End, data: bytes) -> None:
        """Let the other end receive a packet of `sender` now."""
        receiver = self.other(sender)
        multihop = next(iter(receiver.registry.everyone)).config.multihop if any(receiver.registry.everyone) else False
        path = registry.Path(
            source=sender.address,
            destination=receiver.address,
            interface="eth0",
            vrf="",
            multihop=multihop,
            hops=self.hops,
        )
        receiver.registry.receive(data, path, self.now)
        self.collect(receiver)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        for _ in range(1_000_000):
            moment, act = self._next()
            if moment > end:
                self.now = end
                return
            self.now = max(self.now, moment)
            act()
        raise AssertionError("the sessions spin")

    def run_until(self, condition: Callable[[], bool], seconds: float = 60.0) -> float:
        """Seconds until the condition holds."""
        began = self.now
        while not condition():
            assert self.now < began + seconds, "it never came to that"
            moment, act = self._next()
            self.now = max(self.now, moment)
            act()
        return self.now - began

    def _next(self) -> tuple[float, Callable[[], None]]:
        moments: list[tuple[float, Callable[[], None]]] = [(float("inf"), lambda: None)]
        if self._flying:
            moments.append((self._flying[0][0], self._land))
        for end in (self.a, self.b):
            deadline = end.registry.next_deadline()
            if deadline is not None and not end.frozen:
                moments.append((deadline, functools.partial(self.advance, end)))
        return min(moments, key=lambda each: each[0])

    def _land(self) -> None:
        heapq.heappop(self._flying)[2]()

    def advance(self, end: End) -> None:
        """Let an end do what is due now."""
        end.registry.advance(self.now)
        self.collect(end)

    def collect(self, end: End) -> None:
        """Take what an end has to send and put it on the cable; what tells a registry something itself calls this afterwards."""
        for each in end.registry.everyone:
            outgoing, each.outgoing = each.outgoing, []
            for packet in outgoing:
                end.sent.append((self.now, packet))
                if each.config.peer == self.other(end).address and not self.lost(end, packet):
                    self._fly(functools.partial(self.deliver, end, packet.serialise()))
            echoes, each.echoes = each.echoes, []
            for echo in echoes:
                end.echoes.append((self.now, echo))
                if self.loops:
                    self._fly(functools.partial(self._echo_back, end, echo.serialise()))
            if not end.history or end.history[-1][1] is not each.state:
                end.history.append((self.now, each.state))
        end.registry.forget_finished()

    def _echo_back(self, end: End, data: bytes) -> None:
        end.registry.echo_returned(data, self.now)
        self.collect(end)

    def _fly(self, act: Callable[[], None]) -> None:
        heapq.heappush(self._flying, (self.now + DELAY, next(self._order), act))

    def both_up(self) -> bool:
        """Both sessions are Up."""
        return self.a.state is S.UP and self.b.state is S.UP

    def settled(self) -> bool:
        """Both sessions are Up, and neither waits for an answer to a poll."""
        return self.both_up() and not self.a.session.polling and not self.b.session.polling


def between(ours: settings.Config, theirs: settings.Config) -> Link:
    """A link whose ends have one session each, with each other; they have yet to speak."""
    made = Link()
    made.configure(made.a, dataclasses.replace(ours, peer=THERE))
    made.configure(made.b, dataclasses.replace(theirs, peer=HERE))
    return made


def quiet() -> Link:
    """A link of two default sessions that are Up and have been for a while."""
    made = between(config(), config())
    made.run_until(made.settled)
    made.run(2.0)
    return made
