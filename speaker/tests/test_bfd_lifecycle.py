"""Two ends of a fake link: they come up, go down when they should and only then, and say farewell when they are switched off.

- A loss that is shorter than the detection time is none, in any order of losses and changes of settings below it.
- An end that can still be heard is told why the other went down; an end that is switched off is no failure in the other's eyes.
"""

import itertools
import random

import pytest

from metallb_core.domain import addresses
from metallb_speaker.bfd import packets, registry, settings
from metallb_speaker.testing import bfd_link

S = packets.State
D = packets.Diagnostic


@pytest.fixture
def link() -> bfd_link.Link:
    return bfd_link.quiet()


# Coming up


def test_both_come_up_through_the_states() -> None:
    made = bfd_link.between(bfd_link.config(), bfd_link.config())
    assert made.run_until(made.settled) < 1.1
    assert [state for _, state in made.a.history] in ([S.DOWN, S.INIT, S.UP], [S.DOWN, S.UP])
    for end in (made.a, made.b):
        assert end.session.status == settings.Status(state=S.UP, diagnostic=0, remote_state=S.UP)
        assert end.session.counters.session_up_events == 1
        assert end.session.detection_time == pytest.approx(0.9)


def test_a_session_that_is_not_up_is_slow() -> None:
    made = bfd_link.Link()
    made.configure(made.a, bfd_link.config())
    made.run(30)
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(made.a.sent)]
    assert gaps
    assert all(0.75 <= gap <= 1.0 for gap in gaps)
    assert {packet.desired_min_tx for _, packet in made.a.sent} == {1_000_000}
    assert {packet.state for _, packet in made.a.sent} == {S.DOWN}


def test_passive_waits_until_it_is_spoken_to() -> None:
    made = bfd_link.between(bfd_link.config(passive=True), bfd_link.config())
    assert made.a.sent == []
    made.run_until(made.settled)
    assert made.both_up()


def test_two_passive_ends_never_come_up() -> None:
    made = bfd_link.between(bfd_link.config(passive=True), bfd_link.config(passive=True))
    made.run(120)
    assert made.a.sent == made.b.sent == []
    assert (made.a.state, made.b.state) == (S.DOWN, S.DOWN)


# Going down


def test_loss_takes_the_session_down_in_the_detection_time(link: bfd_link.Link) -> None:
    link.lost = lambda sender, packet: True
    heard = max(moment for moment, _ in link.b.sent)
    link.run_until(lambda: link.a.state is S.DOWN)
    assert link.now - heard == pytest.approx(0.9, abs=3 * bfd_link.DELAY)
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


def test_two_losses_in_a_row_are_no_failure(link: bfd_link.Link) -> None:
    counts = {id(link.a): itertools.count(), id(link.b): itertools.count()}
    link.lost = lambda sender, packet: next(counts[id(sender)]) % 3 != 0
    link.run(60)
    assert link.both_up()
    assert link.a.session.counters.session_down_events == link.b.session.counters.session_down_events == 0


def test_one_direction_cut_takes_both_down(link: bfd_link.Link) -> None:
    link.lost = lambda sender, packet: sender is link.b
    link.run_until(lambda: link.a.state is S.DOWN)
    link.run(2 * bfd_link.DELAY)
    assert link.b.state in (S.DOWN, S.INIT), "the end that hears is told"
    assert link.b.session.diagnostic == D.NEIGHBOR_SIGNALED_DOWN


def test_a_restarted_peer_is_noticed_at_once(link: bfd_link.Link) -> None:
    link.b.registry = registry.Registry(random.Random(3))
    link.configure(link.b, bfd_link.config(peer=bfd_link.HERE))
    link.run(2 * bfd_link.DELAY)
    assert S.DOWN in [state for _, state in link.a.history[-2:]]
    link.run_until(link.settled)


# Administratively down


def test_shutting_down_is_no_failure_for_the_peer(link: bfd_link.Link) -> None:
    link.a.registry.shut_down(link.now)
    link.collect(link.a)
    link.run(2 * bfd_link.DELAY)
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
    made = bfd_link.Link()
    other = bfd_link.config(peer=addresses.Address.parse("192.0.2.9"), key="other")
    made.configure(made.a, bfd_link.config(), other)
    made.configure(made.b, bfd_link.config(peer=bfd_link.HERE))
    made.run(3)
    kept = next(each for each in made.a.registry.sessions if each.config.key == "other")
    made.configure(made.a, other)
    made.run(1)
    assert made.a.registry.sessions == (kept,)
    assert made.b.session.remote_state is S.ADMIN_DOWN


def test_asking_again_for_a_session_ends_its_farewell(link: bfd_link.Link) -> None:
    link.configure(link.a)
    link.configure(link.a, bfd_link.config())
    link.run_until(link.settled)
    since = len(link.a.sent)
    link.run(1)
    assert S.ADMIN_DOWN not in {packet.state for _, packet in link.a.sent[since:]}


def test_other_endpoints_are_another_session(link: bfd_link.Link) -> None:
    before = link.a.session.discriminator
    link.configure(link.a, bfd_link.config(local=bfd_link.HERE))
    assert link.a.session.discriminator != before
    assert link.a.state is S.DOWN


# Chance


@pytest.mark.parametrize("seed", range(20))
def test_no_loss_below_the_multiplier_and_no_reordering_brings_a_session_down(seed: int) -> None:
    chance_ = random.Random(seed)
    made = bfd_link.between(
        bfd_link.config(transmit_interval=chance_.randrange(10, 1000), multiplier=chance_.randrange(2, 6)),
        bfd_link.config(receive_interval=chance_.randrange(10, 1000), multiplier=chance_.randrange(2, 6)),
    )
    made.run_until(made.settled)
    in_a_row = {id(made.a): 0, id(made.b): 0}

    def lost(sender: bfd_link.End, packet: packets.Control) -> bool:
        # One less than the multiplier may go missing in a row.
        if in_a_row[id(sender)] + 1 < sender.session.config.multiplier - 1 and chance_.random() < 0.3:
            in_a_row[id(sender)] += 1
            return True
        in_a_row[id(sender)] = 0
        return False

    made.lost = lost
    for _ in range(20):
        made.run(chance_.random() * 5)
        end, peer = (made.a, bfd_link.THERE) if chance_.random() < 0.5 else (made.b, bfd_link.HERE)
        made.configure(
            end,
            bfd_link.config(
                peer=peer,
                transmit_interval=chance_.randrange(10, 1000),
                receive_interval=chance_.randrange(10, 1000),
                multiplier=end.session.config.multiplier,
            ),
        )
    assert made.both_up()
    assert (made.a.session.counters.session_down_events, made.b.session.counters.session_down_events) == (0, 0)
