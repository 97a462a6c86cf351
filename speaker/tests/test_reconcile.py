"""Announcing: what changed is announced or withdrawn at once, what did not is left alone, and one node tells why nobody announces."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping

import pytest

from metallb_core.announcement import routes as books
from metallb_core.api import meta, v1beta1, v1beta2
from metallb_core.domain import addresses, endpoints, interfaces, nodes, reasons, routes, services
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

    def change(self, peer: str, changes: Mapping[routes.Prefix, routes.Attributes | None]) -> None:
        for prefix, attributes in changes.items():
            self.effects.append(f"{'withdraw' if attributes is None else 'advertise'} {prefix} to {peer}")

    def take(self) -> list[str]:
        taken, self.effects = self.effects, []
        return taken


class Node:
    """One node's reconciler over a small cluster: three nodes, one pool, one advertisement, one Service with an endpoint on each."""

    def __init__(self, name: str, load_balancer_class: str = "") -> None:
        self.recorded = Recorded()
        self.world = world.World(world.Stores(), ignore_exclude_label=False)
        for each in NODES:
            self.world.nodes.put(each, nodes.Node(name=each))
        self.world.stores.pools.put(
            ("metallb-system", "pool"),
            v1beta1.IPAddressPool(
                metadata=meta.ObjectMeta(name="pool", namespace="metallb-system"),
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
        self.world.stores.slices.put(("default", "web-1"), piece)
        self.reconciler = reconcile.Reconciler(
            node=name,
            load_balancer_class=load_balancer_class,
            seen=self.world,
            responder=self.recorded,
            sessions=self.recorded,
            book=books.Book(),
            on_outcome=lambda _key, outcome: self.recorded.outcomes.append(outcome),
        )
        self.reconciler.open(reconcile.Protocol.LAYER2)

    def advertise(self, **spec: object) -> None:
        """Create or change the advertisement."""
        self.world.stores.l2_advertisements.put(
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
    assert [outcome.turned for outcome in node.recorded.outcomes] == [True]


def test_another_node_does_not() -> None:
    node = Node(OTHER)
    assert node.sweep() == []
    refusal = node.reconciler.refusal(KEY, reconcile.Protocol.LAYER2)
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
    assert node.reconciler.refusal(KEY, reconcile.Protocol.LAYER2) is None


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
        node.world.set_members({OWNER: interfaces.NOTHING, OTHER: interfaces.Usable.both("eth0")})
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
    refusal, service = node.reconciler.refusal(KEY, reconcile.Protocol.LAYER2), node.world.services.get(KEY)
    assert refusal is not None
    assert service is not None
    assert refusal.reason is reasons.Reason.NO_ADVERTISEMENT
    assert node.reconciler.tells(service) == (refusal if name == OWNER else None)


def test_what_is_as_it_should_be_is_not_told() -> None:
    node = Node(OTHER)
    node.sweep()
    refusal, service = node.reconciler.refusal(KEY, reconcile.Protocol.LAYER2), node.world.services.get(KEY)
    assert refusal is not None
    assert service is not None
    assert node.reconciler.tells(service) is None


# BGP

ROUTER = "r1"


class Router(Node):
    """The same node, with a BGPAdvertisement and a peer, and no L2Advertisement unless one is made."""

    def __init__(self, name: str = OTHER, **spec: object) -> None:
        super().__init__(name)
        self.world.stores.l2_advertisements.remove(("metallb-system", "ad"))
        self.world.stores.peers.put(
            ("metallb-system", ROUTER),
            v1beta2.BGPPeer(
                metadata=meta.ObjectMeta(name=ROUTER, namespace="metallb-system"),
                spec=v1beta2.BGPPeerSpec(my_asn=64512, peer_asn=64513, peer_address="192.0.2.254"),
            ),
        )
        self.advertise_bgp(**spec)
        self.reconciler.book.set_peers((ROUTER,))
        self.reconciler.open(reconcile.Protocol.BGP)

    def advertise_bgp(self, **spec: object) -> None:
        """Create or change the BGPAdvertisement."""
        self.world.stores.bgp_advertisements.put(
            ("metallb-system", "bgp"),
            v1beta1.BGPAdvertisement(
                metadata=meta.ObjectMeta(name="bgp", namespace="metallb-system"),
                spec=v1beta1.BGPAdvertisementSpec(**spec),  # type: ignore[arg-type]
            ),
        )
        self.world.recompile()

    def told(self) -> reasons.Reason | None:
        """What this node tells people of the Service."""
        service = self.world.services.get(KEY)
        assert service is not None
        refusal = self.reconciler.tells(service)
        return refusal.reason if refusal is not None else None


@pytest.mark.parametrize("name", NODES)
def test_every_node_advertises(name: str) -> None:
    node = Router(name)
    assert node.sweep() == ["advertise 192.0.2.1/32 to r1"]
    assert node.sweep() == []
    turned = [outcome for outcome in node.recorded.outcomes if outcome.protocol is reconcile.Protocol.BGP]
    assert [(outcome.addresses, outcome.turned) for outcome in turned] == [((ADDRESS,), True)]


def test_a_protocol_that_is_not_open_is_not_decided() -> None:
    node = Router()
    node.reconciler._open.clear()
    assert node.sweep() == []
    node.reconciler.open(reconcile.Protocol.BGP)
    assert node.sweep() == ["advertise 192.0.2.1/32 to r1"]
    assert {outcome.protocol for outcome in node.recorded.outcomes} == {reconcile.Protocol.BGP}


def test_changes_of_one_sweep_go_to_a_peer_at_once() -> None:
    node = Router()
    for number in range(2, 9):
        key = services.ServiceKey("default", f"web{number}")
        node.world.services.put(
            key, services.Service(key=key, ingress=(addresses.Address(ADDRESS.family, ADDRESS.value + number),))
        )
        piece = endpoints.EndpointSlice(
            namespace="default", name=f"web{number}", service=key, endpoints=(endpoints.Endpoint("n1", can_serve=True),)
        )
        node.world.stores.slices.put(("default", f"web{number}"), piece)
    told: list[int] = []
    node.recorded.change = lambda peer, changes: told.append(len(changes))  # type: ignore[method-assign]
    node.reconciler.mark_all()
    node.reconciler.sweep(reconcile.BATCH)
    assert told == [8]


def test_a_change_of_communities_changes_routes_only() -> None:
    node = Router()
    node.sweep()
    node.advertise_bgp(communities=["65000:1"])
    assert node.sweep() == ["advertise 192.0.2.1/32 to r1"]
    assert node.recorded.outcomes[-1].turned is False


def test_a_deleted_service_is_withdrawn_from_peers() -> None:
    node = Router()
    node.sweep()
    node.world.services.remove(KEY)
    assert node.sweep() == ["withdraw 192.0.2.1/32 to r1"]
    assert len(node.reconciler.book) == 0


def test_a_drained_node_asks_to_be_avoided_and_then_withdraws() -> None:
    node = Router("n1")
    node.world._drain_taint = "drain"
    node.sweep()
    before = node.world.nodes.get("n1")
    node.world.nodes.put("n1", nodes.Node(name="n1", taints=frozenset({"drain", "other"})))
    assert node.world.node_matters(before, node.world.nodes.get("n1"))
    assert node.world.drains("n1")
    node.world.set_leaving(True)
    assert node.sweep() == ["advertise 192.0.2.1/32 to r1"]
    node.world.set_leaving(False)
    assert node.sweep() == ["withdraw 192.0.2.1/32 to r1"]
    refusal = node.reconciler.refusal(KEY, reconcile.Protocol.BGP)
    assert refusal is not None
    assert refusal.reason is reasons.Reason.DRAINING


def test_a_taint_that_says_nothing_does_not_matter() -> None:
    node = Router("n1")
    assert not node.world.node_matters(nodes.Node(name="n1"), nodes.Node(name="n1", taints=frozenset({"other"})))


def unserved(node: Router) -> None:
    node.world.stores.slices.remove(("default", "web-1"))


def over_layer2(node: Router) -> None:
    node.advertise()


def not_over_layer2(node: Router) -> None:
    node.advertise(ip_address_pools=["another"])


def not_over_bgp(node: Router) -> None:
    node.advertise_bgp(ip_address_pools=["another"])


def without_peer(node: Router) -> None:
    node.world.stores.peers.remove(("metallb-system", ROUTER))
    node.world.recompile()


def served_elsewhere(node: Router) -> None:
    node.change(traffic_policy=services.TrafficPolicy.LOCAL)
    elsewhere = (endpoints.Endpoint(OTHER, can_serve=True),)
    node.world.stores.slices.put(
        ("default", "web-1"),
        endpoints.EndpointSlice(namespace="default", name="web-1", service=KEY, endpoints=elsewhere),
    )


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([], None, id="all-is-well"),
        pytest.param([unserved], reasons.Reason.NO_READY_ENDPOINT, id="no-endpoint"),
        pytest.param([served_elsewhere], None, id="another-node-has-the-endpoint"),
        pytest.param([not_over_bgp], reasons.Reason.NO_ADVERTISEMENT, id="not-advertised"),
        pytest.param([without_peer], reasons.Reason.NO_PEER, id="no-peer"),
        pytest.param([over_layer2], None, id="both-protocols"),
        pytest.param([over_layer2, not_over_bgp], None, id="layer-2-is-meant"),
        pytest.param([over_layer2, without_peer], None, id="layer-2-is-meant-and-there-is-no-peer"),
        pytest.param([not_over_layer2], None, id="bgp-is-meant"),
        pytest.param([not_over_layer2, unserved], reasons.Reason.NO_READY_ENDPOINT, id="bgp-is-meant-and-cannot"),
        pytest.param([not_over_layer2, not_over_bgp], reasons.Reason.NO_ADVERTISEMENT, id="neither-is"),
        pytest.param([not_over_layer2, without_peer], reasons.Reason.NO_PEER, id="the-one-that-says-more"),
    ],
)  # fmt: skip
def test_what_one_node_tells_of_both_protocols(
    steps: list[Callable[[Router], None]], expected: reasons.Reason | None
) -> None:
    node = Router(OWNER)
    for step in steps:
        step(node)
    node.sweep()
    assert node.told() is expected
