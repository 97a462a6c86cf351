"""One session against a peer of the test's making: what OPENs lead to, what is told, and what a peer can do wrong."""

import dataclasses
import os
import random

import pytest

from metallb_core.domain import addresses, communities, peers, reasons, routes
from metallb_speaker.bgp import collision, fsm, negotiation, outputs, problems, session, timers
from metallb_speaker.bgp.wire import (
    attributes,
    capabilities,
    context,
    families,
    framing,
    malformed,
    messages,
    notifications,
    opening,
    packing,
)

S = fsm.State
IPV4, IPV6 = addresses.Family.IPV4, addresses.Family.IPV6
Reason = reasons.Reason
PASSWORD = "hunter2-is-secret"


def _address(text: str) -> addresses.Address:
    return addresses.Address.parse(text)


PEER = peers.Peer(name="tor", my_asn=64500, peer_asn=64501, address=_address("192.0.2.1"), password=PASSWORD)
PEER6 = dataclasses.replace(PEER, address=_address("2001:db8::1"))
ENDS = outputs.Endpoints(
    local=_address("192.0.2.2"), remote=_address("192.0.2.1"), router_id=_address("192.0.2.2"), next_hop_v6=None
)
ENDS6 = outputs.Endpoints(
    local=_address("2001:db8::2"), remote=_address("2001:db8::1"), router_id=_address("192.0.2.2")
)
MP4, MP6 = capabilities.MultiProtocol(families.IPV4_UNICAST), capabilities.MultiProtocol(families.IPV6_UNICAST)
EXTENDED = capabilities.ExtendedNextHop((capabilities.NextHopEncoding(families.IPV4_UNICAST, families.AFI_IPV6),))
THEIR_ID = _address("192.0.2.1")
KEEPALIVE = messages.Keepalive().serialise()
V4 = routes.Prefix(_address("203.0.113.7"), 32)
V6 = routes.Prefix(_address("2001:db8:7::7"), 128)


def _open(asn: int = 64501, *found: capabilities.Capability, router_id: addresses.Address = THEIR_ID) -> messages.Open:
    return messages.Open.of(asn=asn, hold_time=90, router_id=router_id, capabilities=found or (MP4, MP6))


class Talk:
    """A session, and what it wrote. It is at `now` 0."""

    def __init__(self, peer: peers.Peer = PEER, ends: outputs.Endpoints = ENDS) -> None:
        self.session = session.Session(peer, random.Random(1))
        self.ends = ends
        self.written = b""
        self.reading = context.Context(families=frozenset({families.IPV4_UNICAST, families.IPV6_UNICAST}))
        self.session.start(0.0)
        self.take()
        self.session.connected(1, ends, 0.0)
        self.take()

    def take(self) -> list[outputs.Output]:
        taken = self.session.take(0.0)
        self.written += b"".join(each.data for each in taken if isinstance(each, outputs.Send))
        return taken

    def hear(self, *data: bytes, now: float = 0.0) -> list[outputs.Output]:
        for each in data:
            self.session.receive(1, each, now)
        return self.take()

    def establish(self, theirs: messages.Open | None = None) -> "Talk":
        self.hear((theirs or _open()).serialise(), KEEPALIVE)
        assert self.session.state is S.ESTABLISHED, str(self.session.problem)
        negotiated = self.session.negotiated
        assert negotiated is not None
        self.reading = negotiated.context
        return self

    def sent(self) -> list[messages.Message]:
        return list(framing.Reader(self.reading).feed(self.written))

    def updates(self) -> list[messages.Update]:
        return [each for each in self.sent() if isinstance(each, messages.Update)]

    def notification(self) -> messages.Notification | None:
        last = self.sent()[-1]
        return last if isinstance(last, messages.Notification) else None

    def reason(self) -> reasons.Reason | None:
        return None if self.session.problem is None else self.session.problem.reason


# Our OPEN.


def _offer(peer: peers.Peer, ends: outputs.Endpoints = ENDS, *, restarting: bool = False) -> messages.Open:
    return negotiation.offer(peer, ends, restarting=restarting)


