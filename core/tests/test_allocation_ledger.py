"""The ledger against a recount from scratch: counters, holders, the lowest address, and that nothing is left when all are gone."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metallb_core.allocation import ledger, sharing, usage
from metallb_core.domain import addresses, pools, services
from metallb_core.testing import builders

Claims = dict[tuple[services.ServiceKey, str], ledger.Claim]

POOL_CHOICES = tuple(
    {each.name: each for each in made}
    for made in (
        (builders.pool("a", "10.0.0.250-10.0.1.3", "2001:db8::/126"),),
        (builders.pool("a", "10.0.0.250-10.0.1.3", "2001:db8::/126", avoid_buggy_ips=True),),
        (builders.pool("a", "10.0.1.0/30", "10.0.0.252/30"), builders.pool("b", "2001:db8::/127")),
        (builders.pool("b", "10.0.0.250-10.0.1.3", "2001:db8::2/127", auto_assign=False),),
        (),
    )
)
SPACE = [
    *(addresses.Address(addresses.Family.IPV4, (10 << 24) + value) for value in range(250, 261)),
    *(addresses.Address(addresses.Family.IPV6, (0x20010DB8 << 96) + value) for value in range(4)),
]

wanted = st.lists(st.sampled_from(SPACE), max_size=3).map(tuple)
made = st.builds(
    lambda name, where, share, on, local: dataclasses.replace(
        builders.service(f"s{name}", share=share, on=on, local=local), ingress=where
    ),
    st.integers(0, 4),
    wanted,
    st.sampled_from(("", "k", "l")),
    st.sampled_from(("TCP/80", "TCP/81", "TCP/80 TCP/81", "UDP/80")),
    st.sampled_from((None, None, "a=b")),
)
operations = st.one_of(
    st.tuples(st.just("observe"), made),
    st.tuples(st.just("reserve"), made),
    st.tuples(st.just("cancel"), made),
    st.tuples(st.just("forget"), made),
    st.tuples(st.just("pools"), st.sampled_from(POOL_CHOICES)),
)


def every(pool: pools.Pool, family: addresses.Family) -> Iterator[addresses.Address]:
    """All addresses a pool may give out, in the order it does."""
    for interval in pool.intervals:
        if interval.family == family:
            for value in range(interval.first, interval.last + 1):
                if addresses.Address(family, value) in pool:
                    yield addresses.Address(family, value)


def check(book: ledger.Ledger, known: Mapping[str, pools.Pool], claims: Claims) -> None:
    """Everything the ledger says, against a recount from `claims`."""
    holders: dict[addresses.Address, set[services.ServiceKey]] = {}
    for (key, _), claim in claims.items():
        for address in claim.addresses:
            holders.setdefault(address, set()).add(key)
    for address in SPACE:
        assert set(book.holders(address)) == holders.get(address, set())
        assert book.pool_of(address) == pools.containing(known.values(), [address])
    asking = builders.service("asking", share="k", on="TCP/81")
    terms = ledger.claim_of(asking, ())
    for name, pool in known.items():
        capacity = {family: len(list(every(pool, family))) for family in addresses.Family}
        held = [address for address in holders if address in pool]
        users = set().union(*(holders[address] for address in held))
        assert book.usages()[name] == usage.Usage(
            capacity_ipv4=capacity[addresses.Family.IPV4],
            capacity_ipv6=capacity[addresses.Family.IPV6],
            assigned_ipv4=sum(address.family == addresses.Family.IPV4 for address in held),
            assigned_ipv6=sum(address.family == addresses.Family.IPV6 for address in held),
            services=len(users),
        )
        for family in addresses.Family:
            fits = (
                address
                for address in every(pool, family)
                if all(
                    sharing.clash(terms.terms, terms.ports, key, claim.terms, claim.ports, "") is None
                    for (key, _), claim in claims.items()
                    if address in claim.addresses
                )
            )
            assert book.lowest(asking.key, terms, name, family) == next(fits, None)


@settings(max_examples=200)
@given(st.lists(operations, max_size=40))
def test_against_a_recount(steps: list[tuple[str, object]]) -> None:
    book, known, claims = ledger.Ledger(), dict[str, pools.Pool](), Claims()
    for what, subject in steps:
        if isinstance(subject, dict):
            changed = {name for name in known.keys() | subject.keys() if known.get(name) != subject.get(name)}
            assert book.set_pools(subject) == changed
            known = dict(subject)
        else:
            assert isinstance(subject, services.Service)
            before = book.usages()
            touched = apply(book, claims, what, subject)
            after = book.usages()
            assert {name for name in known if before[name] != after[name]} <= touched
        check(book, known, claims)
    for key in {key for key, _ in claims}:
        book.forget(key)
    check(book, known, {})
    assert book._holders == {}
    assert book._observed == {}
    assert book._reserved == {}
    for books in book._shelves.values():
        assert books._offers == {}
        assert not any(each._used for each in books._spaces)


def apply(book: ledger.Ledger, claims: Claims, what: str, service: services.Service) -> ledger.Pools:
    key = service.key
    match what:
        case "observe":
            claims.pop((key, "observed"), None)
            claims.pop((key, "reserved"), None)
            if service.ingress:
                claims[(key, "observed")] = ledger.claim_of(service, service.ingress)
            return book.observe(service)
        case "reserve":
            claims[(key, "reserved")] = ledger.claim_of(service, service.ingress)
            return book.reserve(service, service.ingress)
        case "cancel":
            claims.pop((key, "reserved"), None)
            return book.cancel(key)
        case _:
            claims.pop((key, "observed"), None)
            claims.pop((key, "reserved"), None)
            return book.forget(key)


@given(st.lists(made, max_size=5, unique_by=lambda each: each.key), st.sampled_from(POOL_CHOICES), st.data())
def test_the_order_of_observing_does_not_matter(
    seen: list[services.Service], known: dict[str, pools.Pool], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(seen))
    early, late = builders.book(known.values(), seen), ledger.Ledger()
    for each in shuffled:
        late.observe(each)
    late.set_pools(known)
    assert early.usages() == late.usages()
    for address in SPACE:
        assert set(early.holders(address)) == set(late.holders(address))
    for name, family in itertools.product(known, addresses.Family):
        for share in ("", "k"):
            asking = builders.service("asking", share=share, on="UDP/81")
            terms = ledger.claim_of(asking, ())
            assert early.lowest(asking.key, terms, name, family) == late.lowest(asking.key, terms, name, family)


@given(st.lists(made, min_size=1, max_size=5))
def test_observing_again_changes_nothing(seen: list[services.Service]) -> None:
    book = builders.book(POOL_CHOICES[0].values(), seen)
    latest = {each.key: each for each in seen}
    order = {address: book.holders(address) for address in SPACE}
    for each in latest.values():
        assert book.observe(each) == frozenset()
    assert {address: book.holders(address) for address in SPACE} == order


A = builders.pool("a", "10.0.0.0/30")


def test_a_reservation_ends_with_the_next_observation() -> None:
    pending = builders.service()
    book = builders.book([A], [pending])
    assert book.reserve(pending, builders.listed("10.0.0.2")) == {"a"}
    assert book.reserved(pending.key) == builders.listed("10.0.0.2")
    assert book.usage("a").assigned_ipv4 == 1
    assert book.observe(pending) == {"a"}
    assert book.reserved(pending.key) == ()
    assert book.usage("a").assigned_ipv4 == 0


def test_while_a_service_moves_it_holds_both() -> None:
    mine = builders.service(holds="10.0.0.1")
    book = builders.book([A], [mine])
    book.reserve(mine, builders.listed("10.0.0.2"))
    assert book.usage("a").assigned_ipv4 == 2
    book.observe(dataclasses.replace(mine, ingress=builders.listed("10.0.0.2")))
    assert book.usage("a").assigned_ipv4 == 1
    assert book.observed(mine.key) == builders.listed("10.0.0.2")


def test_what_is_no_load_balancer_holds_nothing() -> None:
    mine = builders.service(holds="10.0.0.1")
    book = builders.book([A], [mine])
    assert book.observe(dataclasses.replace(mine, is_load_balancer=False)) == {"a"}
    assert book.observed(mine.key) == ()


@pytest.mark.parametrize(
    ("change", "order"),
    [
        pytest.param({"share": "k", "on": "TCP/3"}, "s1 s2", id="a-change-that-fits-keeps-the-place"),
        pytest.param({"share": "x", "on": "TCP/1"}, "s2 s1", id="a-change-of-the-key-loses-it"),
        pytest.param({"share": "k", "on": "TCP/2"}, "s2 s1", id="a-clashing-port-loses-it"),
    ],
)
def test_seniority(change: dict[str, str], order: str) -> None:
    one = builders.service("s1", holds="10.0.0.1", share="k", on="TCP/1")
    two = builders.service("s2", holds="10.0.0.1", share="k", on="TCP/2")
    book = builders.book([A], [one, two])
    book.observe(builders.service("s1", holds="10.0.0.1", **change))  # type: ignore[arg-type]
    assert " ".join(key.name for key in book.holders(builders.listed("10.0.0.1")[0])) == order


def test_a_service_that_did_not_fit_before_is_not_blamed() -> None:
    """Two that clash from the start (somebody wrote their status): the first stays senior whatever it changes."""
    book = builders.book([A], [builders.service("s1", holds="10.0.0.1"), builders.service("s2", holds="10.0.0.1")])
    book.observe(builders.service("s1", holds="10.0.0.1", on="TCP/9"))
    assert [key.name for key in book.holders(builders.listed("10.0.0.1")[0])] == ["s1", "s2"]


def test_a_clash_that_was_there_before_does_not_excuse_a_new_one() -> None:
    """s3 is on its way out, so it clashes with all; then s1 makes itself clash with s2, and is to move as well."""
    fine = [builders.service(f"s{port}", holds="10.0.0.1", share="k", on=f"TCP/{port}") for port in (1, 2, 3)]
    book = builders.book([A], fine)
    book.observe(builders.service("s3", holds="10.0.0.1", share="other", on="TCP/3"))
    book.observe(builders.service("s1", holds="10.0.0.1", share="k", on="TCP/2"))
    assert [key.name for key in book.holders(builders.listed("10.0.0.1")[0])] == ["s2", "s3", "s1"]


def test_huge_pools_are_counted_exactly() -> None:
    huge = builders.pool("h", "::/0", "0.0.0.0/0")
    counts = builders.book([huge], [builders.service(holds="10.0.0.1")]).usages()["h"]
    assert (counts.capacity_ipv6, counts.available_ipv6) == (1 << 128, 1 << 128)
    assert (counts.capacity_ipv4, counts.available_ipv4, counts.services) == (1 << 32, (1 << 32) - 1, 1)
    assert usage.wire(counts.available_ipv6) == 2**63 - 1
    assert usage.wire(counts.available_ipv4) == (1 << 32) - 1


def test_avoided_addresses_are_not_counted() -> None:
    counts = builders.book([builders.pool("p", "10.0.0.0/32", "10.0.1.0/24", avoid_buggy_ips=True)]).usages()["p"]
    assert counts.capacity_ipv4 == 254
    lone = builders.book([builders.pool("p", "10.0.0.0/32", avoid_buggy_ips=True)]).usages()["p"]
    assert (lone.capacity_ipv4, lone.available_ipv4) == (0, 0)


@pytest.mark.parametrize("before", [(), ("10.0.0.1",)], ids=["first-address", "second-family-added"])
def test_a_settled_reservation_touches_no_pool(before: tuple[str, ...]) -> None:
    """Else each address given out would wake everybody who waits in its pool."""
    seen = builders.service("x", holds=" ".join(before))
    book = builders.book([builders.pool("a", "10.0.0.0/30")])
    book.observe(seen)
    where = tuple(addresses.Address.parse(text) for text in (*before, "10.0.0.2"))
    book.reserve(seen, where)
    assert book.observe(dataclasses.replace(seen, ingress=where)) == frozenset()
