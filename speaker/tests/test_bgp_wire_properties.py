"""The BGP codec by round trip, in pieces of any size, packed into few messages, and against garbage."""

import contextlib
import itertools
import os
import random

import hypothesis
import pytest
from hypothesis import strategies

from metallb_core.domain import addresses, communities, routes
from metallb_speaker.bgp.wire import (
    attributes,
    capabilities,
    context,
    families,
    framing,
    header,
    malformed,
    messages,
    multiprotocol,
    packing,
)

V4, V6 = families.IPV4_UNICAST, families.IPV6_UNICAST
A = addresses.Address.parse
CONTEXTS = [
    context.Context(
        four_octet_as=four_octet_as,
        ibgp=ibgp,
        families=frozenset({V4, V6}),
        extended_next_hop=frozenset({V4}) if extended else frozenset(),
        maximum_length=maximum_length,
    )
    for four_octet_as, ibgp, extended, maximum_length in itertools.product(
        (True, False), (True, False), (True, False), (context.MAXIMUM_LENGTH, context.EXTENDED_MAXIMUM_LENGTH)
    )
]

octets = strategies.integers(0, 255)
asns = strategies.integers(1, 2**32 - 1)
u32 = strategies.integers(0, 2**32 - 1)
wire_families = strategies.builds(families.Family, strategies.integers(0, 0xFFFF), octets)
v4 = u32.map(lambda value: addresses.Address(addresses.Family.IPV4, value))
v4_hosts = strategies.integers(1 << 24, (127 << 24) - 1).map(
    lambda value: addresses.Address(addresses.Family.IPV4, value)
)
v6 = strategies.integers(0, 2**128 - 1).map(lambda value: addresses.Address(addresses.Family.IPV6, value))
v4_prefixes = strategies.builds(routes.Prefix.of, v4, strategies.integers(0, 32))
v6_prefixes = strategies.builds(routes.Prefix.of, v6, strategies.integers(0, 128))


def several(
    each: strategies.SearchStrategy[routes.Prefix], minimum: int = 0
) -> strategies.SearchStrategy[tuple[routes.Prefix, ...]]:
    return strategies.lists(each, min_size=minimum, max_size=5).map(tuple)


