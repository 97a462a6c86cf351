"""The parts of the protocol by themselves: tables, timers, queues, and one member that is told things."""

import itertools
import math
import random

import hypothesis
import pytest
from hypothesis import strategies

from metallb_speaker.membership import (
    awareness,
    broadcasts,
    envelope,
    members,
    messages,
    outputs,
    probes,
    settings,
    streams,
    suspicion,
    swim,
)

_VERSIONS = bytes((1, 5, 2, 0, 0, 0))


def _address(index: int) -> bytes:
    return bytes((10, 0, 0, index))


def test_every_cell_of_the_tables_is_filled() -> None:
    assert set(members.OTHERS) == set(itertools.product(members.State, members.Claim, members.Age))
    assert set(members.SELF) == set(itertools.product(members.Claim, members.Age))


@pytest.mark.parametrize(
    ("state", "claim", "age", "effect"),
    [
        pytest.param("ALIVE", "ALIVE", "SAME", "IGNORE", id="known news"),
        pytest.param("SUSPECT", "ALIVE", "SAME", "IGNORE", id="a suspect needs a new incarnation to be cleared"),
        pytest.param("SUSPECT", "ALIVE", "NEWER", "ACCEPT", id="refuted"),
        pytest.param("DEAD", "ALIVE", "NEWER", "ACCEPT", id="back from the dead"),
        pytest.param("DEAD", "ALIVE", "OLDER", "IGNORE", id="old news of a dead one"),
        pytest.param("ALIVE", "SUSPECT", "SAME", "ACCEPT", id="suspected"),
        pytest.param("ALIVE", "SUSPECT", "OLDER", "IGNORE", id="refuted before it came"),
        pytest.param("SUSPECT", "SUSPECT", "SAME", "CONFIRM", id="another accuser"),
        pytest.param("DEAD", "SUSPECT", "NEWER", "IGNORE", id="dead is worse than suspect"),
        pytest.param("ALIVE", "DEAD", "SAME", "ACCEPT", id="dead without suspicion"),
        pytest.param("LEFT", "DEAD", "NEWER", "IGNORE", id="gone already"),
    ],
)
def test_a_claim_about_another(state: str, claim: str, age: str, effect: str) -> None:
    cell = members.State[state], members.Claim[claim], members.Age[age]
    assert members.OTHERS[cell] is members.Effect[effect]


@pytest.mark.parametrize(
    ("size", "factor"),
    [pytest.param(1, 1.0, id="one"), pytest.param(10, 1.0, id="ten"), pytest.param(100, 2.0, id="hundred")],
)
def test_the_shortest_suspicion_grows_with_the_logarithm(size: int, factor: float) -> None:
    assert suspicion.shortest_timeout(4, size, 0.5) == pytest.approx(2.0 * factor)


def _suspicion(expected: int = 3) -> suspicion.Suspicion:
    return suspicion.Suspicion(accuser="a", expected=expected, shortest=2.0, longest=30.0, now=100.0)


def test_a_suspicion_shrinks_with_its_accusers() -> None:
    running = _suspicion()
    ends = [running.deadline]
    for accuser in ("b", "c", "d"):
        assert running.confirm(accuser)
        ends.append(running.deadline)
    assert ends[0] == 130.0
    assert ends[1] == pytest.approx(116.0)
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] == pytest.approx(102.0)


@pytest.mark.parametrize("accuser", [pytest.param("a", id="the first accuser"), pytest.param("b", id="a second time")])
def test_an_accuser_counts_once(accuser: str) -> None:
    running = _suspicion()
    running.confirm("b")
    assert not running.confirm(accuser)
    assert running.confirmations == 1


def test_no_more_accusers_count_than_expected() -> None:
    running = _suspicion(expected=1)
    assert running.confirm("b")
    assert not running.confirm("c")


def test_with_nobody_to_confirm_the_shortest_time_runs_at_once() -> None:
    assert _suspicion(expected=0).deadline == 102.0


def test_a_sign_of_life_holds_a_verdict() -> None:
    running = _suspicion(expected=0)
    running.hold(101.5)
    assert running.deadline == 103.5


def test_a_stall_is_given_back() -> None:
    running = _suspicion(expected=0)
    running.delay(7.0)
    assert running.deadline == 109.0


