"""Announcing: what changed is announced or withdrawn at once, what did not is left alone, and one node tells why nobody announces."""

import dataclasses
import hashlib

import pytest

from metallb_core.api import meta, v1beta1
from metallb_core.domain import addresses, endpoints, nodes, reasons, services
from metallb_core.kube import store
from metallb_speaker import reconcile, world

NODES = ("n1", "n2", "n3")
ADDRESS = addresses.Address.parse("192.0.2.1")
OWNER = min(NODES, key=lambda node: hashlib.sha256(f"{node}#192.0.2.1".encode()).digest())
OTHER = next(node for node in NODES if node != OWNER)
KEY = services.ServiceKey("default", "web")


class Recorded:
    """What the responder was told, and what outcomes were reported."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.outcomes: list[reconcile.Outcome] = []

    def announce(self, address: addresses.Address, interfaces: frozenset[str]) -> None:
        self.effects.append(f"announce {address} on {','.join(sorted(interfaces)) or 'all'}")

    def withdraw(self, address: addresses.Address) -> None:
        self.effects.append(f"withdraw {address}")

    def take(self) -> list[str]:
        taken, self.effects = self.effects, []
        return taken


class Node:
    """One node's reconciler over a small cluster: three nodes, one pool, one advertisement, one Service with an endpoint on each."""

    def __init__(self, name: str, load_balancer_class: str = "") -> None:
        self.recorded = Recorded()
        self.world = world.World(
            services=store.Store(),
            slices=store.Store(),
            nodes=store.Store(),
            pools=store.Store(),
            advertisements=store.Store(),
            ignore_exclude_label=False,
        )
        for each in NODES:
            self.world.nodes.put(each, nodes.Node(name=each))
        where = {"namespace": "metallb-system"}
        self.world.pools.put(
            ("metallb-system", "pool"),
            v1beta1.IPAddressPool(
                metadata=meta.ObjectMeta(name="pool", **where),
                spec=v1beta1.IPAddressPoolSpec(addresses=["192.0.2.0/24"]),
            ),
        )
        self.advertise()
        self.world.services.put(KEY, services.Service(key=KEY, ingress=(ADDRESS,)))
        piece = endpoints.EndpointSlice(
            namespace="default",
            name="web-1",
            service=KEY,
            endpoints=tuple(endpoints.Endpoint(each, can_serve=True) for each in NODES),
        )
        self.world.slices.put(("default", "web-1"), piece)
        self.reconciler = reconcile.Reconciler(
            node=name,
            load_balancer_class=load_balancer_class,
            seen=self.world,
            responder=self.recorded,
            on_outcome=lambda _key, outcome: self.recorded.outcomes.append(outcome),
        )

    def advertise(self, **spec: object) -> None:
        """Create or change the advertisement."""
        self.world.advertisements.put(
            ("metallb-system", "ad"),
            v1beta1.L2Advertisement(
                metadata=meta.ObjectMeta(name="ad", namespace="metallb-system"),
                spec=v1beta1.L2AdvertisementSpec(**spec),  # type: ignore[arg-type]
            ),
        )
        self.world.recompile()

    def change(self, **changes: object) -> None:
        """Change the Service."""
        found = self.world.services.get(KEY)
        assert found is not None
        self.world.services.put(KEY, dataclasses.replace(found, **changes))  # type: ignore[arg-type]

    def sweep(self) -> list[str]:
        """Reconcile everything; the effects."""
        self.reconciler.mark_all()
        while self.reconciler.sweep(1):
            pass
        return self.recorded.take()


def test_the_owner_announces_once() -> None:
    node = Node(OWNER)
    assert node.sweep() == ["announce 192.0.2.1 on all"]
    assert node.sweep() == []
    assert [outcome.owner_changed for outcome in node.recorded.outcomes] == [True]


def test_another_node_does_not() -> None:
    node = Node(OTHER)
    assert node.sweep() == []
    refusal = node.reconciler.refusal(KEY)
    assert refusal is not None
    assert refusal.reason is reasons.Reason.NOT_OWNER


def test_a_dead_owners_address_is_taken_over() -> None:
    node = Node(OTHER)
    node.world.set_members(dict.fromkeys(NODES))
    assert node.sweep() == []
    node.world.set_members({OTHER: None})
    assert node.sweep() == ["announce 192.0.2.1 on all"]


def test_a_new_address_replaces_the_old_one_withdraw_first() -> None:
    node = Node(OWNER)
    node.world.set_members({OWNER: None})
    node.sweep()
    node.change(ingress=(addresses.Address.parse("192.0.2.9"),))
    assert node.sweep() == ["withdraw 192.0.2.1", "announce 192.0.2.9 on all"]


def test_a_deleted_service_is_withdrawn() -> None:
    node = Node(OWNER)
    node.sweep()
    node.world.services.remove(KEY)
    assert node.sweep() == ["withdraw 192.0.2.1"]
    assert node.reconciler.refusal(KEY) is None


def test_another_class_is_not_announced() -> None:
    assert Node(OWNER, load_balancer_class="example.com/lb").sweep() == []
    node = Node(OWNER, load_balancer_class="example.com/lb")
    node.change(load_balancer_class="example.com/lb")
    assert node.sweep() == ["announce 192.0.2.1 on all"]


def test_interfaces_of_the_advertisement_are_used() -> None:
    node = Node(OWNER)
    node.advertise(interfaces=["eth1"])
    assert node.sweep() == ["announce 192.0.2.1 on eth1"]
    node.advertise()
    assert node.sweep() == ["announce 192.0.2.1 on all"]


def test_a_node_without_carrier_yields() -> None:
    owner, other = Node(OWNER), Node(OTHER)
    for node in (owner, other):
        node.world.set_members({OWNER: frozenset(), OTHER: frozenset({"eth0"})})
    assert owner.sweep() == []
    assert other.sweep() == ["announce 192.0.2.1 on all"]


def test_before_membership_counts_nobody_announces() -> None:
    node = Node(OWNER)
    node.world.set_members({})
    assert node.sweep() == []


@pytest.mark.parametrize("name", NODES)
def test_exactly_one_node_tells_why_nobody_announces(name: str) -> None:
    node = Node(name)
    node.advertise(ip_address_pools=["another"])
    node.sweep()
    refusal, service = node.reconciler.refusal(KEY), node.world.services.get(KEY)
    assert refusal is not None
    assert service is not None
    assert refusal.reason is reasons.Reason.NO_ADVERTISEMENT
    assert node.reconciler.tells(service, refusal) == (name == OWNER)


def test_what_is_as_it_should_be_is_not_told() -> None:
    node = Node(OTHER)
    node.sweep()
    refusal, service = node.reconciler.refusal(KEY), node.world.services.get(KEY)
    assert refusal is not None
    assert service is not None
    assert not node.reconciler.tells(service, refusal)