known_codes = frozenset(int(code) for code in capabilities.Code)
any_capability = strategies.one_of(
    strategies.builds(capabilities.MultiProtocol, wire_families),
    strategies.just(capabilities.RouteRefresh()),
    strategies.just(capabilities.EnhancedRouteRefresh()),
    strategies.just(capabilities.ExtendedMessage()),
    strategies.builds(
        capabilities.ExtendedNextHop,
        strategies.lists(
            strategies.builds(capabilities.NextHopEncoding, wire_families, strategies.integers(0, 0xFFFF)), max_size=4
        ).map(tuple),
    ),
    strategies.builds(
        capabilities.GracefulRestart,
        restarting=strategies.booleans(),
        notification=strategies.booleans(),
        restart_time=strategies.integers(0, capabilities.RESTART_TIME_MAXIMUM),
        families=strategies.lists(
            strategies.builds(capabilities.RestartFamily, wire_families, strategies.booleans()), max_size=4
        ).map(tuple),
    ),
    strategies.builds(capabilities.FourOctetAS, asns),
    strategies.builds(
        capabilities.Unknown, octets.filter(lambda code: code not in known_codes), strategies.binary(max_size=60)
    ),
)
opens = strategies.builds(
    messages.Open,
    my_as=strategies.integers(1, 0xFFFF),
    hold_time=strategies.one_of(strategies.just(0), strategies.integers(3, 0xFFFF)),
    router_id=v4.filter(lambda address: address.value != 0),
    capabilities=strategies.lists(any_capability, max_size=9).map(tuple),
)
segments = strategies.builds(
    attributes.Segment,
    strategies.sampled_from(attributes.SegmentType),
    strategies.lists(asns, min_size=1, max_size=6).map(tuple),
)
any_community = strategies.one_of(
    strategies.builds(communities.Standard.from_int, u32), strategies.builds(communities.Large, u32, u32, u32)
)
known_types = frozenset(attributes.FLAGS)
unknown_attributes = strategies.lists(
    strategies.builds(
        attributes.Unknown,
        octets.filter(lambda kind: kind not in known_types),
        strategies.sampled_from((0x80, 0xC0, 0xE0)),
        strategies.binary(max_size=300),
    ),
    max_size=3,
    unique_by=lambda each: each.type,
).map(lambda found: tuple(sorted(found, key=lambda each: each.type)))
path_attributes = strategies.builds(
    attributes.PathAttributes,
    origin=strategies.sampled_from(attributes.Origin),
    as_path=strategies.lists(segments, max_size=3).map(tuple),
    next_hop=v4_hosts,
    med=strategies.none() | u32,
    local_pref=strategies.none() | u32,
    atomic_aggregate=strategies.booleans(),
    aggregator=strategies.none() | strategies.builds(attributes.Aggregator, asns, v4),
    communities=strategies.frozensets(any_community, max_size=6),
    unknown=unknown_attributes,
)
updates = strategies.builds(
    messages.Update,
    withdrawn=several(v4_prefixes),
    attributes=path_attributes,
    nlri=several(v4_prefixes, 1),
    reach=strategies.none()
    | strategies.builds(
        multiprotocol.Reach,
        family=strategies.just(V6),
        next_hop=v6,
        link_local=strategies.none() | v6,
        prefixes=several(v6_prefixes),
    )
    | strategies.builds(
        multiprotocol.Reach, family=strategies.just(V4), next_hop=v4 | v6, prefixes=several(v4_prefixes)
    ),
    unreach=strategies.none()
    | strategies.builds(multiprotocol.Unreach, family=strategies.just(V6), prefixes=several(v6_prefixes)),
)
notifications = strategies.builds(
    messages.Notification, code=octets, subcode=octets, data=strategies.binary(max_size=400)
)
refreshes = strategies.builds(messages.RouteRefresh, family=wire_families, subtype=octets)
any_message = strategies.one_of(opens, updates, notifications, refreshes, strategies.just(messages.Keepalive()))
NEW = context.Context(ibgp=True, families=frozenset({V4, V6}), extended_next_hop=frozenset({V4}))


@hypothesis.given(any_message)
@hypothesis.settings(max_examples=300, deadline=None)
def test_round_trip(message: messages.Message) -> None:
    (parsed,) = framing.Reader(NEW).feed(message.serialise())
    assert parsed == message


def canonical(path: attributes.AsPath | None) -> list[tuple[attributes.SegmentType, int]]:
    """Numbers in order, each with the kind of its segment: neighbouring sequences say the same as one."""
    return [(kind, asn) for kind, found in path or () for asn in found]


@hypothesis.given(updates)
@hypothesis.settings(deadline=None)
def test_round_trip_through_two_octets(message: messages.Update) -> None:
    old = context.Context(
        four_octet_as=False, ibgp=True, families=NEW.families, extended_next_hop=NEW.extended_next_hop
    )
    hypothesis.assume(message.attributes.aggregator is None or message.attributes.aggregator.asn > 0xFFFF)
    (parsed,) = framing.Reader(old).feed(message.serialise(four_octet_as=False))
    assert isinstance(parsed, messages.Update)
    assert parsed.problems == ()
    assert canonical(parsed.attributes.as_path) == canonical(message.attributes.as_path)
    assert parsed.attributes.aggregator == message.attributes.aggregator


@hypothesis.given(
    strategies.lists(any_message, min_size=1, max_size=4), strategies.lists(strategies.integers(1, 60), min_size=1)
)
@hypothesis.settings(deadline=None)
def test_pieces_of_any_size(sent: list[messages.Message], sizes: list[int]) -> None:
    stream = b"".join(message.serialise() for message in sent)
    reader = framing.Reader(NEW)
    got: list[messages.Message] = []
    for size in itertools.cycle(sizes):
        if not stream:
            break
        got += reader.feed(stream[:size])
        stream = stream[size:]
    assert got == sent
    assert reader.buffered == 0


