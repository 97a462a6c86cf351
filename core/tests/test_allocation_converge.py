"""One Service that has an address already: what it keeps, what it loses, what is written, and what people are told."""

import dataclasses

import pytest

from metallb_core.allocation import converge
from metallb_core.domain import addresses, pools, services
from metallb_core.testing import builders

pool, service = builders.pool, builders.service
PREFER, REQUIRE = services.FamilyPolicy.PREFER_DUAL_STACK, services.FamilyPolicy.REQUIRE_DUAL_STACK
P = pool("p", "10.0.1.0/29", "2001:db8:1::/125")
Q = pool("q", "10.0.2.0/29", "2001:db8:2::/125")


def decide(mine: services.Service, known: list[pools.Pool], others: tuple[services.Service, ...] = ()) -> converge.Plan:
    """Decide beside others that came first, and check that deciding again after the write changes nothing."""
    book = builders.book(known, [*others, mine])
    plan = converge.converge(mine, book, known)
    if plan.addresses:
        book.reserve(mine, plan.addresses)
        # Before the informer shows it, the decision is the same.
        same = converge.converge(mine, book, known)
        assert (same.addresses, same.pool, same.write) == (plan.addresses, plan.pool, plan.write)
    shown = builders.written(mine, plan)
    book.observe(shown)
    again = converge.converge(shown, book, known)
    assert (again.write, again.addresses, again.pool) == (False, plan.addresses, plan.pool)
    assert again.waits_for == plan.waits_for or (again.waits_for and not plan.waits_for)
    return plan


def told(plan: converge.Plan) -> str:
    return " ".join(event.reason for event in plan.events)


def outcome(plan: converge.Plan) -> str:
    return " ".join([*map(str, plan.addresses), plan.pool or "-"])


def held(where: str = "10.0.1.3", source: str = "p", **fields: object) -> services.Service:
    return service(holds=where, held_from=source, **fields)  # type: ignore[arg-type]


def other(where: str, **fields: object) -> services.Service:
    return service("other", families=(4, 6), holds=where, **fields)  # type: ignore[arg-type]


