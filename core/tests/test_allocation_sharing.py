"""When two Services may have one address, and what the refusal says."""

import pytest

from metallb_core.allocation import converge, ledger, request, sharing
from metallb_core.domain import reasons, services
from metallb_core.testing import builders

POOL = builders.pool("p", "192.0.2.0/29")
AT = builders.listed("192.0.2.1")[0]


def first(**fields: object) -> services.Service:
    base: dict[str, object] = {"share": "k", "on": "TCP/80"}
    return builders.service("first", holds="192.0.2.1", **(base | fields))  # type: ignore[arg-type]


def second(**fields: object) -> services.Service:
    base: dict[str, object] = {"share": "k", "on": "TCP/443"}
    return builders.service("second", **(base | fields))  # type: ignore[arg-type]


SHARERS = [
    pytest.param(first(), second(), None, id="same-key-other-port"),
    pytest.param(first(on="TCP/53"), second(on="UDP/53"), None, id="same-port-other-protocol"),
    pytest.param(first(on=""), second(on=""), None, id="no-ports-at-all"),
    pytest.param(first(namespace="other"), second(), None, id="across-namespaces"),
    pytest.param(first(local="a=b"), second(local="a=b"), None, id="local-same-selector"),
    pytest.param(first(local="a=b,c=d"), second(local="c=d,a=b"), None, id="local-same-selector-other-order"),
    pytest.param(
        first(annotations={"metallb.universe.tf/allow-shared-ip": "k"}, share=""),
        second(),
        None,
        id="key-by-older-prefix",
    ),
    pytest.param(first(), second(share=""), ["no metallb.io/allow-shared-ip"], id="mine-has-no-key"),
    pytest.param(first(share=""), second(), ["which has no metallb.io/allow-shared-ip"], id="the-other-has-no-key"),
    pytest.param(first(share=""), second(share=""), ["no metallb.io/allow-shared-ip"], id="neither-has-a-key"),
    pytest.param(first(share="theirs"), second(share="mine"), ['"theirs"', '"mine"'], id="other-key"),
    pytest.param(first(), second(on="UDP/80 TCP/80"), ["port TCP/80"], id="same-port"),
    pytest.param(
        first(on="TCP/80 TCP/90"), second(on="TCP/90 TCP/80"), ["port TCP/80"], id="lowest-common-port-is-named"
    ),
    pytest.param(first(local="a=b"), second(local="a=c"), ["externalTrafficPolicy Local"], id="local-other-selector"),
    pytest.param(first(local="a=b"), second(), ["externalTrafficPolicy Local"], id="local-beside-cluster"),
    pytest.param(first(), second(local="a=b"), ["externalTrafficPolicy Local"], id="cluster-beside-local"),
]


@pytest.mark.parametrize(("one", "other", "fragments"), SHARERS)
def test_rules(one: services.Service, other: services.Service, fragments: list[str] | None) -> None:
    def terms(service: services.Service) -> sharing.Sharing:
        return sharing.of(service, request.annotation(service, request.SHARE))

    refusal = sharing.clash(
        terms(other), frozenset(other.ports), one.key, terms(one), frozenset(one.ports), "192.0.2.1"
    )
    if fragments is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal.reason is reasons.Reason.SHARING_CLASH
        for fragment in (f"192.0.2.1 is in use by Service {one.key}", *fragments):
            assert fragment in refusal.detail
    # Whoever asks, the answer is the same.
    back = sharing.clash(terms(one), frozenset(one.ports), other.key, terms(other), frozenset(other.ports), "192.0.2.1")
    assert (back is None) == (refusal is None)