def test_open_says_what_is_configured() -> None:
    said = _offer(PEER)
    assert (said.asn, said.hold_time, said.router_id) == (64500, 90, _address("192.0.2.2"))
    assert said.capabilities == (MP4, capabilities.RouteRefresh(), capabilities.FourOctetAS(64500))
    other = dataclasses.replace(PEER, router_id=_address("10.9.8.7"), hold_time=12.7, local_asn=4200000000)
    said = _offer(other)
    assert (said.my_as, said.asn, said.hold_time) == (opening.AS_TRANS, 4200000000, 12)
    assert said.router_id == _address("10.9.8.7")


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

DYNAMIC_IN = dataclasses.replace(PEER, peer_asn=0, dynamic_asn=peers.DynamicASN.INTERNAL)
DYNAMIC_OUT = dataclasses.replace(PEER, peer_asn=0, dynamic_asn=peers.DynamicASN.EXTERNAL)
INTERNAL = dataclasses.replace(PEER, peer_asn=64500)
BIG = dataclasses.replace(PEER, peer_asn=4200000001)
TWO_BYTES = messages.Open(my_as=64501, hold_time=90, router_id=THEIR_ID)


@pytest.mark.parametrize(
    ("peer", "theirs", "refusal"),
    [
        pytest.param(PEER, _open(), None, id="as-configured"),
        pytest.param(PEER, _open(64502), (2, 2, Reason.BGP_AS_MISMATCH), id="another-as"),
        pytest.param(BIG, _open(4200000001), None, id="four-bytes"),
        pytest.param(PEER, TWO_BYTES, None, id="two-byte-peer"),
        pytest.param(
            dataclasses.replace(PEER, peer_asn=opening.AS_TRANS),
            dataclasses.replace(TWO_BYTES, my_as=opening.AS_TRANS),
            (2, 2, Reason.BGP_AS_MISMATCH),
            id="as-trans-is-no-as",
        ),
        pytest.param(DYNAMIC_IN, _open(64500), None, id="internal"),
        pytest.param(DYNAMIC_IN, _open(64501), (2, 2, Reason.BGP_AS_MISMATCH), id="internal-but-is-external"),
        pytest.param(DYNAMIC_OUT, _open(65000), None, id="external"),
        pytest.param(DYNAMIC_OUT, _open(64500), (2, 2, Reason.BGP_AS_MISMATCH), id="external-but-is-internal"),
        pytest.param(
            dataclasses.replace(DYNAMIC_OUT, local_asn=65000),
            _open(65000),
            (2, 2, Reason.BGP_AS_MISMATCH),
            id="external-but-is-our-local-asn",
        ),
        pytest.param(PEER, _open(router_id=_address("192.0.2.2")), None, id="our-identifier-in-another-as"),
        pytest.param(
            INTERNAL,
            _open(64500, router_id=_address("192.0.2.2")),
            (2, 3, Reason.BGP_PROTOCOL_ERROR),
            id="our-identifier",
        ),
        pytest.param(
            PEER,
            dataclasses.replace(_open(), router_id=addresses.Address(IPV4, 0)),
            (2, 3, Reason.BGP_PROTOCOL_ERROR),
            id="identifier-zero",
        ),
        pytest.param(
            PEER, dataclasses.replace(_open(), hold_time=2), (2, 6, Reason.BGP_PROTOCOL_ERROR), id="hold-time-of-2"
        ),
        pytest.param(PEER, dataclasses.replace(_open(), version=3), (2, 1, Reason.BGP_PROTOCOL_ERROR), id="version-3"),
        pytest.param(PEER, _open(64501, MP6), (2, 7, Reason.BGP_NO_COMMON_FAMILY), id="no-common-family"),
        pytest.param(PEER, _open(64501, capabilities.RouteRefresh()), None, id="no-family-means-ipv4"),
        pytest.param(PEER, _open(64501, MP4, capabilities.Unknown(222, b"?")), None, id="unknown-capability"),
    ],
)
def test_open(peer: peers.Peer, theirs: messages.Open, refusal: tuple[int, int, reasons.Reason] | None) -> None:
    talk = Talk(peer)
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


# A peer that knows no capabilities.

REFUSAL = messages.Notification(code=2, subcode=4).serialise()