KEPT = [
    pytest.param(held(), [P], "10.0.1.3 p", False, "", id="nothing-to-do"),
    pytest.param(held(source=""), [P], "10.0.1.3 p", True, "", id="annotation-is-missing"),
    pytest.param(held(source="old"), [P], "10.0.1.3 p", True, "", id="pool-was-renamed"),
    pytest.param(
        held(), [pool("p", "10.0.1.0/31"), pool("new", "10.0.1.2/31")], "10.0.1.3 new", True, "", id="pool-was-split"
    ),
    pytest.param(held(), [pool("p", "10.0.1.2-10.0.1.3")], "10.0.1.3 p", False, "", id="pool-shrank-around-it"),
    pytest.param(
        held(), [dataclasses.replace(P, auto_assign=False)], "10.0.1.3 p", False, "", id="no-more-auto-assign"
    ),
    pytest.param(
        held(), [pool("p", "10.0.1.0/29", only_namespaces=["x"])], "10.0.1.3 p", False, "", id="meant-for-others"
    ),
    pytest.param(
        held(), [pool("a", "10.0.0.0/29", priority=1), P], "10.0.1.3 p", False, "", id="a-better-pool-appears"
    ),
    pytest.param(held(asks="10.0.1.3"), [P], "10.0.1.3 p", False, "", id="asks-for-what-it-has"),
    pytest.param(held(asks_pool="p"), [P], "10.0.1.3 p", False, "", id="asks-for-the-pool-it-has"),
    pytest.param(held(policy=PREFER), [P], "10.0.1.3 p", False, "", id="prefer-on-single-stack-does-not-flap"),
    pytest.param(
        held("2001:db8:1::2 10.0.1.3", families=(4, 6)), [P], "2001:db8:1::2 10.0.1.3 p", False, "", id="order-stays"
    ),
    pytest.param(
        held("10.0.1.3 2001:db8:1::2", families=(6, 4)),
        [P],
        "10.0.1.3 2001:db8:1::2 p",
        False,
        "",
        id="order-stays-v4-first",
    ),
    pytest.param(
        dataclasses.replace(held(), ingress_extra=True), [P], "10.0.1.3 p", True, "", id="foreign-entry-is-removed"
    ),
    pytest.param(
        held("10.0.1.3 10.0.1.4"),
        [P],
        "10.0.1.3 p",
        True,
        "ClearAssignment nolbIPsIPFamily",
        id="second-of-a-family-is-removed",
    ),
    pytest.param(held("10.0.1.3 10.0.1.3"), [P], "10.0.1.3 p", True, "", id="written-twice"),
    pytest.param(
        held("10.0.1.3 2001:db8:1::2", families=(4,)), [P], "10.0.1.3 p", True, "ClearAssignment", id="ipv6-was-removed"
    ),
    pytest.param(
        held("10.0.1.3 2001:db8:1::2", families=(6,)),
        [P],
        "2001:db8:1::2 p",
        True,
        "ClearAssignment",
        id="ipv4-was-removed",
    ),
    pytest.param(
        held(families=(4, 6), policy=PREFER),
        [P],
        "10.0.1.3 2001:db8:1:: p",
        True,
        "IPAllocated",
        id="second-family-added",
    ),
    pytest.param(
        held("2001:db8:1::3", families=(4, 6), policy=PREFER),
        [P],
        "2001:db8:1::3 10.0.1.0 p",
        True,
        "IPAllocated",
        id="second-family-is-added-behind",
    ),
    pytest.param(
        held(families=(4, 6), policy=REQUIRE),
        [P],
        "10.0.1.3 2001:db8:1:: p",
        True,
        "IPAllocated",
        id="dual-now-required",
    ),
    pytest.param(
        held(families=(4, 6), policy=PREFER, asks="10.0.1.3"),
        [P],
        "10.0.1.3 2001:db8:1:: p",
        True,
        "IPAllocated",
        id="second-family-added-beside-a-wish",
    ),
    pytest.param(
        held(families=(4, 6), policy=PREFER),
        [pool("p", "10.0.1.0/29"), Q],
        "10.0.1.3 p",
        False,
        "AdditionalAssignFailed",
        id="second-family-is-not-taken-from-another-pool",
    ),
    pytest.param(
        held("10.0.1.3 2001:db8:1::2", families=(4, 6), policy=PREFER, asks="10.0.1.5"),
        [P],
        "10.0.1.5 2001:db8:1::2 p",
        True,
        "IPAllocated",
        id="wish-for-one-family-keeps-the-other",
    ),
    pytest.param(
        held("10.0.1.3 2001:db8:1::2", families=(4, 6), policy=PREFER, asks_pool="q"),
        [P, Q],
        "10.0.2.0 2001:db8:2:: q",
        True,
        "IPAllocated",
        id="wish-for-a-pool-moves-both",
    ),
    pytest.param(held(asks="10.0.1.5"), [P], "10.0.1.5 p", True, "IPAllocated", id="wish-for-another-address"),
    pytest.param(held(asks_pool="q"), [P, Q], "10.0.2.0 q", True, "IPAllocated", id="wish-for-another-pool"),
    pytest.param(held("10.0.2.9", "q"), [P], "10.0.1.0 p", True, "ClearAssignment IPAllocated", id="pool-is-gone"),
    pytest.param(
        held("10.0.1.7"),
        [pool("p", "10.0.1.0/30")],
        "10.0.1.0 p",
        True,
        "ClearAssignment IPAllocated",
        id="pool-shrank",
    ),
    pytest.param(
        held("10.0.1.0"),
        [dataclasses.replace(P, avoid_buggy_ips=True)],
        "10.0.1.1 p",
        True,
        "ClearAssignment IPAllocated",
        id="now-avoided",
    ),
    pytest.param(
        held("10.0.1.3 2001:db8:1::2", families=(4, 6), policy=PREFER),
        [pool("p", "10.0.1.0/29")],
        "10.0.1.3 p",
        True,
        "ClearAssignment AdditionalAssignFailed",
        id="pool-lost-ipv6",
    ),
    pytest.param(
        held("10.0.1.3 2001:db8:1::2", families=(4, 6), policy=PREFER),
        [pool("p", "10.0.1.0/29", "2001:db8:9::/125")],
        "10.0.1.3 2001:db8:9:: p",
        True,
        "ClearAssignment IPAllocated",
        id="pool-changed-ipv6",
    ),
    pytest.param(
        held("10.0.1.3 2001:db8:1::2", families=(4, 6), policy=REQUIRE),
        [pool("a", "10.0.1.0/29", "2001:db8:9::/125"), pool("z", "2001:db8:1::/125")],
        "10.0.1.3 2001:db8:9:: a",
        True,
        "ClearAssignment IPAllocated",
        id="families-were-split-over-pools",
    ),
    pytest.param(
        held("10.0.1.3 2001:db8:1::2", families=(4, 6), policy=PREFER, asks_pool="z"),
        [pool("a", "10.0.1.0/29"), pool("z", "2001:db8:1::/125", "10.0.9.0/29")],
        "2001:db8:1::2 10.0.9.0 z",
        True,
        "ClearAssignment IPAllocated",
        id="of-two-pools-the-one-asked-for-is-kept",
    ),
]


