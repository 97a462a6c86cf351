"""One IPAddressPool by itself: every rule, and what a good one compiles to."""

import pytest

from metallb_core.api import v1beta1
from metallb_core.config import pools, problems
from metallb_core.domain import reasons, selectors
from metallb_core.testing import builders

KNOWN = (builders.namespace("red", "team=red"), builders.namespace("blue", "team=blue"), builders.namespace("bare"))


def allocation(**fields: object) -> v1beta1.ServiceAllocation:
    return v1beta1.ServiceAllocation(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("texts", "field", "reason", "fragment"),
    [
        pytest.param([], "spec.addresses", "C501", "at least one", id="no-addresses"),
        pytest.param(
            ["192.0.2.0/24", ""], "spec.addresses[1]", "C501", "neither a prefix nor a range", id="empty-entry"
        ),
        pytest.param(["192.0.2.0/40"], "spec.addresses[0]", "C501", "at most 32", id="bad-cidr"),
        pytest.param(["192.0.2.1"], "spec.addresses[0]", "C501", "/32", id="bare-address"),
        pytest.param(["192.0.2.9-192.0.2.1"], "spec.addresses[0]", "C501", "after the last", id="reversed-range"),
        pytest.param(["192.0.2.1-2001:db8::1"], "spec.addresses[0]", "C501", "one family", id="mixed-family"),
        pytest.param(
            ["192.0.2.0/24", "192.0.2.0/24"],
            "spec.addresses[1]",
            "C502",
            "overlaps with already defined CIDR '192.0.2.0/24'",
            id="same-entry-twice",
        ),
        pytest.param(
            ["192.0.2.0/24", "198.51.100.0/24", "192.0.2.255-192.0.3.9"],
            "spec.addresses[2]",
            "C502",
            "overlaps with already defined CIDR '192.0.2.0/24'",
            id="overlap-inside-the-pool",
        ),
        pytest.param(
            ["::ffff:192.0.2.1-192.0.2.3", "192.0.2.3/32"],
            "spec.addresses[1]",
            "C502",
            "overlaps with already defined CIDR",
            id="overlap-seen-through-mapped-text",
        ),
    ],
)
def test_a_bad_pool_is_refused(texts: list[str], field: str, reason: str, fragment: str) -> None:
    with pytest.raises(problems.InvalidError) as caught:
        pools.compile_one(builders.pool_object("p", *texts), KNOWN)
    assert (caught.value.field, caught.value.refusal.reason.code) == (field, reason)
    assert fragment in caught.value.refusal.detail


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        pytest.param(allocation(namespaces=["red", "blue", "red"]), "namespaces[2]", id="namespace-twice"),
        pytest.param(
            allocation(service_selectors=[builders.label_selector("not a key=x")]),
            "serviceSelectors[0].matchLabels",
            id="not-a-label-key",
        ),
        pytest.param(
            allocation(service_selectors=[builders.label_selector("app=not a value")]),
            "serviceSelectors[0].matchLabels",
            id="not-a-label-value",
        ),
        pytest.param(
            allocation(namespace_selectors=[builders.label_selector("a=b"), builders.label_selector("a=b")]),
            "namespaceSelectors[1]",
            id="namespace-selector-twice",
        ),
        pytest.param(
            allocation(service_selectors=[builders.label_selector("a=b"), builders.label_selector("a=b")]),
            "serviceSelectors[1]",
            id="service-selector-twice",
        ),
        pytest.param(
            allocation(
                service_selectors=[
                    builders.label_selector("", ("k", "In", ["x", "y"])),
                    builders.label_selector("", ("k", "In", ["y", "x"])),
                ]
            ),
            "serviceSelectors[1]",
            id="service-selector-twice-in-another-order",
        ),
        pytest.param(
            allocation(service_selectors=[builders.label_selector("", ("k", "Near", ["x"]))]),
            "serviceSelectors[0].matchExpressions[0].operator",
            id="unknown-operator",
        ),
        pytest.param(
            allocation(service_selectors=[builders.label_selector("", ("k", "In", None))]),
            "serviceSelectors[0].matchExpressions[0]",
            id="in-without-values",
        ),
        pytest.param(
            allocation(service_selectors=[builders.label_selector("", ("k", "Exists", ["x"]))]),
            "serviceSelectors[0].matchExpressions[0]",
            id="exists-with-values",
        ),
        pytest.param(
            allocation(service_selectors=[builders.label_selector("", ("k", "In", ["x", "x"]))]),
            "serviceSelectors[0].matchExpressions[0].values[1]",
            id="value-twice",
        ),
        pytest.param(
            allocation(service_selectors=[builders.label_selector("", ("k", "Exists", None), ("k", "Exists", None))]),
            "serviceSelectors[0].matchExpressions",
            id="expression-twice",
        ),
    ],
)
def test_a_bad_allocation_is_refused(wire: v1beta1.ServiceAllocation, field: str) -> None:
    with pytest.raises(problems.InvalidError) as caught:
        pools.compile_one(builders.pool_object("p", "192.0.2.0/24", allocation=wire), KNOWN)
    assert caught.value.field == f"spec.serviceAllocation.{field}"
    assert caught.value.refusal.reason is reasons.Reason.INVALID_OBJECT


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        pytest.param(allocation(namespaces=["red", "later"]), {"red", "later"}, id="names-need-not-exist"),
        pytest.param(allocation(namespace_selectors=[builders.label_selector("team=blue")]), {"blue"}, id="selected"),
        pytest.param(
            allocation(namespaces=["red"], namespace_selectors=[builders.label_selector("team=blue")]),
            {"red", "blue"},
            id="names-and-selected-are-joined",
        ),
        pytest.param(
            allocation(namespace_selectors=[builders.label_selector()]), {"red", "blue", "bare"}, id="empty-selects-all"
        ),
        pytest.param(
            allocation(namespace_selectors=[builders.label_selector("team=green")]), set(), id="none-selected-is-nobody"
        ),
        pytest.param(
            allocation(service_selectors=[builders.label_selector("app=web")]),
            None,
            id="services-only-is-every-namespace",
        ),
        pytest.param(allocation(priority=7), None, id="priority-only-is-every-namespace"),
    ],
)
def test_namespaces_are_resolved(wire: v1beta1.ServiceAllocation, expected: set[str] | None) -> None:
    compiled = pools.compile_one(builders.pool_object("p", "192.0.2.0/24", allocation=wire), KNOWN)
    assert compiled.allocation is not None
    assert compiled.allocation.namespaces == expected
    assert compiled.allocation.priority == wire.priority


