"""Two of our own sessions back to back: hold time and keepalives as agreed on, and a peer that is lost.

- The hold time is the lower of the two; a keepalive time of ours is kept if it is at most a third of that.
- A silent peer is given up at the hold time and comes back with its routes. BFD ends a session at once, and holds it until the path is up.
"""

import dataclasses

import pytest

from metallb_core.domain import reasons, routes
from metallb_speaker.bgp import fsm, outputs
from metallb_speaker.bgp.wire import messages
from metallb_speaker.testing import bgp_link

S = fsm.State


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
    link = bgp_link.started(
        dataclasses.replace(bgp_link.ONE, hold_time=ours), dataclasses.replace(bgp_link.TWO, hold_time=theirs)
    )
    one, two = bgp_link.up(link)
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
    link = bgp_link.started(
        dataclasses.replace(bgp_link.ONE, hold_time=90, keepalive_time=2),
        dataclasses.replace(bgp_link.TWO, keepalive_time=60),
    )
    one, two = bgp_link.up(link)
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
    one, _ = bgp_link.up(bgp_link.started(dataclasses.replace(bgp_link.ONE, hold_time=hold, keepalive_time=keepalive)))
    assert one.session.negotiated is not None
    assert one.session.negotiated.keepalive_time == seconds


def test_a_silent_peer_is_given_up_and_comes_back() -> None:
    link = bgp_link.started(
        dataclasses.replace(bgp_link.ONE, hold_time=9), dataclasses.replace(bgp_link.TWO, hold_time=9)
    )
    one, two = link.sides
    one.session.change(bgp_link.prefix(1), routes.PLAIN)
    bgp_link.up(link)
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
    bgp_link.up(link)
    assert one.session.has(bgp_link.prefix(1))
    assert two.session.counters.established == 2


def test_attempts_slow_down_and_bfd_ends_the_waiting() -> None:
    link = bgp_link.started(active=(False, False))
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
    link = bgp_link.started(active=(True, False))
    one, two = bgp_link.up(link)
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
    bgp_link.up(link)
    assert one.stopped == two.stopped == 0


def test_bfd_down_before_the_start_holds_it() -> None:
    one = bgp_link.Side(bgp_link.ONE, bgp_link.LOW)
    one.session.bfd_down(0.0)
    one.session.start(0.0)
    assert one.session.take(0.0) == []
    one.session.bfd_up(1.0)
    assert outputs.Connect(connection=1) in one.session.take(1.0)
