"""The codecs against golden bytes, by round trip, and against garbage."""

import contextlib
import os
import random

import hypothesis
import pytest
from hypothesis import strategies

from metallb_core.domain import addresses
from metallb_speaker.packets import arp, ethernet, ndp

MAC_A = bytes.fromhex("0242ac110002")
MAC_B = bytes.fromhex("0242ac110003")
V4 = addresses.Address.parse("192.0.2.10")
V6 = addresses.Address.parse("2001:db8::12:3456")
CLIENT6 = addresses.Address.parse("fe80::42:acff:fe11:3")

macs = strategies.binary(min_size=6, max_size=6)
v4 = strategies.integers(0, 2**32 - 1).map(lambda value: addresses.Address(addresses.Family.IPV4, value))
v6 = strategies.integers(0, 2**128 - 1).map(lambda value: addresses.Address(addresses.Family.IPV6, value))
unicast6 = v6.filter(lambda address: address.value >> 120 != 0xFF and address.value != 0)

# Written by hand from the layout of RFC 826, so that a mistake shared by parse and serialise shows.
ARP_REQUEST = bytes.fromhex("0001 0800 06 04 0001 0242ac110003 c0000201 000000000000 c000020a")
ARP_REPLY = bytes.fromhex("0001 0800 06 04 0002 0242ac110002 c000020a 0242ac110003 c0000201")


def test_arp_golden_bytes() -> None:
    request = arp.Packet.parse(ARP_REQUEST + bytes(18))
    assert request == arp.Packet(
        operation=arp.REQUEST,
        sender_mac=MAC_B,
        sender=addresses.Address.parse("192.0.2.1"),
        target_mac=ethernet.NO_MAC,
        target=V4,
    )
    assert request.serialise() == ARP_REQUEST
    answer = arp.reply(request, MAC_A)
    assert answer.serialise() == MAC_B + MAC_A + b"\x08\x06" + ARP_REPLY
    assert ethernet.Frame.parse(answer.serialise()) == answer


def test_arp_announcements_are_a_request_and_a_reply_to_all() -> None:
    request, answer = (arp.Packet.parse(frame.payload) for frame in arp.announcements(V4, MAC_A))
    assert (request.operation, answer.operation) == (arp.REQUEST, arp.REPLY)
    assert request.is_announcement
    assert answer.is_announcement
    assert {frame.destination for frame in arp.announcements(V4, MAC_A)} == {ethernet.BROADCAST}
    assert (request.target_mac, answer.target_mac) == (ethernet.NO_MAC, MAC_A)


def test_arp_probe_is_told_from_a_request() -> None:
    probe = arp.Packet.parse(bytes.fromhex("0001 0800 06 04 0001 0242ac110003 00000000 000000000000 c000020a"))
    assert probe.is_probe
    assert not arp.Packet.parse(ARP_REQUEST).is_probe


# Captured between two Linux 6.18 hosts (ndisc6 asks, the kernel answers); only the solicitation's flow label was set to zero.
NS_GOLDEN = bytes.fromhex(
    "6000000000203aff fe800000000000000042acfffe110003 ff0200000000000000000001ff123456"
    "8700 8ae7 00000000 20010db8000000000000000000123456 0101 0242ac110003"
)
NA_KERNEL = bytes.fromhex(
    "6000000000203aff 20010db8000000000000000000123456 fe800000000000000042acfffe110003"
    "8800 f933 60000000 20010db8000000000000000000123456 0201 0242ac110002"
)


def test_ndp_golden_bytes() -> None:
    request = ndp.parse(NS_GOLDEN)
    assert request == ndp.Solicitation(source=CLIENT6, destination=ndp.solicited_node(V6), target=V6, source_mac=MAC_B)
    assert request.serialise() == NS_GOLDEN
    answer = ndp.parse(NA_KERNEL)
    assert answer == ndp.Advertisement(
        source=V6, destination=CLIENT6, target=V6, target_mac=MAC_A, solicited=True, override=True
    )
    assert answer.serialise() == NA_KERNEL


