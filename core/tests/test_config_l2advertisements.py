"""One L2Advertisement by itself: every rule, and the pools it covers."""

import pytest

from metallb_core.api import v1beta1
from metallb_core.config import l2advertisements, problems
from metallb_core.config import pools as pool_rules
from metallb_core.testing import builders

KNOWN = {
    name: pool_rules.compile_one(builders.pool_object(name, text, labelled=labels), ())
    for name, text, labels in (
        ("a", "10.0.0.0/24", "tier=gold"),
        ("b", "10.0.1.0/24", "tier=iron"),
        ("c", "10.0.2.0/24", ""),
    )
}
select = builders.label_selector


def spec(**fields: object) -> v1beta1.L2AdvertisementSpec:
    return v1beta1.L2AdvertisementSpec(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        pytest.param(spec(), "abc", id="none-given-is-all"),
        pytest.param(spec(ip_address_pools=["b"]), "b", id="by-name"),
        pytest.param(spec(ip_address_pools=["b", "nowhere"]), "b", id="an-unknown-pool-is-skipped"),
        pytest.param(spec(ip_address_pools=["nowhere"]), "", id="only-unknown-pools-is-none"),
        pytest.param(spec(ip_address_pool_selectors=[select("tier=gold")]), "a", id="by-label"),
        pytest.param(spec(ip_address_pool_selectors=[select("tier=lead")]), "", id="no-label-matches"),
        pytest.param(spec(ip_address_pool_selectors=[select()]), "abc", id="empty-selector"),
        pytest.param(
            spec(ip_address_pools=["c"], ip_address_pool_selectors=[select("tier=gold")]),
            "ac",
            id="name-and-label-joined",
        ),
        pytest.param(
            spec(ip_address_pool_selectors=[select("tier=gold"), select("tier=iron")]), "ab", id="alternatives"
        ),
        pytest.param(
            spec(ip_address_pool_selectors=[select("", ("tier", "NotIn", ["gold"]))]),
            "bc",
            id="not-in-matches-unlabelled",
        ),
    ],
)
def test_pools_covered(wire: v1beta1.L2AdvertisementSpec, expected: str) -> None:
    assert l2advertisements.compile_one(builders.l2_object("ad", wire), KNOWN).pools == frozenset(expected)


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        pytest.param(spec(ip_address_pools=["a", "a"]), "ipAddressPools[1]", id="pool-twice"),
        pytest.param(spec(node_selectors=[select("a=b"), select("a=b")]), "nodeSelectors[1]", id="node-selector-twice"),
        pytest.param(spec(service_selectors=[select(), select()]), "serviceSelectors[1]", id="service-selector-twice"),
        pytest.param(
            spec(ip_address_pool_selectors=[select("a=b"), select("a=b")]),
            "ipAddressPoolSelectors[1]",
            id="pool-selector-twice",
        ),
        pytest.param(
            spec(node_selectors=[select("", ("k", "Is", None))]),
            "nodeSelectors[0].matchExpressions[0].operator",
            id="operator",
        ),
        pytest.param(
            spec(preferred_node_selectors=[v1beta1.NodePreference(weight=0, preference=select())]),
            "preferredNodeSelectors[0].weight",
            id="weight-too-small",
        ),
        pytest.param(
            spec(preferred_node_selectors=[v1beta1.NodePreference(weight=101, preference=select())]),
            "preferredNodeSelectors[0].weight",
            id="weight-too-large",
        ),
        pytest.param(
            spec(
                preferred_node_selectors=[v1beta1.NodePreference(weight=1, preference=select("", ("k", "In", [])))],
            ),
            "preferredNodeSelectors[0].preference.matchExpressions[0]",
            id="preference-without-values",
        ),
    ],
)
def test_a_bad_advertisement_is_refused(wire: v1beta1.L2AdvertisementSpec, field: str) -> None:
    with pytest.raises(problems.InvalidError) as caught:
        l2advertisements.compile_one(builders.l2_object("ad", wire), KNOWN)
    assert caught.value.field == f"spec.{field}"


def test_selectors_and_preferences_are_carried_over() -> None:
    wire = spec(
        node_selectors=[select("zone=a")],
        service_selectors=[select("app=web")],
        preferred_node_selectors=[v1beta1.NodePreference(weight=100, preference=select("disk=ssd"))],
    )
    ad = l2advertisements.compile_one(builders.l2_object("ad", wire), KNOWN)
    assert ad.covers_node({"zone": "a"})
    assert not ad.covers_node({})
    assert ad.covers_service({"app": "web"})
    assert not ad.covers_service({})
    assert [(each.weight, str(each.selector)) for each in ad.preferences] == [(100, "disk in (ssd)")]
