"""Two of our own sessions back to back, over a fake link and on a fake clock."""

import dataclasses
import random
from collections.abc import Iterator

import pytest

from metallb_core.domain import addresses, communities, peers, reasons, routes
from metallb_speaker.bgp import fsm, outputs, session
from metallb_speaker.bgp.wire import capabilities, context, families, framing, messages, notifications

S = fsm.State
LOW, HIGH = addresses.Address.parse("192.0.2.1"), addresses.Address.parse("192.0.2.2")
EVERYTHING = context.Context(
    families=frozenset({families.IPV4_UNICAST, families.IPV6_UNICAST}),
    extended_next_hop=frozenset({families.IPV4_UNICAST}),
)


def _prefix(number: int, family: addresses.Family = addresses.Family.IPV4) -> routes.Prefix:
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
        reading = dataclasses.replace(EVERYTHING, ibgp=peer.my_asn == peer.peer_asn)
        return list(framing.Reader(reading).feed(bytes(self.written[number])))

    def updates(self) -> list[messages.Update]:
        return [each for each in self.sent() if isinstance(each, messages.Update)]

    def notifications(self) -> list[tuple[int, int]]:
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
                    for prefix in withdrawn:
                        del side.told[prefix]
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


ONE = peers.Peer(name="one", my_asn=64500, peer_asn=64501, address=HIGH)
TWO = peers.Peer(name="two", my_asn=64501, peer_asn=64500, address=LOW)


def _link(one: peers.Peer = ONE, two: peers.Peer = TWO, *, active: tuple[bool, bool] = (True, False)) -> Link:
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


def _internal(one: peers.Peer = ONE, two: peers.Peer = TWO) -> tuple[peers.Peer, peers.Peer]:
    return dataclasses.replace(one, peer_asn=64500), dataclasses.replace(two, my_asn=64500)


def _up(link: Link) -> tuple[Side, Side]:
    link.run(5.0)
    assert [side.session.state for side in link.sides] == [S.ESTABLISHED] * 2, [
        str(side.session.problem) for side in link.sides
    ]
    return link.sides


def test_a_session_comes_up_and_stays_up() -> None:
    one, two = _up(_link())
    assert one.states == [S.CONNECT, S.OPEN_SENT, S.OPEN_CONFIRM, S.ESTABLISHED]
    assert two.states == [S.CONNECT, S.ACTIVE, S.OPEN_SENT, S.OPEN_CONFIRM, S.ESTABLISHED]
    assert one.session.problem is None
    assert one.session.hold_time == 90.0
    link = Link(one, two)
    link.run(3600.0)
    assert [side.session.counters.established for side in link.sides] == [1, 1]
    # A third of 90 s, jittered to 22.5 to 30 s.
    assert 120 <= one.session.counters.keepalives_sent <= 165
    assert one.session.counters.keepalives_sent == two.session.counters.keepalives_received
    assert one.session.counters.total_sent == two.session.counters.total_received


def test_routes_are_told_changed_and_withdrawn() -> None:
    link = _link()
    one, two = link.sides
    red = routes.Attributes(communities=frozenset({communities.Standard(64500, 7), communities.Large(64500, 1, 2)}))
    one.session.replace({_prefix(number): routes.PLAIN for number in range(1000)})
    assert not one.session.has(_prefix(0))
    _up(link)
    assert len(one.session.told) == 1000
    assert one.session.has(_prefix(0))
    assert two.session.counters.prefixes_received == 1000
    assert one.session.counters.updates_sent <= 3, "prefixes with equal attributes share an UPDATE"
    for number in (1, 2, 3):
        one.session.change(_prefix(number), red)
    one.session.change(_prefix(4), None)
    assert one.session.pending == 4
    link.settle()
    withdrawal, change = one.updates()[-2:]
    assert withdrawal.gone == (_prefix(4),)
    assert change.announced == (_prefix(1), _prefix(2), _prefix(3))
    assert change.attributes.communities == red.communities
    assert change.attributes.next_hop == LOW
    assert [segment.asns for segment in change.attributes.as_path or ()] == [(64500,)]
    assert change.attributes.local_pref is None
    assert change.attributes.med is None
    assert two.session.counters.withdrawals_received == 1
    assert [side.session.counters.established for side in link.sides] == [1, 1], "a change touches no session"