@pytest.mark.parametrize(("mine", "known", "expected", "write", "events"), KEPT)
def test_what_is_kept(mine: services.Service, known: list[pools.Pool], expected: str, write: bool, events: str) -> None:
    plan = decide(mine, known)
    assert (outcome(plan), plan.write, told(plan)) == (expected, write, events)
    assert plan.refusal is None


@pytest.mark.parametrize(
    ("mine", "reason"),
    [
        pytest.param(held(asks="10.0.2.2"), "A105", id="address-in-use"),
        pytest.param(held(asks="10.9.9.9"), "A104", id="address-in-no-pool"),
        pytest.param(held(asks="2001:db8:1::1"), "A107", id="address-of-another-family"),
        pytest.param(held(asks="10.0.1.4", asks_pool="q"), "A104", id="address-and-pool-do-not-fit"),
        pytest.param(held(asks_pool="full"), "A102", id="pool-is-full"),
        pytest.param(held(asks_pool="nowhere"), "A111", id="unknown-pool"),
        pytest.param(held(asks_pool="blue"), "A103", id="pool-meant-for-others"),
        pytest.param(held(asks="any"), "A112", id="unreadable"),
        pytest.param(dataclasses.replace(held(asks="10.0.1.4"), load_balancer_ip="10.0.1.4"), "A112", id="two-places"),
        pytest.param(held(policy=REQUIRE), "A107", id="require-without-a-second-cluster-address"),
    ],
)
def test_a_wish_that_cannot_be_met_keeps_the_address(mine: services.Service, reason: str) -> None:
    known = [P, Q, pool("full", "10.0.3.0/32"), pool("blue", "10.0.4.0/29", only_namespaces=["blue"])]
    plan = decide(mine, known, (other("10.0.2.2"), service("third", holds="10.0.3.0")))
    assert (outcome(plan), plan.write) == ("10.0.1.3 p", False)
    assert plan.refusal is not None
    assert plan.refusal.reason.code == reason
    assert [event.type for event in plan.events] == ["Warning"]


@pytest.mark.parametrize(
    ("mine", "known", "reason", "events"),
    [
        pytest.param(held(), [], "A101", "ClearAssignment AllocationFailed", id="all-pools-are-gone"),
        pytest.param(
            held(),
            [pool("full", "10.0.3.0/32")],
            "A102",
            "ClearAssignment AllocationFailed",
            id="only-a-full-pool-is-left",
        ),
        pytest.param(
            held(asks="10.0.1.3"), [Q], "A104", "ClearAssignment AllocationFailed", id="the-wish-is-in-no-pool-now"
        ),
        pytest.param(
            held(asks="any"), [Q], "A112", "ClearAssignment LoadBalancerFailed", id="unreadable-and-pool-gone"
        ),
        pytest.param(
            dataclasses.replace(held(), cluster_ips=()),
            [P],
            "A113",
            "ClearAssignment noclusterIPsIPFamily",
            id="no-cluster-address-any-more",
        ),
        pytest.param(
            held("2001:db8:1::2", families=(4,)),
            [pool("p", "2001:db8:1::/125")],
            "A107",
            "ClearAssignment AllocationFailed",
            id="family-was-changed-and-cannot-be-had",
        ),
    ],
)
def test_what_is_lost(mine: services.Service, known: list[pools.Pool], reason: str, events: str) -> None:
    plan = decide(mine, known, (other("10.0.3.0"),))
    assert (plan.addresses, plan.pool, plan.write) == ((), None, True)
    assert plan.refusal is not None
    assert plan.refusal.reason.code == reason
    found = told(plan).split()
    assert set(found) == set(events.split())