def test_awareness_stays_between_its_bounds() -> None:
    health = awareness.Awareness(8)
    health.change(-3)
    assert (health.score, health.scale(0.5)) == (0, 0.5)
    health.change(100)
    assert (health.score, health.scale(0.5)) == (7, 4.0)


@pytest.mark.parametrize(
    ("size", "limit"),
    [
        pytest.param(1, 4, id="1"),
        pytest.param(9, 4, id="9"),
        pytest.param(10, 8, id="10"),
        pytest.param(99, 8, id="99"),
    ],
)
def test_the_transmit_limit(size: int, limit: int) -> None:
    assert broadcasts.transmit_limit(4, size) == limit


def test_gossip_prefers_what_was_told_least_and_then_what_is_largest() -> None:
    queue = broadcasts.Broadcasts()
    queue.put("old", b"o" * 10)
    assert queue.take(100, 2, 5) == [b"o" * 10]
    queue.put("small", b"s" * 5)
    queue.put("large", b"l" * 20)
    assert queue.take(100, 2, 5) == [b"l" * 20, b"s" * 5, b"o" * 10]


def test_gossip_fills_the_room_and_no_more() -> None:
    queue = broadcasts.Broadcasts()
    queue.put("large", b"l" * 20)
    queue.put("small", b"s" * 5)
    assert queue.take(21, 2, 5) == [b"s" * 5]


def test_news_replaces_older_news_and_is_told_a_bounded_number_of_times() -> None:
    queue = broadcasts.Broadcasts()
    queue.put("a", b"old")
    queue.put("a", b"new")
    assert [queue.take(100, 2, 3) for _ in range(4)] == [[b"new"]] * 3 + [[]]
    assert len(queue) == 0


@hypothesis.given(strategies.integers(1, 40), strategies.integers(0, 2**32))
@hypothesis.settings(deadline=None)
def test_every_member_is_probed_once_in_a_round(size: int, seed: int) -> None:
    table = members.Table(random.Random(seed))
    for index in range(size):
        table.add(
            members.Member(
                name=f"n{index}",
                address=_address(index),
                port=1,
                meta=b"",
                versions=b"",
                incarnation=1,
                state=members.State.ALIVE,
                changed_at=0.0,
            )
        )
    expected = sorted(f"n{index}" for index in range(1, size))
    for _ in range(3):
        probed = [table.next_probe(1.0, "n0", 30.0) for _ in range(size - 1)]
        assert sorted(member.name for member in probed if member is not None) == expected


def test_the_dead_are_forgotten_after_their_time() -> None:
    table = members.Table(random.Random(1))
    for index, state in enumerate((members.State.ALIVE, members.State.DEAD, members.State.LEFT)):
        table.add(
            members.Member(
                name=f"n{index}",
                address=_address(index),
                port=1,
                meta=b"",
                versions=b"",
                incarnation=1,
                state=state,
                changed_at=10.0,
            )
        )
    table.next_probe(40.0, "n0", 30.0)
    assert {member.name for member in table} == {"n0", "n1", "n2"}
    table.next_probe(40.1, "n0", 30.0)
    assert {member.name for member in table} == {"n0"}


@pytest.mark.parametrize(
    ("vectors", "compatible"),
    [
        pytest.param([_VERSIONS, bytes((1, 5, 2, 0, 0, 0))], True, id="the same"),
        pytest.param([_VERSIONS, b""], True, id="one never said"),
        pytest.param([_VERSIONS, bytes((3, 5, 3, 0, 0, 0))], False, id="one needs 3, we speak 2"),
        pytest.param([_VERSIONS, bytes((1, 1, 1, 0, 0, 0))], False, id="one understands only 1"),
        pytest.param([_VERSIONS, bytes((1, 5, 2, 1, 2, 1))], False, id="delegates differ"),
    ],
)
def test_version_vectors(vectors: list[bytes], compatible: bool) -> None:
    assert (members.incompatibility(vectors) is None) is compatible


