"""Two ends of a fake link with a fake clock: up, down, poll, echo, demand, passive, administratively down, and who belongs to whom."""

import dataclasses
import functools
import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from metallb_core.domain import addresses, bfd
from metallb_speaker.bfd import chance, packets, registry, session, settings

S = packets.State
D = packets.Diagnostic
HERE = addresses.Address.parse("192.0.2.1")
THERE = addresses.Address.parse("192.0.2.2")
DELAY = 0.001


def config(peer: addresses.Address = THERE, **changes: Any) -> settings.Config:
    return settings.Config(**{"key": "k", "peer": peer, **changes})


class End:
    """One node: a registry, what it sent and when, and the states it went through."""

    def __init__(self, address: addresses.Address, seed: int) -> None:
        self.address = address
        self.registry = registry.Registry(random.Random(seed))
        self.sent: list[tuple[float, packets.Control]] = []
        self.echoes: list[tuple[float, packets.Echo]] = []
        self.history: list[tuple[float, packets.State]] = []
        self.frozen = False

    @property
    def session(self) -> session.Session:
        (only,) = self.registry.sessions
        return only

    @property
    def state(self) -> packets.State:
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
        end.registry.configure(configs, self.now)
        self._collect(end)

    def other(self, end: End) -> End:
        return self.b if end is self.a else self.a

    def deliver(self, sender: End, data: bytes) -> None:
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
        self._collect(receiver)

    def run(self, seconds: float) -> None:
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
        end.registry.advance(self.now)
        self._collect(end)

    def _collect(self, end: End) -> None:
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
        self._collect(end)

    def _fly(self, act: Callable[[], None]) -> None:
        heapq.heappush(self._flying, (self.now + DELAY, next(self._order), act))

    def both_up(self) -> bool:
        return self.a.state is S.UP and self.b.state is S.UP

    def settled(self) -> bool:
        return self.both_up() and not self.a.session.polling and not self.b.session.polling


def link_of(ours: settings.Config, theirs: settings.Config) -> Link:
    made = Link()
    made.configure(made.a, dataclasses.replace(ours, peer=THERE))
    made.configure(made.b, dataclasses.replace(theirs, peer=HERE))
    return made


@pytest.fixture
def link() -> Link:
    made = link_of(config(), config())
    made.run_until(made.settled)
    made.run(2.0)
    return made


# Coming up


def test_both_come_up_through_the_states() -> None:
    made = link_of(config(), config())
    assert made.run_until(made.settled) < 1.1
    assert [state for _, state in made.a.history] in ([S.DOWN, S.INIT, S.UP], [S.DOWN, S.UP])
    for end in (made.a, made.b):
        assert end.session.status == settings.Status(state=S.UP, diagnostic=0, remote_state=S.UP)
        assert end.session.counters.session_up_events == 1
        assert end.session.detection_time == pytest.approx(0.9)


def test_a_session_that_is_not_up_is_slow() -> None:
    made = Link()
    made.configure(made.a, config())
    made.run(30)
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(made.a.sent)]
    assert gaps
    assert all(0.75 <= gap <= 1.0 for gap in gaps)
    assert {packet.desired_min_tx for _, packet in made.a.sent} == {1_000_000}
    assert {packet.state for _, packet in made.a.sent} == {S.DOWN}


def test_passive_waits_until_it_is_spoken_to() -> None:
    made = link_of(config(passive=True), config())
    assert made.a.sent == []
    made.run_until(made.settled)
    assert made.both_up()


def test_two_passive_ends_never_come_up() -> None:
    made = link_of(config(passive=True), config(passive=True))
    made.run(120)
    assert made.a.sent == made.b.sent == []
    assert (made.a.state, made.b.state) == (S.DOWN, S.DOWN)


# Timers