def test_ndp_reply_is_solicited_without_override() -> None:
    request = ndp.parse(NS_GOLDEN)
    assert isinstance(request, ndp.Solicitation)
    frame = ndp.reply(request, MAC_B, MAC_A)
    answer = ndp.parse(frame.payload)
    assert (frame.destination, frame.source) == (MAC_B, MAC_A)
    assert answer == ndp.Advertisement(
        source=V6, destination=CLIENT6, target=V6, target_mac=MAC_A, solicited=True, override=False
    )


def test_ndp_reply_to_a_duplicate_probe_goes_to_all_nodes_with_override() -> None:
    probe = ndp.Solicitation(source=ndp.UNSPECIFIED, destination=ndp.solicited_node(V6), target=V6)
    assert probe.is_probe
    frame = ndp.reply(probe, MAC_B, MAC_A)
    assert frame.destination == bytes.fromhex("333300000001")
    assert ndp.parse(frame.payload) == ndp.Advertisement(
        source=V6, destination=ndp.ALL_NODES, target=V6, target_mac=MAC_A, override=True
    )


def test_solicited_node_group() -> None:
    group = ndp.solicited_node(V6)
    assert str(group) == "ff02::1:ff12:3456"
    assert ethernet.ipv6_group_mac(group.packed()) == bytes.fromhex("3333ff123456")


def _resummed(packet: bytes) -> bytes:
    message = packet[40:42] + b"\0\0" + packet[44:]
    total = ndp.checksum(packet[8:24], packet[24:40], message)
    return packet[:42] + total.to_bytes(2, "big") + packet[44:]


def _with(packet: bytes, offset: int, text: str) -> bytes:
    data = bytes.fromhex(text)
    return packet[:offset] + data + packet[offset + len(data) :]


NA_GOLDEN = ndp.announcement(V6, MAC_A).payload


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="empty"),
        pytest.param(NS_GOLDEN[:63], id="cut before the target ends"),
        pytest.param(NS_GOLDEN[:-1], id="cut in the option"),
        pytest.param(_with(NS_GOLDEN, 0, "40"), id="IPv4 version"),
        pytest.param(_with(NS_GOLDEN, 6, "00"), id="extension header"),
        pytest.param(_with(NS_GOLDEN, 7, "fe"), id="hop limit 254: came through a router"),
        pytest.param(_with(NS_GOLDEN, 42, "0000"), id="wrong checksum"),
        pytest.param(_resummed(_with(NS_GOLDEN, 41, "01")), id="code 1"),
        pytest.param(_resummed(_with(NS_GOLDEN, 40, "85")), id="router solicitation"),
        pytest.param(_resummed(_with(NS_GOLDEN, 48, "ff")), id="multicast target"),
        pytest.param(_resummed(_with(NS_GOLDEN, 65, "00")), id="option of length zero"),
        pytest.param(_resummed(_with(NS_GOLDEN, 65, "02")), id="option longer than the packet"),
        pytest.param(_resummed(_with(NS_GOLDEN, 8, "00" * 16)), id="probe with a link-layer address"),
        pytest.param(_resummed(_with(NA_GOLDEN, 44, "60")), id="advertisement to a group marked solicited"),
        pytest.param(
            ndp.Solicitation(source=ndp.UNSPECIFIED, destination=V6, target=V6).serialise(), id="probe to one node"
        ),
    ],
)
def test_ndp_refuses(packet: bytes) -> None:
    with pytest.raises(ndp.MalformedNdpError):
        ndp.parse(packet)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(ARP_REQUEST[:27], id="short"),
        pytest.param(_with(ARP_REQUEST, 0, "0006"), id="another hardware type"),
        pytest.param(_with(ARP_REQUEST, 2, "86dd"), id="another protocol"),
        pytest.param(_with(ARP_REQUEST, 4, "08"), id="another hardware length"),
        pytest.param(_with(ARP_REQUEST, 5, "10"), id="another protocol length"),
    ],
)
def test_arp_refuses(packet: bytes) -> None:
    with pytest.raises(arp.MalformedArpError):
        arp.Packet.parse(packet)


