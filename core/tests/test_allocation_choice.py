"""Which pool serves a Service that names none, and what a Service that names one gets."""

import dataclasses
from collections.abc import Iterable

import pytest

from metallb_core.allocation import choice, converge
from metallb_core.domain import addresses, pools, reasons, services
from metallb_core.testing import builders

pool = builders.pool
PREFER, REQUIRE = services.FamilyPolicy.PREFER_DUAL_STACK, services.FamilyPolicy.REQUIRE_DUAL_STACK


def full(*texts: str, share: str = "") -> list[services.Service]:
    """Services that hold these addresses."""
    return [
        builders.service(f"taken-{number}", families=(4, 6), holds=text, share=share)
        for number, text in enumerate(texts)
    ]


def decide(
    service: services.Service, known: Iterable[pools.Pool], others: Iterable[services.Service] = ()
) -> converge.Plan:
    """Decide, and check that deciding again after the write changes nothing."""
    known = list(known)
    book = builders.book(known, [*others, service])
    plan = converge.converge(service, book, known)
    book.reserve(service, plan.addresses)
    shown = builders.written(service, plan)
    book.observe(shown)
    again = converge.converge(shown, book, known)
    assert (again.write, again.addresses, again.pool) == (False, plan.addresses, plan.pool)
    return plan


def told(plan: converge.Plan) -> list[str]:
    return [event.reason for event in plan.events]


def text(plan: converge.Plan) -> str:
    return " ".join(map(str, plan.addresses))


WEB = builders.service(namespace="red", labelled="app=web")


@pytest.mark.parametrize(
    ("known", "others", "expected"),
    [
        pytest.param([pool("b", "10.0.1.0/30"), pool("a", "10.0.2.0/30")], [], "a", id="general-pools-by-name"),
        pytest.param(
            [pool("a", "10.0.1.0/30"), pool("z", "10.0.2.0/30", priority=9)], [], "z", id="meant-before-general"
        ),
        pytest.param(
            [pool("a", "10.0.1.0/30", priority=20), pool("b", "10.0.2.0/30", priority=10)],
            [],
            "b",
            id="lower-priority-first",
        ),
        pytest.param(
            [pool("a", "10.0.1.0/30", priority=0), pool("b", "10.0.2.0/30", priority=1000)],
            [],
            "b",
            id="zero-comes-last",
        ),
        pytest.param(
            [pool("b", "10.0.1.0/30", priority=5), pool("a", "10.0.2.0/30", priority=5)], [], "a", id="ties-by-name"
        ),
        pytest.param(
            [pool("a", "10.0.1.0/30", priority=-1), pool("b", "10.0.2.0/30", priority=1)],
            [],
            "a",
            id="negative-is-lower",
        ),
        pytest.param(
            [pool("a", "10.0.1.0/30", only_namespaces=["blue"]), pool("b", "10.0.2.0/30")],
            [],
            "b",
            id="of-another-namespace",
        ),
        pytest.param(
            [pool("b", "10.0.1.0/30", only_namespaces=["red"]), pool("a", "10.0.2.0/30")],
            [],
            "b",
            id="of-its-namespace",
        ),
        pytest.param(
            [pool("b", "10.0.1.0/30", only_services="app=web"), pool("a", "10.0.2.0/30")], [], "b", id="of-its-labels"
        ),
        pytest.param(
            [pool("a", "10.0.1.0/30", only_services="app=db"), pool("b", "10.0.2.0/30")], [], "b", id="of-other-labels"
        ),
        pytest.param(
            [pool("a", "10.0.1.0/30", only_namespaces=["red"], only_services="app=db"), pool("b", "10.0.2.0/30")],
            [],
            "b",
            id="namespace-and-labels-must-both-match",
        ),
        pytest.param(
            [pool("a", "10.0.1.0/30", only_namespaces=[]), pool("b", "10.0.2.0/30")], [], "b", id="meant-for-nobody"
        ),
        pytest.param(
            [pool("a", "10.0.1.0/30", auto_assign=False), pool("b", "10.0.2.0/30")], [], "b", id="not-by-itself"
        ),
        pytest.param(
            [pool("a", "10.0.1.0/30", auto_assign=False, priority=1), pool("b", "10.0.2.0/30")],
            [],
            "b",
            id="not-by-itself-even-if-meant",
        ),
        pytest.param(
            [pool("m", "10.0.1.0/32", priority=1), pool("a", "10.0.2.0/30")],
            full("10.0.1.0"),
            "a",
            id="meant-is-full-so-general",
        ),
        pytest.param(
            [pool("m", "10.0.1.0/32", priority=1), pool("n", "10.0.3.0/30", priority=2), pool("a", "10.0.2.0/30")],
            full("10.0.1.0"),
            "n",
            id="meant-is-full-so-the-next-meant",
        ),
        pytest.param(
            [pool("a", "10.0.1.0/32"), pool("b", "10.0.2.0/30")],
            full("10.0.1.0"),
            "b",
            id="general-is-full-so-the-next",
        ),
        pytest.param([pool("a", "2001:db8::/126"), pool("b", "10.0.2.0/30")], [], "b", id="of-another-family"),
    ],
)
def test_pool_by_itself(known: list[pools.Pool], others: list[services.Service], expected: str) -> None:
    for order in (known, known[::-1]):
        plan = decide(WEB, order, others)
        assert plan.pool == expected
        assert told(plan) == ["IPAllocated"]
        assert plan.waits_for == frozenset()


