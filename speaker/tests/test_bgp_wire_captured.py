"""What real routers sent, read by the codec: FRR 8.4.4, BIRD 2.0.12, GoBGP 3.10.0, OpenBGPD 7.7, captured as the body behind each marker.

The neighbour was AS 4200000001 at 10.77.0.2 and fd77::2; the router AS 65010 at 10.77.0.1 and fd77::1.
"""

import pytest

from metallb_core.domain import addresses
from metallb_speaker.bgp.wire import capabilities, context, families, framing, messages

MARKER = b"\xff" * 16
V4, V6 = families.IPV4_UNICAST, families.IPV6_UNICAST
FOUR_OCTETS = context.Context(families=frozenset({V4, V6}))
TWO_OCTETS = context.Context(families=frozenset({V4, V6}), four_octet_as=False)

OPENS = {
    "frr": (
        "007d0104fdf200b40a4d00016002060104000100010206010400020001020280000202020002024600020641040000fdf2020206"
        "00020a45080001010100020101020a490806726f7574657200020c400ac07800010100000201000210470e0001018000000000020180000000",
        180,
        capabilities.GracefulRestart(
            restarting=True,
            notification=True,
            restart_time=120,
            families=(capabilities.RestartFamily(V4, False), capabilities.RestartFamily(V6, False)),
        ),
    ),
    "bird": (
        "004b0104fdf200f00a4d00012e022c01040001000101040002000102000506000100010002400a0078000101000002010041040000fdf2"
        "46004700",
        240,
        capabilities.GracefulRestart(
            restart_time=120,
            families=(capabilities.RestartFamily(V4, False), capabilities.RestartFamily(V6, False)),
        ),
    ),
    "gobgp": (
        "004d0104fdf2005a0a4d000130022e0200490402766d0001040001000101040002000141040000fdf2400a403c00010100000201000506"
        "000100010002",
        90,
        capabilities.GracefulRestart(
            notification=True,
            restart_time=60,
            families=(capabilities.RestartFamily(V4, False), capabilities.RestartFamily(V6, False)),
        ),
    ),
    "openbgpd": (
        "00370104fdf2005a0a4d00011a021801040001000101040002000102004002800041040000fdf2",
        90,
        capabilities.GracefulRestart(restarting=True),
    ),
}


@pytest.mark.parametrize("name", OPENS)
def test_open(name: str) -> None:
    text, hold_time, graceful_restart = OPENS[name]
    (parsed,) = framing.Reader().feed(MARKER + bytes.fromhex(text))
    assert isinstance(parsed, messages.Open)
    assert (parsed.asn, parsed.hold_time) == (65010, hold_time)
    assert parsed.router_id == addresses.Address.parse("10.77.0.1")
    assert parsed.four_octet_as
    held = parsed.capabilities
    assert graceful_restart in held
    assert capabilities.RouteRefresh() in held
    assert [each.family for each in held if isinstance(each, capabilities.MultiProtocol)] == [V4, V6]
    # Written and read once more it says the same, in one parameter or in many.
    assert messages.Open.parse(parsed.serialise()[19:]) == parsed