@pytest.mark.parametrize(
    ("multiplier", "least", "most"), [(3, 0.75, 1.0), (1, 0.75, 0.9)], ids=["multiplier 3", "multiplier 1"]
)
def test_jitter(multiplier: int, least: float, most: float) -> None:
    made = link_of(config(multiplier=multiplier), config())
    made.run_until(made.settled)
    made.run(1)
    start = len(made.a.sent)
    made.run(60)
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(made.a.sent[start:])]
    assert least * 0.3 - 1e-6 <= min(gaps) < (least + 0.03) * 0.3
    assert (most - 0.03) * 0.3 < max(gaps) <= most * 0.3 + 1e-6


class Fixed:
    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value

    def getrandbits(self, bits: int, /) -> int:
        return 1


@pytest.mark.parametrize(
    ("multiplier", "drawn", "expected"), [(2, 0.0, 0.75), (2, 1.0, 1.0), (1, 0.0, 0.75), (1, 1.0, 0.9)]
)
def test_jitter_at_its_ends(multiplier: int, drawn: float, expected: float) -> None:
    assert chance.jittered(1.0, multiplier, Fixed(drawn)) == pytest.approx(expected)


def test_the_slower_wish_counts() -> None:
    made = link_of(config(transmit_interval=100, receive_interval=400), config(transmit_interval=200, multiplier=5))
    made.run_until(made.settled)
    made.run(2)
    assert made.a.session.transmit_interval == pytest.approx(0.3), "their 300 ms to receive beat our 100 to send"
    assert made.b.session.transmit_interval == pytest.approx(0.4), "our 400 ms to receive beat their 200 to send"
    assert made.a.session.detection_time == pytest.approx(5 * 0.4)
    assert made.b.session.detection_time == pytest.approx(3 * 0.3)


def test_loss_takes_the_session_down_in_the_detection_time(link: Link) -> None:
    link.lost = lambda sender, packet: True
    heard = max(moment for moment, _ in link.b.sent)
    link.run_until(lambda: link.a.state is S.DOWN)
    assert link.now - heard == pytest.approx(0.9, abs=3 * DELAY)
    assert link.a.session.diagnostic == D.DETECTION_TIME_EXPIRED
    assert link.a.session.counters.session_down_events == 1
    assert link.a.session.status.failed
    assert link.a.session.remote_discriminator == 0
    _, last = link.a.sent[-1]
    assert (last.state, last.desired_min_tx) == (S.DOWN, 1_000_000)
    assert last.your_discriminator == link.b.session.discriminator, "told before the peer is forgotten"
    link.run(5)
    link.lost = lambda sender, packet: False
    link.run_until(link.settled)
    assert link.a.session.diagnostic == D.NONE
    assert link.a.session.counters.session_up_events == 2


def test_two_losses_in_a_row_are_no_failure(link: Link) -> None:
    counts = {id(link.a): itertools.count(), id(link.b): itertools.count()}
    link.lost = lambda sender, packet: next(counts[id(sender)]) % 3 != 0
    link.run(60)
    assert link.both_up()
    assert link.a.session.counters.session_down_events == link.b.session.counters.session_down_events == 0


def test_one_direction_cut_takes_both_down(link: Link) -> None:
    link.lost = lambda sender, packet: sender is link.b
    link.run_until(lambda: link.a.state is S.DOWN)
    link.run(2 * DELAY)
    assert link.b.state in (S.DOWN, S.INIT), "the end that hears is told"
    assert link.b.session.diagnostic == D.NEIGHBOR_SIGNALED_DOWN


def test_a_restarted_peer_is_noticed_at_once(link: Link) -> None:
    link.b.registry = registry.Registry(random.Random(3))
    link.configure(link.b, config(peer=HERE))
    link.run(2 * DELAY)
    assert S.DOWN in [state for _, state in link.a.history[-2:]]
    link.run_until(link.settled)


# Polls


def polls(end: End, since: int = 0) -> list[packets.Control]:
    return [packet for _, packet in end.sent[since:] if packet.poll]


def test_coming_up_polls_and_the_answer_ends_it(link: Link) -> None:
    assert polls(link.a)
    assert any(packet.final for _, packet in link.b.sent)
    assert not any(packet.poll and packet.final for end in (link.a, link.b) for _, packet in end.sent)
    since = len(link.a.sent)
    link.run(10)
    assert not polls(link.a, since), "nothing changed since"


