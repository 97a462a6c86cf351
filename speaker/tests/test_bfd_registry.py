"""Which sessions a node has, and which of them a packet belongs to.

- A packet belongs to a session by its discriminator or, while the peer knows none, by its source; either way the path that it came by must be
  the session's: link, VRF, port, address, hops.
- What belongs to nobody is counted and discarded. Discriminators are never zero and never shared.
"""

import dataclasses
import random
from typing import Any

import pytest

from metallb_core.domain import addresses, bfd
from metallb_speaker.bfd import packets, registry, settings
from metallb_speaker.testing import bfd_link

V6 = addresses.Address.parse("fe80::1")
PACKET = packets.Control(**bfd_link.CONTROL, state=packets.State.DOWN)


def path(**changes: Any) -> registry.Path:
    found: dict[str, Any] = {
        "source": bfd_link.THERE,
        "destination": bfd_link.HERE,
        "interface": "eth0",
        "vrf": "",
        "multihop": False,
        "hops": 255,
    }
    return registry.Path(**{**found, **changes})


@pytest.mark.parametrize("named", [False, True], ids=["by source", "by discriminator"])
@pytest.mark.parametrize(
    ("changes", "came", "belongs"),
    [
        pytest.param({}, {}, True, id="plain"),
        pytest.param({}, {"hops": 254}, False, id="a router in between"),
        pytest.param({}, {"source": bfd_link.HERE}, False, id="another source"),
        pytest.param({}, {"multihop": True}, False, id="the other port"),
        pytest.param({}, {"vrf": "red"}, False, id="another VRF"),
        pytest.param({"vrf": "red"}, {"vrf": "red"}, True, id="its VRF"),
        pytest.param({"interface": "eth0"}, {}, True, id="its link"),
        pytest.param({"interface": "eth1"}, {}, False, id="another link"),
        pytest.param({"local": bfd_link.HERE}, {}, True, id="its address"),
        pytest.param({"local": bfd_link.THERE}, {}, False, id="another address of ours"),
        pytest.param({"multihop": True}, {"multihop": True, "hops": 254}, True, id="multihop, default minimum"),
        pytest.param({"multihop": True}, {"multihop": True, "hops": 253}, False, id="multihop, below the minimum"),
        pytest.param(
            {"multihop": True, "minimum_ttl": 250}, {"multihop": True, "hops": 250}, True, id="multihop, at the minimum"
        ),
        pytest.param({"peer": V6, "interface": "eth0"}, {"source": V6}, True, id="link-local"),
        pytest.param({"peer": V6, "interface": "eth1"}, {"source": V6}, False, id="link-local of another link"),
    ],
)
def test_which_packets_belong(named: bool, changes: dict[str, Any], came: dict[str, Any], belongs: bool) -> None:
    made = registry.Registry(random.Random(6))
    made.configure([bfd_link.config(**changes)], 0.0)
    (only,) = made.sessions
    packet = dataclasses.replace(PACKET, your_discriminator=only.discriminator if named else 0)
    assert made.receive(packet.serialise(), path(**came), 0.0) is (only if belongs else None)
    assert made.discarded == (0 if belongs else 1)


def test_a_discriminator_of_nobody_is_discarded() -> None:
    made = registry.Registry(random.Random(6))
    made.configure([bfd_link.config()], 0.0)
    other = made.sessions[0].discriminator ^ 1
    assert made.receive(dataclasses.replace(PACKET, your_discriminator=other).serialise(), path(), 0.0) is None


def test_garbage_is_discarded() -> None:
    made = registry.Registry(random.Random(6))
    made.configure([bfd_link.config()], 0.0)
    assert made.receive(b"garbage", path(), 0.0) is None
    assert made.echo_returned(b"garbage", 0.0) is None
    assert made.discarded == 1


def test_a_session_bound_to_the_link_comes_before_one_that_is_not() -> None:
    made = registry.Registry(random.Random(6))
    made.configure([bfd_link.config(key="any"), bfd_link.config(key="bound", interface="eth0")], 0.0)
    found = made.find(PACKET, path())
    assert found is not None
    assert found.config.key == "bound"


def test_of_two_that_are_the_same_the_first_counts() -> None:
    made = registry.Registry(random.Random(6))
    made.configure(
        [bfd_link.config(multiplier=2), bfd_link.config(multiplier=3), bfd_link.config(key="j", multiplier=4)], 0.0
    )
    assert [each.config.multiplier for each in made.sessions] == [2]


def test_the_discriminators_of_many_sessions_are_distinct() -> None:
    class Repeating(random.Random):
        def getrandbits(self, k: int, /) -> int:
            return super().getrandbits(4)

    made = registry.Registry(Repeating(7))
    made.configure(
        [bfd_link.config(key=str(n), peer=addresses.Address(addresses.Family.IPV4, n)) for n in range(1, 16)], 0.0
    )
    found = {each.discriminator for each in made.sessions}
    assert found == set(range(1, 16)), "all of them, and never zero"


def test_echo_is_sent_back_to_known_peers_only() -> None:
    made = registry.Registry(random.Random(6))
    made.configure([bfd_link.config(), bfd_link.config(key="far", peer=bfd_link.HERE, multihop=True)], 0.0)
    assert made.knows(bfd_link.THERE, "")
    assert not made.knows(bfd_link.THERE, "red")
    assert not made.knows(bfd_link.HERE, ""), "a multihop session has no echo"


def test_a_profile_becomes_a_session() -> None:
    profile = bfd.BFDProfile(name="p", receive_interval=20, echo_mode=True, passive_mode=True, minimum_ttl=10)
    made = settings.from_profile("k", bfd_link.THERE, profile, local=bfd_link.HERE, vrf="red")
    assert made == bfd_link.config(
        local=bfd_link.HERE, vrf="red", receive_interval=20, echo=True, passive=True, minimum_ttl=10
    )
    assert not settings.from_profile("k", bfd_link.THERE, profile, multihop=True).echo
