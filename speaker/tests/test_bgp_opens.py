"""The OPENs of one session: what ours offers, what the peer's leads to, and a peer that knows no capabilities.

- Ours says what is configured and nothing that the connection could not carry.
- A peer's that does not fit is answered by the NOTIFICATION of RFC 4271 section 6.2 and a reason that names the peer; the session tries again.
- Capabilities are forgone only for a peer that refuses them, only where IPv4 without them is what is wanted, and for a while.
"""

import dataclasses

import pytest

from metallb_core.domain import addresses, peers, reasons, routes
from metallb_speaker.bgp import fsm, negotiation, outputs, timers
from metallb_speaker.bgp.wire import capabilities, families, messages, notifications, opening
from metallb_speaker.testing import bgp_talk

S = fsm.State
IPV4 = addresses.Family.IPV4
Reason = reasons.Reason
PEER, PEER6, ENDS, ENDS6 = bgp_talk.PEER, bgp_talk.PEER6, bgp_talk.ENDS, bgp_talk.ENDS6
MP4, MP6, EXTENDED = bgp_talk.MP4, bgp_talk.MP6, bgp_talk.EXTENDED
BIG = dataclasses.replace(PEER, peer_asn=4200000001)


# Our OPEN.


def _offer(peer: peers.Peer, ends: outputs.Endpoints = ENDS, *, restarting: bool = False) -> messages.Open:
    return negotiation.offer(peer, ends, restarting=restarting)


def test_open_says_what_is_configured() -> None:
    said = _offer(PEER)
    assert (said.asn, said.hold_time, said.router_id) == (64500, 90, bgp_talk.address("192.0.2.2"))
    assert said.capabilities == (MP4, capabilities.RouteRefresh(), capabilities.FourOctetAS(64500))
    other = dataclasses.replace(PEER, router_id=bgp_talk.address("10.9.8.7"), hold_time=12.7, local_asn=4200000000)
    said = _offer(other)
    assert (said.my_as, said.asn, said.hold_time) == (opening.AS_TRANS, 4200000000, 12)
    assert said.router_id == bgp_talk.address("10.9.8.7")


@pytest.mark.parametrize(
    ("peer", "ends", "wanted"),
    [
        pytest.param(PEER, ENDS, [MP4], id="ipv4"),
        pytest.param(PEER6, ENDS6, [MP6], id="ipv6"),
        pytest.param(dataclasses.replace(PEER, dual_stack=True), ENDS, [MP4, MP6], id="both-over-ipv4"),
        pytest.param(dataclasses.replace(PEER6, dual_stack=True), ENDS6, [MP4, MP6, EXTENDED], id="both-over-ipv6"),
        pytest.param(
            dataclasses.replace(PEER, address=None, interface="eth1"), ENDS6, [MP4, MP6, EXTENDED], id="unnumbered"
        ),
    ],
)
def test_families_that_are_offered(
    peer: peers.Peer, ends: outputs.Endpoints, wanted: list[capabilities.Capability]
) -> None:
    kinds = (capabilities.MultiProtocol, capabilities.ExtendedNextHop)
    assert [each for each in _offer(peer, ends).capabilities if isinstance(each, kinds)] == wanted


def test_graceful_restart_is_offered_where_it_is_configured() -> None:
    peer = dataclasses.replace(PEER, graceful_restart=True, dual_stack=True)
    for restarting in (True, False):
        found = [
            each
            for each in _offer(peer, restarting=restarting).capabilities
            if isinstance(each, capabilities.GracefulRestart)
        ]
        assert found == [
            capabilities.GracefulRestart(
                restarting=restarting,
                restart_time=negotiation.RESTART_TIME,
                families=(
                    capabilities.RestartFamily(families.IPV4_UNICAST, True),
                    capabilities.RestartFamily(families.IPV6_UNICAST, True),
                ),
            )
        ]


# The peer's OPEN.