def test_an_internal_peer_gets_local_pref_and_an_empty_path() -> None:
    link = _link(*_internal())
    one, _ = _up(link)
    one.session.change(_prefix(1), routes.PLAIN)
    one.session.change(_prefix(2), routes.Attributes(local_pref=0))
    link.settle()
    assert [each.attributes.local_pref for each in one.updates()] == [100, 0]
    assert [each.attributes.as_path for each in one.updates()] == [(), ()]


def test_room_bounds_what_is_taken() -> None:
    link = _link()
    one, _ = link.sides
    one.session.replace({_prefix(number): routes.PLAIN for number in range(5000)})
    one.room = 0
    _up(link)
    assert one.session.pending == 5000
    assert one.session.has_updates
    sizes = []
    for _ in range(100):
        taken = one.session.take(link.now, 2000)
        sizes.append(sum(len(each.data) for each in taken if isinstance(each, outputs.Send)))
        if not one.session.pending:
            break
    assert sum(sizes) >= 25_000
    assert max(sizes) <= 3000
    assert not one.session.has_updates


# End-of-RIB, graceful restart, refresh.


@pytest.mark.parametrize("graceful", [pytest.param(True, id="graceful-restart"), pytest.param(False, id="plain")])
def test_end_of_rib_only_after_everything_was_said(graceful: bool) -> None:
    link = _link(dataclasses.replace(ONE, graceful_restart=graceful))
    one, _ = link.sides
    one.session.change(_prefix(1), routes.PLAIN)
    _up(link)
    assert [each.end_of_rib for each in one.updates()] == [None]
    one.session.change(_prefix(2), routes.PLAIN)
    one.session.initial_complete()
    link.settle()
    assert [each.end_of_rib for each in one.updates()] == [None, None, families.IPV4_UNICAST]
    link.run(1000.0)
    assert [each.end_of_rib for each in one.updates()].count(families.IPV4_UNICAST) == 1


def _graceful(side: Side, connection: int) -> capabilities.GracefulRestart | None:
    opens = [each for each in side.sent(connection) if isinstance(each, messages.Open)]
    found = [each for each in opens[0].capabilities if isinstance(each, capabilities.GracefulRestart)]
    return found[0] if found else None


def test_a_restart_is_announced_until_end_of_rib() -> None:
    link = _link(dataclasses.replace(ONE, graceful_restart=True))
    one = Side(link.sides[0].session.peer, LOW, restarting=True)
    link.sides[0].session.leave(link.now)
    link.settle()
    link.sides = (one, link.sides[1])
    one.session.start(link.now)
    one.session.initial_complete()
    _up(link)
    first = max(one.written)
    said = _graceful(one, first)
    assert said is not None
    assert (said.restarting, said.restart_time) == (True, 120)
    assert said.families == (capabilities.RestartFamily(families.IPV4_UNICAST, forwarding_preserved=True),)
    link.sides[1].session.stop(link.now, outputs.Stop.RESET)
    link.settle()
    link.sides[1].session.start(link.now)
    _up(link)
    again = _graceful(one, max(one.written))
    assert again is not None
    assert not again.restarting
    assert _graceful(link.sides[1], max(link.sides[1].written)) is None, "only where the object asks for it"


def test_leaving_for_a_restart_says_nothing() -> None:
    link = _link(dataclasses.replace(ONE, graceful_restart=True))
    one, two = _up(link)
    one.session.change(_prefix(1), routes.PLAIN)
    link.settle()
    before = bytes(one.written[max(one.written)])
    one.session.leave(link.now)
    assert outputs.Close(connection=max(one.written), abandon=True) in one.session.take(link.now)
    two.session.closed(next(iter(two.pairs)), "gone", link.now)
    assert bytes(one.written[max(one.written)]) == before
    assert one.session.stopped
    assert one.session.next_deadline() is None
    assert two.session.problem is not None
    assert two.session.problem.reason is reasons.Reason.BGP_CONNECTION_LOST


