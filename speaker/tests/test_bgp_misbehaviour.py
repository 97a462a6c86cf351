"""What a peer can do wrong to one session, and what comes of it.

- Routes of the peer are counted and never kept. A malformed attribute costs that route (RFC 7606), not the session.
- What ends a session is answered by the NOTIFICATION of its RFC, and nothing behind it is looked at; the session tries again.
- Whatever bytes come, in whatever pieces: nothing is raised, and a session that ends has a reason.
"""

import os
import random

import pytest

from metallb_core.domain import communities, reasons, routes
from metallb_speaker.bgp import fsm, outputs
from metallb_speaker.bgp.wire import families, messages, packing
from metallb_speaker.testing import bgp_talk

S = fsm.State
Reason = reasons.Reason


def test_routes_of_the_peer_are_counted_and_nothing_is_kept() -> None:
    talk = bgp_talk.Talk().establish()
    talk.hear(bgp_talk.route() * 1000, b"".join(packing.withdraw([bgp_talk.V4], family=families.IPV4_UNICAST)))
    counters = talk.session.counters
    assert (counters.prefixes_received, counters.withdrawals_received, counters.updates_received) == (1000, 1, 1001)
    assert talk.session.state is S.ESTABLISHED
    assert not talk.session.told


def test_a_bad_attribute_does_not_end_the_session() -> None:
    talk = bgp_talk.Talk().establish()
    # The ORIGIN's value is 9 instead of 0: RFC 7606 section 7.1 treats the route as withdrawn.
    bad = bgp_talk.route().replace(bytes((0x40, 1, 1, 0)), bytes((0x40, 1, 1, 9)))
    talk.hear(bad)
    assert talk.session.state is S.ESTABLISHED
    assert talk.session.counters.malformed_updates == 1
    assert talk.session.counters.prefixes_received == 0


@pytest.mark.parametrize(
    ("state", "data", "notification", "reason"),
    [
        pytest.param(S.OPEN_SENT, bgp_talk.KEEPALIVE, (5, 1), Reason.BGP_PROTOCOL_ERROR, id="keepalive-before-open"),
        pytest.param(S.OPEN_SENT, bgp_talk.route(), (5, 1), Reason.BGP_PROTOCOL_ERROR, id="update-before-open"),
        pytest.param(S.OPEN_CONFIRM, bgp_talk.route(), (5, 2), Reason.BGP_PROTOCOL_ERROR, id="update-before-keepalive"),
        pytest.param(
            S.OPEN_CONFIRM, bgp_talk.open_of().serialise(), (5, 2), Reason.BGP_PROTOCOL_ERROR, id="second-open"
        ),
        pytest.param(
            S.ESTABLISHED, bgp_talk.open_of().serialise(), (5, 3), Reason.BGP_PROTOCOL_ERROR, id="open-when-established"
        ),
        pytest.param(S.OPEN_SENT, b"GET / HTTP/1.1\r\nHost: x\r\n", (1, 1), Reason.BGP_PROTOCOL_ERROR, id="no-bgp"),
        pytest.param(
            S.ESTABLISHED, bgp_talk.KEEPALIVE[:16] + b"\x00\x12\x04", (1, 2), Reason.BGP_PROTOCOL_ERROR, id="bad-length"
        ),
        pytest.param(
            S.ESTABLISHED, bgp_talk.KEEPALIVE[:18] + b"\x09", (1, 3), Reason.BGP_PROTOCOL_ERROR, id="bad-type"
        ),
        pytest.param(
            S.ESTABLISHED,
            bgp_talk.KEEPALIVE[:16] + b"\x00\x17\x02\xff\xff\x00\x00",
            (3, 1),
            Reason.BGP_PROTOCOL_ERROR,
            id="bad-update",
        ),
        pytest.param(
            S.OPEN_CONFIRM,
            bgp_talk.KEEPALIVE[:16] + b"\x00\x17\x02\xff\xff\x00\x00",
            (5, 2),
            Reason.BGP_PROTOCOL_ERROR,
            id="bad-update-too-early",
        ),
        pytest.param(
            S.ESTABLISHED,
            bgp_talk.KEEPALIVE[:16] + b"\x00\x18\x05\x00\x01\x01\x01\x00",
            (7, 1),
            Reason.BGP_PROTOCOL_ERROR,
            id="bad-route-refresh",
        ),
    ],
)
def test_what_ends_a_session(
    state: fsm.State, data: bytes, notification: tuple[int, int], reason: reasons.Reason
) -> None:
    talk = bgp_talk.Talk()
    if state is S.OPEN_CONFIRM:
        talk.hear(bgp_talk.open_of().serialise())
    elif state is S.ESTABLISHED:
        talk.establish()
    assert talk.session.state is state
    taken = talk.hear(data + bgp_talk.KEEPALIVE + bgp_talk.route())
    sent = talk.notification()
    assert sent is not None
    assert (sent.code, sent.subcode) == notification
    assert outputs.Close(connection=1) in taken
    assert talk.session.state is S.IDLE
    assert talk.reason() is reason
    assert talk.session.counters.prefixes_received == 0, "what follows an error is not looked at"


def test_hangs_in_the_middle_of_a_message() -> None:
    talk = bgp_talk.Talk().establish()
    talk.hear(bgp_talk.route()[:30])
    talk.session.tick(89.0)
    assert talk.session.state is S.ESTABLISHED
    talk.session.tick(90.0)
    talk.take()
    assert talk.notification() == messages.Notification(code=4)


# Anything at all.

_VALID = [
    bgp_talk.open_of().serialise(),
    bgp_talk.KEEPALIVE,
    bgp_talk.route(),
    messages.Notification(code=6, subcode=2, data=b"\x02no").serialise(),
    messages.RouteRefresh(family=families.IPV4_UNICAST).serialise(),
    packing.end_of_rib(families.IPV6_UNICAST),
]


def _fuzz(count: int, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(count):
        talk = bgp_talk.Talk()
        stage = dice.randrange(3)
        if stage:
            talk.hear(bgp_talk.open_of().serialise())
        if stage == 2:
            talk.hear(bgp_talk.KEEPALIVE)
        talk.session.change(bgp_talk.V4, routes.Attributes(communities=frozenset({communities.Standard(1, 2)})))
        data = bytearray(b"".join(dice.choice(_VALID) for _ in range(dice.randrange(1, 4))))
        for _ in range(dice.randrange(0, 6)):
            # Behind the marker more often than in it.
            where = dice.randrange(16, len(data)) if dice.random() < 0.9 else dice.randrange(len(data))
            data[where] = dice.randrange(256)
        cut = dice.randrange(1, len(data) + 1)
        talk.hear(bytes(data[:cut]), bytes(data[cut:]))
        assert talk.session.state in (S.IDLE, S.OPEN_SENT, S.OPEN_CONFIRM, S.ESTABLISHED)
        if talk.session.state is S.IDLE:
            assert talk.session.problem is not None
            last = talk.notification()
            received = talk.session.counters.notifications_received
            assert (last is not None) != (received > 0), "it ends with a NOTIFICATION, of one side"
            assert not talk.session.stopped
            assert talk.session.next_deadline() is not None


def test_mutated_messages() -> None:
    _fuzz(2000, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_mutated_messages() -> None:
    _fuzz(int(os.environ.get("METALLB_FUZZ", "100000")), seed=2)