def test_a_byte_at_a_time() -> None:
    sent: list[messages.Message] = [
        messages.Keepalive(),
        messages.RouteRefresh(family=V6),
        messages.Update(),
        messages.Keepalive(),
    ]
    reader = framing.Reader(NEW)
    stream = b"".join(message.serialise() for message in sent)
    assert [message for byte in stream for message in reader.feed(bytes((byte,)))] == sent


def test_a_bad_header_is_noticed_before_the_rest_comes() -> None:
    reader = framing.Reader(NEW)
    with pytest.raises(malformed.MalformedError):
        list(reader.feed(header.MARKER + b"\xff\xff\x02"))
    assert reader.buffered == 0


def test_context_changes_between_two_messages_of_one_piece() -> None:
    told = messages.Open(my_as=65001, hold_time=90, router_id=A("10.0.0.1"))
    given_path = (attributes.Segment(attributes.SegmentType.AS_SEQUENCE, (65001,)),)
    sent = messages.Update(
        attributes=attributes.PathAttributes(origin=attributes.Origin.IGP, as_path=given_path, next_hop=A("192.0.2.1")),
        nlri=(routes.Prefix(A("10.0.0.0"), 8),),
    )
    reader = framing.Reader()
    got: list[messages.Message] = []
    for message in reader.feed(told.serialise() + sent.serialise(four_octet_as=False)):
        got.append(message)
        reader.context = context.Context(four_octet_as=False)
    assert got == [told, sent]


def test_what_was_read_before_an_error_is_handed_out() -> None:
    reader = framing.Reader()
    found = reader.feed(messages.Keepalive().serialise() + bytes(19))
    assert next(found) == messages.Keepalive()
    with pytest.raises(malformed.MalformedError):
        next(found)


# Packing.


def announced(data: list[bytes], with_context: context.Context) -> list[routes.Prefix]:
    found: list[routes.Prefix] = []
    for message in framing.Reader(with_context).feed(b"".join(data)):
        assert isinstance(message, messages.Update)
        assert message.problems == ()
        assert message.gone == ()
        found += message.announced
    return found


def withdrawn(data: list[bytes]) -> list[routes.Prefix]:
    found: list[routes.Prefix] = []
    for message in framing.Reader(NEW).feed(b"".join(data)):
        assert isinstance(message, messages.Update)
        assert message.announced == ()
        assert message.attributes == attributes.NONE
        found += message.gone
    return found


HOST_ROUTES = {
    V4: [routes.Prefix(addresses.Address(addresses.Family.IPV4, (10 << 24) + index), 32) for index in range(10_000)],
    V6: [
        routes.Prefix(addresses.Address(addresses.Family.IPV6, (0x20010DB8 << 96) + index), 128)
        for index in range(10_000)
    ],
}
OWN = attributes.originated(
    routes.Attributes(communities=frozenset({communities.Standard(65000, 1), communities.Large(1, 2, 3)})),
    asn=4200000000,
    ibgp=False,
)
PACKED = {
    "ipv4": (V4, "192.0.2.1", None),
    "ipv4-over-ipv6": (V4, "2001:db8::1", None),
    "ipv6": (V6, "2001:db8::1", None),
    "ipv6-link-local": (V6, "2001:db8::1", "fe80::1"),
}


