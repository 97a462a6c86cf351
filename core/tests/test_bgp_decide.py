"""What a node advertises of a Service: each obstacle by itself, in MetalLB's order, and the routes where there is none."""

import dataclasses

import pytest

from metallb_core.announcement import bgp, layer2, view
from metallb_core.api import meta, v1beta1
from metallb_core.config import compiled
from metallb_core.domain import (
    addresses,
    advertisements,
    communities,
    nodes,
    peers,
    pools,
    reasons,
    routes,
    selectors,
    services,
)
from metallb_core.testing import builders

A4 = addresses.Address.parse("192.0.2.1")
A6 = addresses.Address.parse("2001:db8::1")
P4, P6 = routes.Prefix.of(A4, 32), routes.Prefix.of(A6, 128)
POOL = pools.Pool(
    name="pool", intervals=(addresses.Interval.parse("192.0.2.0/28"), addresses.Interval.parse("2001:db8::/120"))
)
AD = advertisements.BGPAdvertisement(name="ad", pools=frozenset({"pool"}))
PEER = peers.Peer(name="r1", my_asn=64512, peer_asn=64513, address=addresses.Address.parse("192.0.2.254"))
NAMES = ("n1", "n2")
EVERYWHERE = frozenset(NAMES)
SERVICE = services.Service(key=services.ServiceKey("default", "web"), ingress=(A4,), labels={"app": "web"})
LOCAL = dataclasses.replace(SERVICE, traffic_policy=services.TrafficPolicy.LOCAL)
DUAL = dataclasses.replace(SERVICE, ingress=(A4, A6))
RED = communities.Standard(65000, 1)
EXCLUDED = {nodes.EXCLUDE_LABEL: ""}


def ad(name: str = "ad", **changes: object) -> advertisements.BGPAdvertisement:
    return dataclasses.replace(AD, name=name, **changes)  # type: ignore[arg-type]


def select(**labels: str) -> tuple[selectors.Selector, ...]:
    return (selectors.Selector.of(labels),)


def peer(name: str, **changes: object) -> peers.Peer:
    return dataclasses.replace(PEER, name=name, **changes)  # type: ignore[arg-type]


def seen(
    *ads: advertisements.BGPAdvertisement,
    routers: tuple[peers.Peer, ...] = (PEER,),
    n1: dict[str, object] | None = None,
    n2: dict[str, object] | None = None,
    **changes: object,
) -> view.View:
    """Nodes n1 and n2, one pool, one peer, and `ads` (one that covers everything where none is given)."""
    config = dataclasses.replace(
        compiled.EMPTY, pools={"pool": POOL}, bgp=ads or (AD,), peers={each.name: each for each in routers}
    )
    known = {name: nodes.Node(name=name, **given) for name, given in (("n1", n1 or {}), ("n2", n2 or {}))}  # type: ignore[arg-type]
    return dataclasses.replace(view.View(config=config, nodes=known), **changes)  # type: ignore[arg-type]


