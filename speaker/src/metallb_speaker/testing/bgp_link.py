"""Two of our own BGP sessions back to back, over a link in memory and on a clock that moves only when told to.

- Bytes arrive at once, in pieces of random size; time goes from one deadline to the next. Nothing here waits for real time.
- A side that is not `reachable` has its attempts to connect refused, so that a test decides which side's connection there is.
- While it carries bytes, the link checks what holds of any session: a change of state starts from the state before, and `told` is what the
  outputs said.
"""

import dataclasses
import random
from collections.abc import Iterator
from typing import Final

from metallb_core.domain import addresses, peers, reasons, routes
from metallb_speaker.bgp import fsm, outputs, session
from metallb_speaker.bgp.wire import context, families, framing, messages

S = fsm.State
LOW: Final = addresses.Address.parse("192.0.2.1")
HIGH: Final = addresses.Address.parse("192.0.2.2")
ONE: Final = peers.Peer(name="one", my_asn=64500, peer_asn=64501, address=HIGH)
TWO: Final = peers.Peer(name="two", my_asn=64501, peer_asn=64500, address=LOW)
_EVERYTHING: Final = context.Context(
    families=frozenset({families.IPV4_UNICAST, families.IPV6_UNICAST}),
    extended_next_hop=frozenset({families.IPV4_UNICAST}),
)


def prefix(number: int, family: addresses.Family = addresses.Family.IPV4) -> routes.Prefix:
    """The host route of address `number` of a family's documentation block."""
    base = 0xCB007100 if family is addresses.Family.IPV4 else 0x20010DB8 << 96
    return routes.Prefix(addresses.Address(family, base + number), family.bits)


class Side:
    """One session and its end of the link. `reachable`: its attempts to connect succeed."""

    def __init__(self, peer: peers.Peer, local: addresses.Address, *, restarting: bool = False, seed: int = 1) -> None:
        assert peer.address is not None
        self.session = session.Session(peer, random.Random(seed), restarting=restarting)
        self.ends = outputs.Endpoints(local=local, remote=peer.address, router_id=HIGH if local.value & 1 == 0 else LOW)
        self.reachable = True
        self.room = 65536
        # What was written on each connection, the states that were gone through, and the other side's number of each connection.
        self.written: dict[int, bytearray] = {}
        self.states: list[fsm.State] = []
        self.problems: list[reasons.Refusal | None] = []
        self.pairs: dict[int, int] = {}
        self.stopped = 0
        self.told: dict[routes.Prefix, None] = {}

    def sent(self, connection: int | None = None) -> list[messages.Message]:
        """Messages that were written on a connection, by default the last."""
        number = max(self.written) if connection is None else connection
        peer = self.session.peer
        reading = dataclasses.replace(_EVERYTHING, ibgp=peer.my_asn == peer.peer_asn)
        return list(framing.Reader(reading).feed(bytes(self.written[number])))

    def updates(self) -> list[messages.Update]:
        """UPDATEs that were written on the last connection."""
        return [each for each in self.sent() if isinstance(each, messages.Update)]

    def notifications(self) -> list[tuple[int, int]]:
        """Code and subcode of the NOTIFICATIONs that were written on any connection."""
        return [
            (each.code, each.subcode)
            for number in self.written
            for each in self.sent(number)
            if isinstance(each, messages.Notification)
        ]


class Link:
    """Two sides. Bytes arrive at once, in pieces of random size; a cut link carries nothing and closes nothing."""

    def __init__(self, one: Side, two: Side) -> None:
        self.sides = (one, two)
        self.now = 1000.0
        self.cut = False
        self._dice = random.Random(7)

    def settle(self) -> None:
        """Until neither side has anything to say at this moment."""
        for _ in range(10_000):
            busy = [self._drain(side, other) for side, other in (self.sides, self.sides[::-1])]
            if not any(busy):
                return
        raise AssertionError("the sides do not come to rest")

    def run(self, seconds: float) -> None:
        """Let time pass, from deadline to deadline."""
        end = self.now + seconds
        for _ in range(100_000):
            self.settle()
            deadlines = [each for side in self.sides if (each := side.session.next_deadline()) is not None]
            self.now = min([end, *(max(each, self.now) for each in deadlines)])
            for side in self.sides:
                side.session.tick(self.now)
            if self.now >= end:
                self.settle()
                return
        raise AssertionError("time does not pass")

    def _drain(self, side: Side, other: Side) -> bool:
        taken = side.session.take(self.now, side.room)
        for each in taken:
            match each:
                case outputs.Connect(connection=number):
                    self._connect(side, other, number)
                case outputs.Send(connection=number, data=data):
                    side.written.setdefault(number, bytearray()).extend(data)
                    if number in side.pairs and not self.cut:
                        for piece in self._pieces(data):
                            other.session.receive(side.pairs[number], piece, self.now)
                case outputs.Close(connection=number):
                    theirs = side.pairs.pop(number, None)
                    if theirs is not None and not self.cut:
                        other.pairs.pop(theirs, None)
                        other.session.closed(theirs, "closed by the peer", self.now)
                case outputs.StateChanged(old=old, new=new, problem=problem):
                    assert not side.states or side.states[-1] is old
                    assert new is not old
                    side.states.append(new)
                    side.problems.append(problem)
                    if old is S.ESTABLISHED:
                        side.told.clear()
                case outputs.Told(advertised=advertised, withdrawn=withdrawn):
                    side.told.update(dict.fromkeys(advertised))
                    for gone in withdrawn:
                        del side.told[gone]
                case outputs.Stopped():
                    side.stopped += 1
        assert set(side.told) == set(side.session.told)
        return bool(taken)

    def _connect(self, side: Side, other: Side, number: int) -> None:
        if self.cut:
            return
        theirs = other.session.incoming(other.ends, self.now) if side.reachable else None
        if theirs is None:
            side.session.connect_failed(number, "connection refused", self.now)
            return
        side.pairs[number], other.pairs[theirs] = theirs, number
        side.session.connected(number, side.ends, self.now)

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            size = self._dice.randrange(1, 4096)
            yield data[:size]
            data = data[size:]


def started(one: peers.Peer = ONE, two: peers.Peer = TWO, *, active: tuple[bool, bool] = (True, False)) -> Link:
    """Both started; `active`: whose attempts to connect succeed."""
    assert two.address is not None
    assert one.address is not None
    link = Link(Side(one, two.address, seed=1), Side(two, one.address, seed=2))
    for side, reaches in zip(link.sides, active, strict=True):
        side.reachable = reaches
    for side in link.sides[::-1]:
        side.session.start(link.now)
        link.settle()
    return link


def internal(one: peers.Peer = ONE, two: peers.Peer = TWO) -> tuple[peers.Peer, peers.Peer]:
    """The two peers in one AS."""
    return dataclasses.replace(one, peer_asn=64500), dataclasses.replace(two, my_asn=64500)


def up(link: Link) -> tuple[Side, Side]:
    """The sides, once both sessions are Established; that is soon."""
    link.run(5.0)
    assert [side.session.state for side in link.sides] == [S.ESTABLISHED] * 2, [
        str(side.session.problem) for side in link.sides
    ]
    return link.sides
