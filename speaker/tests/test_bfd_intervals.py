"""How often two ends of a fake link speak, and how a change of that is agreed on: jitter, the slower wish, polls.

- What would have an end miss packets before it knows of a change (longer to send, shorter to receive) waits for the answer to a poll; the rest
  is in force at once.
- Nothing that has not changed is polled for, or said.
"""

import itertools

import pytest

from metallb_speaker.bfd import chance, packets
from metallb_speaker.testing import bfd_link


@pytest.fixture
def link() -> bfd_link.Link:
    return bfd_link.quiet()


# Jitter and wishes


@pytest.mark.parametrize(
    ("multiplier", "least", "most"), [(3, 0.75, 1.0), (1, 0.75, 0.9)], ids=["multiplier 3", "multiplier 1"]
)
def test_jitter(multiplier: int, least: float, most: float) -> None:
    made = bfd_link.between(bfd_link.config(multiplier=multiplier), bfd_link.config())
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
    made = bfd_link.between(
        bfd_link.config(transmit_interval=100, receive_interval=400),
        bfd_link.config(transmit_interval=200, multiplier=5),
    )
    made.run_until(made.settled)
    made.run(2)
    assert made.a.session.transmit_interval == pytest.approx(0.3), "their 300 ms to receive beat our 100 to send"
    assert made.b.session.transmit_interval == pytest.approx(0.4), "our 400 ms to receive beat their 200 to send"
    assert made.a.session.detection_time == pytest.approx(5 * 0.4)
    assert made.b.session.detection_time == pytest.approx(3 * 0.3)


# Polls


def polls(end: bfd_link.End, since: int = 0) -> list[packets.Control]:
    return [packet for _, packet in end.sent[since:] if packet.poll]


def test_coming_up_polls_and_the_answer_ends_it(link: bfd_link.Link) -> None:
    assert polls(link.a)
    assert any(packet.final for _, packet in link.b.sent)
    assert not any(packet.poll and packet.final for end in (link.a, link.b) for _, packet in end.sent)
    since = len(link.a.sent)
    link.run(10)
    assert not polls(link.a, since), "nothing changed since"


def test_a_longer_interval_waits_for_the_answer(link: bfd_link.Link) -> None:
    link.lost = lambda sender, packet: packet.final
    since = len(link.a.sent)
    link.configure(link.a, bfd_link.config(transmit_interval=1000))
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


def test_a_shorter_interval_is_used_at_once(link: bfd_link.Link) -> None:
    link.lost = lambda sender, packet: packet.final
    link.configure(link.b, bfd_link.config(peer=bfd_link.HERE, receive_interval=50))
    link.run(2 * bfd_link.DELAY)
    link.configure(link.a, bfd_link.config(transmit_interval=50))
    assert link.a.session.transmit_interval == pytest.approx(0.05)


def test_a_shorter_receive_interval_waits_for_the_answer(link: bfd_link.Link) -> None:
    link.configure(link.b, bfd_link.config(peer=bfd_link.HERE, transmit_interval=50))
    link.run(1)
    assert link.a.session.detection_time == pytest.approx(0.9)
    link.lost = lambda sender, packet: packet.final
    link.configure(link.a, bfd_link.config(receive_interval=50))
    link.run(0.2)
    assert link.a.session.detection_time == pytest.approx(0.9)
    link.lost = lambda sender, packet: False
    link.run(1)
    assert link.a.session.detection_time == pytest.approx(0.15)
    assert link.both_up()


def test_the_peers_shorter_receive_interval_is_honoured_at_once() -> None:
    made = bfd_link.between(bfd_link.config(transmit_interval=50), bfd_link.config(receive_interval=5000))
    made.run_until(made.settled)
    made.run(1)
    assert made.a.session.transmit_interval == pytest.approx(5.0)
    made.configure(made.b, bfd_link.config(peer=bfd_link.HERE, receive_interval=50))
    made.run(0.2)
    assert len([moment for moment, packet in made.a.sent if moment > made.now - 0.15 and not packet.final]) >= 2


def test_what_changes_during_a_poll_gets_its_own(link: bfd_link.Link) -> None:
    link.lost = lambda sender, packet: packet.final
    link.configure(link.a, bfd_link.config(transmit_interval=1000))
    link.configure(link.a, bfd_link.config(transmit_interval=2000))
    link.lost = lambda sender, packet: False
    since = len(link.a.sent)
    link.run_until(lambda: not link.a.session.polling)
    assert polls(link.a, since), "the first answer may be to the packet before the change"
    assert link.a.session.transmit_interval == pytest.approx(2.0)


def test_a_multiplier_is_told_without_a_poll(link: bfd_link.Link) -> None:
    since = len(link.a.sent)
    link.configure(link.a, bfd_link.config(multiplier=10))
    assert [packet.multiplier for _, packet in link.a.sent[since:]] == [10]
    assert not polls(link.a, since)
    link.run(2 * bfd_link.DELAY)
    assert link.b.session.detection_time == pytest.approx(3.0)


def test_the_same_configuration_says_nothing(link: bfd_link.Link) -> None:
    since = len(link.a.sent)
    link.configure(link.a, bfd_link.config())
    assert link.a.sent[since:] == []