def _attempt(talk: Talk, number: int) -> messages.Open:
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
        pytest.param(DYNAMIC_OUT, ENDS, True, id="any-as"),
        pytest.param(dataclasses.replace(PEER, my_asn=65536, local_asn=65535), ENDS, True, id="another-as-for-it"),
        pytest.param(PEER6, ENDS6, False, id="ipv6"),
        pytest.param(dataclasses.replace(PEER6, dual_stack=True), ENDS6, False, id="both-over-ipv6"),
        pytest.param(dataclasses.replace(PEER, address=None, interface="eth1"), ENDS6, False, id="unnumbered"),
        pytest.param(BIG, ENDS, False, id="their-as-of-four-octets"),
        pytest.param(dataclasses.replace(PEER, my_asn=65536), ENDS, False, id="our-as-of-four-octets"),
    ],
)
def test_capabilities_are_forgone_where_that_is_enough(peer: peers.Peer, ends: outputs.Endpoints, bare: bool) -> None:
    talk = Talk(peer, ends)
    talk.hear(REFUSAL)
    assert talk.session.state is S.IDLE
    assert (not _attempt(talk, 2).capabilities) is bare


@pytest.mark.parametrize(
    "subcode", [each for each in notifications.Open if each is not notifications.Open.UNSUPPORTED_OPTIONAL_PARAMETER]
)
def test_another_refusal_changes_nothing(subcode: notifications.Open) -> None:
    talk = Talk()
    talk.hear(messages.Notification(code=2, subcode=subcode).serialise())
    assert _attempt(talk, 2).capabilities


def test_an_established_session_cannot_be_talked_out_of_capabilities() -> None:
    talk = Talk().establish()
    talk.hear(REFUSAL)
    assert _attempt(talk, 2).capabilities


def test_a_session_without_capabilities_carries_ipv4() -> None:
    talk = Talk(dataclasses.replace(PEER, dual_stack=True), dataclasses.replace(ENDS, next_hop_v6=ENDS6.local))
    talk.session.replace({V4: routes.PLAIN, V6: routes.PLAIN})
    talk.hear(REFUSAL)
    _attempt(talk, 2)
    # Whatever the peer says: what we did not say is not agreed on.
    for data in (_open().serialise(), KEEPALIVE):
        talk.session.receive(2, data, 1.0)
    negotiated = talk.session.negotiated
    assert negotiated is not None
    assert talk.session.state is S.ESTABLISHED
    assert (negotiated.families, negotiated.four_octet_as) == (frozenset({IPV4}), False)
    talk.reading = negotiated.context
    talk.take()
    assert [each.announced for each in talk.updates()] == [(V4,)]
    assert talk.session.withheld == 1


def test_capabilities_are_tried_again_later() -> None:
    talk = Talk()
    talk.hear(REFUSAL)
    assert not _attempt(talk, 2).capabilities
    talk.session.closed(2, "reset", timers.WITHOUT_CAPABILITIES - timers.CONNECT_LIMIT)
    assert not _attempt(talk, 3).capabilities
    talk.session.closed(3, "reset", timers.WITHOUT_CAPABILITIES)
    assert _attempt(talk, 4).capabilities
    talk.session.receive(4, REFUSAL, timers.WITHOUT_CAPABILITIES + 1)
    assert not _attempt(talk, 5).capabilities


def test_unsupported_capability_names_what_is_missing() -> None:
    talk = Talk(PEER6, ENDS6)
    talk.hear(_open(64501, MP4).serialise())
    sent = talk.notification()
    assert sent is not None
    assert sent.data == capabilities.serialise(MP6)


# What is told.


def _paths(update: messages.Update) -> list[tuple[int, ...]]:
    return [segment.asns for segment in update.attributes.as_path or ()]