class _Lone:
    """One member, n0, whose peers are played by the test. It knows n1 to n4 and they have said nothing yet."""

    def __init__(self, *, peers: int = 4) -> None:
        self.now = 50.0
        self.swim = swim.Swim(
            name="n0",
            address=_address(0),
            port=7946,
            timings=settings.FAST,
            wrapping=envelope.Envelope(),
            chance=random.Random(5),
        )
        self.swim.start(self.now)
        for index in range(1, peers + 1):
            self.hear(
                messages.Alive(incarnation=1, node=f"n{index}", address=_address(index), port=7946, versions=_VERSIONS)
            )
        self.sent: list[tuple[bytes, messages.Packet | None]] = []
        self.dialled: list[outputs.DialPing] = []
        self.take()
        self.sent.clear()

    def hear(self, *said: messages.Packet) -> None:
        packet = envelope.Envelope().wrap([messages.serialise(message) for message in said], checksum=True)
        self.swim.receive_packet(packet, (_address(99), 7946), self.now)

    def take(self) -> None:
        for output in self.swim.take_outputs():
            if isinstance(output, outputs.Send):
                for part in envelope.Envelope().unwrap(output.data):
                    self.sent.append((output.endpoint[0], messages.parse_packet(part)))
            elif isinstance(output, outputs.DialPing):
                self.dialled.append(output)

    def run(self, seconds: float, *, answering: tuple[int, ...] = ()) -> None:
        """Let time pass in time; the members named answer pings at once, and helpers say that they heard nothing."""
        end = self.now + seconds
        seen = len(self.sent)
        while self.swim.next_deadline() <= end:
            self.now = max(self.now, self.swim.next_deadline())
            self.swim.tick(self.now)
            assert self.swim.next_deadline() > self.now
            self.take()
            for target, message in self.sent[seen:]:
                if target[3] not in answering:
                    continue
                if isinstance(message, messages.Ping):
                    self.hear(messages.Ack(sequence=message.sequence))
                elif isinstance(message, messages.IndirectPing) and message.nack:
                    self.hear(messages.Nack(sequence=message.sequence))
            seen = len(self.sent)
        self.now = end

    def said(self, kind: type[messages.Packet]) -> list[messages.Packet]:
        return [message for _, message in self.sent if isinstance(message, kind)]


def test_a_suspicion_heard_is_checked_and_the_suspect_told() -> None:
    lone = _Lone()
    lone.hear(messages.Suspect(incarnation=1, node="n1", accuser="n2"))
    lone.take()
    to_suspect = [message for target, message in lone.sent if target == _address(1)]
    assert any(isinstance(message, messages.Ping) and message.node == "n1" for message in to_suspect)
    assert messages.Suspect(incarnation=1, node="n1", accuser="n0") in to_suspect
    assert lone.swim.suspects() == {"n1"}
    assert "n1" in lone.swim.present()


def test_a_suspect_that_answers_is_not_condemned_whatever_others_say() -> None:
    lone = _Lone()
    for accuser in ("n2", "n3", "n4"):
        lone.hear(messages.Suspect(incarnation=1, node="n1", accuser=accuser))
    lone.run(20.0, answering=(1, 2, 3, 4))
    assert "n1" in lone.swim.present()


def test_a_suspect_that_is_silent_is_condemned_in_the_shortest_time_once_confirmed() -> None:
    lone = _Lone()
    for accuser in ("n2", "n3", "n4"):
        lone.hear(messages.Suspect(incarnation=1, node="n1", accuser=accuser))
    lone.run(0.49, answering=(2, 3, 4))
    assert "n1" in lone.swim.present()
    lone.run(0.02, answering=(2, 3, 4))
    assert "n1" not in lone.swim.present()
    assert messages.Dead(incarnation=1, node="n1", accuser="n0") in lone.said(messages.Dead)


def test_a_verdict_waits_out_a_stall_of_ours() -> None:
    lone = _Lone()
    for accuser in ("n2", "n3", "n4"):
        lone.hear(messages.Suspect(incarnation=1, node="n1", accuser=accuser))
    lone.run(0.3, answering=(2, 3, 4))
    lone.now += 10.0  # the process did not run
    lone.swim.tick(lone.now)
    assert lone.swim.counters.stalls == 1
    assert "n1" in lone.swim.present()
    lone.run(0.1, answering=(2, 3, 4))
    assert "n1" in lone.swim.present()
    lone.run(0.3, answering=(2, 3, 4))
    assert "n1" not in lone.swim.present()


def test_a_probe_that_a_stall_interrupted_still_asks_helpers_and_waits_for_them() -> None:
    lone = _Lone()
    while not lone.said(messages.Ping):
        lone.run(0.01)
    lone.now += 5.0
    lone.swim.tick(lone.now)
    lone.take()
    assert lone.swim.suspects() == set()
    lone.run(0.08)
    assert len(lone.said(messages.IndirectPing)) == 3
    assert len(lone.dialled) == 1
    assert lone.dialled[0].deadline > lone.now