@pytest.mark.parametrize(
    ("known", "reason", "fragments", "waits"),
    [
        pytest.param([], "A101", ["create one"], None, id="no-pool-at-all"),
        pytest.param(
            [pool("a", "10.0.1.0/30", auto_assign=False), pool("b", "10.0.2.0/30", only_namespaces=["blue"])],
            "A103",
            ["no available IPs", "a, b", "metallb.io/address-pool"],
            None,
            id="none-is-for-it",
        ),
        pytest.param(
            [pool("a", "10.0.1.0/32"), pool("b", "2001:db8::/126")],
            "A102",
            ["no available IPs", "all 1 IPv4 addresses of pool a are in use", "pool b has no IPv4 addresses"],
            {"a", "b"},
            id="all-are-full",
        ),
        pytest.param([pool("b", "2001:db8::/126")], "A107", ["no IPv4 addresses"], {"b"}, id="no-pool-of-the-family"),
    ],
)
def test_no_pool_serves(known: list[pools.Pool], reason: str, fragments: list[str], waits: set[str] | None) -> None:
    plan = decide(WEB, known, full("10.0.1.0"))
    assert plan.addresses == ()
    assert plan.refusal is not None
    assert plan.refusal.reason.code == reason
    assert told(plan) == ["AllocationFailed"]
    for fragment in fragments:
        assert fragment in plan.events[0].message
    assert plan.waits_for == waits


POOLS = [
    pool("gold", "10.0.1.0/30", "2001:db8:1::/126"),
    pool("hidden", "10.0.2.0/30", auto_assign=False),
    pool("blue", "10.0.3.0/30", only_namespaces=["blue"], priority=1),
    pool("clean", "10.0.4.0/24", avoid_buggy_ips=True),
]


@pytest.mark.parametrize(
    ("asks", "asks_pool", "expected"),
    [
        pytest.param("", "hidden", "10.0.2.0 hidden", id="a-named-pool-need-not-assign-by-itself"),
        pytest.param("10.0.2.3", "", "10.0.2.3 hidden", id="a-named-address-ignores-it-too"),
        pytest.param("10.0.1.2", "", "10.0.1.2 gold", id="a-named-address"),
        pytest.param("10.0.1.2", "gold", "10.0.1.2 gold", id="address-and-its-pool"),
        pytest.param("", "clean", "10.0.4.1 clean", id="avoids-the-first"),
    ],
)
def test_what_is_asked_for(asks: str, asks_pool: str, expected: str) -> None:
    service = builders.service(namespace="red", asks=asks, asks_pool=asks_pool)
    plan = decide(service, POOLS)
    assert f"{text(plan)} {plan.pool}" == expected