@pytest.mark.parametrize(
    ("peer", "theirs", "path", "local_pref"),
    [
        pytest.param(PEER, _open(), [(64500,)], None, id="external"),
        pytest.param(INTERNAL, _open(64500), [], 100, id="internal"),
        pytest.param(dataclasses.replace(PEER, local_asn=65000), _open(), [(65000,)], None, id="local-asn"),
        pytest.param(dataclasses.replace(PEER, local_asn=64501), _open(), [], 100, id="local-asn-makes-it-internal"),
        pytest.param(DYNAMIC_IN, _open(64500), [], 100, id="found-internal"),
        pytest.param(DYNAMIC_OUT, _open(65000), [(64500,)], None, id="found-external"),
        pytest.param(
            dataclasses.replace(PEER, my_asn=4200000000), TWO_BYTES, [(4200000000,)], None, id="two-byte-peer"
        ),
    ],
)
def test_path_and_preference(
    peer: peers.Peer, theirs: messages.Open, path: list[tuple[int, ...]], local_pref: int | None
) -> None:
    talk = Talk(peer).establish(theirs)
    talk.session.change(V4, routes.PLAIN)
    talk.take()
    (update,) = talk.updates()
    assert update.announced == (V4,)
    assert _paths(update) == path
    assert update.attributes.local_pref == local_pref
    assert update.attributes.origin is attributes.Origin.IGP
    assert update.attributes.next_hop == _address("192.0.2.2")
    assert not update.problems


BOTH = dataclasses.replace(PEER, dual_stack=True)
BOTH6 = dataclasses.replace(PEER6, dual_stack=True)
UNNUMBERED = dataclasses.replace(PEER, address=None, interface="eth1")
WITH_V6 = dataclasses.replace(ENDS, next_hop_v6=_address("2001:db8::2"))
WITH_V4 = dataclasses.replace(ENDS6, next_hop_v4=_address("192.0.2.2"))
LINK_LOCAL = dataclasses.replace(
    ENDS6, local=_address("fe80::2"), remote=_address("fe80::1"), link_local=_address("fe80::2")
)
BESIDE = dataclasses.replace(ENDS6, link_local=_address("fe80::2"))


@pytest.mark.parametrize(
    ("peer", "ends", "theirs", "next_hops"),
    [
        pytest.param(PEER, ENDS, _open(), {V4: "192.0.2.2"}, id="ipv4-only"),
        pytest.param(PEER6, ENDS6, _open(), {V6: "2001:db8::2"}, id="ipv6-only"),
        pytest.param(BOTH, ENDS, _open(), {V4: "192.0.2.2"}, id="ipv6-without-an-address-of-ours"),
        pytest.param(BOTH, WITH_V6, _open(), {V4: "192.0.2.2", V6: "2001:db8::2"}, id="ipv6-over-ipv4"),
        pytest.param(BOTH, WITH_V6, _open(64501, MP6), {V6: "2001:db8::2"}, id="only-the-other-family"),
        pytest.param(BOTH6, ENDS6, _open(64501, MP4, MP6), {V6: "2001:db8::2"}, id="no-rfc-8950"),
        pytest.param(
            BOTH6, WITH_V4, _open(64501, MP4, MP6), {V4: "192.0.2.2", V6: "2001:db8::2"}, id="address-instead"
        ),
        pytest.param(
            BOTH6, WITH_V4, _open(64501, MP4, MP6, EXTENDED), {V4: "2001:db8::2", V6: "2001:db8::2"}, id="rfc-8950"
        ),
        pytest.param(
            UNNUMBERED,
            LINK_LOCAL,
            _open(64501, MP4, MP6, EXTENDED),
            {V4: "fe80::2", V6: "fe80::2"},
            id="unnumbered",
        ),
        pytest.param(PEER6, BESIDE, _open(), {V6: "2001:db8::2"}, id="link-local-beside"),
    ],
)
def test_next_hops(
    peer: peers.Peer, ends: outputs.Endpoints, theirs: messages.Open, next_hops: dict[routes.Prefix, str]
) -> None:
    talk = Talk(peer, ends)
    talk.session.replace({V4: routes.PLAIN, V6: routes.PLAIN})
    talk.session.initial_complete()
    talk.establish(theirs)
    found: dict[routes.Prefix, str] = {}
    ended = set()
    for update in talk.updates():
        assert not update.problems
        ended.add(update.end_of_rib)
        reach = update.reach
        for prefix in update.announced:
            found[prefix] = str(update.attributes.next_hop if reach is None else reach.next_hop)
            if reach is not None:
                assert reach.link_local == (_address("fe80::2") if ends is BESIDE else None)
    assert found == next_hops
    assert set(talk.session.told) == set(next_hops)
    assert talk.session.withheld == 2 - len(next_hops)
    negotiated = talk.session.negotiated
    assert negotiated is not None
    assert ended - {None} == {families.unicast(family) for family in negotiated.families}, (
        "also of a family without next hop"
    )