REFUSALS = [
    pytest.param(dataclasses.replace(SERVICE, ingress=()), seen(), EVERYWHERE, "NoAddress", id="no-address-yet"),
    pytest.param(dataclasses.replace(SERVICE, is_load_balancer=False), seen(), EVERYWHERE, "NoAddress", id="other-type"),
    pytest.param(dataclasses.replace(SERVICE, ingress_extra=True), seen(), EVERYWHERE, "NoAddress", id="another-s-status"),
    pytest.param(
        dataclasses.replace(SERVICE, ingress=(addresses.Address.parse("192.0.2.99"),)),
        seen(), EVERYWHERE, "AddressNotInAnyPool", id="address-in-no-pool",
    ),
    pytest.param(SERVICE, seen(ad(pools=frozenset())), EVERYWHERE, "NoAdvertisement", id="pool-not-advertised"),
    pytest.param(SERVICE, seen(ad(service_selectors=select(app="dns"))), EVERYWHERE, "NoAdvertisement", id="not-selected"),
    pytest.param(SERVICE, seen(ad(node_selectors=select(zone="a"))), EVERYWHERE, "NotOwner", id="node-not-covered"),
    pytest.param(
        SERVICE, seen(ad(node_selectors=select(zone="a"), service_selectors=select(app="dns"))), EVERYWHERE, "NotOwner",
        id="node-before-service",
    ),
    pytest.param(SERVICE, seen(ad("a", local_pref=1), ad("b", local_pref=2)), EVERYWHERE, "ConflictingAdvertisements", id="conflict"),
    pytest.param(SERVICE, seen(ad("a", local_pref=1), ad("b")), EVERYWHERE, "ConflictingAdvertisements", id="conflict-with-unset"),
    pytest.param(
        SERVICE,
        seen(ad("a", local_pref=1, peers=frozenset({"r1", "r2"})), ad("b", local_pref=2, peers=frozenset({"r2"}))),
        EVERYWHERE, "ConflictingAdvertisements", id="conflict-at-one-peer",
    ),
    pytest.param(
        SERVICE,
        seen(ad("a", local_pref=1, aggregation_length_v6=64), ad("b", local_pref=2)),
        EVERYWHERE, "ConflictingAdvertisements", id="conflict-in-the-family-there-is",
    ),
    pytest.param(
        DUAL,
        seen(ad("a", local_pref=1, aggregation_length_v6=64), ad("b", local_pref=2)),
        EVERYWHERE, "ConflictingAdvertisements", id="conflict-in-one-of-two-families",
    ),
    pytest.param(SERVICE, seen(routers=()), EVERYWHERE, "NoPeer", id="no-peer"),
    pytest.param(SERVICE, seen(routers=(peer("r1", node_selectors=select(zone="a")),)), EVERYWHERE, "NoPeer", id="peer-of-others"),
    pytest.param(SERVICE, seen(ad(peers=frozenset({"r9"}))), EVERYWHERE, "NoPeer", id="peer-of-another-name"),
    pytest.param(
        SERVICE, seen(n1={"network_unavailable": True, "labels": EXCLUDED}), EVERYWHERE, "NodeNetworkUnavailable", id="network"
    ),
    pytest.param(LOCAL, seen(n1={"labels": EXCLUDED}), frozenset({"n2"}), "NodeExcludedByLabel", id="excluded-by-label"),
    pytest.param(
        SERVICE, seen(n1={"taints": frozenset({"drain"})}, drain_taint="drain"), EVERYWHERE, "Draining", id="tainted"
    ),
    pytest.param(LOCAL, seen(), frozenset({"n2"}), "NoLocalEndpoint", id="no-local-endpoint"),
    pytest.param(LOCAL, seen(), frozenset(), "NoLocalEndpoint", id="local-before-any"),
    pytest.param(SERVICE, seen(), frozenset(), "NoReadyEndpoint", id="no-endpoint"),
    pytest.param(SERVICE, seen(nodes={}), EVERYWHERE, "NoEligibleNode", id="no-node"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "sight", "serving", "expected"), REFUSALS)
def test_refused(service: services.Service, sight: view.View, serving: frozenset[str], expected: str) -> None:
    refusal = bgp.decide(service, serving, sight, "n1")
    assert isinstance(refusal, reasons.Refusal)
    assert refusal.reason.label == expected


def plain(name: str = "ad", **changes: object) -> bgp.Offer:
    return dataclasses.replace(bgp.Offer(name), **changes)  # type: ignore[arg-type]


GSHUT = routes.Attributes(local_pref=0, communities=frozenset({communities.GRACEFUL_SHUTDOWN, RED}))