@pytest.mark.parametrize(
    ("mine", "write"),
    [
        pytest.param(dataclasses.replace(held(), is_load_balancer=False), True, id="was-one"),
        pytest.param(dataclasses.replace(service(), is_load_balancer=False), False, id="never-was-one"),
        pytest.param(
            dataclasses.replace(held("", "p"), is_load_balancer=False), True, id="only-the-annotation-is-left"
        ),
        pytest.param(
            dataclasses.replace(service(), is_load_balancer=False, cluster_ips=(), ingress_extra=True),
            True,
            id="foreign-entry",
        ),
    ],
)
def test_no_load_balancer_has_nothing(mine: services.Service, write: bool) -> None:
    plan = decide(mine, [P])
    assert (plan.addresses, plan.pool, plan.write, plan.refusal, plan.waits_for) == ((), None, write, None, frozenset())


def test_a_headless_service_gets_nothing_and_waits_for_nothing() -> None:
    plan = decide(dataclasses.replace(service(), cluster_ips=()), [P])
    assert plan.refusal is not None
    assert plan.refusal.reason.code == "A113"
    assert (plan.write, plan.waits_for) == (False, frozenset())


@pytest.mark.parametrize(
    ("mine", "expected"),
    [
        pytest.param(held("10.0.1.3 2001:db8:2::2", families=(4, 6), asks="any"), "10.0.1.3 p", id="unreadable-wish"),
        pytest.param(
            held("10.0.1.3 2001:db8:1::2", asks="any"), "10.0.1.3 p", id="unreadable-wish-and-a-family-too-many"
        ),
        pytest.param(held("10.0.1.3 10.0.1.4", asks="any"), "10.0.1.3 p", id="unreadable-wish-and-an-address-too-many"),
        pytest.param(
            held("10.0.1.3 2001:db8:2::2", policy=REQUIRE), "10.0.1.3 p", id="require-without-a-second-cluster-address"
        ),
    ],
)
def test_what_stays_can_be_announced(mine: services.Service, expected: str) -> None:
    """Speakers announce only addresses of one pool, so a wish that cannot be read must not leave two pools' addresses."""
    assert outcome(decide(mine, [P, Q])) == expected


def test_a_second_family_is_not_given_from_a_pool_meant_for_others() -> None:
    known = [pool("p", "10.0.1.0/29", "2001:db8:1::/125", only_namespaces=["blue"])]
    plan = decide(held(families=(4, 6), policy=PREFER), known)
    assert outcome(plan) == "10.0.1.3 p"
    assert told(plan) == "AdditionalAssignFailed"
    assert "not compatible" in plan.events[0].message


def test_the_second_family_arrives_when_it_can_be_had() -> None:
    narrow = pool("p", "10.0.1.0/29", "2001:db8:1::/128")
    mine = held(families=(4, 6), policy=PREFER)
    plan = decide(mine, [narrow], (other("2001:db8:1::"),))
    assert outcome(plan) == "10.0.1.3 p"
    assert plan.waits_for == frozenset({"p"})
    assert plan.refusal is None
    assert outcome(decide(mine, [narrow])) == "10.0.1.3 2001:db8:1:: p"


def test_the_address_is_kept_when_a_senior_may_share_it_and_lost_when_not() -> None:
    mine = held(share="k", on="TCP/443")
    assert not decide(mine, [P], (other("10.0.1.3", share="k", on="TCP/80"),)).write
    plan = decide(mine, [P], (other("10.0.1.3", share="k", on="TCP/443"),))
    assert outcome(plan) == "10.0.1.0 p"
    assert told(plan) == "ClearAssignment IPAllocated"
    assert "default/other" in plan.events[0].message


def test_why_an_address_was_lost_is_told_even_when_the_other_family_stays() -> None:
    mine = held("10.0.1.3 2001:db8:1::2", families=(4, 6), policy=PREFER, asks_pool="nowhere")
    plan = decide(mine, [pool("p", "10.0.1.0/29")])
    assert outcome(plan) == "10.0.1.3 p"
    assert told(plan) == "ClearAssignment LoadBalancerFailed"
    assert "no IPAddressPool holds 2001:db8:1::2 any more" in plan.events[0].message