@pytest.mark.parametrize(("one", "other", "fragments"), SHARERS)
def test_a_request_for_an_address_in_use(
    one: services.Service, other: services.Service, fragments: list[str] | None
) -> None:
    asking = builders.service(
        "second",
        asks="192.0.2.1",
        share=other.annotations.get("metallb.io/allow-shared-ip", ""),
        on=" ".join(map(str, other.ports)),
        local=",".join(f"{key}={value}" for key, value in other.selector)
        if other.traffic_policy is services.TrafficPolicy.LOCAL
        else None,
    )
    plan = converge.converge(asking, builders.book([POOL], [one, asking]), [POOL])
    if fragments is None:
        assert plan.addresses == (AT,)
    else:
        assert plan.addresses == ()
        assert plan.refusal is not None
        assert plan.refusal.reason is reasons.Reason.SHARING_CLASH
        assert str(one.key) in plan.refusal.detail
        assert plan.waits_for == frozenset({"p"})


@pytest.mark.parametrize(("one", "other", "fragments"), SHARERS)
def test_without_a_wish_the_lowest_that_fits_is_found(
    one: services.Service, other: services.Service, fragments: list[str] | None
) -> None:
    book = builders.book([builders.pool("p", "192.0.2.1-192.0.2.4")], [one])
    found = book.lowest(other.key, ledger.claim_of(other, ()), "p", AT.family)
    assert str(found) == ("192.0.2.1" if fragments is None else "192.0.2.2")


def test_a_free_address_below_a_shared_one_is_taken_first() -> None:
    book = builders.book([POOL], [first()])
    assert str(book.lowest(second().key, ledger.claim_of(second(), ()), "p", AT.family)) == "192.0.2.0"


def test_sharers_fill_an_address_port_by_port_then_the_next() -> None:
    pool = builders.pool("p", "192.0.2.1-192.0.2.9")
    book = builders.book([pool])
    given: list[str] = []
    for number in range(6):
        service = builders.service(f"s{number}", share="k", on=f"TCP/{number % 2}")
        plan = converge.converge(service, book, [pool])
        book.observe(builders.written(service, plan))
        given.append(str(plan.addresses[0]))
    assert given == ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3", "192.0.2.3"]
    assert book.usage("p").assigned_ipv4 == 3


def test_the_only_user_may_change_its_key_in_place() -> None:
    book = builders.book([POOL], [first()])
    changed = first(share="other", held_from="p")
    book.observe(changed)
    plan = converge.converge(changed, book, [POOL])
    assert (plan.addresses, plan.write) == ((AT,), False)
    # And the address is offered on the new terms only.
    assert book.lowest(second().key, ledger.claim_of(second(share="other"), ()), "p", AT.family) is not None
    narrow = builders.pool("p", "192.0.2.1/32")
    book = builders.book([narrow], [first(), changed])
    assert book.lowest(second().key, ledger.claim_of(second(), ()), "p", AT.family) is None
    assert book.lowest(second().key, ledger.claim_of(second(share="other"), ()), "p", AT.family) == AT


@pytest.mark.parametrize("change", [{"share": "x"}, {"share": ""}, {"on": "TCP/443"}, {"local": "a=b"}])
@pytest.mark.parametrize("who", ["first", "second"])
def test_of_two_sharers_the_one_that_makes_itself_clash_moves(change: dict[str, str], who: str) -> None:
    pair = {"first": first(held_from="p"), "second": second(holds="192.0.2.1", held_from="p", on="TCP/8080")}
    if who == "first" and "on" in change:
        change = {"on": "TCP/8080"}
    if who == "second" and "on" in change:
        change = {"on": "TCP/80"}
    book = builders.book([POOL], pair.values())
    make = first if who == "first" else second
    fields: dict[str, object] = {"holds": "192.0.2.1", "on": "TCP/8080"} if who == "second" else {}
    changed = make(held_from="p", **(fields | dict(change)))
    book.observe(changed)
    other = pair["second" if who == "first" else "first"]
    assert not converge.converge(other, book, [POOL]).write
    plan = converge.converge(changed, book, [POOL])
    assert plan.write
    assert [str(each) for each in plan.addresses] == ["192.0.2.0"]
    assert plan.events[0].reason == "ClearAssignment"
    assert str(other.key) in plan.events[0].message