@pytest.mark.parametrize(
    ("peer", "theirs", "refusal"),
    [
        pytest.param(PEER, bgp_talk.open_of(), None, id="as-configured"),
        pytest.param(PEER, bgp_talk.open_of(64502), (2, 2, Reason.BGP_AS_MISMATCH), id="another-as"),
        pytest.param(BIG, bgp_talk.open_of(4200000001), None, id="four-bytes"),
        pytest.param(PEER, bgp_talk.TWO_BYTES, None, id="two-byte-peer"),
        pytest.param(
            dataclasses.replace(PEER, peer_asn=opening.AS_TRANS),
            dataclasses.replace(bgp_talk.TWO_BYTES, my_as=opening.AS_TRANS),
            (2, 2, Reason.BGP_AS_MISMATCH),
            id="as-trans-is-no-as",
        ),
        pytest.param(bgp_talk.DYNAMIC_IN, bgp_talk.open_of(64500), None, id="internal"),
        pytest.param(
            bgp_talk.DYNAMIC_IN, bgp_talk.open_of(64501), (2, 2, Reason.BGP_AS_MISMATCH), id="internal-but-is-external"
        ),
        pytest.param(bgp_talk.DYNAMIC_OUT, bgp_talk.open_of(65000), None, id="external"),
        pytest.param(
            bgp_talk.DYNAMIC_OUT, bgp_talk.open_of(64500), (2, 2, Reason.BGP_AS_MISMATCH), id="external-but-is-internal"
        ),
        pytest.param(
            dataclasses.replace(bgp_talk.DYNAMIC_OUT, local_asn=65000),
            bgp_talk.open_of(65000),
            (2, 2, Reason.BGP_AS_MISMATCH),
            id="external-but-is-our-local-asn",
        ),
        pytest.param(
            PEER, bgp_talk.open_of(router_id=bgp_talk.address("192.0.2.2")), None, id="our-identifier-in-another-as"
        ),
        pytest.param(
            bgp_talk.INTERNAL,
            bgp_talk.open_of(64500, router_id=bgp_talk.address("192.0.2.2")),
            (2, 3, Reason.BGP_PROTOCOL_ERROR),
            id="our-identifier",
        ),
        pytest.param(
            PEER,
            dataclasses.replace(bgp_talk.open_of(), router_id=addresses.Address(IPV4, 0)),
            (2, 3, Reason.BGP_PROTOCOL_ERROR),
            id="identifier-zero",
        ),
        pytest.param(
            PEER,
            dataclasses.replace(bgp_talk.open_of(), hold_time=2),
            (2, 6, Reason.BGP_PROTOCOL_ERROR),
            id="hold-time-of-2",
        ),
        pytest.param(
            PEER, dataclasses.replace(bgp_talk.open_of(), version=3), (2, 1, Reason.BGP_PROTOCOL_ERROR), id="version-3"
        ),
        pytest.param(PEER, bgp_talk.open_of(64501, MP6), (2, 7, Reason.BGP_NO_COMMON_FAMILY), id="no-common-family"),
        pytest.param(PEER, bgp_talk.open_of(64501, capabilities.RouteRefresh()), None, id="no-family-means-ipv4"),
        pytest.param(
            PEER, bgp_talk.open_of(64501, MP4, capabilities.Unknown(222, b"?")), None, id="unknown-capability"
        ),
    ],
)
def test_open(peer: peers.Peer, theirs: messages.Open, refusal: tuple[int, int, reasons.Reason] | None) -> None:
    talk = bgp_talk.Talk(peer)
    talk.hear(theirs.serialise())
    if refusal is None:
        assert talk.session.state is S.OPEN_CONFIRM
        assert talk.session.problem is None
        return
    code, subcode, reason = refusal
    sent = talk.notification()
    assert sent is not None
    assert (sent.code, sent.subcode) == (code, subcode)
    assert talk.session.state is S.IDLE
    assert talk.reason() is reason
    assert "peer 'tor' (192.0.2.1:179)" in str(talk.session.problem)
    deadline = talk.session.next_deadline()
    assert deadline is not None
    assert deadline <= timers.DELAY_FIRST


def test_unsupported_capability_names_what_is_missing() -> None:
    talk = bgp_talk.Talk(PEER6, ENDS6)
    talk.hear(bgp_talk.open_of(64501, MP4).serialise())
    sent = talk.notification()
    assert sent is not None
    assert sent.data == capabilities.serialise(MP6)


# A peer that knows no capabilities.

REFUSAL = messages.Notification(code=2, subcode=4).serialise()