@pytest.mark.parametrize(("write", "expected"), [(True, True), (False, False)])
def test_older_annotations_are_told_of_only_when_something_is_written(write: bool, expected: bool) -> None:
    annotations = {"metallb.universe.tf/address-pool": "p"}
    plan = decide(held(source="" if write else "p", annotations=annotations), [P])
    assert ("deprecatedAnnotation" in told(plan)) is expected


def test_a_pool_that_cannot_be_read_after_a_restart_costs_no_address() -> None:
    mine, others = held(), [Q]
    book = builders.book(others, [mine])
    plan = converge.converge(mine, book, others, left_out=frozenset({"p"}))
    assert (outcome(plan), plan.write, plan.waits_for) == ("10.0.1.3 p", False, None)
    assert plan.refusal is not None
    assert "'p'" in plan.refusal.detail
    # That does not allow two to clash, or a family too many.
    twice = builders.book(others, [other("10.0.1.3"), mine])
    assert outcome(converge.converge(mine, twice, others, left_out=frozenset({"p"}))) == "10.0.2.0 q"
    six = held("10.0.1.3 2001:db8:1::2")
    plan = converge.converge(six, builders.book(others, [six]), others, left_out=frozenset({"p"}))
    assert (outcome(plan), plan.write) == ("10.0.1.3 p", True)
    # Deleted, it is a pool that is gone; and where another pool holds the address, it is that pool's.
    assert outcome(converge.converge(mine, book, others)) == "10.0.2.0 q"
    wide = pool("wide", "10.0.0.0/16")
    plan = converge.converge(mine, builders.book([wide], [mine]), [wide], left_out=frozenset({"p"}))
    assert (outcome(plan), plan.write) == ("10.0.1.3 wide", True)


def test_what_was_handed_out_in_vain_does_not_cost_the_address_shown() -> None:
    """A write without an answer is open: its address is reserved beside the one shown. Its pool may go meanwhile."""
    mine = held(asks_pool="q")
    book = builders.book([P, Q], [mine])
    moved = converge.converge(mine, book, [P, Q])
    book.reserve(mine, moved.addresses)
    repeated = converge.converge(mine, book, [P, Q])
    assert (outcome(repeated), told(repeated)) == ("10.0.2.0 q", "IPAllocated")
    book.set_pools({"p": P})
    plan = converge.converge(mine, book, [P])
    assert (outcome(plan), plan.write) == ("10.0.1.3 p", False)


@pytest.mark.parametrize(
    ("wanted", "flag", "ours"),
    [(None, "", True), ("", "", True), ("x", "", False), (None, "x", False), ("x", "x", True), ("y", "x", False)],
)
def test_class(wanted: str | None, flag: str, ours: bool) -> None:
    assert converge.is_ours(dataclasses.replace(service(), load_balancer_class=wanted), flag) is ours


def test_what_is_reserved_counts_before_it_is_shown() -> None:
    book = builders.book([P])
    first, second = service("a"), service("b")
    plan = converge.converge(first, book, [P])
    book.reserve(first, plan.addresses)
    assert converge.converge(first, book, [P]).addresses == plan.addresses
    assert converge.converge(second, book, [P]).addresses == (addresses.Address.parse("10.0.1.1"),)
    book.cancel(first.key)
    assert converge.converge(second, book, [P]).addresses == plan.addresses