def test_ndp_skips_unknown_options() -> None:
    nonce = bytes.fromhex("0e01010203040506")
    packet = NS_GOLDEN[:4] + b"\x00\x28" + NS_GOLDEN[6:64] + nonce + NS_GOLDEN[64:]
    parsed = ndp.parse(_resummed(packet))
    assert isinstance(parsed, ndp.Solicitation)
    assert parsed.source_mac == MAC_B


@hypothesis.given(operation=strategies.integers(0, 65535), a=macs, sender=v4, b=macs, target=v4)
def test_arp_round_trip(
    operation: int, a: bytes, sender: addresses.Address, b: bytes, target: addresses.Address
) -> None:
    packet = arp.Packet(operation=operation, sender_mac=a, sender=sender, target_mac=b, target=target)
    assert arp.Packet.parse(packet.serialise()) == packet


@hypothesis.given(source=unicast6, destination=v6, target=unicast6, mac=strategies.none() | macs)
def test_solicitation_round_trip(
    source: addresses.Address, destination: addresses.Address, target: addresses.Address, mac: bytes | None
) -> None:
    packet = ndp.Solicitation(source=source, destination=destination, target=target, source_mac=mac)
    assert ndp.parse(packet.serialise()) == packet


@hypothesis.given(
    source=unicast6,
    destination=unicast6,
    target=unicast6,
    mac=strategies.none() | macs,
    flags=strategies.tuples(strategies.booleans(), strategies.booleans(), strategies.booleans()),
)
def test_advertisement_round_trip(
    source: addresses.Address,
    destination: addresses.Address,
    target: addresses.Address,
    mac: bytes | None,
    flags: tuple[bool, bool, bool],
) -> None:
    packet = ndp.Advertisement(
        source=source,
        destination=destination,
        target=target,
        target_mac=mac,
        router=flags[0],
        solicited=flags[1],
        override=flags[2],
    )
    assert ndp.parse(packet.serialise()) == packet


@hypothesis.given(destination=macs, source=macs, ethertype=strategies.integers(0, 65535), payload=strategies.binary())
def test_frame_round_trip(destination: bytes, source: bytes, ethertype: int, payload: bytes) -> None:
    frame = ethernet.Frame(destination=destination, source=source, ethertype=ethertype, payload=payload)
    assert ethernet.Frame.parse(frame.serialise()) == frame


def test_frame_refuses_a_short_header() -> None:
    with pytest.raises(ethernet.MalformedFrameError):
        ethernet.Frame.parse(bytes(13))


@hypothesis.given(mac=macs)
def test_mac_text_round_trip(mac: bytes) -> None:
    assert ethernet.parse_mac(ethernet.format_mac(mac)) == mac


@pytest.mark.parametrize("text", [pytest.param(t, id=repr(t)) for t in ("", "00:11", "zz:00:00:00:00:00", "00" * 20)])
def test_mac_text_refused(text: str) -> None:
    with pytest.raises(ethernet.MalformedFrameError):
        ethernet.parse_mac(text)


def _mutations(count: int) -> None:
    """Parse `count` damaged packets; only the codec's own error may come out."""
    source = random.Random(5227)
    seeds = (NS_GOLDEN, NA_GOLDEN, ARP_REQUEST, ARP_REPLY)
    for index in range(count):
        data = bytearray(seeds[index % 4])
        for _ in range(source.randint(1, 4)):
            choice = source.random()
            if choice < 0.6 and data:
                data[source.randrange(len(data))] = source.randrange(256)
            elif choice < 0.8:
                del data[source.randrange(len(data) + 1) :]
            else:
                data += source.randbytes(source.randint(1, 40))
        whole = bytes(data)
        if index % 2 and len(whole) > 48:
            whole = _resummed(whole)
        with contextlib.suppress(ndp.MalformedNdpError):
            ndp.parse(whole)
        with contextlib.suppress(arp.MalformedArpError):
            arp.Packet.parse(whole)


def test_damaged_packets_raise_only_the_codecs_own_error() -> None:
    _mutations(2000)


@pytest.mark.slow
def test_damaged_packets_raise_only_the_codecs_own_error_at_length() -> None:
    _mutations(int(os.environ.get("METALLB_FUZZ", "100000")))