def test_routes_are_told_again_when_the_peer_asks() -> None:
    link = _link()
    one, two = link.sides
    one.session.replace({_prefix(number): routes.PLAIN for number in range(10)})
    _up(link)
    refresh = messages.RouteRefresh(family=families.IPV4_UNICAST).serialise()
    other = messages.RouteRefresh(family=families.IPV6_UNICAST).serialise()
    strange = messages.RouteRefresh(family=families.Family(1, 128)).serialise()
    marked = messages.RouteRefresh(family=families.IPV4_UNICAST, subtype=messages.REFRESH_BEGIN).serialise()
    one.session.receive(next(iter(one.pairs)), other + strange + marked, link.now)
    link.settle()
    assert two.session.counters.prefixes_received == 10
    one.session.receive(next(iter(one.pairs)), refresh * 500, link.now)
    link.settle()
    assert two.session.counters.prefixes_received == 20, "a flood of requests is answered once"
    assert one.session.counters.route_refresh_received == 503


# Timers and lost peers.


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        pytest.param(None, None, 90, id="default"),
        pytest.param(30, None, 30, id="ours-is-lower"),
        pytest.param(None, 9.9, 9, id="theirs-is-lower"),
        pytest.param(0, 30, 0, id="none"),
        pytest.param(90, 0, 0, id="none-of-theirs"),
    ],
)
def test_hold_time_is_the_lower(ours: float | None, theirs: float | None, agreed: int) -> None:
    link = _link(dataclasses.replace(ONE, hold_time=ours), dataclasses.replace(TWO, hold_time=theirs))
    one, two = _up(link)
    assert one.session.hold_time == two.session.hold_time == agreed
    one.session.receive(next(iter(one.pairs)), messages.Keepalive().serialise(), link.now)
    link.cut = True
    link.run(agreed - 0.5 if agreed else 100_000.0)
    states = [one.session.state]
    link.run(1.0)
    states.append(one.session.state)
    assert states[0] is S.ESTABLISHED
    assert (states[1] is S.ESTABLISHED) == (agreed == 0)


def test_a_keepalive_time_of_ours_is_kept_if_it_is_low_enough() -> None:
    link = _link(dataclasses.replace(ONE, hold_time=90, keepalive_time=2), dataclasses.replace(TWO, keepalive_time=60))
    one, two = _up(link)
    sent = one.session.counters.keepalives_sent
    link.run(100.0)
    assert 50 <= one.session.counters.keepalives_sent - sent <= 67
    assert two.session.negotiated is not None
    assert two.session.negotiated.keepalive_time == 30


@pytest.mark.parametrize(
    ("hold", "keepalive", "seconds"),
    [
        pytest.param(90, None, 30.0, id="a-third"),
        pytest.param(90, 0, 30.0, id="zero-is-unset"),
        pytest.param(90, 45, 30.0, id="too-long"),
        pytest.param(90, 10, 10.0, id="as-configured"),
        pytest.param(3, 0.1, 1.0, id="one-a-second-at-most"),
        pytest.param(0, 0, 0.0, id="none"),
    ],
)
def test_keepalive_time(hold: float, keepalive: float | None, seconds: float) -> None:
    one, _ = _up(_link(dataclasses.replace(ONE, hold_time=hold, keepalive_time=keepalive)))
    assert one.session.negotiated is not None
    assert one.session.negotiated.keepalive_time == seconds


def test_a_silent_peer_is_given_up_and_comes_back() -> None:
    link = _link(dataclasses.replace(ONE, hold_time=9), dataclasses.replace(TWO, hold_time=9))
    one, two = link.sides
    one.session.change(_prefix(1), routes.PLAIN)
    _up(link)
    link.cut = True
    link.run(10.0)
    assert (4, 0) in one.notifications()
    assert not one.session.told
    assert one.session.problem is not None
    assert one.session.problem.reason in (reasons.Reason.BGP_HOLD_EXPIRED, reasons.Reason.BGP_CONNECT_FAILED)
    dropped = one.states.index(S.IDLE, 1)
    assert one.problems[dropped] is not None
    assert "no message for the hold time of 9 s" in str(one.problems[dropped])
    link.run(60.0)
    link.cut = False
    link.run(130.0)
    _up(link)
    assert one.session.has(_prefix(1))
    assert two.session.counters.established == 2