def test_a_longer_interval_waits_for_the_answer(link: Link) -> None:
    link.lost = lambda sender, packet: packet.final
    since = len(link.a.sent)
    link.configure(link.a, config(transmit_interval=1000))
    assert link.a.session.desired_min_tx == 1_000_000, "advertised at once"
    link.run(5)
    assert link.a.session.transmit_interval == pytest.approx(0.3), "and not used yet"
    assert all(packet.poll for _, packet in link.a.sent[since:] if not packet.final)
    link.lost = lambda sender, packet: False
    link.run(1)
    assert not link.a.session.polling
    assert link.a.session.transmit_interval == pytest.approx(1.0)
    assert link.b.session.detection_time == pytest.approx(3.0)
    assert link.both_up()


def test_a_shorter_interval_is_used_at_once(link: Link) -> None:
    link.lost = lambda sender, packet: packet.final
    link.configure(link.b, config(peer=HERE, receive_interval=50))
    link.run(2 * DELAY)
    link.configure(link.a, config(transmit_interval=50))
    assert link.a.session.transmit_interval == pytest.approx(0.05)


def test_a_shorter_receive_interval_waits_for_the_answer(link: Link) -> None:
    link.configure(link.b, config(peer=HERE, transmit_interval=50))
    link.run(1)
    assert link.a.session.detection_time == pytest.approx(0.9)
    link.lost = lambda sender, packet: packet.final
    link.configure(link.a, config(receive_interval=50))
    link.run(0.2)
    assert link.a.session.detection_time == pytest.approx(0.9)
    link.lost = lambda sender, packet: False
    link.run(1)
    assert link.a.session.detection_time == pytest.approx(0.15)
    assert link.both_up()


def test_the_peers_shorter_receive_interval_is_honoured_at_once() -> None:
    made = link_of(config(transmit_interval=50), config(receive_interval=5000))
    made.run_until(made.settled)
    made.run(1)
    assert made.a.session.transmit_interval == pytest.approx(5.0)
    made.configure(made.b, config(peer=HERE, receive_interval=50))
    made.run(0.2)
    assert len([moment for moment, packet in made.a.sent if moment > made.now - 0.15 and not packet.final]) >= 2


def test_what_changes_during_a_poll_gets_its_own(link: Link) -> None:
    link.lost = lambda sender, packet: packet.final
    link.configure(link.a, config(transmit_interval=1000))
    link.configure(link.a, config(transmit_interval=2000))
    link.lost = lambda sender, packet: False
    since = len(link.a.sent)
    link.run_until(lambda: not link.a.session.polling)
    assert polls(link.a, since), "the first answer may be to the packet before the change"
    assert link.a.session.transmit_interval == pytest.approx(2.0)


def test_a_multiplier_is_told_without_a_poll(link: Link) -> None:
    since = len(link.a.sent)
    link.configure(link.a, config(multiplier=10))
    assert [packet.multiplier for _, packet in link.a.sent[since:]] == [10]
    assert not polls(link.a, since)
    link.run(2 * DELAY)
    assert link.b.session.detection_time == pytest.approx(3.0)


def test_the_same_configuration_says_nothing(link: Link) -> None:
    since = len(link.a.sent)
    link.configure(link.a, config())
    assert link.a.sent[since:] == []


# A peer made by hand

DEFAULTS: dict[str, Any] = {
    "multiplier": 3,
    "my_discriminator": 77,
    "desired_min_tx": 300_000,
    "required_min_rx": 300_000,
}