@pytest.mark.parametrize(
    ("service", "sight", "serving", "expected"),
    [
        pytest.param(SERVICE, seen(), EVERYWHERE, [(P4, plain())], id="one-address"),
        pytest.param(SERVICE, seen(), frozenset({"n2"}), [(P4, plain())], id="policy-cluster-needs-no-local-endpoint"),
        pytest.param(LOCAL, seen(), frozenset({"n1"}), [(P4, plain())], id="policy-local-with-one"),
        pytest.param(DUAL, seen(), EVERYWHERE, [(P4, plain()), (P6, plain())], id="both-families"),
        pytest.param(
            DUAL, seen(ad(aggregation_length=24, aggregation_length_v6=64)), EVERYWHERE,
            [(routes.Prefix.of(A4, 24), plain()), (routes.Prefix.of(A6, 64), plain())], id="aggregates",
        ),
        pytest.param(
            dataclasses.replace(SERVICE, ingress=(A4, addresses.Address.parse("192.0.2.2"))), seen(ad(aggregation_length=24)),
            EVERYWHERE, [(routes.Prefix.of(A4, 24), plain())], id="two-addresses-in-one-aggregate",
        ),
        pytest.param(
            SERVICE, seen(ad(local_pref=7, communities=frozenset({RED}), peers=frozenset({"r1", "r9"}))), EVERYWHERE,
            [(P4, plain(attributes=routes.Attributes(local_pref=7, communities=frozenset({RED})), peers=frozenset({"r1", "r9"})))],
            id="attributes-and-peers",
        ),
        pytest.param(
            SERVICE, seen(ad("a"), ad("b", service_selectors=select(app="dns")), ad("c", aggregation_length=24)), EVERYWHERE,
            [(P4, plain("a")), (routes.Prefix.of(A4, 24), plain("c"))], id="every-advertisement-that-covers-it",
        ),
        pytest.param(
            SERVICE, seen(ad("a", local_pref=1, aggregation_length=24), ad("b", local_pref=2)), EVERYWHERE,
            [(routes.Prefix.of(A4, 24), plain("a", attributes=routes.Attributes(local_pref=1))),
             (P4, plain("b", attributes=routes.Attributes(local_pref=2)))], id="no-conflict-between-lengths",
        ),
        pytest.param(
            SERVICE,
            seen(ad("a", local_pref=1, peers=frozenset({"r1"})), ad("b", local_pref=2, peers=frozenset({"r2"}))), EVERYWHERE,
            [(P4, plain("a", attributes=routes.Attributes(local_pref=1), peers=frozenset({"r1"}))),
             (P4, plain("b", attributes=routes.Attributes(local_pref=2), peers=frozenset({"r2"})))], id="no-conflict-between-peers",
        ),
        pytest.param(SERVICE, seen(members=frozenset()), EVERYWHERE, [(P4, plain())], id="membership-has-no-say"),
        pytest.param(
            SERVICE, seen(n1={"labels": EXCLUDED}, ignore_exclude_label=True), EVERYWHERE, [(P4, plain())], id="label-ignored"
        ),
        pytest.param(SERVICE, seen(n1={"taints": frozenset({"drain"})}), EVERYWHERE, [(P4, plain())], id="a-taint-that-says-nothing"),
        pytest.param(
            SERVICE,
            seen(ad(local_pref=5, communities=frozenset({RED})), n1={"taints": frozenset({"drain"})}, drain_taint="drain", leaving=True),
            EVERYWHERE, [(P4, plain(attributes=GSHUT))], id="leaving",
        ),
    ],
)  # fmt: skip
def test_advertised(
    service: services.Service,
    sight: view.View,
    serving: frozenset[str],
    expected: list[tuple[routes.Prefix, bgp.Offer]],
) -> None:
    assert bgp.decide(service, serving, sight, "n1") == bgp.Decision(tuple(bgp.Route(*each) for each in expected))