def test_an_answer_over_tcp_alone_saves_a_member() -> None:
    lone = _Lone(peers=1)
    for _ in range(40):
        lone.run(0.05)
        for dial in lone.dialled:
            lone.swim.answered_by_tcp(dial.ping.sequence, lone.now)
        lone.dialled.clear()
    assert lone.swim.counters.tcp_only_answers > 5
    assert lone.swim.counters.suspicions == 0


def test_helpers_that_are_silent_make_us_doubt_ourselves_and_late_ones_do_not() -> None:
    doubting = _Lone()
    doubting.run(0.5)
    assert doubting.swim.health_score == 0
    doubting.run(0.8)
    assert doubting.swim.health_score > 0
    sure = _Lone()
    sure.run(2.0, answering=(2, 3, 4))
    assert sure.swim.health_score == 0


def test_an_accusation_against_us_is_refuted_to_everybody_and_to_the_accuser() -> None:
    lone = _Lone()
    lone.hear(messages.Suspect(incarnation=6, node="n0", accuser="n3"))
    lone.run(0.02)
    alive = [(target, message) for target, message in lone.sent if isinstance(message, messages.Alive)]
    assert (_address(3), 7) in {(target, message.incarnation) for target, message in alive}
    assert len({target for target, message in alive}) >= 3
    assert lone.swim.health_score == 1


def test_an_old_accusation_is_not_worth_an_answer() -> None:
    lone = _Lone()
    lone.hear(messages.Suspect(incarnation=0, node="n0", accuser="n3"))
    assert lone.swim.counters.refutations == 0


def test_what_a_push_pull_doubts_is_looked_at_not_accused() -> None:
    lone = _Lone()
    doubted = messages.MemberState(
        node="n1", address=_address(1), port=7946, incarnation=4, state=members.State.DEAD, versions=_VERSIONS
    )
    assert lone.swim.merge(streams.PushPull(join=False, states=(doubted,)), lone.now) is None
    lone.take()
    assert lone.swim.suspects() == set()
    assert messages.Suspect(incarnation=4, node="n1", accuser="n0") in [
        message for target, message in lone.sent if target == _address(1)
    ]


def test_who_left_by_a_push_pull_is_gone() -> None:
    lone = _Lone()
    left = messages.MemberState(
        node="n1", address=_address(1), port=7946, incarnation=1, state=members.State.LEFT, versions=_VERSIONS
    )
    lone.swim.merge(streams.PushPull(join=False, states=(left,)), lone.now)
    assert "n1" not in lone.swim.present()


@pytest.mark.parametrize(
    "ping",
    [
        pytest.param(messages.Ping(sequence=3, node="n0"), id="to us, answered to the sender"),
        pytest.param(messages.Ping(sequence=3, node=""), id="to whoever is here"),
        pytest.param(
            messages.Ping(sequence=3, node="n0", source_address=_address(99), source_port=7946, source_node="x"),
            id="answered to the source it names",
        ),
    ],
)
def test_a_ping_is_answered(ping: messages.Ping) -> None:
    lone = _Lone()
    lone.hear(ping)
    lone.take()
    assert (_address(99), messages.Ack(sequence=3)) in lone.sent


def test_a_ping_for_another_name_is_not_answered() -> None:
    lone = _Lone()
    lone.hear(messages.Ping(sequence=3, node="somebody"))
    lone.take()
    assert lone.said(messages.Ack) == []