class Hand:
    """A session whose peer is the test."""

    def __init__(self, **changes: Any) -> None:
        self.now = 100.0
        self.session = session.Session(config(**changes), 5, random.Random(4), self.now)

    def say(self, state: packets.State, **fields: Any) -> list[packets.Control]:
        yours = {"your_discriminator": 5}
        self.session.receive(packets.Control(**{**DEFAULTS, **yours, "state": state, **fields}), self.now)
        return self.heard()

    def heard(self) -> list[packets.Control]:
        found, self.session.outgoing = self.session.outgoing, []
        return found

    def wait(self, seconds: float) -> list[packets.Control]:
        """Let time pass; what was sent meanwhile."""
        found: list[packets.Control] = []
        end = self.now + seconds
        while (deadline := self.session.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.session.advance(self.now)
            found += self.heard()
        self.now = end
        return found

    def up(self) -> "Hand":
        self.say(S.DOWN)
        self.say(S.UP)
        self.say(S.UP, final=True)
        assert self.session.state is S.UP
        return self


def prepared(state: packets.State) -> Hand:
    made = Hand()
    match state:
        case S.UP:
            made.up()
        case S.INIT:
            made.say(S.DOWN)
        case S.ADMIN_DOWN:
            made.session.shut_down(made.now)
        case _:
            pass
    made.heard()
    assert made.session.state is state
    return made


@pytest.mark.parametrize("state", S, ids=lambda state: state.name)
@pytest.mark.parametrize("received", S, ids=lambda received: f"hears {received.name}")
@pytest.mark.parametrize("poll", [False, True], ids=["", "poll"])
def test_a_poll_is_answered_in_every_state_but_admin_down(
    state: packets.State, received: packets.State, poll: bool
) -> None:
    made = prepared(state)
    said = made.say(received, poll=poll)
    finals = [packet for packet in said if packet.final]
    assert len(finals) == (1 if poll and state is not S.ADMIN_DOWN else 0)
    assert not any(packet.poll for packet in finals)
    assert all(packet.your_discriminator == 77 for packet in said)
    if state is not S.ADMIN_DOWN:
        assert made.session.remote_state is received
        changed = made.session.state is not state
        assert changed == any(packet.state is made.session.state for packet in said if not packet.final)


def test_authenticated_packets_are_discarded() -> None:
    made = Hand()
    assert made.say(S.DOWN, authenticated=True) == []
    assert made.session.state is S.DOWN
    assert made.session.counters.control_packet_input == 0


def test_a_packet_that_is_read_before_the_deadline_is_judged_counts() -> None:
    made = Hand().up()
    made.now += 5.0  # a pause of this process; the packet came meanwhile and waits in the socket
    made.say(S.UP)
    made.session.advance(made.now)
    assert made.session.state is S.UP
    assert [packet.state for packet in made.heard()] == [S.UP], "and what is overdue is sent once"


def test_a_peer_in_demand_mode_hears_only_polls_and_answers() -> None:
    made = Hand().up()
    made.say(S.UP, demand=True)
    assert made.wait(0.8) == []
    (final,) = made.say(S.UP, demand=True, poll=True)
    assert final.final
    made.session.configure(config(transmit_interval=500), made.now)
    made.heard()
    polled = made.wait(0.8)
    assert polled
    assert all(packet.poll for packet in polled)
    made.say(S.UP, demand=True, final=True)
    assert made.wait(0.8) == []
    made.say(S.UP)
    assert made.wait(0.8) != []


def test_a_peer_that_wants_no_packets_gets_none_but_answers() -> None:
    made = Hand().up()
    made.say(S.UP, required_min_rx=0)
    assert made.wait(0.85) == []
    assert len(made.say(S.UP, required_min_rx=0, poll=True)) == 1
    made.say(S.UP)
    assert made.wait(0.5) != []


def test_a_passive_session_falls_silent_when_the_peer_is_gone() -> None:
    made = Hand(passive=True)
    assert made.wait(10) == []
    made.up()
    made.heard()
    said = made.wait(0.95)
    assert said[-1].state is S.DOWN, "what happened is told once, for the path may be cut in one direction only"
    assert made.wait(10) == []


def test_the_peers_discriminator_is_forgotten_while_down_too() -> None:
    made = Hand()
    made.say(S.UP, your_discriminator=5)
    assert made.session.remote_discriminator == 77
    made.wait(3.1)
    assert made.session.remote_discriminator == 0


# Administratively down


def test_shutting_down_is_no_failure_for_the_peer(link: Link) -> None:
    link.a.registry.shut_down(link.now)
    link._collect(link.a)
    link.run(2 * DELAY)
    assert link.b.session.status == settings.Status(
        state=S.DOWN, diagnostic=D.NEIGHBOR_SIGNALED_DOWN, remote_state=S.ADMIN_DOWN
    )
    assert not link.b.session.status.failed
    link.run(0.5)
    farewells = [packet for _, packet in link.a.sent if packet.state is S.ADMIN_DOWN]
    assert len(farewells) == 3
    assert {(packet.diagnostic, packet.desired_min_tx) for packet in farewells} == {(7, 1_000_000)}
    assert not any(link.a.registry.everyone)
    link.run(30)
    assert not link.b.session.status.failed, "and stays none"


def test_a_session_taken_out_of_the_set_says_farewell_and_the_others_stay() -> None:
    made = Link()
    other = config(peer=addresses.Address.parse("192.0.2.9"), key="other")
    made.configure(made.a, config(), other)
    made.configure(made.b, config(peer=HERE))
    made.run(3)
    kept = next(each for each in made.a.registry.sessions if each.config.key == "other")
    made.configure(made.a, other)
    made.run(1)
    assert made.a.registry.sessions == (kept,)
    assert made.b.session.remote_state is S.ADMIN_DOWN


def test_asking_again_for_a_session_ends_its_farewell(link: Link) -> None:
    link.configure(link.a)
    link.configure(link.a, config())
    link.run_until(link.settled)
    since = len(link.a.sent)
    link.run(1)
    assert S.ADMIN_DOWN not in {packet.state for _, packet in link.a.sent[since:]}


def test_other_endpoints_are_another_session(link: Link) -> None:
    before = link.a.session.discriminator
    link.configure(link.a, config(local=HERE))
    assert link.a.session.discriminator != before
    assert link.a.state is S.DOWN


# Echo


def echoing(**changes: Any) -> Link:
    made = link_of(config(echo=True, **changes), config())
    made.b.session.offer_echo(True, made.now)
    made.run_until(made.settled)
    made.run(3)
    return made


def test_echo_slows_control_packets_and_finds_a_failure_faster() -> None:
    made = echoing()
    assert made.a.session.required_min_rx == 1_000_000
    assert made.b.session.transmit_interval == pytest.approx(1.0)
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(made.a.echoes[-30:])]
    assert all(0.0375 - 1e-6 <= gap <= 0.05 + 1e-6 for gap in gaps)
    made.loops = False
    made.lost = lambda sender, packet: True
    took = made.run_until(lambda: made.a.state is not S.UP)
    assert took <= 0.2
    assert made.a.session.diagnostic == D.ECHO_FAILED
    assert made.a.session.required_min_rx == 300_000