def test_two_byte_peer_gets_as_trans_and_as4_path() -> None:
    talk = Talk(dataclasses.replace(PEER, my_asn=4200000000)).establish(TWO_BYTES)
    talk.session.change(V4, routes.PLAIN)
    talk.take()
    assert bytes((2, 1)) + opening.AS_TRANS.to_bytes(2, "big") in talk.written
    assert bytes((2, 1)) + (4200000000).to_bytes(4, "big") in talk.written


def test_told_is_said_with_the_bytes() -> None:
    talk = Talk().establish()
    talk.session.change(V4, routes.PLAIN)
    send, told = talk.take()
    assert isinstance(send, outputs.Send)
    assert told == outputs.Told(advertised=(V4,))
    talk.session.change(V4, None)
    assert talk.take()[1:] == [outputs.Told(withdrawn=(V4,))]
    assert talk.take() == []


# What a peer can do wrong.


def _route(asn: int = 64501) -> bytes:
    made = packing.announce(
        [V4],
        family=families.IPV4_UNICAST,
        attributes=attributes.originated(routes.PLAIN, asn=asn, ibgp=False),
        next_hop=_address("192.0.2.1"),
    )
    return b"".join(made)


def test_routes_of_the_peer_are_counted_and_nothing_is_kept() -> None:
    talk = Talk().establish()
    talk.hear(_route() * 1000, b"".join(packing.withdraw([V4], family=families.IPV4_UNICAST)))
    counters = talk.session.counters
    assert (counters.prefixes_received, counters.withdrawals_received, counters.updates_received) == (1000, 1, 1001)
    assert talk.session.state is S.ESTABLISHED
    assert not talk.session.told


def test_a_bad_attribute_does_not_end_the_session() -> None:
    talk = Talk().establish()
    # The ORIGIN's value is 9 instead of 0: RFC 7606 section 7.1 treats the route as withdrawn.
    bad = _route().replace(bytes((0x40, 1, 1, 0)), bytes((0x40, 1, 1, 9)))
    talk.hear(bad)
    assert talk.session.state is S.ESTABLISHED
    assert talk.session.counters.malformed_updates == 1
    assert talk.session.counters.prefixes_received == 0