@pytest.mark.parametrize(
    ("asks", "asks_pool", "reason", "fragments"),
    [
        pytest.param("", "silver", "A111", ["unknown pool 'silver'", "blue, clean, gold, hidden"], id="unknown-pool"),
        pytest.param("", "blue", "A103", ["'blue' is not compatible"], id="pool-meant-for-others"),
        pytest.param("10.0.3.1", "", "A103", ["'blue' is not compatible"], id="address-of-a-pool-meant-for-others"),
        pytest.param(
            "10.0.9.1", "", "A104", ["10.0.9.1 is not allowed in config", "known pools: "], id="address-of-no-pool"
        ),
        pytest.param("10.0.4.0", "", "A104", ["is not allowed in config"], id="avoided-address"),
        pytest.param("10.0.4.255", "", "A104", ["is not allowed in config"], id="other-avoided-address"),
        pytest.param(
            "10.0.1.2",
            "hidden",
            "A104",
            ["not compatible with requested address pool 'hidden'", "'gold'"],
            id="other-pool",
        ),
        pytest.param("2001:db8:1::1", "", "A107", ["does not match the ipFamily of the service"], id="other-family"),
        pytest.param("10.0.1.0", "", "A105", ["10.0.1.0 is in use by Service default/taken-0"], id="in-use"),
    ],
)
def test_what_cannot_be_had(asks: str, asks_pool: str, reason: str, fragments: list[str]) -> None:
    service = builders.service(namespace="red", asks=asks, asks_pool=asks_pool)
    plan = decide(service, POOLS, full("10.0.1.0"))
    assert plan.addresses == ()
    assert plan.refusal is not None
    assert plan.refusal.reason.code == reason
    for fragment in fragments:
        assert fragment in plan.refusal.detail


def test_a_named_pool_that_is_full() -> None:
    service = builders.service(asks_pool="gold")
    plan = decide(service, POOLS, full(*(f"10.0.1.{last}" for last in range(4))))
    assert plan.refusal is not None
    assert plan.refusal.reason is reasons.Reason.POOL_EXHAUSTED
    assert "no available IPs in pool 'gold'" in plan.refusal.detail
    assert plan.waits_for == frozenset({"gold"})


BOTH = pool("both", "10.0.1.0/30", "2001:db8::/126")
V4, V6 = pool("four", "10.0.2.0/30"), pool("six", "2001:db8:6::/126")
ALL4, ALL6 = [f"10.0.1.{last}" for last in range(4)], [f"2001:db8::{last}" for last in range(4)]