@pytest.mark.parametrize("maximum_length", [context.MAXIMUM_LENGTH, context.EXTENDED_MAXIMUM_LENGTH])
@pytest.mark.parametrize("four_octet_as", [True, False])
@pytest.mark.parametrize("name", PACKED)
def test_ten_thousand_routes_fill_their_messages(name: str, four_octet_as: bool, maximum_length: int) -> None:
    family, next_hop, link_local = PACKED[name]
    data = packing.announce(
        HOST_ROUTES[family],
        family=family,
        attributes=OWN,
        next_hop=A(next_hop),
        link_local=None if link_local is None else A(link_local),
        four_octet_as=four_octet_as,
        maximum_length=maximum_length,
    )
    one = 5 if family == V4 else 17
    assert all(maximum_length - one < len(message) <= maximum_length for message in data[:-1])
    with_context = context.Context(
        four_octet_as=four_octet_as,
        families=NEW.families,
        extended_next_hop=NEW.extended_next_hop,
        maximum_length=maximum_length,
    )
    assert announced(data, with_context) == HOST_ROUTES[family]


@pytest.mark.parametrize("multi_protocol", [True, False])
@pytest.mark.parametrize("family", [V4, V6], ids=str)
def test_ten_thousand_withdrawals_fill_their_messages(family: families.Family, multi_protocol: bool) -> None:
    data = packing.withdraw(HOST_ROUTES[family], family=family, multi_protocol=multi_protocol)
    one = 5 if family == V4 else 17
    assert all(context.MAXIMUM_LENGTH - one < len(message) <= context.MAXIMUM_LENGTH for message in data[:-1])
    assert withdrawn(data) == HOST_ROUTES[family]


@hypothesis.given(strategies.lists(v6_prefixes, max_size=60), strategies.integers(300, 500))
@hypothesis.settings(deadline=None)
def test_packing_loses_nothing(prefixes: list[routes.Prefix], maximum_length: int) -> None:
    data = packing.announce(
        prefixes, family=V6, attributes=OWN, next_hop=A("2001:db8::1"), maximum_length=maximum_length
    )
    assert all(len(message) <= maximum_length for message in data)
    assert announced(data, NEW) == prefixes
    data = packing.withdraw(prefixes, family=V6, maximum_length=maximum_length)
    assert all(len(message) <= maximum_length for message in data)
    assert withdrawn(data) == prefixes


def test_nothing_is_packed_into_no_message() -> None:
    assert packing.announce([], family=V4, attributes=OWN, next_hop=A("192.0.2.1")) == []
    assert packing.withdraw([], family=V6) == []


@pytest.mark.parametrize("family", [V4, V6, families.Family(25, 65)], ids=str)
def test_end_of_rib(family: families.Family) -> None:
    (message,) = framing.Reader(NEW).feed(packing.end_of_rib(family))
    assert isinstance(message, messages.Update)
    # What ends a family that was not agreed on is not ours to know.
    assert message.end_of_rib == (family if family in NEW.families else None)


def test_ipv6_routes_need_an_ipv6_next_hop() -> None:
    with pytest.raises(ValueError, match="give an IPv6 address"):
        packing.announce(HOST_ROUTES[V6][:1], family=V6, attributes=OWN, next_hop=A("192.0.2.1"))


def test_attributes_must_leave_room_for_a_prefix() -> None:
    many = attributes.PathAttributes(communities=frozenset(map(communities.Standard.from_int, range(1100))))
    with pytest.raises(ValueError, match="use fewer communities"):
        packing.announce(HOST_ROUTES[V4][:1], family=V4, attributes=many, next_hop=A("192.0.2.1"))


# Garbage.


