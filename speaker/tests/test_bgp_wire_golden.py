"""The BGP codec against bytes laid out by hand from the RFCs, so that a mistake shared by parse and serialise shows."""

import pytest

from metallb_core.domain import addresses, communities, routes
from metallb_speaker.bgp.wire import (
    attributes,
    capabilities,
    context,
    families,
    framing,
    messages,
    multiprotocol,
    notifications,
    packing,
)

MARKER = "ff" * 16
BOTH = context.Context(families=frozenset({families.IPV4_UNICAST, families.IPV6_UNICAST}), ibgp=True)
TWO_OCTETS = context.Context(four_octet_as=False)
EXTENDED_HOP = context.Context(extended_next_hop=frozenset({families.IPV4_UNICAST}))
A = addresses.Address.parse


def prefix(text: str) -> routes.Prefix:
    host, _, length = text.partition("/")
    return routes.Prefix(A(host), int(length))


def sequence(*asns: int) -> attributes.AsPath:
    return (attributes.Segment(attributes.SegmentType.AS_SEQUENCE, asns),)


def read_one(data: bytes, with_context: context.Context = BOTH) -> messages.Message:
    (message,) = framing.Reader(with_context).feed(data)
    return message


OPEN_PLAIN = messages.Open(my_as=65001, hold_time=90, router_id=A("192.0.2.1"))
OPEN_FULL = messages.Open.of(
    asn=4200000001,
    hold_time=180,
    router_id=A("10.0.0.1"),
    capabilities=(
        capabilities.MultiProtocol(families.IPV4_UNICAST),
        capabilities.MultiProtocol(families.IPV6_UNICAST),
        capabilities.RouteRefresh(),
        capabilities.ExtendedNextHop((capabilities.NextHopEncoding(families.IPV4_UNICAST, families.AFI_IPV6),)),
        capabilities.ExtendedMessage(),
        capabilities.GracefulRestart(
            restarting=True,
            notification=True,
            restart_time=120,
            families=(
                capabilities.RestartFamily(families.IPV4_UNICAST, True),
                capabilities.RestartFamily(families.IPV6_UNICAST, False),
            ),
        ),
        capabilities.EnhancedRouteRefresh(),
        capabilities.Unknown(73, b"\x02r1\x00"),
    ),
)
GOLDEN: dict[str, tuple[messages.Message, str]] = {
    "keepalive": (messages.Keepalive(), f"{MARKER} 0013 04"),
    "open-without-parameters": (OPEN_PLAIN, f"{MARKER} 001d 01 04 fde9 005a c0000201 00"),
    "open-with-every-capability": (
        OPEN_FULL,
        f"{MARKER} 0051 01 04 5ba0 00b4 0a000001 34"
        " 02 32"  # One parameter, capabilities (RFC 5492), 50 bytes.
        " 01 04 0001 00 01  01 04 0002 00 01  02 00"
        " 05 06 0001 0001 0002  06 00"
        # R and N bits and 120 s; F bit for IPv4.
        " 40 0a c078 0001 01 80 0002 01 00"
        " 46 00  49 04 02723100  41 04 fa56ea01",
    ),
    "notification": (
        messages.Notification(code=2, subcode=2, data=b"\xfd\xe9"),
        f"{MARKER} 0017 03 02 02 fde9",
    ),
    "notification-shutdown-text": (
        notifications.cease(notifications.Cease.ADMINISTRATIVE_SHUTDOWN, "maintenance"),
        f"{MARKER} 0021 03 06 02 0b 6d61696e74656e616e6365",
    ),
    "notification-hard-reset": (
        notifications.hard_reset(notifications.cease(notifications.Cease.PEER_DE_CONFIGURED)),
        f"{MARKER} 0017 03 06 09 06 03",
    ),
    "route-refresh": (messages.RouteRefresh(family=families.IPV6_UNICAST), f"{MARKER} 0017 05 0002 00 01"),
    "route-refresh-begin": (
        messages.RouteRefresh(family=families.IPV4_UNICAST, subtype=messages.REFRESH_BEGIN),
        f"{MARKER} 0017 05 0001 01 01",
    ),
    "end-of-rib-ipv4": (messages.Update(), f"{MARKER} 0017 02 0000 0000"),
    "end-of-rib-ipv6": (
        messages.Update(unreach=multiprotocol.Unreach(family=families.IPV6_UNICAST)),
        f"{MARKER} 001d 02 0000 0006 80 0f 03 0002 01",
    ),
    "update-ipv4-external": (
        messages.Update(
            attributes=attributes.PathAttributes(
                origin=attributes.Origin.IGP,
                as_path=sequence(4200000001),
                next_hop=A("192.0.2.1"),
                communities=frozenset({communities.Standard(65000, 2), communities.Standard(65000, 1)}),
            ),
            nlri=(prefix("198.51.100.7/32"), prefix("203.0.113.0/25"), prefix("0.0.0.0/0")),
        ),
        f"{MARKER} 0041 02 0000 001f"
        " 40 01 01 00"
        " 40 02 06 02 01 fa56ea01"
        " 40 03 04 c0000201"
        " c0 08 08 fde80001 fde80002"
        " 20 c6336407  19 cb007100  00",
    ),
    "update-ipv4-internal-with-everything": (
        messages.Update(
            attributes=attributes.PathAttributes(
                origin=attributes.Origin.INCOMPLETE,
                as_path=(),
                next_hop=A("192.0.2.1"),
                med=7,
                local_pref=300,
                atomic_aggregate=True,
                aggregator=attributes.Aggregator(65001, A("10.0.0.1")),
                communities=frozenset({communities.GRACEFUL_SHUTDOWN, communities.Large(4200000000, 1, 2)}),
                unknown=(attributes.Unknown(99, 0xC0, b"ab"),),
            ),
            nlri=(prefix("10.1.0.0/16"),),
        ),
        f"{MARKER} 005f 02 0000 0045"
        " 40 01 01 02"
        " 40 02 00"
        " 40 03 04 c0000201"
        " 80 04 04 00000007"
        " 40 05 04 0000012c"
        " 40 06 00"
        " c0 07 08 0000fde9 0a000001"
        " c0 08 04 ffff0000"
        " c0 20 0c fa56ea00 00000001 00000002"
        " c0 63 02 6162"
        " 10 0a01",
    ),
    "update-withdraws": (
        messages.Update(withdrawn=(prefix("198.51.100.7/32"), prefix("10.0.0.0/8"))),
        f"{MARKER} 001e 02 0007 20 c6336407 08 0a 0000",
    ),
    "update-ipv6": (
        messages.Update(
            attributes=attributes.PathAttributes(origin=attributes.Origin.IGP, as_path=sequence(65001, 65002)),
            reach=multiprotocol.Reach(
                family=families.IPV6_UNICAST, next_hop=A("2001:db8::1"), prefixes=(prefix("2001:db8:1::/48"),)
            ),
        ),
        # MP_REACH_NLRI leads, whatever its number.
        f"{MARKER} 0047 02 0000 0030"
        " 80 0e 1c 0002 01 10 20010db8000000000000000000000001 00 30 20010db80001"
        " 40 01 01 00"
        " 40 02 0a 02 02 0000fde9 0000fdea",
    ),
    "update-ipv6-link-local": (
        messages.Update(
            attributes=attributes.PathAttributes(origin=attributes.Origin.IGP, as_path=()),
            reach=multiprotocol.Reach(
                family=families.IPV6_UNICAST,
                next_hop=A("2001:db8::1"),
                link_local=A("fe80::1"),
                prefixes=(prefix("2001:db8::7/128"),),
            ),
        ),
        f"{MARKER} 0057 02 0000 0040"
        " 80 0e 36 0002 01 20 20010db8000000000000000000000001 fe800000000000000000000000000001 00"
        " 80 20010db8000000000000000000000007"
        " 40 01 01 00"
        " 40 02 00",
    ),
    "update-ipv6-withdraws": (
        messages.Update(
            unreach=multiprotocol.Unreach(family=families.IPV6_UNICAST, prefixes=(prefix("2001:db8:1::/48"),))
        ),
        f"{MARKER} 0024 02 0000 000d 80 0f 0a 0002 01 30 20010db80001",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_bytes(name: str) -> None:
    message, text = GOLDEN[name]
    data = bytes.fromhex(text)
    assert int.from_bytes(data[16:18], "big") == len(data), "the golden bytes themselves"
    assert message.serialise() == data
    assert read_one(data) == message


def test_ipv4_over_an_ipv6_next_hop() -> None:
    (data,) = packing.announce(
        [prefix("198.51.100.7/32")],
        family=families.IPV4_UNICAST,
        attributes=attributes.PathAttributes(origin=attributes.Origin.IGP, as_path=()),
        next_hop=A("2001:db8::1"),
        link_local=A("fe80::1"),
    )
    assert data == bytes.fromhex(
        f"{MARKER} 004b 02 0000 0034"
        " 80 0e 2a 0001 01 20 20010db8000000000000000000000001 fe800000000000000000000000000001 00 20 c6336407"
        " 40 01 01 00"
        " 40 02 00"
    )
    message = read_one(data, EXTENDED_HOP)
    assert isinstance(message, messages.Update)
    assert message.reach == multiprotocol.Reach(
        family=families.IPV4_UNICAST,
        next_hop=A("2001:db8::1"),
        link_local=A("fe80::1"),
        prefixes=(prefix("198.51.100.7/32"),),
    )


def test_peer_with_two_octets_gets_as_trans_and_the_truth_beside_it() -> None:
    given = attributes.PathAttributes(
        as_path=sequence(4200000001, 65002), aggregator=attributes.Aggregator(4200000001, A("10.0.0.1"))
    )
    assert attributes.serialise(given, four_octet_as=False) == bytes.fromhex(
        "40 02 06 02 02 5ba0 fdea c0 07 06 5ba0 0a000001 c0 11 0a 02 02 fa56ea01 0000fdea c0 12 08 fa56ea01 0a000001"
    )


def test_peer_with_two_octets_gets_no_as4_path_without_need() -> None:
    given = attributes.PathAttributes(as_path=sequence(65001, 65002))
    assert attributes.serialise(given, four_octet_as=False) == bytes.fromhex("40 02 06 02 02 fde9 fdea")


SET = attributes.SegmentType.AS_SET
SEQUENCE = attributes.SegmentType.AS_SEQUENCE
# RFC 6793 section 4.2.3: AS_PATH of 2 bytes, AS4_PATH, what they mean together.
MERGES = {
    "same-length": ("02 02 5ba0 fdea", "02 02 fa56ea01 0000fdea", sequence(4200000001, 65002)),
    "leading-part-of-others": ("02 03 0001 5ba0 fdea", "02 02 fa56ea01 0000fdea", sequence(1, 4200000001, 65002)),
    "as4-longer-is-ignored": ("02 01 5ba0", "02 02 fa56ea01 0000fdea", sequence(23456)),
    "a-set-counts-one": (
        "01 02 0001 0002 02 01 5ba0",
        "02 01 fa56ea01",
        (attributes.Segment(SET, (1, 2)), attributes.Segment(SEQUENCE, (4200000001,))),
    ),
    "confederation-segments-are-dropped": ("02 01 5ba0", "03 01 0000fde9 02 01 fa56ea01", sequence(4200000001)),
}


def update_of(attribute_text: str, nlri_text: str = "08 0a") -> bytes:
    fields = bytes.fromhex(attribute_text)
    nlri = bytes.fromhex(nlri_text)
    body = bytes(2) + len(fields).to_bytes(2, "big") + fields + nlri
    return bytes.fromhex(MARKER) + (19 + len(body)).to_bytes(2, "big") + b"\x02" + body


def attribute(flags_and_type: str, value_text: str) -> str:
    value = bytes.fromhex(value_text)
    return f"{flags_and_type} {len(value):02x} {value_text} "


@pytest.mark.parametrize("name", MERGES)
def test_as4_path_is_merged(name: str) -> None:
    short, long, expected = MERGES[name]
    data = update_of("40 01 01 00 " + attribute("40 02", short) + "40 03 04 c0000201 " + attribute("c0 11", long))
    message = read_one(data, TWO_OCTETS)
    assert isinstance(message, messages.Update)
    assert message.problems == ()
    assert message.attributes.as_path == expected


@pytest.mark.parametrize(
    ("aggregator", "expected_asn", "expected_path"),
    [
        pytest.param("5ba0 0a000001", 4200000001, 4200000001, id="as-trans-is-replaced"),
        pytest.param("fde9 0a000001", 65001, 23456, id="another-speaker-makes-both-stale"),
    ],
)
def test_as4_aggregator_is_merged(aggregator: str, expected_asn: int, expected_path: int) -> None:
    data = update_of(
        "40 01 01 00 40 02 04 02 01 5ba0 40 03 04 c0000201 "
        + attribute("c0 07", aggregator)
        + "c0 11 06 02 01 fa56ea01 c0 12 08 fa56ea01 0a000001"
    )
    message = read_one(data, TWO_OCTETS)
    assert isinstance(message, messages.Update)
    assert message.attributes.aggregator == attributes.Aggregator(expected_asn, A("10.0.0.1"))
    assert message.attributes.as_path == sequence(expected_path)


def test_asn_of_an_open() -> None:
    assert OPEN_FULL.asn == 4200000001
    assert OPEN_FULL.my_as == 23456
    assert OPEN_PLAIN.asn == 65001
    assert not OPEN_PLAIN.four_octet_as


def test_many_capabilities_use_the_longer_parameters() -> None:
    many = tuple(capabilities.Unknown(200 + index, bytes(100)) for index in range(3))
    message = messages.Open(my_as=65001, hold_time=90, router_id=A("10.0.0.1"), capabilities=many)
    data = message.serialise()
    # RFC 9072 section 2: 255, 255, two bytes of length; the parameter's own length has two bytes as well.
    assert data[28:35] == bytes.fromhex("ff ff 0135 02 0132")
    assert read_one(data) == message


def test_longer_parameters_are_read_whatever_the_short_length_says() -> None:
    data = bytes.fromhex(f"{MARKER} 0029 01 04 fde9 005a c0000201 0c ff 0009 02 0006 01 04 0001 00 01")
    assert read_one(data) == messages.Open(
        my_as=65001,
        hold_time=90,
        router_id=A("192.0.2.1"),
        capabilities=(capabilities.MultiProtocol(families.IPV4_UNICAST),),
    )


def test_capabilities_in_parameters_of_their_own_are_read() -> None:
    data = bytes.fromhex(f"{MARKER} 0029 01 04 fde9 005a c0000201 0c 02 06 01 04 0001 00 01 02 02 02 00")
    message = read_one(data)
    assert isinstance(message, messages.Open)
    assert message.capabilities == (capabilities.MultiProtocol(families.IPV4_UNICAST), capabilities.RouteRefresh())


def test_attribute_above_255_bytes_has_the_long_length() -> None:
    many = frozenset(communities.Standard(65000, index) for index in range(64))
    data = attributes.serialise(attributes.PathAttributes(communities=many))
    assert data[:4] == bytes.fromhex("d0 08 0100")
    assert len(data) == 4 + 256
    assert data[4:12] == bytes.fromhex("fde80000 fde80001")


def test_path_above_255_numbers_is_written_in_segments() -> None:
    data = attributes.serialise(attributes.PathAttributes(as_path=sequence(*range(1, 301))))
    assert data[:6] == bytes.fromhex("50 02 04b4 02 ff")
    assert data[6 + 255 * 4 :][:2] == bytes.fromhex("02 2d")


@pytest.mark.parametrize(
    ("ibgp", "local_pref", "expected"),
    [
        pytest.param(False, None, "40 01 01 00 40 02 06 02 01 0000fde9", id="external"),
        pytest.param(False, 300, "40 01 01 00 40 02 06 02 01 0000fde9", id="external-is-told-no-local-pref"),
        pytest.param(True, None, "40 01 01 00 40 02 00 40 05 04 00000064", id="internal-default"),
        pytest.param(True, 0, "40 01 01 00 40 02 00 40 05 04 00000000", id="internal-zero"),
        pytest.param(True, 300, "40 01 01 00 40 02 00 40 05 04 0000012c", id="internal"),
    ],
)
def test_originated(ibgp: bool, local_pref: int | None, expected: str) -> None:
    given = attributes.originated(routes.Attributes(local_pref=local_pref), asn=65001, ibgp=ibgp)
    assert attributes.serialise(given) == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("notification", "text"),
    [
        (messages.Notification(code=4), "hold timer expired (4/0)"),
        (messages.Notification(code=2, subcode=2), "OPEN message error: bad peer AS (2/2)"),
        (messages.Notification(code=2, subcode=99), "OPEN message error (2/99)"),
        (messages.Notification(code=77, subcode=1), "unknown error (77/1)"),
        (
            messages.Notification(code=6, subcode=2, data=b"\x03bye"),
            "cease: administrative shutdown (6/2): 'bye'",
        ),
        # A line break would forge a line of the log; a length beyond the end shows what is there.
        (messages.Notification(code=6, subcode=4, data=b"\xffa\nb\xff"), "cease: administrative reset (6/4): 'a�b�'"),
        (messages.Notification(code=6, subcode=3, data=b"\x03bye"), "cease: peer de-configured (6/3)"),
        (
            notifications.hard_reset(notifications.cease(notifications.Cease.ADMINISTRATIVE_SHUTDOWN, "bye")),
            "cease: hard reset (6/9), for cease: administrative shutdown (6/2): 'bye'",
        ),
        (messages.Notification(code=6, subcode=9), "cease: hard reset (6/9)"),
        (messages.Notification(code=6, subcode=10), "cease: BFD down (6/10)"),
        (
            messages.Notification(code=5, subcode=1),
            "finite state machine error: unexpected message in OpenSent state (5/1)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_notification_for_people(notification: messages.Notification, text: str) -> None:
    assert str(notification) == text


def test_every_notification_has_words() -> None:
    for code in notifications.Code:
        for subcode in notifications.SUBCODES.get(code, ()):
            assert ": " in notifications.describe(code, subcode)


def test_shutdown_text_is_cut_between_characters() -> None:
    message = notifications.cease(notifications.Cease.ADMINISTRATIVE_SHUTDOWN, "é" * 200)
    assert message.data == bytes((254,)) + "é".encode() * 127
    assert message.text == "é" * 127


def test_long_data_is_cut_to_a_message() -> None:
    assert len(messages.Notification(code=3, subcode=9, data=bytes(9000)).serialise()) == 4096
