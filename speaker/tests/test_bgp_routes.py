"""Two of our own sessions back to back: routes are told, changed, withdrawn and told again, and a restart is announced.

- A change of routes touches no session; routes with equal attributes share an UPDATE; what is taken at once is bounded.
- End-of-RIB is said once, and only after everything was said. Leaving for a restart says nothing.
"""

import dataclasses

import pytest

from metallb_core.domain import communities, reasons, routes
from metallb_speaker.bgp import fsm, outputs
from metallb_speaker.bgp.wire import capabilities, families, messages
from metallb_speaker.testing import bgp_link

S = fsm.State


def test_a_session_comes_up_and_stays_up() -> None:
    one, two = bgp_link.up(bgp_link.started())
    assert one.states == [S.CONNECT, S.OPEN_SENT, S.OPEN_CONFIRM, S.ESTABLISHED]
    assert two.states == [S.CONNECT, S.ACTIVE, S.OPEN_SENT, S.OPEN_CONFIRM, S.ESTABLISHED]
    assert one.session.problem is None
    assert one.session.hold_time == 90.0
    link = bgp_link.Link(one, two)
    link.run(3600.0)
    assert [side.session.counters.established for side in link.sides] == [1, 1]
    # A third of 90 s, jittered to 22.5 to 30 s.
    assert 120 <= one.session.counters.keepalives_sent <= 165
    assert one.session.counters.keepalives_sent == two.session.counters.keepalives_received
    assert one.session.counters.total_sent == two.session.counters.total_received


def test_routes_are_told_changed_and_withdrawn() -> None:
    link = bgp_link.started()
    one, two = link.sides
    red = routes.Attributes(communities=frozenset({communities.Standard(64500, 7), communities.Large(64500, 1, 2)}))
    one.session.replace({bgp_link.prefix(number): routes.PLAIN for number in range(1000)})
    assert not one.session.has(bgp_link.prefix(0))
    bgp_link.up(link)
    assert len(one.session.told) == 1000
    assert one.session.has(bgp_link.prefix(0))
    assert two.session.counters.prefixes_received == 1000
    assert one.session.counters.updates_sent <= 3, "prefixes with equal attributes share an UPDATE"
    for number in (1, 2, 3):
        one.session.change(bgp_link.prefix(number), red)
    one.session.change(bgp_link.prefix(4), None)
    assert one.session.pending == 4
    link.settle()
    withdrawal, change = one.updates()[-2:]
    assert withdrawal.gone == (bgp_link.prefix(4),)
    assert change.announced == (bgp_link.prefix(1), bgp_link.prefix(2), bgp_link.prefix(3))
    assert change.attributes.communities == red.communities
    assert change.attributes.next_hop == bgp_link.LOW
    assert [segment.asns for segment in change.attributes.as_path or ()] == [(64500,)]
    assert change.attributes.local_pref is None
    assert change.attributes.med is None
    assert two.session.counters.withdrawals_received == 1
    assert [side.session.counters.established for side in link.sides] == [1, 1], "a change touches no session"


def test_an_internal_peer_gets_local_pref_and_an_empty_path() -> None:
    link = bgp_link.started(*bgp_link.internal())
    one, _ = bgp_link.up(link)
    one.session.change(bgp_link.prefix(1), routes.PLAIN)
    one.session.change(bgp_link.prefix(2), routes.Attributes(local_pref=0))
    link.settle()
    assert [each.attributes.local_pref for each in one.updates()] == [100, 0]
    assert [each.attributes.as_path for each in one.updates()] == [(), ()]


def test_room_bounds_what_is_taken() -> None:
    link = bgp_link.started()
    one, _ = link.sides
    one.session.replace({bgp_link.prefix(number): routes.PLAIN for number in range(5000)})
    one.room = 0
    bgp_link.up(link)
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
    link = bgp_link.started(dataclasses.replace(bgp_link.ONE, graceful_restart=graceful))
    one, _ = link.sides
    one.session.change(bgp_link.prefix(1), routes.PLAIN)
    bgp_link.up(link)
    assert [each.end_of_rib for each in one.updates()] == [None]
    one.session.change(bgp_link.prefix(2), routes.PLAIN)
    one.session.initial_complete()
    link.settle()
    assert [each.end_of_rib for each in one.updates()] == [None, None, families.IPV4_UNICAST]
    link.run(1000.0)
    assert [each.end_of_rib for each in one.updates()].count(families.IPV4_UNICAST) == 1


def _graceful(side: bgp_link.Side, connection: int) -> capabilities.GracefulRestart | None:
    opens = [each for each in side.sent(connection) if isinstance(each, messages.Open)]
    found = [each for each in opens[0].capabilities if isinstance(each, capabilities.GracefulRestart)]
    return found[0] if found else None


def test_a_restart_is_announced_until_end_of_rib() -> None:
    link = bgp_link.started(dataclasses.replace(bgp_link.ONE, graceful_restart=True))
    one = bgp_link.Side(link.sides[0].session.peer, bgp_link.LOW, restarting=True)
    link.sides[0].session.leave(link.now)
    link.settle()
    link.sides = (one, link.sides[1])
    one.session.start(link.now)
    one.session.initial_complete()
    bgp_link.up(link)
    first = max(one.written)
    said = _graceful(one, first)
    assert said is not None
    assert (said.restarting, said.restart_time) == (True, 120)
    assert said.families == (capabilities.RestartFamily(families.IPV4_UNICAST, forwarding_preserved=True),)
    link.sides[1].session.stop(link.now, outputs.Stop.RESET)
    link.settle()
    link.sides[1].session.start(link.now)
    bgp_link.up(link)
    again = _graceful(one, max(one.written))
    assert again is not None
    assert not again.restarting
    assert _graceful(link.sides[1], max(link.sides[1].written)) is None, "only where the object asks for it"


def test_leaving_for_a_restart_says_nothing() -> None:
    link = bgp_link.started(dataclasses.replace(bgp_link.ONE, graceful_restart=True))
    one, two = bgp_link.up(link)
    one.session.change(bgp_link.prefix(1), routes.PLAIN)
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
    link = bgp_link.started()
    one, two = link.sides
    one.session.replace({bgp_link.prefix(number): routes.PLAIN for number in range(10)})
    bgp_link.up(link)
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