def test_echo_that_never_came_back_proves_nothing() -> None:
    made = link_of(config(echo=True), config())
    made.loops = False
    made.b.session.offer_echo(True, made.now)
    made.run(60)
    assert made.both_up()
    assert made.a.session.echo_is_silent
    assert len(made.a.echoes) < 85, "one packet a second asks"
    assert made.a.session.required_min_rx == 300_000
    assert made.a.session.counters.session_down_events == 0


def test_a_peer_that_does_not_loop_gets_no_echo() -> None:
    made = link_of(config(echo=True), config())
    made.run(10)
    assert made.both_up()
    assert made.a.echoes == []
    made.b.session.offer_echo(True, made.now)
    made.advance(made.b)
    made.run(2)
    assert made.a.echoes
    count = len(made.a.echoes)
    made.b.session.offer_echo(False, made.now)
    made.advance(made.b)
    made.run(0.1)
    count = len(made.a.echoes)
    made.run(5)
    assert len(made.a.echoes) == count, "and stops when the peer does"
    assert made.both_up()


def test_the_peers_least_echo_interval_counts() -> None:
    made = link_of(config(echo=True, echo_interval=10), config(echo_interval=200))
    made.b.session.offer_echo(True, made.now)
    made.run_until(made.settled)
    made.run(3)
    start = len(made.a.echoes)
    made.run(3)
    assert 15 <= len(made.a.echoes) - start <= 21


