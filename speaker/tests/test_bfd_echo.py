"""The echo function between two ends of a fake link: it finds a failure faster, and where it does not work nothing fails for it.

- Packets that never came back prove nothing about the path; one that was forged, or a pause of this process, proves nothing either.
- A peer gets echo packets only while it offers to send them back, and no more often than it wants.
"""

import itertools
from typing import Any

import pytest

from metallb_speaker.bfd import packets
from metallb_speaker.testing import bfd_link

S = packets.State
D = packets.Diagnostic


def echoing(**changes: Any) -> bfd_link.Link:
    made = bfd_link.between(bfd_link.config(echo=True, **changes), bfd_link.config())
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
    made = bfd_link.between(bfd_link.config(echo=True), bfd_link.config())
    made.loops = False
    made.b.session.offer_echo(True, made.now)
    made.run(60)
    assert made.both_up()
    assert made.a.session.echo_is_silent
    assert len(made.a.echoes) < 85, "one packet a second asks"
    assert made.a.session.required_min_rx == 300_000
    assert made.a.session.counters.session_down_events == 0


def test_a_peer_that_does_not_loop_gets_no_echo() -> None:
    made = bfd_link.between(bfd_link.config(echo=True), bfd_link.config())
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
    made = bfd_link.between(bfd_link.config(echo=True, echo_interval=10), bfd_link.config(echo_interval=200))
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
    made = bfd_link.between(bfd_link.config(echo=True, multihop=True), bfd_link.config(multihop=True))
    made.b.session.offer_echo(True, made.now)
    made.run(5)
    assert made.both_up()
    assert made.a.echoes == []
    assert made.b.sent[-1][1].required_min_echo_rx == 0


@pytest.mark.parametrize(
    ("token", "sequence"), [(0, None), (None, 0), (None, 10_000)], ids=["token", "sequence 0", "sequence not yet sent"]
)
def test_a_forged_echo_counts_for_nothing(token: int | None, sequence: int | None) -> None:
    made = bfd_link.between(bfd_link.config(echo=True), bfd_link.config())
    made.loops = False
    made.b.session.offer_echo(True, made.now)
    made.run(5)
    real = made.a.echoes[-1][1]
    forged = packets.Echo(
        real.discriminator, real.token if token is None else token, real.sequence if sequence is None else sequence
    )
    assert made.a.registry.echo_returned(forged.serialise(), made.now) is None
    assert made.a.registry.echo_returned(real.serialise(), made.now) is made.a.session