def corpus() -> list[bytes]:
    sent: list[messages.Message] = [
        messages.Keepalive(),
        messages.RouteRefresh(family=V6),
        messages.Notification(code=6, subcode=2, data=b"\x03bye"),
        messages.Open.of(
            asn=4200000000,
            hold_time=90,
            router_id=A("10.0.0.1"),
            capabilities=(
                capabilities.MultiProtocol(V4),
                capabilities.MultiProtocol(V6),
                capabilities.RouteRefresh(),
                capabilities.GracefulRestart(families=(capabilities.RestartFamily(V4, True),)),
                capabilities.ExtendedNextHop((capabilities.NextHopEncoding(V4, 2),)),
            ),
        ),
    ]
    full = attributes.PathAttributes(
        origin=attributes.Origin.EGP,
        as_path=(
            attributes.Segment(attributes.SegmentType.AS_SEQUENCE, (4200000000, 65001)),
            attributes.Segment(attributes.SegmentType.AS_SET, (1, 2)),
        ),
        next_hop=A("192.0.2.1"),
        med=1,
        local_pref=2,
        atomic_aggregate=True,
        aggregator=attributes.Aggregator(4200000000, A("10.0.0.1")),
        communities=frozenset({communities.Standard(1, 2), communities.Large(1, 2, 3)}),
        unknown=(
            attributes.Unknown(9, 0x80, bytes(4)),
            attributes.Unknown(10, 0x80, bytes(4)),
            attributes.Unknown(16, 0xC0, bytes(8)),
            attributes.Unknown(99, 0xC0, b"abc"),
        ),
    )
    update = messages.Update(
        withdrawn=(routes.Prefix(A("10.0.0.0"), 8),),
        attributes=full,
        nlri=(routes.Prefix(A("10.1.2.3"), 32), routes.Prefix(A("10.2.0.0"), 17)),
    )
    return [
        *(message.serialise() for message in sent),
        *(update.serialise(four_octet_as=four_octet_as) for four_octet_as in (True, False)),
        *packing.announce(HOST_ROUTES[V6][:3], family=V6, attributes=OWN, next_hop=A("2001:db8::1")),
        *packing.announce(HOST_ROUTES[V4][:3], family=V4, attributes=OWN, next_hop=A("2001:db8::1")),
        *packing.withdraw(HOST_ROUTES[V6][:3], family=V6),
        packing.end_of_rib(V6),
        messages.Open(
            my_as=1,
            hold_time=0,
            router_id=A("10.0.0.1"),
            capabilities=tuple(capabilities.Unknown(200, bytes(99)) for _ in range(3)),
        ).serialise(),
    ]


def fuzz(count: int) -> None:
    """Change valid messages in a few places; whatever comes of it is a message or a MalformedError, and can be shown and written."""
    chance = random.Random(20060101)
    seeds = corpus()
    outcomes = {"message": 0, "error": 0, "waiting": 0}
    for _ in range(count):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            # The marker is one check; the interesting bytes are behind it.
            place = chance.randrange(min(18, len(data) - 1), len(data))
            match chance.randrange(4):
                case 0:
                    data[place] = chance.randrange(256)
                case 1:
                    data[place] ^= 1 << chance.randrange(8)
                case 2:
                    del data[place : place + chance.randint(1, 4)]
                case _:
                    data[place:place] = chance.randbytes(chance.randint(1, 4))
            if len(data) < header.LENGTH:
                data += bytes(header.LENGTH - len(data))
        if chance.random() < 0.9:
            data[16:18] = len(data).to_bytes(2, "big")
        reader = framing.Reader(chance.choice(CONTEXTS))
        try:
            found = list(reader.feed(bytes(data)))
        except malformed.MalformedError as error:
            outcomes["error"] += 1
            answer = messages.Notification.of(error)
            assert list(framing.Reader().feed(answer.serialise())) == [answer]
            continue
        outcomes["message" if found else "waiting"] += 1
        for message in found:
            assert str(message)
            assert repr(message)
            if isinstance(message, messages.Update):
                assert message.end_of_rib is None or not message.announced + message.gone
                assert all(str(problem) for problem in message.problems)
            message.serialise()
    assert min(outcomes.values()) > count // 100, outcomes


def test_fuzz_briefly() -> None:
    fuzz(2_000)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fuzz() -> None:
    fuzz(int(os.environ.get("METALLB_FUZZ", "100000")))


@hypothesis.given(strategies.binary(max_size=200), strategies.integers(1, 5), strategies.sampled_from(CONTEXTS))
@hypothesis.settings(deadline=None)
def test_any_body_is_a_message_or_malformed(body: bytes, kind: int, with_context: context.Context) -> None:
    with contextlib.suppress(malformed.MalformedError):
        messages.parse(kind, body, with_context)