@pytest.mark.parametrize(
    ("state", "data", "notification", "reason"),
    [
        pytest.param(S.OPEN_SENT, KEEPALIVE, (5, 1), Reason.BGP_PROTOCOL_ERROR, id="keepalive-before-open"),
        pytest.param(S.OPEN_SENT, _route(), (5, 1), Reason.BGP_PROTOCOL_ERROR, id="update-before-open"),
        pytest.param(S.OPEN_CONFIRM, _route(), (5, 2), Reason.BGP_PROTOCOL_ERROR, id="update-before-keepalive"),
        pytest.param(S.OPEN_CONFIRM, _open().serialise(), (5, 2), Reason.BGP_PROTOCOL_ERROR, id="second-open"),
        pytest.param(S.ESTABLISHED, _open().serialise(), (5, 3), Reason.BGP_PROTOCOL_ERROR, id="open-when-established"),
        pytest.param(S.OPEN_SENT, b"GET / HTTP/1.1\r\nHost: x\r\n", (1, 1), Reason.BGP_PROTOCOL_ERROR, id="no-bgp"),
        pytest.param(
            S.ESTABLISHED, KEEPALIVE[:16] + b"\x00\x12\x04", (1, 2), Reason.BGP_PROTOCOL_ERROR, id="bad-length"
        ),
        pytest.param(S.ESTABLISHED, KEEPALIVE[:18] + b"\x09", (1, 3), Reason.BGP_PROTOCOL_ERROR, id="bad-type"),
        pytest.param(
            S.ESTABLISHED,
            KEEPALIVE[:16] + b"\x00\x17\x02\xff\xff\x00\x00",
            (3, 1),
            Reason.BGP_PROTOCOL_ERROR,
            id="bad-update",
        ),
        pytest.param(
            S.OPEN_CONFIRM,
            KEEPALIVE[:16] + b"\x00\x17\x02\xff\xff\x00\x00",
            (5, 2),
            Reason.BGP_PROTOCOL_ERROR,
            id="bad-update-too-early",
        ),
        pytest.param(
            S.ESTABLISHED,
            KEEPALIVE[:16] + b"\x00\x18\x05\x00\x01\x01\x01\x00",
            (7, 1),
            Reason.BGP_PROTOCOL_ERROR,
            id="bad-route-refresh",
        ),
    ],
)
def test_what_ends_a_session(
    state: fsm.State, data: bytes, notification: tuple[int, int], reason: reasons.Reason
) -> None:
    talk = Talk()
    if state is S.OPEN_CONFIRM:
        talk.hear(_open().serialise())
    elif state is S.ESTABLISHED:
        talk.establish()
    assert talk.session.state is state
    taken = talk.hear(data + KEEPALIVE + _route())
    sent = talk.notification()
    assert sent is not None
    assert (sent.code, sent.subcode) == notification
    assert outputs.Close(connection=1) in taken
    assert talk.session.state is S.IDLE
    assert talk.reason() is reason
    assert talk.session.counters.prefixes_received == 0, "what follows an error is not looked at"


def _received(code: int, subcode: int, data: bytes = b"") -> reasons.Refusal | None:
    talk = Talk().establish()
    written = len(talk.sent())
    talk.hear(messages.Notification(code=code, subcode=subcode, data=data).serialise())
    assert talk.session.state is S.IDLE
    assert len(talk.sent()) == written, "a NOTIFICATION is not answered"
    return talk.session.problem


@pytest.mark.parametrize(
    ("code", "subcode", "code_of_reason"),
    [
        pytest.param(2, 2, "B302", id="their-as-mismatch"),
        pytest.param(2, 5, "B303", id="authentication-failure"),
        pytest.param(2, 7, "B310", id="unsupported-capability"),
        pytest.param(2, 1, "B308", id="version"),
        pytest.param(2, 3, "B308", id="router-id"),
        pytest.param(2, 4, "B308", id="no-capabilities"),
        pytest.param(2, 6, "B308", id="hold-time"),
        pytest.param(3, 1, "B308", id="our-update"),
        pytest.param(4, 0, "B304", id="hold-timer"),
        pytest.param(4, 77, "B304", id="hold-timer-of-any-subcode"),
        pytest.param(6, 1, "B308", id="too-many-prefixes"),
        pytest.param(6, 2, "B308", id="shutdown"),
        pytest.param(6, 3, "B308", id="de-configured"),
        pytest.param(6, 5, "B308", id="rejected"),
        pytest.param(6, 10, "B307", id="bfd-down"),
        pytest.param(222, 111, "B308", id="unknown"),
    ],
)
def test_reason_of_a_received_notification(code: int, subcode: int, code_of_reason: str) -> None:
    problem = _received(code, subcode)
    assert problem is not None
    assert problem.reason.code == code_of_reason
    assert notifications.describe(code, subcode) in problem.detail


def test_every_row_for_received_notifications_is_reached() -> None:
    for code, subcode in problems.RECEIVED:
        problem = _received(code, 0 if subcode is None else subcode)
        assert problem is not None
        reason, advice = problems.RECEIVED[code, subcode]
        assert problem.reason is reason
        assert problem.detail.endswith(advice)


def test_a_hard_reset_is_understood_by_what_it_encloses() -> None:
    inner = messages.Notification(code=4)
    problem = _received(6, 9, bytes((inner.code, inner.subcode)))
    assert problem is not None
    assert problem.reason is Reason.BGP_HOLD_EXPIRED


def test_words_of_the_operator_are_shown() -> None:
    problem = _received(6, 2, bytes((5,)) + b"lunch")
    assert problem is not None
    assert "'lunch'" in problem.detail


