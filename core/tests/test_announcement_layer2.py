"""Who announces a Service over layer 2: each obstacle by itself, and properties that must hold for any cluster."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_core.announcement import election, eligibility, layer2, view
from metallb_core.api import meta, v1beta1
from metallb_core.config import compiled
from metallb_core.domain import addresses, advertisements, interfaces, nodes, pools, reasons, selectors, services

A1 = addresses.Address.parse("192.0.2.1")
A2 = addresses.Address.parse("2001:db8::1")
POOL = pools.Pool(
    name="pool", intervals=(addresses.Interval.parse("192.0.2.0/28"), addresses.Interval.parse("2001:db8::/120"))
)
AD = advertisements.L2Advertisement(name="ad", pools=frozenset({"pool"}))
NAMES = ("n1", "n2", "n3")
OWNER = election.ranking(NAMES, A1, {})[0]
SERVICE = services.Service(key=services.ServiceKey("default", "web"), ingress=(A1,), labels={"app": "web"})


def seen(*ads: advertisements.L2Advertisement, **changes: object) -> view.View:
    """Three nodes without labels, one pool, and `ads` (one that covers everything where none is given)."""
    config = dataclasses.replace(compiled.EMPTY, pools={"pool": POOL}, l2=ads or (AD,))
    base = view.View(config=config, nodes={name: nodes.Node(name=name) for name in NAMES})
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def with_node(name: str, **changes: object) -> dict[str, nodes.Node]:
    found = {each: nodes.Node(name=each) for each in NAMES}
    found[name] = dataclasses.replace(found[name], **changes)  # type: ignore[arg-type]
    return found


def ad(**changes: object) -> advertisements.L2Advertisement:
    return dataclasses.replace(AD, **changes)  # type: ignore[arg-type]


def select(**labels: str) -> tuple[selectors.Selector, ...]:
    return (selectors.Selector.of(labels),)


def owner(
    service: services.Service, sight: view.View, serving: frozenset[str] = frozenset(NAMES)
) -> str | reasons.Reason:
    """The elected node, or why there is none."""
    outcome = layer2.elect(service, serving, sight)
    return outcome.reason if isinstance(outcome, reasons.Refusal) else outcome.owner.node


SECOND = election.ranking(NAMES, A1, {})[1]
LOCAL = dataclasses.replace(SERVICE, traffic_policy=services.TrafficPolicy.LOCAL)
SHARED = dataclasses.replace(SERVICE, annotations={"metallb.universe.tf/allow-shared-ip": "k"})
EXCLUDED = {nodes.EXCLUDE_LABEL: ""}
DUAL = dataclasses.replace(SERVICE, ingress=(A1, A2))
ONLY_IPV4 = interfaces.Usable(ipv4=frozenset({"eth0"}))


@pytest.mark.parametrize(
    ("service", "sight", "serving", "expected"),
    [
        pytest.param(SERVICE, seen(), NAMES, OWNER, id="lowest-hash"),
        pytest.param(SERVICE, seen(), ("n9",), OWNER, id="policy-cluster-needs-no-endpoint-on-the-owner"),
        pytest.param(SERVICE, seen(), (), reasons.Reason.NO_READY_ENDPOINT, id="no-endpoint-anywhere"),
        pytest.param(
            dataclasses.replace(SERVICE, ingress=()), seen(), NAMES, reasons.Reason.NO_ADDRESS, id="no-address-yet"
        ),
        pytest.param(
            dataclasses.replace(SERVICE, is_load_balancer=False), seen(), NAMES, reasons.Reason.NO_ADDRESS, id="other-type"
        ),
        pytest.param(
            dataclasses.replace(SERVICE, ingress=(addresses.Address.parse("192.0.2.99"),)),
            seen(),
            NAMES,
            reasons.Reason.ADDRESS_NOT_ALLOWED,
            id="address-in-no-pool",
        ),
        pytest.param(
            SERVICE, seen(ad(pools=frozenset())), NAMES, reasons.Reason.NO_ADVERTISEMENT, id="pool-not-advertised"
        ),
        pytest.param(
            SERVICE,
            seen(ad(service_selectors=select(app="dns"))),
            NAMES,
            reasons.Reason.NO_ADVERTISEMENT,
            id="service-not-selected",
        ),
        pytest.param(SERVICE, seen(ad(service_selectors=select(app="web"))), NAMES, OWNER, id="service-selected"),
        pytest.param(
            SHARED,
            seen(ad(service_selectors=select(app="web"))),
            NAMES,
            reasons.Reason.SHARED_WITH_SERVICE_SELECTOR,
            id="shared-and-selected",
        ),
        pytest.param(SHARED, seen(), NAMES, OWNER, id="shared-without-selector"),
        pytest.param(SERVICE, seen(members=frozenset({SECOND})), NAMES, SECOND, id="only-live-members"),
        pytest.param(
            SERVICE, seen(members=frozenset()), NAMES, reasons.Reason.NO_ELIGIBLE_NODE, id="no-live-member"
        ),
        pytest.param(
            SERVICE, seen(members=frozenset({"stranger"})), NAMES, reasons.Reason.NO_ELIGIBLE_NODE, id="member-without-a-node"
        ),
        pytest.param(SERVICE, seen(members=None), NAMES, OWNER, id="every-node-counts-without-membership"),
        pytest.param(SERVICE, seen(nodes=with_node(OWNER, labels=EXCLUDED)), NAMES, SECOND, id="excluded-by-label"),
        pytest.param(
            SERVICE,
            seen(nodes=with_node(OWNER, labels=EXCLUDED), ignore_exclude_label=True),
            NAMES,
            OWNER,
            id="exclude-label-ignored",
        ),
        pytest.param(SERVICE, seen(nodes=with_node(OWNER, network_unavailable=True)), NAMES, SECOND, id="network-unavailable"),
        pytest.param(
            SERVICE,
            seen(ad(node_selectors=select(zone="a")), nodes=with_node("n3", labels={"zone": "a"})),
            NAMES,
            "n3",
            id="node-selected",
        ),
        pytest.param(
            SERVICE, seen(ad(node_selectors=select(zone="a"))), NAMES, reasons.Reason.NO_ELIGIBLE_NODE, id="no-node-selected"
        ),
        pytest.param(
            SERVICE,
            seen(ad(preferences=(advertisements.NodePreference(weight=1, selector=select(zone="a")[0]),)),
                 nodes=with_node("n3", labels={"zone": "a"})),
            NAMES,
            "n3",
            id="preference-before-hash",
        ),
        pytest.param(
            SERVICE,
            seen(ad(interfaces=frozenset({"eth9"})), links={OWNER: interfaces.Usable.both("eth0"), SECOND: interfaces.Usable.both("eth9")}),
            NAMES,
            SECOND,
            id="interface-absent-is-no-candidate",
        ),
        pytest.param(
            SERVICE, seen(links={OWNER: interfaces.NOTHING}), NAMES, SECOND, id="no-usable-interface-is-no-candidate"
        ),
        pytest.param(DUAL, seen(links={OWNER: ONLY_IPV4}), NAMES, SECOND, id="a-family-without-interface-is-no-candidate"),
        pytest.param(SERVICE, seen(links={OWNER: ONLY_IPV4}), NAMES, OWNER, id="the-other-family-does-not-matter"),
        pytest.param(
            dataclasses.replace(DUAL, annotations=SHARED.annotations),
            seen(links={OWNER: ONLY_IPV4}),
            NAMES,
            OWNER,
            id="sharers-of-an-address-land-on-one-node-whatever-other-families-they-have",
        ),
        pytest.param(
            SERVICE, seen(ad(interfaces=frozenset({"eth9"}))), NAMES, OWNER, id="a-node-that-says-nothing-is-believed-able"
        ),
        pytest.param(LOCAL, seen(), (SECOND,), SECOND, id="policy-local-needs-an-endpoint-on-the-node"),
        pytest.param(LOCAL, seen(), ("n9",), reasons.Reason.NO_ELIGIBLE_NODE, id="policy-local-endpoints-elsewhere"),
        pytest.param(
            LOCAL,
            seen(members=frozenset(NAMES) - {OWNER}),
            (OWNER, SECOND),
            SECOND,
            id="a-dead-nodes-endpoints-leave-the-election",
        ),
    ],
)  # fmt: skip
def test_elect(
    service: services.Service, sight: view.View, serving: tuple[str, ...], expected: str | reasons.Reason
) -> None:
    assert owner(service, sight, frozenset(serving)) == expected


@pytest.mark.parametrize(
    ("interfaces", "expected"),
    [
        pytest.param([frozenset({"eth0"}), frozenset({"eth1"})], frozenset({"eth0", "eth1"}), id="union"),
        pytest.param([frozenset({"eth0"}), frozenset()], frozenset(), id="one-without-interfaces-means-all"),
    ],
)
def test_interfaces_of_all_advertisements(interfaces: list[frozenset[str]], expected: frozenset[str]) -> None:
    sight = seen(*(ad(name=str(number), interfaces=names) for number, names in enumerate(interfaces)))
    outcome = layer2.elect(SERVICE, frozenset(NAMES), sight)
    assert isinstance(outcome, layer2.Ranking)
    assert outcome.owner == eligibility.Candidate(OWNER, expected)


def test_interfaces_of_an_advertisement_for_other_nodes_do_not_count() -> None:
    ads = (ad(interfaces=frozenset({"eth0"})), ad(name="b", node_selectors=select(zone="a")))
    assert eligibility.interfaces_on({}, ads) == frozenset({"eth0"})
    assert eligibility.interfaces_on({"zone": "a"}, ads) == frozenset()


def test_both_families_go_together() -> None:
    decided = layer2.decide(DUAL, frozenset(NAMES), seen(), OWNER)
    assert decided == layer2.Announcement((A1, A2), frozenset())


def test_a_loser_names_the_owner() -> None:
    refusal = layer2.decide(SERVICE, frozenset(NAMES), seen(), SECOND)
    assert refusal == reasons.Refusal(reasons.Reason.NOT_OWNER, f"node {OWNER} announces the Service")


def test_nobody_is_explained_node_by_node() -> None:
    sight = seen(nodes=with_node(OWNER, labels=EXCLUDED), members=frozenset({OWNER}))
    refusal = layer2.elect(SERVICE, frozenset(NAMES), sight)
    assert isinstance(refusal, reasons.Refusal)
    assert f"NodeExcludedByLabel: {OWNER}" in refusal.detail
    assert SECOND in refusal.detail


ETHERNETS = st.frozensets(st.sampled_from(["eth0", "eth1"]))
CLUSTERS = st.fixed_dictionaries(
    {
        "members": st.none() | st.frozensets(st.sampled_from(NAMES)),
        "links": st.dictionaries(st.sampled_from(NAMES), st.builds(interfaces.Usable, ipv4=ETHERNETS, ipv6=ETHERNETS)),
        "nodes": st.fixed_dictionaries(
            {
                name: st.builds(
                    nodes.Node,
                    name=st.just(name),
                    labels=st.sampled_from([{}, {"zone": "a"}, EXCLUDED]),
                    network_unavailable=st.booleans(),
                )
                for name in NAMES
            }
        ),
    }
)
ADS = st.lists(
    st.builds(
        advertisements.L2Advertisement,
        name=st.text("ab", min_size=1, max_size=3),
        pools=st.just(frozenset({"pool"})),
        node_selectors=st.sampled_from([(), select(zone="a")]),
        interfaces=st.sampled_from([frozenset(), frozenset({"eth0"}), frozenset({"eth1"})]),
        preferences=st.sampled_from([(), (advertisements.NodePreference(weight=3, selector=select(zone="a")[0]),)]),
    ),
    min_size=1,
    max_size=3,
)


@given(CLUSTERS, ADS, st.frozensets(st.sampled_from(NAMES)), st.sampled_from([SERVICE, LOCAL, DUAL]))
def test_at_most_one_node_announces(
    cluster: dict[str, object],
    ads: list[advertisements.L2Advertisement],
    serving: frozenset[str],
    service: services.Service,
) -> None:
    sight = seen(*ads, **cluster)
    announcing = [me for me in NAMES if isinstance(layer2.decide(service, serving, sight, me), layer2.Announcement)]
    assert len(announcing) <= 1
    assert bool(announcing) == (not isinstance(layer2.elect(service, serving, sight), reasons.Refusal))


def test_what_a_pool_gave_before_it_became_unreadable_is_still_announced() -> None:
    """A speaker that restarts knows no good form of the pool; its addresses must not fall silent for that."""
    meta_of = {"namespace": "metallb-system"}
    bad = v1beta1.IPAddressPool(
        metadata=meta.ObjectMeta(name="bad", **meta_of), spec=v1beta1.IPAddressPoolSpec(addresses=["192.0.2.0/99"])
    )
    everything = v1beta1.L2Advertisement(metadata=meta.ObjectMeta(name="ad", **meta_of))
    config = compiled.compile(compiled.Resources(pools=(bad,), l2_advertisements=(everything,)))
    given = dataclasses.replace(SERVICE, annotations={"metallb.io/ip-allocated-from-pool": "bad"})
    assert owner(given, seen(config=config)) == OWNER
    assert owner(SERVICE, seen(config=config)) is reasons.Reason.ADDRESS_NOT_ALLOWED
