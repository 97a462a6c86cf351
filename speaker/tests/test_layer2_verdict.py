"""What is answered, what is a claim, and what is neither."""

import dataclasses
import os
import random

import hypothesis
import pytest
from hypothesis import strategies

from metallb_core.domain import addresses
from metallb_speaker.layer2 import verdict
from metallb_speaker.packets import arp, ethernet, ndp

OURS = b"\2\0\0\0\0\1"
OURS_TOO = b"\2\0\0\0\0\2"
OTHER = b"\2\0\0\0\0\x99"
V4 = addresses.Address.parse("192.0.2.10")
CLIENT = addresses.Address.parse("192.0.2.1")
V6 = addresses.Address.parse("2001:db8::10")
CLIENT6 = addresses.Address.parse("fe80::99")
HELD = frozenset((V4.packed(), V6.packed()))
OWN = frozenset((OURS, OURS_TOO))

REQUEST = arp.Packet(operation=arp.REQUEST, sender_mac=OTHER, sender=CLIENT, target_mac=bytes(6), target=V4)
NS = ndp.Solicitation(source=CLIENT6, destination=ndp.solicited_node(V6), target=V6, source_mac=OTHER)
NA = ndp.Advertisement(source=V6, destination=ndp.ALL_NODES, target=V6, target_mac=OTHER, override=True)
GROUP = ethernet.ipv6_group_mac(ndp.solicited_node(V6).packed())


def _arp(packet: arp.Packet, destination: bytes = ethernet.BROADCAST, padding: int = 18) -> bytes:
    frame = ethernet.Frame(
        destination=destination, source=packet.sender_mac, ethertype=ethernet.TYPE_ARP, payload=packet.serialise()
    )
    return frame.serialise() + bytes(padding)


def _ndp(packet: ndp.Solicitation | ndp.Advertisement, destination: bytes = GROUP, source: bytes = OTHER) -> bytes:
    return ethernet.Frame(
        destination=destination, source=source, ethertype=ethernet.TYPE_IPV6, payload=packet.serialise()
    ).serialise()