# What only a person could know.


def test_nobody_answers() -> None:
    for password, reason in ((PASSWORD, Reason.BGP_AUTH_MISMATCH), ("", Reason.BGP_CONNECT_FAILED)):
        made = session.Session(dataclasses.replace(PEER, password=password), random.Random(1))
        made.start(0.0)
        assert made.next_deadline() == timers.CONNECT_TIMEOUT
        made.take(0.0)
        made.tick(timers.CONNECT_TIMEOUT)
        assert made.take(0.0) == [outputs.Close(connection=1), outputs.Connect(connection=2)]
        assert made.problem is not None
        assert made.problem.reason is reason
        made.connected(1, ENDS, 11.0)
        assert made.state is S.CONNECT, "an attempt that was given up does not count"


def test_a_refusal_of_the_shell_stands() -> None:
    made = session.Session(PEER, random.Random(1))
    made.start(0.0)
    refusal = reasons.Refusal(Reason.BGP_AUTH_MISMATCH, "no answer; compare the passwords")
    made.connect_failed(1, refusal, 1.0)
    made.connect_failed(1, "again", 1.0)
    assert made.problem == refusal
    assert made.state is S.ACTIVE


def test_accepts_and_says_nothing() -> None:
    talk = Talk()
    talk.session.tick(timers.OPEN_HOLD)
    talk.take()
    assert talk.notification() == messages.Notification(code=4)
    assert talk.reason() is Reason.BGP_CONNECT_FAILED
    assert "sent no OPEN within 30 s" in str(talk.session.problem)


def test_accepts_and_closes() -> None:
    talk = Talk()
    talk.session.closed(1, "reset by the peer", 1.0)
    assert talk.session.state is S.ACTIVE
    assert talk.reason() is Reason.BGP_CONNECTION_LOST
    assert "may not have this node's address configured" in str(talk.session.problem)


def test_closes_later() -> None:
    talk = Talk().establish()
    talk.session.closed(1, "reset by the peer", 1.0)
    assert talk.session.state is S.IDLE
    assert talk.reason() is Reason.BGP_CONNECTION_LOST
    assert "without a NOTIFICATION (reset by the peer)" in str(talk.session.problem)


def test_hangs_in_the_middle_of_a_message() -> None:
    talk = Talk().establish()
    talk.hear(_route()[:30])
    talk.session.tick(89.0)
    assert talk.session.state is S.ESTABLISHED
    talk.session.tick(90.0)
    talk.take()
    assert talk.notification() == messages.Notification(code=4)


def test_passwords_are_never_shown() -> None:
    refused = malformed.MalformedError(2, 2, b"", "another AS")
    shown = [
        problems.received(PEER, messages.Notification(code=2, subcode=5)),
        problems.sent(PEER, refused),
        problems.hold_expired(PEER, 90),
        problems.bfd_down(PEER),
        problems.unexpected(PEER, "an OPEN", "Established"),
        problems.not_connected(PEER, "refused"),
        problems.timed_out(PEER, 10),
        problems.no_answer(PEER, 30),
        problems.closed_early(PEER, "reset"),
        problems.lost(PEER, "reset"),
    ]
    assert all(PASSWORD not in str(each) and "'tor'" in str(each) for each in shown)
    assert PASSWORD not in repr(PEER)


# RFC 4271 section 6.8.


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
        local_id=_address(ours[0]), local_asn=ours[1], peer_id=_address(theirs[0]), peer_asn=theirs[1]
    )
    assert kept is keeps


# Anything at all.

_VALID = [
    _open().serialise(),
    KEEPALIVE,
    _route(),
    messages.Notification(code=6, subcode=2, data=b"\x02no").serialise(),
    messages.RouteRefresh(family=families.IPV4_UNICAST).serialise(),
    packing.end_of_rib(families.IPV6_UNICAST),
]


def _fuzz(count: int, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(count):
        talk = Talk()
        stage = dice.randrange(3)
        if stage:
            talk.hear(_open().serialise())
        if stage == 2:
            talk.hear(KEEPALIVE)
        talk.session.change(V4, routes.Attributes(communities=frozenset({communities.Standard(1, 2)})))
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
