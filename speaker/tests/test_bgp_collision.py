"""Both sides connect, over a network with delays of its own for each connection: one connection stays, whatever the order of things."""

import dataclasses
import heapq
import random
from collections.abc import Callable

import pytest

from metallb_core.domain import addresses, peers, routes
from metallb_speaker.bgp import fsm, outputs, session, timers

S = fsm.State
LOW, HIGH = addresses.Address.parse("192.0.2.1"), addresses.Address.parse("192.0.2.2")
ONE = peers.Peer(name="one", my_asn=64500, peer_asn=64501, address=HIGH)
TWO = peers.Peer(name="two", my_asn=64501, peer_asn=64500, address=LOW)
PREFIXES = [routes.Prefix(addresses.Address(addresses.Family.IPV4, 0xCB007100 + number), 32) for number in range(50)]


class Side:
    def __init__(self, peer: peers.Peer, local: addresses.Address, seed: int) -> None:
        assert peer.address is not None
        self.session = session.Session(peer, random.Random(seed))
        self.session.replace(dict.fromkeys(PREFIXES, routes.PLAIN))
        self.ends = outputs.Endpoints(local=local, remote=peer.address, router_id=local)
        # Number of a connection here -> its number there, and how long things take on it.
        self.pairs: dict[int, tuple[int, float]] = {}
        self.attempts: set[int] = set()


class Network:
    """Two sides, and what is under way between them."""

    def __init__(self, dice: random.Random, one: peers.Peer = ONE, two: peers.Peer = TWO) -> None:
        self.dice = dice
        self.now = 0.0
        self.sides = (Side(one, LOW, dice.randrange(1000)), Side(two, HIGH, dice.randrange(1000)))
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (self.now + seconds, self._order, what))

    def start(self, side: Side, seconds: float) -> None:
        self.after(seconds, lambda: side.session.start(self.now))

    def run(self, until: float) -> None:
        for _ in range(200_000):
            for index in (0, 1):
                self._drain(index)
            deadlines = [each for side in self.sides if (each := side.session.next_deadline()) is not None]
            moment = min([*deadlines, *(each[0] for each in self._events[:1]), until])
            self.now = max(self.now, moment)
            if self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            else:
                for side in self.sides:
                    side.session.tick(self.now)
            if self.now >= until:
                return
        raise AssertionError("time does not pass")

    def cut(self) -> None:
        """Every connection breaks, and each side notices when it does."""
        for side in self.sides:
            for number, (_, delay) in list(side.pairs.items()):
                self.after(delay * self.dice.random(), self._closed(side, number))
            side.pairs.clear()

    def _closed(self, side: Side, number: int) -> Callable[[], None]:
        return lambda: side.session.closed(number, "broken", self.now)

    def _drain(self, index: int) -> None:
        side, other = self.sides[index], self.sides[1 - index]
        for each in side.session.take(self.now):
            match each:
                case outputs.Connect(connection=number):
                    self._connect(side, other, number)
                case outputs.Send(connection=number, data=data) if number in side.pairs:
                    theirs, delay = side.pairs[number]
                    self.after(delay, self._arrive(other, theirs, data))
                case outputs.Close(connection=number) if number in side.pairs:
                    theirs, delay = side.pairs.pop(number)
                    self.after(delay, self._end(other, theirs))
                case outputs.Close(connection=number):
                    side.attempts.discard(number)

    def _arrive(self, other: Side, number: int, data: bytes) -> Callable[[], None]:
        return lambda: other.session.receive(number, data, self.now)

    def _end(self, other: Side, number: int) -> Callable[[], None]:
        def end() -> None:
            other.pairs.pop(number, None)
            other.session.closed(number, "closed by the peer", self.now)

        return end

    def _connect(self, side: Side, other: Side, number: int) -> None:
        delay = self.dice.choice([0.001, 0.05, 0.2, 0.7])
        side.attempts.add(number)

        def arrive() -> None:
            theirs = other.session.incoming(other.ends, self.now)
            if theirs is None:
                self.after(delay, lambda: side.session.connect_failed(number, "refused", self.now))
                return
            other.pairs[theirs] = (number, delay)
            self.after(delay, lambda: stand(theirs))

        def stand(theirs: int) -> None:
            # An attempt that was given up meanwhile is closed by whoever gave it up.
            if number in side.attempts:
                side.pairs[number] = (theirs, delay)
            else:
                self.after(delay, self._end(other, theirs))
            side.session.connected(number, side.ends, self.now)

        self.after(delay, arrive)