def test_attempts_slow_down_and_bfd_ends_the_waiting() -> None:
    link = _link(active=(False, False))
    one, _ = link.sides
    link.run(30 * 60.0)
    attempts = one.states.count(S.CONNECT)
    # Every 7.5 to 15 s.
    assert 120 <= attempts <= 250
    assert one.session.problem is not None
    assert one.session.problem.reason is reasons.Reason.BGP_CONNECT_FAILED
    assert "connection refused" in str(one.session.problem)
    one.reachable = True
    one.session.bfd_up(link.now)
    link.settle()
    assert one.session.state is S.ESTABLISHED
    assert one.session.problem is None


def test_bfd_down_ends_the_session_until_it_is_up() -> None:
    link = _link(active=(True, False))
    one, two = _up(link)
    one.session.bfd_down(link.now)
    link.run(300.0)
    assert one.session.state is S.IDLE
    assert not one.session.stopped
    assert one.notifications() == [(6, 10)]
    for side in link.sides:
        assert reasons.Reason.BGP_BFD_DOWN in [problem.reason for problem in side.problems if problem is not None]
    assert one.session.problem is not None
    assert one.session.problem.reason is reasons.Reason.BGP_BFD_DOWN
    one.session.bfd_up(link.now)
    _up(link)
    assert one.stopped == two.stopped == 0


def test_bfd_down_before_the_start_holds_it() -> None:
    one = Side(ONE, LOW)
    one.session.bfd_down(0.0)
    one.session.start(0.0)
    assert one.session.take(0.0) == []
    one.session.bfd_up(1.0)
    assert outputs.Connect(connection=1) in one.session.take(1.0)


# Going away.


@pytest.mark.parametrize(
    ("why", "subcode"),
    [
        pytest.param(outputs.Stop.DECONFIGURED, 3, id="removed"),
        pytest.param(outputs.Stop.CONFIGURATION_CHANGE, 6, id="changed"),
        pytest.param(outputs.Stop.SHUTDOWN, 2, id="shutdown"),
    ],
)
def test_stop(why: outputs.Stop, subcode: int) -> None:
    link = _link()
    one, two = _up(link)
    one.session.stop(link.now, why, "so long")
    link.run(600.0)
    assert one.notifications() == [(6, subcode)]
    assert one.session.state is S.IDLE
    assert one.stopped == 1
    assert one.session.next_deadline() is None
    received = [problem for problem in two.problems if problem is not None]
    assert reasons.Reason.BGP_NOTIFICATION_RECEIVED in [problem.reason for problem in received]
    assert any("'so long'" in str(problem) for problem in received) == (why is outputs.Stop.SHUTDOWN)


@pytest.mark.parametrize("internal", [pytest.param(False, id="external"), pytest.param(True, id="internal")])
def test_shutdown_is_said_then_withdrawn_then_ended(internal: bool) -> None:
    link = _link(*(_internal() if internal else (ONE, TWO)))
    one, two = link.sides
    red = routes.Attributes(local_pref=300, communities=frozenset({communities.Standard(64500, 7)}))
    one.session.replace({_prefix(1): routes.PLAIN, _prefix(2): red})
    _up(link)
    one.session.shutdown(link.now, 10.0, "node is drained")
    link.run(5.0)
    leaving = one.updates()[2:]
    assert {each.announced for each in leaving} == {(_prefix(1),), (_prefix(2),)}
    assert all(communities.GRACEFUL_SHUTDOWN in each.attributes.communities for each in leaving)
    assert [each.attributes.local_pref for each in leaving] == ([0, 0] if internal else [None, None])
    assert any(communities.Standard(64500, 7) in each.attributes.communities for each in leaving)
    one.session.change(_prefix(3), routes.PLAIN)
    one.session.change(_prefix(1), None)
    link.settle()
    assert one.updates()[-1].announced == (_prefix(3),)
    assert communities.GRACEFUL_SHUTDOWN in one.updates()[-1].attributes.communities
    assert one.session.state is S.ESTABLISHED
    link.run(6.0)
    assert set(one.updates()[-1].gone) == {_prefix(2), _prefix(3)}
    assert isinstance(one.sent()[-1], messages.Notification)
    assert one.notifications() == [(6, 2)]
    assert (one.session.state, one.stopped) == (S.IDLE, 1)
    assert any("node is drained" in str(problem) for problem in two.problems)