def test_a_pause_of_this_process_is_no_echo_failure() -> None:
    made = echoing()
    made.a.frozen = True
    made.run(0.6)  # many echo intervals, in which nothing was sent, so nothing was lost
    made.a.frozen = False
    made.run(0.2)
    assert made.a.state is S.UP


def test_multihop_sessions_have_no_echo() -> None:
    made = link_of(config(echo=True, multihop=True), config(multihop=True))
    made.b.session.offer_echo(True, made.now)
    made.run(5)
    assert made.both_up()
    assert made.a.echoes == []
    assert made.b.sent[-1][1].required_min_echo_rx == 0


@pytest.mark.parametrize(
    ("token", "sequence"), [(0, None), (None, 0), (None, 10_000)], ids=["token", "sequence 0", "sequence not yet sent"]
)
def test_a_forged_echo_counts_for_nothing(token: int | None, sequence: int | None) -> None:
    made = link_of(config(echo=True), config())
    made.loops = False
    made.b.session.offer_echo(True, made.now)
    made.run(5)
    real = made.a.echoes[-1][1]
    forged = packets.Echo(
        real.discriminator, real.token if token is None else token, real.sequence if sequence is None else sequence
    )
    assert made.a.registry.echo_returned(forged.serialise(), made.now) is None
    assert made.a.registry.echo_returned(real.serialise(), made.now) is made.a.session


# Who belongs to whom

V6 = addresses.Address.parse("fe80::1")
PACKET = packets.Control(**DEFAULTS, state=S.DOWN)


def path(**changes: Any) -> registry.Path:
    found: dict[str, Any] = {
        "source": THERE,
        "destination": HERE,
        "interface": "eth0",
        "vrf": "",
        "multihop": False,
        "hops": 255,
    }
    return registry.Path(**{**found, **changes})


@pytest.mark.parametrize("named", [False, True], ids=["by source", "by discriminator"])
@pytest.mark.parametrize(
    ("changes", "came", "belongs"),
    [
        pytest.param({}, {}, True, id="plain"),
        pytest.param({}, {"hops": 254}, False, id="a router in between"),
        pytest.param({}, {"source": HERE}, False, id="another source"),
        pytest.param({}, {"multihop": True}, False, id="the other port"),
        pytest.param({}, {"vrf": "red"}, False, id="another VRF"),
        pytest.param({"vrf": "red"}, {"vrf": "red"}, True, id="its VRF"),
        pytest.param({"interface": "eth0"}, {}, True, id="its link"),
        pytest.param({"interface": "eth1"}, {}, False, id="another link"),
        pytest.param({"local": HERE}, {}, True, id="its address"),
        pytest.param({"local": THERE}, {}, False, id="another address of ours"),
        pytest.param({"multihop": True}, {"multihop": True, "hops": 254}, True, id="multihop, default minimum"),
        pytest.param({"multihop": True}, {"multihop": True, "hops": 253}, False, id="multihop, below the minimum"),
        pytest.param(
            {"multihop": True, "minimum_ttl": 250}, {"multihop": True, "hops": 250}, True, id="multihop, at the minimum"
        ),
        pytest.param({"peer": V6, "interface": "eth0"}, {"source": V6}, True, id="link-local"),
        pytest.param({"peer": V6, "interface": "eth1"}, {"source": V6}, False, id="link-local of another link"),
    ],
)
def test_which_packets_belong(named: bool, changes: dict[str, Any], came: dict[str, Any], belongs: bool) -> None:
    made = registry.Registry(random.Random(6))
    made.configure([config(**changes)], 0.0)
    (only,) = made.sessions
    packet = dataclasses.replace(PACKET, your_discriminator=only.discriminator if named else 0)
    assert made.receive(packet.serialise(), path(**came), 0.0) is (only if belongs else None)
    assert made.discarded == (0 if belongs else 1)