def test_an_empty_allocation_means_every_service() -> None:
    wire = builders.pool_object("p", "192.0.2.0/24", allocation=allocation())
    compiled = pools.compile_one(wire, KNOWN).allocation
    assert compiled is not None
    assert compiled.service_selectors == (selectors.Selector(),)
    assert compiled.namespaces is None


def test_everything_is_carried_over_and_the_order_kept() -> None:
    texts = ("203.0.113.5-203.0.113.9", "2001:db8::/120", "192.0.2.0/30")
    wire = builders.pool_object("p", *texts, labelled="tier=gold", auto_assign=False, avoid_buggy_ips=True)
    compiled = pools.compile_one(wire, KNOWN)
    assert tuple(map(str, compiled.intervals)) == texts
    assert (compiled.name, compiled.auto_assign, compiled.avoid_buggy_ips) == ("p", False, True)
    assert compiled.labels == {"tier": "gold"}
    assert compiled.allocation is None


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("192.0.2.0", False),
        ("192.0.2.1", True),
        ("192.0.2.255", False),
        ("192.0.3.1", False),
        ("2001:db8::", True),
        ("2001:db8::ff", True),
    ],
)
def test_membership_leaves_out_what_is_avoided(text: str, inside: bool) -> None:
    pool = builders.pool("p", "192.0.2.0/24", "2001:db8::/120", avoid_buggy_ips=True)
    assert (builders.listed(text)[0] in pool) is inside
