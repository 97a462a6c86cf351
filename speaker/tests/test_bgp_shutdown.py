"""Two of our own sessions back to back, one of which goes away: it says so, withdraws, ends, and stays ended until it is started.

- A shutdown first has routes shunned (RFC 8326), then withdraws them, then ends with a NOTIFICATION that carries the operator's words.
- It is over in bounded time, whatever the peer, the connection or the path does meanwhile.
"""

import pytest

from metallb_core.domain import communities, reasons, routes
from metallb_speaker.bgp import fsm, outputs, session
from metallb_speaker.bgp.wire import messages
from metallb_speaker.testing import bgp_link

S = fsm.State


@pytest.mark.parametrize(
    ("why", "subcode"),
    [
        pytest.param(outputs.Stop.DECONFIGURED, 3, id="removed"),
        pytest.param(outputs.Stop.CONFIGURATION_CHANGE, 6, id="changed"),
        pytest.param(outputs.Stop.SHUTDOWN, 2, id="shutdown"),
    ],
)
def test_stop(why: outputs.Stop, subcode: int) -> None:
    link = bgp_link.started()
    one, two = bgp_link.up(link)
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
    link = bgp_link.started(*(bgp_link.internal() if internal else (bgp_link.ONE, bgp_link.TWO)))
    one, two = link.sides
    red = routes.Attributes(local_pref=300, communities=frozenset({communities.Standard(64500, 7)}))
    one.session.replace({bgp_link.prefix(1): routes.PLAIN, bgp_link.prefix(2): red})
    bgp_link.up(link)
    one.session.shutdown(link.now, 10.0, "node is drained")
    link.run(5.0)
    leaving = one.updates()[2:]
    assert {each.announced for each in leaving} == {(bgp_link.prefix(1),), (bgp_link.prefix(2),)}
    assert all(communities.GRACEFUL_SHUTDOWN in each.attributes.communities for each in leaving)
    assert [each.attributes.local_pref for each in leaving] == ([0, 0] if internal else [None, None])
    assert any(communities.Standard(64500, 7) in each.attributes.communities for each in leaving)
    one.session.change(bgp_link.prefix(3), routes.PLAIN)
    one.session.change(bgp_link.prefix(1), None)
    link.settle()
    assert one.updates()[-1].announced == (bgp_link.prefix(3),)
    assert communities.GRACEFUL_SHUTDOWN in one.updates()[-1].attributes.communities
    assert one.session.state is S.ESTABLISHED
    link.run(6.0)
    assert set(one.updates()[-1].gone) == {bgp_link.prefix(2), bgp_link.prefix(3)}
    assert isinstance(one.sent()[-1], messages.Notification)
    assert one.notifications() == [(6, 2)]
    assert (one.session.state, one.stopped) == (S.IDLE, 1)
    assert any("node is drained" in str(problem) for problem in two.problems)


def test_shutdown_without_waiting() -> None:
    link = bgp_link.started()
    one, _ = link.sides
    one.session.change(bgp_link.prefix(1), routes.PLAIN)
    bgp_link.up(link)
    one.session.shutdown(link.now, 0.0)
    one.session.shutdown(link.now, 5.0)
    one.session.change(bgp_link.prefix(2), routes.PLAIN)
    one.session.replace({bgp_link.prefix(3): routes.PLAIN})
    link.settle()
    assert [each.announced for each in one.updates()] == [(bgp_link.prefix(1),), ()]
    assert one.notifications() == [(6, 2)]
    assert one.stopped == 1


def test_shutdown_of_what_is_not_up_is_immediate() -> None:
    link = bgp_link.started(active=(False, False))
    one, _ = link.sides
    one.session.shutdown(link.now, 60.0)
    link.settle()
    assert (one.session.stopped, one.stopped) == (True, 1)


def test_shutdown_does_not_wait_for_a_peer_that_hangs() -> None:
    link = bgp_link.started()
    one, _ = link.sides
    one.session.change(bgp_link.prefix(1), routes.PLAIN)
    bgp_link.up(link)
    one.room = 0
    one.session.shutdown(link.now, 1.0)
    link.run(1.0 + session.WITHDRAW_LIMIT)
    assert one.stopped == 1


def test_shutdown_ends_with_the_connection() -> None:
    link = bgp_link.started()
    one, two = bgp_link.up(link)
    one.session.shutdown(link.now, 60.0)
    two.session.stop(link.now)
    link.run(120.0)
    assert (one.session.stopped, one.stopped) == (True, 1)


def test_shutdown_ends_with_the_path() -> None:
    link = bgp_link.started()
    one, _ = bgp_link.up(link)
    one.session.shutdown(link.now, 60.0)
    one.session.bfd_down(link.now)
    link.settle()
    assert one.notifications() == [(6, 10)]
    assert (one.session.stopped, one.stopped) == (True, 1)


def test_a_stopped_session_starts_again_with_its_routes() -> None:
    link = bgp_link.started()
    one, _ = link.sides
    one.session.change(bgp_link.prefix(1), routes.PLAIN)
    bgp_link.up(link)
    one.session.start(link.now)
    assert one.session.take(link.now) == [], "it was started"
    one.session.stop(link.now)
    link.run(1.0)
    assert one.session.withheld == one.session.pending == 0
    assert dict(one.session.desired) == {bgp_link.prefix(1): routes.PLAIN}
    one.session.start(link.now)
    bgp_link.up(link)
    assert one.session.has(bgp_link.prefix(1))