def test_a_discriminator_of_nobody_is_discarded() -> None:
    made = registry.Registry(random.Random(6))
    made.configure([config()], 0.0)
    other = made.sessions[0].discriminator ^ 1
    assert made.receive(dataclasses.replace(PACKET, your_discriminator=other).serialise(), path(), 0.0) is None


def test_garbage_is_discarded() -> None:
    made = registry.Registry(random.Random(6))
    made.configure([config()], 0.0)
    assert made.receive(b"garbage", path(), 0.0) is None
    assert made.echo_returned(b"garbage", 0.0) is None
    assert made.discarded == 1


def test_a_session_bound_to_the_link_comes_before_one_that_is_not() -> None:
    made = registry.Registry(random.Random(6))
    made.configure([config(key="any"), config(key="bound", interface="eth0")], 0.0)
    found = made.find(PACKET, path())
    assert found is not None
    assert found.config.key == "bound"


def test_of_two_that_are_the_same_the_first_counts() -> None:
    made = registry.Registry(random.Random(6))
    made.configure([config(multiplier=2), config(multiplier=3), config(key="j", multiplier=4)], 0.0)
    assert [each.config.multiplier for each in made.sessions] == [2]


def test_the_discriminators_of_many_sessions_are_distinct() -> None:
    class Repeating(random.Random):
        def getrandbits(self, k: int, /) -> int:
            return super().getrandbits(4)

    made = registry.Registry(Repeating(7))
    made.configure([config(key=str(n), peer=addresses.Address(addresses.Family.IPV4, n)) for n in range(1, 16)], 0.0)
    found = {each.discriminator for each in made.sessions}
    assert found == set(range(1, 16)), "all of them, and never zero"


def test_echo_is_sent_back_to_known_peers_only() -> None:
    made = registry.Registry(random.Random(6))
    made.configure([config(), config(key="far", peer=HERE, multihop=True)], 0.0)
    assert made.knows(THERE, "")
    assert not made.knows(THERE, "red")
    assert not made.knows(HERE, ""), "a multihop session has no echo"


def test_a_profile_becomes_a_session() -> None:
    profile = bfd.BFDProfile(name="p", receive_interval=20, echo_mode=True, passive_mode=True, minimum_ttl=10)
    made = settings.from_profile("k", THERE, profile, local=HERE, vrf="red")
    assert made == config(local=HERE, vrf="red", receive_interval=20, echo=True, passive=True, minimum_ttl=10)
    assert not settings.from_profile("k", THERE, profile, multihop=True).echo


# Chance


@pytest.mark.parametrize("seed", range(20))
def test_no_loss_below_the_multiplier_and_no_reordering_brings_a_session_down(seed: int) -> None:
    chance_ = random.Random(seed)
    made = link_of(
        config(transmit_interval=chance_.randrange(10, 1000), multiplier=chance_.randrange(2, 6)),
        config(receive_interval=chance_.randrange(10, 1000), multiplier=chance_.randrange(2, 6)),
    )
    made.run_until(made.settled)
    in_a_row = {id(made.a): 0, id(made.b): 0}

    def lost(sender: End, packet: packets.Control) -> bool:
        # One less than the multiplier may go missing in a row.
        if in_a_row[id(sender)] + 1 < sender.session.config.multiplier - 1 and chance_.random() < 0.3:
            in_a_row[id(sender)] += 1
            return True
        in_a_row[id(sender)] = 0
        return False

    made.lost = lost
    for _ in range(20):
        made.run(chance_.random() * 5)
        end, peer = (made.a, THERE) if chance_.random() < 0.5 else (made.b, HERE)
        made.configure(
            end,
            config(
                peer=peer,
                transmit_interval=chance_.randrange(10, 1000),
                receive_interval=chance_.randrange(10, 1000),
                multiplier=end.session.config.multiplier,
            ),
        )
    assert made.both_up()
    assert (made.a.session.counters.session_down_events, made.b.session.counters.session_down_events) == (0, 0)
