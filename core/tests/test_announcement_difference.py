"""Desired minus realised: withdraw first, announce what changed, leave the rest alone; shared addresses outlive each sharer."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_core.announcement import difference, layer2
from metallb_core.domain import addresses, services

A, B = (addresses.Address.parse(text) for text in ("192.0.2.1", "192.0.2.2"))
WEB, DNS = services.ServiceKey("default", "web"), services.ServiceKey("default", "dns")
ALL: frozenset[str] = frozenset()
ETH0, ETH1 = frozenset({"eth0"}), frozenset({"eth1"})


def want(*where: addresses.Address, interfaces: frozenset[str] = ALL) -> layer2.Announcement:
    return layer2.Announcement(where, interfaces)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([(WEB, want(A))], difference.Change(announce=((A, ALL),)), id="first-announcement"),
        pytest.param([(WEB, want(A)), (WEB, want(A))], difference.Change(), id="no-change-no-effect"),
        pytest.param([(WEB, want(A)), (WEB, None)], difference.Change(withdraw=(A,)), id="withdraw"),
        pytest.param([(WEB, None)], difference.Change(), id="withdrawing-what-is-absent-succeeds"),
        pytest.param(
            [(WEB, want(A)), (WEB, want(B))], difference.Change(withdraw=(A,), announce=((B, ALL),)), id="moved"
        ),
        pytest.param(
            [(WEB, want(A)), (WEB, want(A, B))], difference.Change(announce=((B, ALL),)), id="only-what-is-new"
        ),
        pytest.param([(WEB, want(A)), (DNS, want(A))], difference.Change(), id="a-second-sharer-changes-nothing"),
        pytest.param(
            [(WEB, want(A)), (DNS, want(A)), (WEB, None)], difference.Change(), id="shared-outlives-one-sharer"
        ),
        pytest.param(
            [(WEB, want(A)), (DNS, want(A)), (WEB, None), (DNS, None)],
            difference.Change(withdraw=(A,)),
            id="shared-goes-with-the-last",
        ),
        pytest.param(
            [(WEB, want(A, interfaces=ETH0)), (DNS, want(A, interfaces=ETH1))],
            difference.Change(announce=((A, ETH0 | ETH1),)),
            id="interfaces-of-sharers-are-joined",
        ),
        pytest.param(
            [(WEB, want(A, interfaces=ETH0)), (DNS, want(A))],
            difference.Change(announce=((A, ALL),)),
            id="all-interfaces-outweighs-some",
        ),
        pytest.param(
            [(WEB, want(A)), (WEB, want(A, interfaces=ETH0))],
            difference.Change(announce=((A, ETH0),)),
            id="narrowed-to-one-interface",
        ),
    ],
)
def test_last_step(
    steps: list[tuple[services.ServiceKey, layer2.Announcement | None]], expected: difference.Change
) -> None:
    announced = difference.Announced()
    for key, desired in steps[:-1]:
        announced.update(key, desired)
    assert announced.update(*steps[-1]) == expected


WISHES = st.none() | st.builds(
    layer2.Announcement,
    st.lists(st.sampled_from([A, B]), min_size=1, max_size=2, unique=True).map(tuple),
    st.sampled_from([ALL, ETH0, ETH1]),
)


@given(st.lists(st.tuples(st.sampled_from([WEB, DNS]), WISHES), max_size=30))
def test_replaying_the_effects_gives_the_union_of_all_wishes(
    steps: list[tuple[services.ServiceKey, layer2.Announcement | None]],
) -> None:
    announced, realised, desired = difference.Announced(), dict[addresses.Address, frozenset[str]](), {}
    for key, wish in steps:
        change = announced.update(key, wish)
        for address in change.withdraw:
            del realised[address]
        realised.update(dict(change.announce))
        desired[key] = wish
    wishes = [wish for wish in desired.values() if wish is not None]
    for address in (A, B):
        interfaces = [wish.interfaces for wish in wishes if address in wish.addresses]
        expected = None if not interfaces else ALL if ALL in interfaces else frozenset(itertools.chain(*interfaces))
        assert realised.get(address) == expected == announced.interfaces(address)
