"""Which links are used, and how the kernel's messages fold into a table."""

import dataclasses
import re

import pytest

from metallb_core.domain import addresses, interfaces
from metallb_speaker.layer2 import inventory, link

GOOD = link.Link(
    name="eth0",
    index=2,
    mac=b"\2\0\0\0\0\1",
    up=True,
    carrier=True,
    arp=True,
    broadcast=True,
    has_link_local=True,
)
EXCLUDE = (re.compile("^docker.*"), re.compile("veth"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, None, id="good"),
        pytest.param({"name": "docker0"}, link.Unusable.EXCLUDED, id="excluded"),
        pytest.param({"name": "my-veth-1"}, link.Unusable.EXCLUDED, id="excluded by a match inside"),
        pytest.param({"loopback": True}, link.Unusable.LOOPBACK, id="loopback"),
        pytest.param({"ethernet": False}, link.Unusable.NOT_ETHERNET, id="tunnel"),
        pytest.param({"mac": b""}, link.Unusable.NOT_ETHERNET, id="no hardware address"),
        pytest.param({"master": "bond0", "master_kind": "bond"}, link.Unusable.MEMBER, id="bond member"),
        pytest.param({"master": "br0", "master_kind": "bridge"}, link.Unusable.MEMBER, id="bridge port"),
        pytest.param({"master": "#7", "master_kind": None}, link.Unusable.MEMBER, id="member of an unknown master"),
        pytest.param({"master": "blue", "master_kind": "vrf"}, None, id="VRF member"),
        pytest.param({"arp": False}, link.Unusable.NO_ARP, id="NOARP"),
        pytest.param({"up": False}, link.Unusable.DOWN, id="down"),
        pytest.param({"carrier": False}, link.Unusable.NO_CARRIER, id="no cable"),
    ],
)
def test_unusable(changes: dict[str, object], expected: link.Unusable | None) -> None:
    changed = dataclasses.replace(GOOD, **changes)  # type: ignore[arg-type]
    assert changed.unusable(EXCLUDE) is expected
    table = link.Table(revision=1, links={changed.name: changed})
    assert (changed.name in table.usable(EXCLUDE)) == (expected is None)


def test_each_family_has_its_links() -> None:
    every = [
        dataclasses.replace(GOOD, name="eth0"),
        dataclasses.replace(GOOD, name="eth1", has_link_local=False),
        dataclasses.replace(GOOD, name="eth2", broadcast=False),
        dataclasses.replace(GOOD, name="eth3"),
        dataclasses.replace(GOOD, name="docker0"),
        dataclasses.replace(GOOD, name="eth4", up=False),
    ]
    table = link.Table(revision=1, links={each.name: each for each in every}).without_answers({"eth3"})
    assert table.announcing(EXCLUDE) == interfaces.Usable(
        ipv4=frozenset({"eth0", "eth1"}), ipv6=frozenset({"eth0", "eth2"})
    )


def test_families_served() -> None:
    v4, v6 = addresses.Family.IPV4, addresses.Family.IPV6
    assert GOOD.serves(v4)
    assert GOOD.serves(v6)
    assert not dataclasses.replace(GOOD, broadcast=False).serves(v4)
    assert not dataclasses.replace(GOOD, has_link_local=False).serves(v6)


UP = inventory.UP | inventory.BROADCAST | inventory.RUNNING | inventory.LOWER_UP
ETH0 = inventory.LinkSeen(index=2, name="eth0", mac=b"\2\0\0\0\0\1", flags=UP)
BRIDGE = inventory.LinkSeen(index=9, name="br0", mac=b"\2\0\0\0\0\x09", flags=UP)
LOCAL = addresses.Address.parse("fe80::1")
V4 = addresses.Address.parse("192.0.2.1")


def _published(seen: inventory.Inventory) -> link.Table:
    table = seen.publish()
    assert table is not None
    return table


def test_link_then_address_then_gone() -> None:
    seen = inventory.Inventory()
    seen.record(ETH0)
    first = _published(seen)
    assert (first.revision, first.links["eth0"].has_link_local) == (1, False)
    seen.record(inventory.AddressSeen(index=2, address=LOCAL, length=64))
    seen.record(inventory.AddressSeen(index=2, address=V4, length=24))
    second = _published(seen)
    assert second.revision == 2
    assert second.links["eth0"].has_link_local
    assert second.links["eth0"].addresses == {(LOCAL, 64), (V4, 24)}
    assert seen.publish() is None, "nothing changed"
    seen.record(ETH0)
    assert seen.publish() is None, "the same again is no change"
    seen.record(inventory.LinkGone(index=2))
    assert _published(seen).links == {}
    assert seen.table.revision == 3


@pytest.mark.parametrize(
    ("flags", "up", "carrier"),
    [
        pytest.param(UP, True, True, id="running"),
        pytest.param(UP & ~inventory.LOWER_UP, True, False, id="no cable"),
        pytest.param(UP & ~inventory.RUNNING, True, False, id="dormant"),
        pytest.param(inventory.BROADCAST, False, False, id="down"),
    ],
)
def test_flags(flags: int, up: bool, carrier: bool) -> None:
    seen = inventory.Inventory()
    seen.record(dataclasses.replace(ETH0, flags=flags))
    found = _published(seen).links["eth0"]
    assert (found.up, found.carrier) == (up, carrier)


def test_master_by_name_once_it_is_known() -> None:
    seen = inventory.Inventory()
    seen.record(dataclasses.replace(ETH0, master=9, master_kind="bridge"))
    assert _published(seen).links["eth0"].master == "#9"
    seen.record(BRIDGE)
    assert _published(seen).links["eth0"].master == "br0"
    seen.record(ETH0)
    released = _published(seen).links["eth0"]
    assert (released.master, released.master_kind) == (None, None)


def test_a_rename_moves_the_entry() -> None:
    seen = inventory.Inventory()
    seen.record(ETH0)
    seen.publish()
    seen.record(dataclasses.replace(ETH0, name="lan0"))
    assert set(_published(seen).links) == {"lan0"}


def test_a_dump_removes_what_it_does_not_mention() -> None:
    seen = inventory.Inventory()
    seen.record(ETH0)
    seen.record(BRIDGE)
    seen.record(inventory.AddressSeen(index=9, address=V4, length=24))
    seen.record(inventory.AddressSeen(index=9, address=LOCAL, length=64))
    seen.publish()
    seen.begin_links()
    seen.record(BRIDGE)
    seen.end_links()
    seen.begin_addresses()
    seen.record(inventory.AddressSeen(index=9, address=LOCAL, length=64))
    seen.end_addresses()
    table = _published(seen)
    assert set(table.links) == {"br0"}
    assert table.links["br0"].addresses == {(LOCAL, 64)}


def test_an_event_during_a_dump_wins() -> None:
    seen = inventory.Inventory()
    seen.record(ETH0)
    seen.begin_links()
    seen.record(ETH0)
    seen.record(inventory.LinkGone(index=2))
    seen.end_links()
    assert seen.publish() is None or seen.table.links == {}
    assert seen.table.links == {}


def test_gone_twice_is_once() -> None:
    seen = inventory.Inventory()
    seen.record(inventory.LinkGone(index=5))
    seen.record(inventory.AddressGone(index=5, address=V4, length=24))
    assert seen.publish() is None