@pytest.mark.parametrize("answers", [True, False])
def test_a_ping_for_another_member_is_passed_on_and_answered(answers: bool) -> None:
    lone = _Lone()
    lone.hear(
        messages.IndirectPing(
            sequence=77,
            target=_address(1),
            port=7946,
            node="n1",
            nack=True,
            source_address=_address(4),
            source_port=7946,
            source_node="n4",
        )
    )
    lone.take()
    (passed_on,) = [message for message in lone.said(messages.Ping) if isinstance(message, messages.Ping)]
    assert passed_on.node == "n1"
    if answers:
        lone.hear(messages.Ack(sequence=passed_on.sequence))
    lone.run(0.1)
    expected = messages.Ack(sequence=77) if answers else messages.Nack(sequence=77)
    assert [message for target, message in lone.sent if target == _address(4)].count(expected) == 1
    assert not [m for m in lone.said(messages.Nack if answers else messages.Ack) if m.sequence == 77]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "alive",
    [
        pytest.param(
            messages.Alive(node="x", address=b"\x01\x02", port=1, versions=_VERSIONS), id="address of two bytes"
        ),
        pytest.param(messages.Alive(node="", address=_address(9), port=1, versions=_VERSIONS), id="no name"),
        pytest.param(messages.Alive(node="x", address=_address(9), port=1, versions=b"\1\5"), id="short versions"),
        pytest.param(messages.Alive(node="x", address=_address(9), port=1, versions=bytes(6)), id="version zero"),
        pytest.param(
            messages.Alive(node="x", address=_address(9), port=1, versions=bytes((5, 1, 2, 0, 0, 0))), id="upside down"
        ),
    ],
)
def test_unusable_news_is_counted_and_ignored(alive: messages.Alive) -> None:
    lone = _Lone()
    lone.hear(alive)
    assert lone.swim.counters.malformed == 1
    assert "x" not in lone.swim.present()


def test_a_mapped_address_is_the_same_address() -> None:
    lone = _Lone()
    mapped = bytes(10) + b"\xff\xff" + _address(1)
    lone.hear(messages.Alive(incarnation=2, node="n1", address=mapped, port=7946, versions=_VERSIONS))
    assert lone.swim.counters.conflicts == 0
    assert (
        messages.MemberState(node="n1", address=mapped, port=7946, incarnation=2, versions=_VERSIONS)
        in lone.swim.local_state(False).states
    )


def test_who_is_leaving_neither_accuses_nor_comes_back() -> None:
    lone = _Lone()
    lone.run(0.3)
    lone.swim.leave(lone.now)
    lone.hear(messages.Suspect(incarnation=1, node="n0", accuser="n1"))
    lone.hear(messages.Alive(incarnation=5, node="n0", address=_address(0), port=7946, versions=_VERSIONS))
    lone.run(10.0)
    assert lone.swim.counters.refutations == 0
    assert lone.swim.counters.deaths == 0
    assert "n0" not in lone.swim.present()
    assert lone.swim.departed


def test_a_forgotten_answer_is_no_sign_of_life() -> None:
    book = probes.ProbeBook(0)
    first = book.next_sequence("a")
    for _ in range(5000):
        book.next_sequence("b")
    assert book.target_of(first) is None
    last = book.next_sequence("c")
    assert book.target_of(last) == "c"
    assert book.target_of(last) is None


def test_sequence_numbers_wrap() -> None:
    book = probes.ProbeBook(0xFFFFFFFF)
    assert book.next_sequence("a") == 0


def test_nothing_is_due_when_probing_and_syncing_are_off() -> None:
    member = swim.Swim(
        name="n0",
        address=_address(0),
        port=7946,
        timings=settings.parse_override('{"ProbeInterval": "1h", "PushPullInterval": "0s"}'),
        wrapping=envelope.Envelope(),
        chance=random.Random(1),
    )
    member.start(0.0)
    member.tick(member.next_deadline())
    assert 0.1 < member.next_deadline() < math.inf


@pytest.mark.parametrize(
    ("claim", "taken"),
    [
        pytest.param(
            messages.Dead(incarnation=5, node="n1", accuser="n2"), True, id="dead: whoever comes with its name"
        ),
        pytest.param(
            messages.Dead(incarnation=5, node="n1", accuser="n1"), True, id="left: whoever comes with its name"
        ),
        pytest.param(messages.Suspect(incarnation=5, node="n1", accuser="n2"), False, id="suspect: still its own"),
        pytest.param(messages.Ack(), False, id="alive: its own"),
    ],
)
def test_a_name_may_move_once_its_member_is_gone(claim: messages.Packet, taken: bool) -> None:
    lone = _Lone()
    lone.hear(claim)
    lone.hear(messages.Alive(incarnation=1, node="n1", address=_address(77), port=7946, versions=_VERSIONS))
    addresses = {state.address for state in lone.swim.local_state(False).states if state.node == "n1"}
    assert addresses == {_address(77) if taken else _address(1)}
    assert ("n1" in lone.swim.present()) is True
    assert lone.swim.counters.conflicts == (0 if taken else 1)