@pytest.mark.parametrize("graceful", [pytest.param(False, id="plain"), pytest.param(True, id="graceful-restart")])
def test_one_connection_stays(graceful: bool) -> None:
    collisions = 0
    for seed in range(150):
        dice = random.Random(seed)
        network = Network(
            dice,
            dataclasses.replace(ONE, graceful_restart=graceful),
            dataclasses.replace(TWO, graceful_restart=graceful),
        )
        for side in network.sides:
            network.start(side, dice.random() * 0.5)
        for _ in range(3):
            network.after(dice.random() * 100, network.cut)
        network.run(600.0)
        for side in network.sides:
            assert side.session.state is S.ESTABLISHED, f"seed {seed}: {side.session.problem}"
            assert len(side.pairs) == 1
            assert set(side.session.told) == set(PREFIXES)
        before = [side.session.counters.established for side in network.sides]
        network.run(1200.0)
        assert [side.session.counters.established for side in network.sides] == before, "and it stays"
        collisions += sum(side.session.counters.notifications_sent for side in network.sides)
    assert collisions > 20, "the test is about collisions"


def _state(made: session.Session) -> fsm.State:
    return made.state


def _waiting() -> session.Session:
    made = session.Session(ONE, random.Random(1))
    made.start(0.0)
    assert outputs.Connect(connection=1) in made.take(0.0)
    return made


ENDS = outputs.Endpoints(local=LOW, remote=HIGH, router_id=LOW)


def _their_side() -> tuple[bytes, bytes]:
    """OPEN and KEEPALIVE of the other side."""
    other = session.Session(TWO, random.Random(1))
    other.start(0.0)
    other.take(0.0)
    other.connected(1, outputs.Endpoints(local=HIGH, remote=LOW, router_id=HIGH), 0.0)
    (greeting,) = [each.data for each in other.take(0.0) if isinstance(each, outputs.Send)]
    ours = _waiting()
    ours.connected(1, ENDS, 0.0)
    for each in ours.take(0.0):
        if isinstance(each, outputs.Send):
            other.receive(1, each.data, 0.0)
    (keepalive,) = [each.data for each in other.take(0.0) if isinstance(each, outputs.Send)]
    return greeting, keepalive


def test_an_attempt_that_hangs_gives_way_to_the_peers_connection() -> None:
    made = _waiting()
    greeting, keepalive = _their_side()
    assert made.incoming(ENDS, 1.0) == 2
    made.receive(2, greeting + keepalive, 1.0)
    taken = made.take(1.0)
    assert _state(made) is S.ESTABLISHED
    assert outputs.Close(connection=1, abandon=True) in taken
    made.connected(1, ENDS, 2.0)
    made.connect_failed(1, "late", 2.0)
    assert _state(made) is S.ESTABLISHED
    assert made.next_deadline() is not None


def test_an_attempt_that_fails_leaves_the_peers_connection_alone() -> None:
    made = _waiting()
    greeting, keepalive = _their_side()
    assert made.incoming(ENDS, 1.0) == 2
    made.connect_failed(1, "refused", 1.0)
    assert _state(made) is S.OPEN_SENT
    made.receive(2, greeting + keepalive, 1.0)
    assert _state(made) is S.ESTABLISHED
    made.closed(2, "gone", 2.0)
    deadline = made.next_deadline()
    assert deadline is not None
    assert deadline <= 2.0 + 2 * timers.DELAY_FIRST, "the next attempt is ours again"
    made.tick(deadline)
    assert outputs.Connect(connection=3) in made.take(deadline)


def test_the_peers_connection_may_fail_while_we_still_try() -> None:
    made = _waiting()
    assert made.incoming(ENDS, 1.0) == 2
    made.closed(2, "gone", 1.0)
    assert _state(made) is S.CONNECT
    made.connected(1, ENDS, 2.0)
    assert _state(made) is S.OPEN_SENT