CLAIM4 = verdict.Claim(V4.packed(), OTHER)
CLAIM6 = verdict.Claim(V6.packed(), OTHER)
NO_IP = addresses.Address(addresses.Family.IPV4, 0)
STRANGER = addresses.Address.parse("192.0.2.77")


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(_arp(REQUEST), "answer", id="request to all"),
        pytest.param(_arp(REQUEST, padding=0), "answer", id="request without padding"),
        pytest.param(_arp(REQUEST, destination=OURS), "answer", id="request to us"),
        pytest.param(_arp(REQUEST, destination=OURS_TOO), None, id="request to another station"),
        pytest.param(_arp(dataclasses.replace(REQUEST, sender=NO_IP)), "answer", id="probe"),
        pytest.param(_arp(dataclasses.replace(REQUEST, target=STRANGER)), None, id="another target"),
        pytest.param(_arp(dataclasses.replace(REQUEST, operation=3)), None, id="reverse ARP"),
        pytest.param(_arp(dataclasses.replace(REQUEST, sender_mac=b"\1" + OTHER[1:])), None, id="group as sender"),
        pytest.param(_arp(dataclasses.replace(REQUEST, sender_mac=bytes(6))), None, id="nobody as sender"),
        pytest.param(_arp(dataclasses.replace(REQUEST, sender=V4)), CLAIM4, id="gratuitous request"),
        pytest.param(_arp(dataclasses.replace(REQUEST, sender=V4, operation=arp.REPLY)), CLAIM4, id="gratuitous reply"),
        pytest.param(_arp(dataclasses.replace(REQUEST, sender=V4, target=CLIENT)), CLAIM4, id="asking in our name"),
        pytest.param(_arp(dataclasses.replace(REQUEST, sender=V4, sender_mac=OURS_TOO)), None, id="our other link"),
        pytest.param(_arp(dataclasses.replace(REQUEST, operation=arp.REPLY)), None, id="reply to us"),
        pytest.param(_arp(REQUEST)[:41], None, id="cut"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_arp(frame: bytes, expected: object) -> None:
    outcome = verdict.on_arp(frame, OURS, HELD, OWN)
    if expected == "answer":
        assert isinstance(outcome, verdict.Answer)
        assert outcome.address == V4.packed()
        request = arp.Packet.parse(frame[14:])
        assert outcome.frame == arp.reply(request, OURS).serialise(), "the template is what the codec would write"
    else:
        assert outcome == expected


PROBE6 = ndp.Solicitation(source=ndp.UNSPECIFIED, destination=ndp.solicited_node(V6), target=V6)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(_ndp(NS), "answer", id="solicitation to the group"),
        pytest.param(_ndp(NS, destination=OURS), "answer", id="solicitation to us"),
        pytest.param(_ndp(NS, destination=OURS_TOO), None, id="solicitation to another station"),
        pytest.param(_ndp(dataclasses.replace(NS, destination=V6, source_mac=None), OURS), "answer", id="no option"),
        pytest.param(_ndp(PROBE6), "probe", id="duplicate address detection"),
        pytest.param(_ndp(dataclasses.replace(NS, target=CLIENT6)), None, id="another target"),
        pytest.param(_ndp(dataclasses.replace(NS, source_mac=b"\x33" * 6)), None, id="group as asker"),
        pytest.param(_ndp(NA, destination=ethernet.ipv6_group_mac(ndp.ALL_NODES.packed())), CLAIM6, id="claim"),
        pytest.param(_ndp(dataclasses.replace(NA, target_mac=None)), CLAIM6, id="claim without the option"),
        pytest.param(_ndp(dataclasses.replace(NA, target_mac=OURS_TOO)), None, id="our other link"),
        pytest.param(_ndp(NS)[:-3], None, id="cut"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_ndp(frame: bytes, expected: object) -> None:
    outcome = verdict.on_ndp(frame, OURS, HELD, OWN)
    if expected in ("answer", "probe"):
        assert isinstance(outcome, verdict.Answer)
        assert outcome.address == V6.packed()
        answer = ndp.parse(outcome.frame[14:])
        assert isinstance(answer, ndp.Advertisement)
        assert (answer.target, answer.target_mac) == (V6, OURS)
        assert answer.destination == (CLIENT6 if expected == "answer" else ndp.ALL_NODES)
        assert answer.solicited == (expected == "answer")
        assert answer.override == (expected == "probe")
    else:
        assert outcome == expected


def test_announcements() -> None:
    assert len(verdict.announcement_frames(V4, OURS)) == 2
    assert len(verdict.announcement_frames(V6, OURS)) == 1
    for address in (V4, V6):
        for frame in verdict.announcement_frames(address, OTHER):
            judge = verdict.on_arp if address is V4 else verdict.on_ndp
            assert judge(frame, OURS, HELD, OWN) == verdict.Claim(address.packed(), OTHER)
            assert judge(frame, OTHER, HELD, frozenset((OTHER,))) is None


@hypothesis.given(frame=strategies.binary(max_size=120))
def test_garbage_has_no_verdict(frame: bytes) -> None:
    assert verdict.on_arp(frame, OURS, HELD, OWN) is None or frame[14:20] == _arp(REQUEST)[14:20]
    verdict.on_ndp(frame, OURS, HELD, OWN)


def _damage(count: int) -> None:
    """Judge `count` damaged frames: nothing raises, and whatever is answered is for a held address and well formed."""
    source = random.Random(826)
    seeds = (_arp(REQUEST), _arp(dataclasses.replace(REQUEST, sender=V4)), _ndp(NS), _ndp(NA), _ndp(PROBE6))
    for index in range(count):
        data = bytearray(seeds[index % len(seeds)])
        for _ in range(source.randint(1, 3)):
            if source.random() < 0.8 and data:
                data[source.randrange(len(data))] = source.randrange(256)
            else:
                del data[source.randrange(len(data) + 1) :]
        for judge, parse in ((verdict.on_arp, arp.Packet.parse), (verdict.on_ndp, ndp.parse)):
            outcome = judge(bytes(data), OURS, HELD, OWN)
            if outcome is not None:
                assert outcome.address in HELD
            if isinstance(outcome, verdict.Answer):
                parse(outcome.frame[14:])


def test_damaged_frames() -> None:
    _damage(2000)


@pytest.mark.slow
def test_damaged_frames_at_length() -> None:
    _damage(int(os.environ.get("METALLB_FUZZ", "100000")))