def test_shutdown_without_waiting() -> None:
    link = _link()
    one, _ = link.sides
    one.session.change(_prefix(1), routes.PLAIN)
    _up(link)
    one.session.shutdown(link.now, 0.0)
    one.session.shutdown(link.now, 5.0)
    one.session.change(_prefix(2), routes.PLAIN)
    one.session.replace({_prefix(3): routes.PLAIN})
    link.settle()
    assert [each.announced for each in one.updates()] == [(_prefix(1),), ()]
    assert one.notifications() == [(6, 2)]
    assert one.stopped == 1


def test_shutdown_of_what_is_not_up_is_immediate() -> None:
    link = _link(active=(False, False))
    one, _ = link.sides
    one.session.shutdown(link.now, 60.0)
    link.settle()
    assert (one.session.stopped, one.stopped) == (True, 1)


def test_shutdown_does_not_wait_for_a_peer_that_hangs() -> None:
    link = _link()
    one, _ = link.sides
    one.session.change(_prefix(1), routes.PLAIN)
    _up(link)
    one.room = 0
    one.session.shutdown(link.now, 1.0)
    link.run(1.0 + session.WITHDRAW_LIMIT)
    assert one.stopped == 1


def test_shutdown_ends_with_the_connection() -> None:
    link = _link()
    one, two = _up(link)
    one.session.shutdown(link.now, 60.0)
    two.session.stop(link.now)
    link.run(120.0)
    assert (one.session.stopped, one.stopped) == (True, 1)


def test_shutdown_ends_with_the_path() -> None:
    link = _link()
    one, _ = _up(link)
    one.session.shutdown(link.now, 60.0)
    one.session.bfd_down(link.now)
    link.settle()
    assert one.notifications() == [(6, 10)]
    assert (one.session.stopped, one.stopped) == (True, 1)


def test_a_stopped_session_starts_again_with_its_routes() -> None:
    link = _link()
    one, _ = link.sides
    one.session.change(_prefix(1), routes.PLAIN)
    _up(link)
    one.session.start(link.now)
    assert one.session.take(link.now) == [], "it was started"
    one.session.stop(link.now)
    link.run(1.0)
    assert one.session.withheld == one.session.pending == 0
    assert dict(one.session.desired) == {_prefix(1): routes.PLAIN}
    one.session.start(link.now)
    _up(link)
    assert one.session.has(_prefix(1))


# Two connections at once (RFC 4271 section 6.8).


def test_simultaneous_open_leaves_the_connection_of_the_higher_identifier() -> None:
    link = Link(Side(ONE, LOW), Side(TWO, HIGH))
    one, two = link.sides
    for side in link.sides:
        side.session.start(link.now)
        assert outputs.Connect(connection=1) in side.session.take(link.now)
    # Both attempts stand before either side has read anything.
    for side, other in (link.sides, link.sides[::-1]):
        theirs = other.session.incoming(other.ends, link.now)
        assert theirs is not None
        side.pairs[1], other.pairs[theirs] = theirs, 1
        side.session.connected(1, side.ends, link.now)
    opens = []
    for side, other in (link.sides, link.sides[::-1]):
        side.states = [S.CONNECT, S.OPEN_SENT]
        for each in side.session.take(link.now):
            if isinstance(each, outputs.Send):
                side.written[each.connection] = bytearray(each.data)
                opens.append((other, side.pairs[each.connection], each.data))
    assert len(opens) == 4
    for other, number, data in opens:
        other.session.receive(number, data, link.now)
    link.run(5.0)
    for side in link.sides:
        assert side.session.state is S.ESTABLISHED
        assert len(side.pairs) == 1
        assert side.session.counters.established == 1
    assert two.pairs == {1: 2}, "the side with the higher identifier keeps the connection that it opened"
    assert set(one.notifications()) | set(two.notifications()) == {(6, 7)}
    link.run(600.0)
    assert [side.session.counters.established for side in link.sides] == [1, 1]