def _attempt(talk: bgp_talk.Talk, number: int) -> messages.Open:
    """The OPEN of the next attempt, at the moment it is due."""
    due = talk.session.next_deadline()
    assert due is not None
    talk.session.tick(due)
    talk.take()
    talk.written = b""
    talk.session.connected(number, talk.ends, due)
    talk.take()
    (said,) = talk.sent()
    assert isinstance(said, messages.Open)
    return said


@pytest.mark.parametrize(
    ("peer", "ends", "bare"),
    [
        pytest.param(PEER, ENDS, True, id="ipv4"),
        pytest.param(dataclasses.replace(PEER, dual_stack=True), ENDS, True, id="both-over-ipv4"),
        pytest.param(dataclasses.replace(PEER, graceful_restart=True), ENDS, True, id="graceful-restart"),
        pytest.param(bgp_talk.DYNAMIC_OUT, ENDS, True, id="any-as"),
        pytest.param(dataclasses.replace(PEER, my_asn=65536, local_asn=65535), ENDS, True, id="another-as-for-it"),
        pytest.param(PEER6, ENDS6, False, id="ipv6"),
        pytest.param(dataclasses.replace(PEER6, dual_stack=True), ENDS6, False, id="both-over-ipv6"),
        pytest.param(dataclasses.replace(PEER, address=None, interface="eth1"), ENDS6, False, id="unnumbered"),
        pytest.param(BIG, ENDS, False, id="their-as-of-four-octets"),
        pytest.param(dataclasses.replace(PEER, my_asn=65536), ENDS, False, id="our-as-of-four-octets"),
    ],
)
def test_capabilities_are_forgone_where_that_is_enough(peer: peers.Peer, ends: outputs.Endpoints, bare: bool) -> None:
    talk = bgp_talk.Talk(peer, ends)
    talk.hear(REFUSAL)
    assert talk.session.state is S.IDLE
    assert (not _attempt(talk, 2).capabilities) is bare


@pytest.mark.parametrize(
    "subcode", [each for each in notifications.Open if each is not notifications.Open.UNSUPPORTED_OPTIONAL_PARAMETER]
)
def test_another_refusal_changes_nothing(subcode: notifications.Open) -> None:
    talk = bgp_talk.Talk()
    talk.hear(messages.Notification(code=2, subcode=subcode).serialise())
    assert _attempt(talk, 2).capabilities


def test_an_established_session_cannot_be_talked_out_of_capabilities() -> None:
    talk = bgp_talk.Talk().establish()
    talk.hear(REFUSAL)
    assert _attempt(talk, 2).capabilities


def test_a_session_without_capabilities_carries_ipv4() -> None:
    talk = bgp_talk.Talk(dataclasses.replace(PEER, dual_stack=True), dataclasses.replace(ENDS, next_hop_v6=ENDS6.local))
    talk.session.replace({bgp_talk.V4: routes.PLAIN, bgp_talk.V6: routes.PLAIN})
    talk.hear(REFUSAL)
    _attempt(talk, 2)
    # Whatever the peer says: what we did not say is not agreed on.
    for data in (bgp_talk.open_of().serialise(), bgp_talk.KEEPALIVE):
        talk.session.receive(2, data, 1.0)
    negotiated = talk.session.negotiated
    assert negotiated is not None
    assert talk.session.state is S.ESTABLISHED
    assert (negotiated.families, negotiated.four_octet_as) == (frozenset({IPV4}), False)
    talk.reading = negotiated.context
    talk.take()
    assert [each.announced for each in talk.updates()] == [(bgp_talk.V4,)]
    assert talk.session.withheld == 1


def test_capabilities_are_tried_again_later() -> None:
    talk = bgp_talk.Talk()
    talk.hear(REFUSAL)
    assert not _attempt(talk, 2).capabilities
    talk.session.closed(2, "reset", timers.WITHOUT_CAPABILITIES - timers.CONNECT_LIMIT)
    assert not _attempt(talk, 3).capabilities
    talk.session.closed(3, "reset", timers.WITHOUT_CAPABILITIES)
    assert _attempt(talk, 4).capabilities
    talk.session.receive(4, REFUSAL, timers.WITHOUT_CAPABILITIES + 1)
    assert not _attempt(talk, 5).capabilities
