"""What one session says of a route: AS path, local preference, and a next hop that the peer can use.

- Path and preference follow from whether the session turned out external or internal, not from what was expected.
- A route for which there is no next hop in the peer's terms is withheld and counted; the End-of-RIB of its family is said all the same.
"""

import dataclasses

import pytest

from metallb_core.domain import peers, routes
from metallb_speaker.bgp import outputs
from metallb_speaker.bgp.wire import attributes, families, messages, opening
from metallb_speaker.testing import bgp_talk

V4, V6 = bgp_talk.V4, bgp_talk.V6
PEER, PEER6, ENDS, ENDS6 = bgp_talk.PEER, bgp_talk.PEER6, bgp_talk.ENDS, bgp_talk.ENDS6
MP4, MP6, EXTENDED = bgp_talk.MP4, bgp_talk.MP6, bgp_talk.EXTENDED


def _paths(update: messages.Update) -> list[tuple[int, ...]]:
    return [segment.asns for segment in update.attributes.as_path or ()]


@pytest.mark.parametrize(
    ("peer", "theirs", "path", "local_pref"),
    [
        pytest.param(PEER, bgp_talk.open_of(), [(64500,)], None, id="external"),
        pytest.param(bgp_talk.INTERNAL, bgp_talk.open_of(64500), [], 100, id="internal"),
        pytest.param(dataclasses.replace(PEER, local_asn=65000), bgp_talk.open_of(), [(65000,)], None, id="local-asn"),
        pytest.param(
            dataclasses.replace(PEER, local_asn=64501), bgp_talk.open_of(), [], 100, id="local-asn-makes-it-internal"
        ),
        pytest.param(bgp_talk.DYNAMIC_IN, bgp_talk.open_of(64500), [], 100, id="found-internal"),
        pytest.param(bgp_talk.DYNAMIC_OUT, bgp_talk.open_of(65000), [(64500,)], None, id="found-external"),
        pytest.param(
            dataclasses.replace(PEER, my_asn=4200000000), bgp_talk.TWO_BYTES, [(4200000000,)], None, id="two-byte-peer"
        ),
    ],
)
def test_path_and_preference(
    peer: peers.Peer, theirs: messages.Open, path: list[tuple[int, ...]], local_pref: int | None
) -> None:
    talk = bgp_talk.Talk(peer).establish(theirs)
    talk.session.change(V4, routes.PLAIN)
    talk.take()
    (update,) = talk.updates()
    assert update.announced == (V4,)
    assert _paths(update) == path
    assert update.attributes.local_pref == local_pref
    assert update.attributes.origin is attributes.Origin.IGP
    assert update.attributes.next_hop == bgp_talk.address("192.0.2.2")
    assert not update.problems


BOTH = dataclasses.replace(PEER, dual_stack=True)
BOTH6 = dataclasses.replace(PEER6, dual_stack=True)
UNNUMBERED = dataclasses.replace(PEER, address=None, interface="eth1")
WITH_V6 = dataclasses.replace(ENDS, next_hop_v6=bgp_talk.address("2001:db8::2"))
WITH_V4 = dataclasses.replace(ENDS6, next_hop_v4=bgp_talk.address("192.0.2.2"))
LINK_LOCAL = dataclasses.replace(
    ENDS6, local=bgp_talk.address("fe80::2"), remote=bgp_talk.address("fe80::1"), link_local=bgp_talk.address("fe80::2")
)
BESIDE = dataclasses.replace(ENDS6, link_local=bgp_talk.address("fe80::2"))


@pytest.mark.parametrize(
    ("peer", "ends", "theirs", "next_hops"),
    [
        pytest.param(PEER, ENDS, bgp_talk.open_of(), {V4: "192.0.2.2"}, id="ipv4-only"),
        pytest.param(PEER6, ENDS6, bgp_talk.open_of(), {V6: "2001:db8::2"}, id="ipv6-only"),
        pytest.param(BOTH, ENDS, bgp_talk.open_of(), {V4: "192.0.2.2"}, id="ipv6-without-an-address-of-ours"),
        pytest.param(BOTH, WITH_V6, bgp_talk.open_of(), {V4: "192.0.2.2", V6: "2001:db8::2"}, id="ipv6-over-ipv4"),
        pytest.param(BOTH, WITH_V6, bgp_talk.open_of(64501, MP6), {V6: "2001:db8::2"}, id="only-the-other-family"),
        pytest.param(BOTH6, ENDS6, bgp_talk.open_of(64501, MP4, MP6), {V6: "2001:db8::2"}, id="no-rfc-8950"),
        pytest.param(
            BOTH6,
            WITH_V4,
            bgp_talk.open_of(64501, MP4, MP6),
            {V4: "192.0.2.2", V6: "2001:db8::2"},
            id="address-instead",
        ),
        pytest.param(
            BOTH6,
            WITH_V4,
            bgp_talk.open_of(64501, MP4, MP6, EXTENDED),
            {V4: "2001:db8::2", V6: "2001:db8::2"},
            id="rfc-8950",
        ),
        pytest.param(
            UNNUMBERED,
            LINK_LOCAL,
            bgp_talk.open_of(64501, MP4, MP6, EXTENDED),
            {V4: "fe80::2", V6: "fe80::2"},
            id="unnumbered",
        ),
        pytest.param(PEER6, BESIDE, bgp_talk.open_of(), {V6: "2001:db8::2"}, id="link-local-beside"),
    ],
)
def test_next_hops(
    peer: peers.Peer, ends: outputs.Endpoints, theirs: messages.Open, next_hops: dict[routes.Prefix, str]
) -> None:
    talk = bgp_talk.Talk(peer, ends)
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
                assert reach.link_local == (bgp_talk.address("fe80::2") if ends is BESIDE else None)
    assert found == next_hops
    assert set(talk.session.told) == set(next_hops)
    assert talk.session.withheld == 2 - len(next_hops)
    negotiated = talk.session.negotiated
    assert negotiated is not None
    assert ended - {None} == {families.unicast(family) for family in negotiated.families}, (
        "also of a family without next hop"
    )


def test_two_byte_peer_gets_as_trans_and_as4_path() -> None:
    talk = bgp_talk.Talk(dataclasses.replace(PEER, my_asn=4200000000)).establish(bgp_talk.TWO_BYTES)
    talk.session.change(V4, routes.PLAIN)
    talk.take()
    assert bytes((2, 1)) + opening.AS_TRANS.to_bytes(2, "big") in talk.written
    assert bytes((2, 1)) + (4200000000).to_bytes(4, "big") in talk.written


def test_told_is_said_with_the_bytes() -> None:
    talk = bgp_talk.Talk().establish()
    talk.session.change(V4, routes.PLAIN)
    send, told = talk.take()
    assert isinstance(send, outputs.Send)
    assert told == outputs.Told(advertised=(V4,))
    talk.session.change(V4, None)
    assert talk.take()[1:] == [outputs.Told(withdrawn=(V4,))]
    assert talk.take() == []