def test_a_pool_that_cannot_be_read_still_counts_for_what_it_gave() -> None:
    bad = builders.pool_object("bad", "192.0.2.0/99")
    everything = v1beta1.BGPAdvertisement(metadata=meta.ObjectMeta(name="ad", namespace="metallb-system"))
    config = compiled.compile(compiled.Resources(pools=(bad,), bgp_advertisements=(everything,)))
    sight = dataclasses.replace(seen(), config=dataclasses.replace(config, peers={"r1": PEER}))
    given = dataclasses.replace(SERVICE, annotations={"metallb.io/ip-allocated-from-pool": "bad"})
    assert bgp.decide(given, EVERYWHERE, sight, "n1") == bgp.Decision((bgp.Route(P4, plain()),))
    refusal = bgp.decide(SERVICE, EVERYWHERE, sight, "n1")
    assert isinstance(refusal, reasons.Refusal)
    assert refusal.reason is reasons.Reason.ADDRESS_NOT_ALLOWED


def test_services_share_one_offer() -> None:
    sight = seen(ad(communities=frozenset({RED})))
    other = dataclasses.replace(SERVICE, key=services.ServiceKey("default", "dns"))
    one, two = (bgp.decide(each, EVERYWHERE, sight, "n1") for each in (SERVICE, other))
    assert isinstance(one, bgp.Decision)
    assert isinstance(two, bgp.Decision)
    assert one.routes[0].offer is two.routes[0].offer


TAINTED: dict[str, object] = {"taints": frozenset({"drain"})}


@pytest.mark.parametrize(
    ("service", "sight", "serving", "expected", "words"),
    [
        pytest.param(SERVICE, seen(n1={"labels": EXCLUDED}), EVERYWHERE, None, "", id="one-node-does"),
        pytest.param(LOCAL, seen(), frozenset({"n2"}), None, "", id="the-node-with-the-endpoint"),
        pytest.param(LOCAL, seen(), frozenset(), "NoReadyEndpoint", "no endpoint", id="policy-local-and-no-endpoint"),
        pytest.param(SERVICE, seen(routers=()), EVERYWHERE, "NoPeer", "no BGPPeer", id="the-same-everywhere"),
        pytest.param(
            SERVICE, seen(ad(node_selectors=select(zone="a"))), EVERYWHERE, "NoEligibleNode", "NoAdvertisement: n1, n2", id="no-node"
        ),
        pytest.param(
            SERVICE, seen(n1={"labels": EXCLUDED}, n2=TAINTED, drain_taint="drain"), EVERYWHERE, "NoEligibleNode",
            "NodeExcludedByLabel: n1; Draining: n2", id="one-reason-each",
        ),
        pytest.param(SERVICE, seen(nodes={}), EVERYWHERE, "NoEligibleNode", "none of 0 nodes", id="no-nodes"),
        pytest.param(
            SERVICE, seen(n1={"labels": EXCLUDED}, members=frozenset({"n1"})), EVERYWHERE, "NoEligibleNode",
            "NodeExcludedByLabel: n1", id="the-other-node-has-no-live-speaker",
        ),
    ],
)  # fmt: skip
def test_why_nobody_advertises(
    service: services.Service, sight: view.View, serving: frozenset[str], expected: str | None, words: str
) -> None:
    refusal = bgp.nobody(service, serving, sight)
    if expected is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal.reason.label == expected
        assert words in refusal.detail


def test_a_node_that_is_drained_is_no_candidate_over_layer_2() -> None:
    config = dataclasses.replace(
        compiled.EMPTY, pools={"pool": POOL}, l2=(advertisements.L2Advertisement(name="ad", pools=frozenset({"pool"})),)
    )
    known = {name: nodes.Node(name=name, taints=frozenset({"drain"})) for name in NAMES}
    sight = view.View(config=config, nodes={**known, "n2": nodes.Node(name="n2")}, drain_taint="drain")
    assert layer2.decide(SERVICE, EVERYWHERE, sight, "n2") == layer2.Announcement((A4,), frozenset())
    refusal = layer2.elect(SERVICE, EVERYWHERE, dataclasses.replace(sight, nodes=known))
    assert isinstance(refusal, reasons.Refusal)
    assert "Draining: n1, n2" in refusal.detail