@pytest.mark.parametrize(
    ("families", "policy", "asks", "known", "taken", "expected"),
    [
        pytest.param((4, 6), REQUIRE, "", [BOTH], [], "10.0.1.0 2001:db8::", id="require"),
        pytest.param((6, 4), REQUIRE, "", [BOTH], [], "2001:db8:: 10.0.1.0", id="in-the-order-of-ipfamilies"),
        pytest.param((4, 6), PREFER, "", [BOTH], [], "10.0.1.0 2001:db8::", id="prefer"),
        pytest.param((6, 4), PREFER, "", [BOTH], [], "2001:db8:: 10.0.1.0", id="prefer-in-order"),
        pytest.param(
            (4, 6), PREFER, "", [V4, BOTH, V6], [], "10.0.1.0 2001:db8::", id="a-pool-of-both-before-one-of-one"
        ),
        pytest.param((4, 6), PREFER, "", [V4, V6], [], "10.0.2.0", id="prefer-takes-the-first-family"),
        pytest.param((6, 4), PREFER, "", [V4, V6], [], "2001:db8:6::", id="prefer-takes-its-own-first-family"),
        pytest.param((6, 4), PREFER, "", [V4], [], "10.0.2.0", id="prefer-takes-the-second-family"),
        pytest.param((4, 6), PREFER, "", [BOTH], ALL6, "10.0.1.0", id="prefer-when-ipv6-is-full"),
        pytest.param((4, 6), PREFER, "", [BOTH], ALL4, "2001:db8::", id="prefer-when-ipv4-is-full"),
        pytest.param((4, 6), REQUIRE, "", [V4, V6], [], "", id="require-needs-one-pool-of-both"),
        pytest.param((4, 6), REQUIRE, "", [BOTH], ALL6, "", id="require-when-ipv6-is-full"),
        pytest.param((4,), PREFER, "", [BOTH], [], "10.0.1.0", id="prefer-on-a-single-stack-cluster"),
        pytest.param((6,), PREFER, "", [BOTH], [], "2001:db8::", id="prefer-on-an-ipv6-cluster"),
        pytest.param((4, 6), REQUIRE, "10.0.1.2 2001:db8::3", [BOTH], [], "10.0.1.2 2001:db8::3", id="both-asked-for"),
        pytest.param((6, 4), REQUIRE, "10.0.1.2 2001:db8::3", [BOTH], [], "2001:db8::3 10.0.1.2", id="both-in-order"),
        pytest.param(
            (4, 6), REQUIRE, "10.0.1.2", [BOTH], [], "10.0.1.2 2001:db8::", id="one-asked-for-the-other-is-found"
        ),
        pytest.param(
            (4, 6), REQUIRE, "2001:db8::3", [BOTH], [], "10.0.1.0 2001:db8::3", id="the-second-asked-for-in-order"
        ),
        pytest.param((4, 6), REQUIRE, "10.0.2.1", [V4, V6], [], "", id="one-asked-for-and-its-pool-has-no-other"),
        pytest.param((4, 6), PREFER, "10.0.2.1", [V4, V6], [], "10.0.2.1", id="prefer-one-asked-for"),
        pytest.param((4, 6), PREFER, "10.0.2.1 2001:db8::1", [V4, BOTH], [], "", id="asked-for-from-two-pools"),
    ],
)
def test_dual_stack(
    families: tuple[int, ...],
    policy: services.FamilyPolicy,
    asks: str,
    known: list[pools.Pool],
    taken: list[str],
    expected: str,
) -> None:
    service = builders.service(families=families, policy=policy, asks=asks)
    plan = decide(service, known, full(*taken))
    assert text(plan) == expected
    assert (plan.refusal is None) == bool(expected)


@pytest.mark.parametrize(
    ("asks", "policy"),
    [
        pytest.param("10.0.2.1", REQUIRE, id="require"),
        pytest.param("10.0.2.1", services.FamilyPolicy.SINGLE_STACK, id="two-families-without-a-policy"),
    ],
)
def test_a_refusal_names_no_policy_the_service_does_not_have(asks: str, policy: services.FamilyPolicy) -> None:
    plan = decide(builders.service(families=(4, 6), policy=policy, asks=asks), [V4, V6])
    assert plan.refusal is not None
    assert "PreferDualStack" not in plan.refusal.detail
    assert "pool four has no IPv6 addresses" in plan.refusal.detail


def test_families_follow_the_cluster_addresses() -> None:
    service = builders.service(families=(4, 6))
    assert choice.families_of(service) == choice.Families(
        wanted=(addresses.Family.IPV4, addresses.Family.IPV6), all_needed=True
    )
    bare = dataclasses.replace(service, families=())
    assert choice.families_of(bare) == choice.families_of(service)
    one = dataclasses.replace(service, cluster_ips=service.cluster_ips[1:])
    assert choice.families_of(one) == choice.Families(wanted=(addresses.Family.IPV6,), all_needed=True)


def test_many_pools_are_not_all_listed() -> None:
    known = [pool(f"p{number:02}", f"10.0.{number}.0/32") for number in range(20)]
    plan = decide(WEB, known, full(*(f"10.0.{number}.0" for number in range(20))))
    assert plan.refusal is not None
    assert "and 15 more" in plan.refusal.detail
    plan = decide(builders.service(asks_pool="x"), known)
    assert plan.refusal is not None
    assert "and 12 more" in plan.refusal.detail