def test_both_connect_at_any_time() -> None:
    """Whatever the interleaving, one connection stays, and it stays."""
    for seed in range(30):
        link = Link(Side(ONE, LOW, seed=seed), Side(TWO, HIGH, seed=seed + 100))
        one, two = link.sides
        one.session.start(link.now)
        link.run(random.Random(seed).random() * 3)
        two.session.start(link.now)
        link.run(400.0)
        assert one.session.state is two.session.state is S.ESTABLISHED
        assert len(one.pairs) == len(two.pairs) == 1
        assert one.session.counters.established == 1


def test_a_second_connection_does_not_disturb_an_established_one() -> None:
    link = _link()
    one, two = _up(link)
    number = one.session.incoming(one.ends, link.now)
    assert number is not None
    assert one.session.incoming(one.ends, link.now) is None, "two at most"
    one.session.receive(number, two.sent()[0].serialise(), link.now)
    taken = one.session.take(link.now)
    assert outputs.Close(connection=number) in taken
    assert not [each for each in taken if isinstance(each, outputs.StateChanged)]
    cease = next(each.data for each in taken if isinstance(each, outputs.Send) and b"\x06\x07" in each.data)
    assert cease.endswith(b"\x06\x07")
    assert one.session.problem is None
    assert one.session.state is S.ESTABLISHED


def test_a_gracefully_restarted_peer_replaces_its_old_connection() -> None:
    link = _link(TWO, dataclasses.replace(ONE, graceful_restart=True))
    one, two = link.sides
    one.session.change(_prefix(1), routes.PLAIN)
    _up(link)
    old = next(iter(one.pairs))
    again = Side(two.session.peer, LOW, restarting=True)
    link.sides = (one, again)
    number = one.session.incoming(one.ends, link.now)
    assert number is not None
    again.pairs, one.pairs = {1: number}, {number: 1}
    again.session.start(link.now)
    again.session.take(link.now)
    again.states = [S.CONNECT]
    again.session.connected(1, again.ends, link.now)
    link.run(1.0)
    assert one.session.state is again.session.state is S.ESTABLISHED
    assert one.states[-2:] == [S.OPEN_CONFIRM, S.ESTABLISHED]
    assert one.session.has(_prefix(1))
    assert again.session.counters.prefixes_received == 1
    one.session.receive(old, b"late bytes of the old connection", link.now)
    one.session.closed(old, "late", link.now)
    assert one.session.state is S.ESTABLISHED


def test_idle_refuses_connections() -> None:
    one = Side(ONE, LOW)
    assert one.session.incoming(one.ends, 0.0) is None
    one.session.start(0.0)
    one.session.take(0.0)
    one.session.connect_failed(1, "refused", 0.0)
    assert one.session.incoming(one.ends, 0.0) == 2
    one.session.stop(0.0)
    assert one.session.incoming(one.ends, 0.0) is None


def test_notifications_name_the_reason_on_both_sides() -> None:
    link = _link(dataclasses.replace(ONE, peer_asn=64999))
    link.run(1.0)
    for side in link.sides:
        found = [problem for problem in side.problems if problem is not None and "AS" in problem.detail]
        assert {problem.reason for problem in found} == {reasons.Reason.BGP_AS_MISMATCH}
    assert (notifications.Code.OPEN_MESSAGE, notifications.Open.BAD_PEER_AS) in link.sides[0].notifications()
    assert "the peer says that it is AS 64501, where the object wants 64999 (spec.peerASN)" in str(
        link.sides[0].problems
    )