# Bytes, how they are read, prefixes, next hop, path, communities, MED.
UPDATES = {
    "frr": (
        "005a020000003a400101005002000a02020000fdf2fa56ea094003040a4d000180040400000032c00808fdf20001fdf20002c0200c0000fdf2"
        "000000010000000218c6336419c6336500",
        FOUR_OCTETS,
        ["198.51.100.0/24", "198.51.101.0/25"],
        "10.77.0.1",
        (65010, 4200000009),
        {"65010:1", "65010:2", "large:65010:1:2"},
        50,
    ),
    "frr-two-octets": (
        "0064020000004440010100500200060202fdf25ba04003040a4d000180040400000032c00808fdf20001fdf20002c0200c0000fdf2"
        "0000000100000002d011000a02020000fdf2fa56ea0918c6336419c6336500",
        TWO_OCTETS,
        ["198.51.100.0/24", "198.51.101.0/25"],
        "10.77.0.1",
        (65010, 4200000009),
        {"65010:1", "65010:2", "large:65010:1:2"},
        50,
    ),
    "frr-ipv6": (
        "007a0200000063900e002c00020120fd770000000000000000000000000001fe80000000000000e81a39fffe3a0ab6003020010db80001"
        "400101005002000a02020000fdf2fa56ea0980040400000032c00808fdf20001fdf20002c0200c0000fdf20000000100000002",
        FOUR_OCTETS,
        ["2001:db8:1::/48"],
        "fd77::1",
        (65010, 4200000009),
        {"65010:1", "65010:2", "large:65010:1:2"},
        50,
    ),
    # Its IPv4 routes are in MP_REACH_NLRI once extended next hops are agreed on, IPv4 next hops included.
    "bird": (
        "004f0200000038900e000d000101040a4d00010018c633644001010040020a02020000fdf2fa56ea09c00804fdf20001c0200c0000fdf2"
        "0000000100000002",
        FOUR_OCTETS,
        ["198.51.100.0/24"],
        "10.77.0.1",
        (65010, 4200000009),
        {"65010:1", "large:65010:1:2"},
        None,
    ),
    "bird-two-octets": (
        "00520200000037400101004002060202fdf25ba04003040a4d0001c00804fdf20001c0110a02020000fdf2fa56ea09c0200c0000fdf2"
        "000000010000000218c63364",
        TWO_OCTETS,
        ["198.51.100.0/24"],
        "10.77.0.1",
        (65010, 4200000009),
        {"65010:1", "large:65010:1:2"},
        None,
    ),
    "gobgp": (
        "004c02000000314001010040020602010000fdf24003040a4d000180040400000005c00804fdf20001c0200c0000fdf2000000010000000218"
        "c63364",
        FOUR_OCTETS,
        ["198.51.100.0/24"],
        "10.77.0.1",
        (65010,),
        {"65010:1", "large:65010:1:2"},
        5,
    ),
    # An IPv6 route over IPv4, with a next hop that only looks like IPv6.
    "gobgp-ipv6": (
        "0043020000002c4001010240020602010000fdf2800e1c0002011000000000000000000000ffff0a4d0001003020010db80001",
        FOUR_OCTETS,
        ["2001:db8:1::/48"],
        "::ffff:a4d:1",
        (65010,),
        set[str](),
        None,
    ),
    "openbgpd": (
        "004c02000000314001010040020602010000fdf24003040a4d000180040400000005c00804fdf20001c0200c0000fdf2000000010000000218"
        "c63364",
        FOUR_OCTETS,
        ["198.51.100.0/24"],
        "10.77.0.1",
        (65010,),
        {"65010:1", "large:65010:1:2"},
        5,
    ),
}


@pytest.mark.parametrize("name", UPDATES)
def test_update(name: str) -> None:
    text, with_context, prefixes, next_hop, path, told, med = UPDATES[name]
    (parsed,) = framing.Reader(with_context).feed(MARKER + bytes.fromhex(text))
    assert isinstance(parsed, messages.Update)
    assert parsed.problems == ()
    assert [str(prefix) for prefix in parsed.announced] == prefixes
    given = parsed.attributes
    assert str(given.next_hop if parsed.reach is None else parsed.reach.next_hop) == next_hop
    assert [segment.asns for segment in given.as_path or ()] == [path]
    assert {str(each) for each in given.communities} == told
    assert given.med == med


@pytest.mark.parametrize(
    ("text", "family"),
    [pytest.param("00170200000000", V4, id="ipv4"), pytest.param("001d0200000006800f03000201", V6, id="ipv6")],
)
def test_end_of_rib_of_all_four(text: str, family: families.Family) -> None:
    (parsed,) = framing.Reader(FOUR_OCTETS).feed(MARKER + bytes.fromhex(text))
    assert isinstance(parsed, messages.Update)
    assert parsed.end_of_rib == family


def test_refusal_by_openbgpd_holds_our_attribute() -> None:
    """It had not agreed on extended next hops, and says which attribute it could not take."""
    (parsed,) = framing.Reader().feed(
        MARKER + bytes.fromhex("002f03030900010110fd7700000000000000000000000000020020cb007109")
    )
    assert isinstance(parsed, messages.Notification)
    assert str(parsed) == "UPDATE message error: optional attribute error (3/9)"
    assert parsed.data.startswith(b"\0\1\1\x10\xfd\x77")
