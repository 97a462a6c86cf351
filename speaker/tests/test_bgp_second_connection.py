"""Two connections with one peer at once (RFC 4271 section 6.8), between two of our own sessions: one stays, and it is the right one.

- Of two that were opened at once, the one of the side with the higher identifier stays.
- An established session is not disturbed by another connection, but for a peer that restarted gracefully (RFC 4724). An idle one takes none.
"""

import dataclasses
import random

import pytest

from metallb_core.domain import routes
from metallb_speaker.bgp import collision, fsm, outputs
from metallb_speaker.testing import bgp_link, bgp_talk

S = fsm.State


@pytest.mark.parametrize(
    ("ours", "theirs", "keeps"),
    [
        pytest.param(("192.0.2.2", 64500), ("192.0.2.1", 64501), True, id="higher"),
        pytest.param(("192.0.2.1", 64501), ("192.0.2.2", 64500), False, id="lower"),
        pytest.param(("9.0.0.0", 64500), ("10.0.0.0", 64501), False, id="as-numbers-not-as-text"),
        pytest.param(("192.0.2.1", 64501), ("192.0.2.1", 64500), True, id="equal-and-higher-as"),
        pytest.param(("192.0.2.1", 64500), ("192.0.2.1", 64501), False, id="equal-and-lower-as"),
    ],
)
def test_which_connection_stays(ours: tuple[str, int], theirs: tuple[str, int], keeps: bool) -> None:
    kept = collision.keeps_ours(
        local_id=bgp_talk.address(ours[0]), local_asn=ours[1], peer_id=bgp_talk.address(theirs[0]), peer_asn=theirs[1]
    )
    assert kept is keeps


def test_simultaneous_open_leaves_the_connection_of_the_higher_identifier() -> None:
    link = bgp_link.Link(bgp_link.Side(bgp_link.ONE, bgp_link.LOW), bgp_link.Side(bgp_link.TWO, bgp_link.HIGH))
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
        link = bgp_link.Link(
            bgp_link.Side(bgp_link.ONE, bgp_link.LOW, seed=seed),
            bgp_link.Side(bgp_link.TWO, bgp_link.HIGH, seed=seed + 100),
        )
        one, two = link.sides
        one.session.start(link.now)
        link.run(random.Random(seed).random() * 3)
        two.session.start(link.now)
        link.run(400.0)
        assert one.session.state is two.session.state is S.ESTABLISHED
        assert len(one.pairs) == len(two.pairs) == 1
        assert one.session.counters.established == 1


def test_a_second_connection_does_not_disturb_an_established_one() -> None:
    link = bgp_link.started()
    one, two = bgp_link.up(link)
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
    link = bgp_link.started(bgp_link.TWO, dataclasses.replace(bgp_link.ONE, graceful_restart=True))
    one, two = link.sides
    one.session.change(bgp_link.prefix(1), routes.PLAIN)
    bgp_link.up(link)
    old = next(iter(one.pairs))
    again = bgp_link.Side(two.session.peer, bgp_link.LOW, restarting=True)
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
    assert one.session.has(bgp_link.prefix(1))
    assert again.session.counters.prefixes_received == 1
    one.session.receive(old, b"late bytes of the old connection", link.now)
    one.session.closed(old, "late", link.now)
    assert one.session.state is S.ESTABLISHED


def test_idle_refuses_connections() -> None:
    one = bgp_link.Side(bgp_link.ONE, bgp_link.LOW)
    assert one.session.incoming(one.ends, 0.0) is None
    one.session.start(0.0)
    one.session.take(0.0)
    one.session.connect_failed(1, "refused", 0.0)
    assert one.session.incoming(one.ends, 0.0) == 2
    one.session.stop(0.0)
    assert one.session.incoming(one.ends, 0.0) is None