@pytest.mark.parametrize(
    ("mine", "known", "expected"),
    [
        pytest.param(held(), [P], 0.0, id="nothing-goes"),
        pytest.param(held(), [], converge.POOL_SECONDS, id="all-pools-are-gone"),
        pytest.param(held(), [Q], converge.POOL_SECONDS, id="its-pool-is-gone"),
        pytest.param(held(), [pool("p", "10.0.1.0/31"), Q], converge.POOL_SECONDS, id="its-pool-shrank"),
        pytest.param(held(asks="10.9.9.9"), [Q], converge.POOL_SECONDS, id="and-the-wish-cannot-be-met"),
        pytest.param(held(asks="any"), [Q], converge.POOL_SECONDS, id="and-the-wish-cannot-be-read"),
        pytest.param(
            held("10.0.1.3 2001:db8:1::3", families=(4, 6), policy=PREFER),
            [pool("p", "10.0.1.0/29"), pool("new", "2001:db8:1::/125")],
            converge.POOL_SECONDS,
            id="a-family-went-to-another-pool",
        ),
        pytest.param(held("10.0.1.4"), [P], converge.SHARING_SECONDS, id="a-senior-has-it"),
        pytest.param(held(asks="10.0.1.5"), [P], 0.0, id="another-address-is-asked-for"),
        pytest.param(held(asks_pool="q"), [P, Q], 0.0, id="another-pool-is-asked-for"),
        pytest.param(held(asks_pool="q"), [Q], 0.0, id="another-pool-is-asked-for-and-its-own-is-gone"),
        pytest.param(held(asks="10.0.2.5"), [Q], 0.0, id="another-address-is-asked-for-and-its-pool-is-gone"),
        pytest.param(held(asks_pool="p"), [Q], converge.POOL_SECONDS, id="the-pool-that-is-gone-is-asked-for"),
        pytest.param(held("10.0.1.3 2001:db8:1::3"), [P], 0.0, id="a-family-is-not-wanted-any-more"),
        pytest.param(held("10.0.1.3 2001:db8:1::3"), [], converge.POOL_SECONDS, id="and-the-pool-is-gone-too"),
        pytest.param(dataclasses.replace(held(), cluster_ips=()), [P], 0.0, id="no-cluster-address-any-more"),
        pytest.param(dataclasses.replace(held(), is_load_balancer=False), [], 0.0, id="no-load-balancer-any-more"),
    ],
)
def test_a_loss_that_nobody_asked_for_has_to_stand_for_a_while(
    mine: services.Service, known: list[pools.Pool], expected: float
) -> None:
    assert decide(mine, known, (other("10.0.1.4"),)).hold == expected


@pytest.mark.parametrize("prefix", ["metallb.io", "metallb.universe.tf"])
def test_the_note_of_the_pool_counts_by_either_prefix(prefix: str) -> None:
    """Older versions of MetalLB wrote the older one. A pool of that name that cannot be read costs no address."""
    mine = service(holds="10.0.9.3", annotations={f"{prefix}/ip-allocated-from-pool": "broken"})
    plan = converge.converge(mine, builders.book([P], [mine]), [P], left_out=frozenset({"broken"}))
    assert outcome(plan) == "10.0.9.3 broken"


# What was lost comes back


def without(mine: services.Service) -> services.Service:
    """Its status wiped, by whomever."""
    return dataclasses.replace(mine, ingress=(), annotations={})


def test_an_address_that_was_lost_comes_before_the_lowest() -> None:
    mine = held("10.0.1.3 2001:db8:1::3", families=(4, 6), policy=PREFER)
    book = builders.book([P], [mine])
    book.observe(without(mine))
    assert outcome(converge.converge(without(mine), book, [P])) == "10.0.1.3 2001:db8:1::3 p"


def test_what_a_pool_took_with_it_comes_back_with_it() -> None:
    mine = held()
    book = builders.book([P], [mine])
    book.set_pools({})
    book.observe(builders.written(mine, converge.converge(mine, book, [])))
    assert book.observed(mine.key) == ()
    book.set_pools({"p": P})
    assert outcome(converge.converge(without(mine), book, [P])) == "10.0.1.3 p"


@pytest.mark.parametrize("case", ["taken", "of-another-pool", "deleted-meanwhile", "has-another-since"])
def test_what_was_lost_does_not_come_back(case: str) -> None:
    mine = held()
    book = builders.book([P, Q], [mine])
    again = without(mine)
    if case == "has-another-since":
        book.observe(dataclasses.replace(mine, ingress=builders.listed("10.0.1.5")))
    book.observe(again)
    if case == "deleted-meanwhile":
        book.forget(mine.key)
    if case == "taken":
        book.observe(other("10.0.1.3"))
    if case == "of-another-pool":
        again = dataclasses.replace(again, annotations={"metallb.io/address-pool": "q"})
    expected = {"of-another-pool": "10.0.2.0 q", "has-another-since": "10.0.1.5 p"}
    assert outcome(converge.converge(again, book, [P, Q])) == expected.get(case, "10.0.1.0 p")
