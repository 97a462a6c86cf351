"""The whole configuration: quarantine, last good forms, and who wins an overlap."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_core.api import v1beta1
from metallb_core.config import compiled
from metallb_core.testing import builders

OLD, NEW = "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
Spec = dict[str, str]


def wires(spec: Spec) -> compiled.Resources:
    """`name: entries` where the entries are separated by blanks; `name@created` sets the date."""
    made = []
    for name, texts in spec.items():
        plain, _, created = name.partition("@")
        made.append(builders.pool_object(plain, *texts.split(), created=created or NEW))
    return compiled.Resources(pools=tuple(made))


def in_force(config: compiled.Config) -> Spec:
    return {name: " ".join(map(str, pool.intervals)) for name, pool in config.pools.items()}


def wrong(config: compiled.Config) -> list[str]:
    return [f"{each.name} {each.refusal.reason.code} {'kept' if each.kept else 'out'}" for each in config.problems]


@pytest.mark.parametrize(
    ("steps", "expected", "problems"),
    [
        pytest.param([{}], {}, [], id="nothing"),
        pytest.param(
            [{"a": "10.0.0.0/8 x", "b": "11.0.0.0/8"}], {"b": "11.0.0.0/8"}, ["a C501 out"], id="bad-one-is-left-out"
        ),
        pytest.param(
            [{"a": "10.0.0.0/8", "b": "11.0.0.0/8"}, {"a": "rubbish", "b": "12.0.0.0/8"}],
            {"a": "10.0.0.0/8", "b": "12.0.0.0/8"},
            ["a C501 kept"],
            id="last-good-form-stays-and-others-move-on",
        ),
        pytest.param(
            [{"a": "10.0.0.0/8"}, {"a": "rubbish"}, {"a": "more rubbish"}],
            {"a": "10.0.0.0/8"},
            ["a C501 kept"],
            id="last-good-form-stays-stays",
        ),
        pytest.param([{"a": "10.0.0.0/8"}, {"a": "x"}, {"a": "11.0.0.0/8"}], {"a": "11.0.0.0/8"}, [], id="mended"),
        pytest.param([{"a": "10.0.0.0/8"}, {"a": "x"}, {}], {}, [], id="deleted-while-bad"),
        pytest.param([{"a": "10.0.0.0/8"}, {}, {"a": "x"}], {}, ["a C501 out"], id="a-deleted-pool-has-no-good-form"),
        pytest.param(
            [{"b": "10.0.0.0/9", "a": "10.0.0.0/8"}], {"a": "10.0.0.0/8"}, ["b C502 out"], id="first-by-name-wins"
        ),
        pytest.param(
            [{f"a@{NEW}": "10.0.0.0/8", f"b@{OLD}": "10.0.0.0/9"}],
            {"b": "10.0.0.0/9"},
            ["a C502 out"],
            id="the-older-one-wins-over-the-first-by-name",
        ),
        pytest.param(
            [{"b": "10.0.0.0/9"}, {"a": "10.0.0.0/8", "b": "10.0.0.0/9"}],
            {"b": "10.0.0.0/9"},
            ["a C502 out"],
            id="the-one-in-force-wins",
        ),
        pytest.param(
            [{"b": "10.0.0.0/9"}, {f"a@{OLD}": "10.0.0.0/8", "b": "10.0.0.0/9"}],
            {"b": "10.0.0.0/9"},
            ["a C502 out"],
            id="the-one-in-force-wins-over-an-older-one",
        ),
        pytest.param(
            [{"a": "10.0.0.0/9", "b": "11.0.0.0/9"}, {"a": "10.0.0.0/8 11.0.0.0/8", "b": "11.0.0.0/9"}],
            {"a": "10.0.0.0/9", "b": "11.0.0.0/9"},
            ["a C502 kept"],
            id="growing-into-another-keeps-the-old-form",
        ),
        pytest.param(
            [{"a": "10.0.0.0/9", "b": "11.0.0.0/9"}, {"a": "11.0.0.0/9", "b": "10.0.0.0/9"}],
            {"a": "11.0.0.0/9", "b": "10.0.0.0/9"},
            [],
            id="swapped",
        ),
        pytest.param(
            [{"a": "10.0.0.0/9"}, {"a": "11.0.0.0/9", "b": "11.0.0.0/8", "c": "10.0.0.0/8"}],
            {"a": "11.0.0.0/9", "c": "10.0.0.0/8"},
            ["b C502 out"],
            id="moving-away-makes-room",
        ),
        pytest.param(
            # b may not take c's place, so it goes back to its old form, which then bars a from it.
            [{"b": "10.0.0.0/8", "c": "12.0.0.0/8"}, {"a": "10.0.0.0/9", "b": "12.0.0.0/9", "c": "12.0.0.0/8"}],
            {"b": "10.0.0.0/8", "c": "12.0.0.0/8"},
            ["a C502 out", "b C502 kept"],
            id="falling-back-bars-a-newcomer",
        ),
        pytest.param(
            [{"a": "10.0.0.0/8", "b": "11.0.0.0/8"}, {"a": "x", "b": "10.0.0.0/9"}],
            {"a": "10.0.0.0/8", "b": "11.0.0.0/8"},
            ["a C501 kept", "b C502 kept"],
            id="a-kept-form-bars-others-too",
        ),
        pytest.param(
            [{"a": "10.0.0.0/8"}, {"b": "10.0.0.0/8"}],
            {"b": "10.0.0.0/8"},
            [],
            id="renamed",
        ),
        pytest.param(
            [{"a": "10.0.0.0/8"}, {"a": "10.0.0.0/9", "b": "10.128.0.0/9"}],
            {"a": "10.0.0.0/9", "b": "10.128.0.0/9"},
            [],
            id="split",
        ),
        pytest.param(
            [{"a": "10.0.0.0/9", "b": "10.128.0.0/9"}], {"a": "10.0.0.0/9", "b": "10.128.0.0/9"}, [], id="adjacent"
        ),
        pytest.param(
            [{"a": "0.0.0.0/0", "b": "::/0"}], {"a": "0.0.0.0/0", "b": "::/0"}, [], id="families-do-not-overlap"
        ),
    ],
)
def test_pools(steps: list[Spec], expected: Spec, problems: list[str]) -> None:
    config = compiled.EMPTY
    for spec in steps:
        config = compiled.compile(wires(spec), config)
    assert in_force(config) == expected
    assert wrong(config) == problems
    assert config.left_out == {each.split()[0] for each in problems if each.endswith(" out")}
    # Compiling again from here changes nothing.
    assert compiled.compile(wires(steps[-1]), config) == config


def test_a_problem_says_what_and_where_and_what_follows() -> None:
    config = compiled.compile(wires({"a": "10.0.0.0/8"}))
    config = compiled.compile(wires({"a": "10.0.0.0/8", "b": "11.0.0.0/8 10.9.0.0/16"}), config)
    (problem,) = config.problems
    assert (problem.kind, problem.namespace, problem.uid, problem.field) == (
        "IPAddressPool",
        "metallb-system",
        "uid-b",
        "spec.addresses[1]",
    )
    assert 'in pool "b" overlaps with already defined CIDR "10.0.0.0/8" of pool "a"' in problem.refusal.detail
    assert "it is left out" in str(problem)


def test_a_bad_advertisement_disturbs_nothing_else() -> None:
    good = builders.l2_object("good", v1beta1.L2AdvertisementSpec(interfaces=["eth0"]))
    bad = builders.l2_object("good", v1beta1.L2AdvertisementSpec(ip_address_pools=["a", "a"]))
    other = builders.l2_object("other")
    before = compiled.compile(dataclasses.replace(wires({"a": "10.0.0.0/8"}), l2_advertisements=(good,)))
    after = compiled.compile(dataclasses.replace(wires({"a": "10.0.0.0/8"}), l2_advertisements=(other, bad)), before)
    assert [(ad.name, ad.interfaces, ad.pools) for ad in after.l2] == [
        ("good", frozenset({"eth0"}), frozenset({"a"})),
        ("other", frozenset(), frozenset({"a"})),
    ]
    assert [(each.kind, each.name, each.kept) for each in after.problems] == [("L2Advertisement", "good", True)]


def test_an_advertisement_that_is_kept_covers_the_pools_of_today() -> None:
    good = builders.l2_object("ad")
    bad = builders.l2_object("ad", v1beta1.L2AdvertisementSpec(ip_address_pools=["x", "x"]))
    before = compiled.compile(dataclasses.replace(wires({"a": "10.0.0.0/8"}), l2_advertisements=(good,)))
    after = compiled.compile(dataclasses.replace(wires({"b": "10.0.0.0/8"}), l2_advertisements=(bad,)), before)
    assert [ad.pools for ad in after.l2] == [frozenset({"b"})]


def test_a_pool_that_is_kept_follows_the_namespaces() -> None:
    allocation = v1beta1.ServiceAllocation(namespace_selectors=[builders.label_selector("team=red")])
    good = builders.pool_object("a", "10.0.0.0/8", allocation=allocation)
    before = compiled.compile(compiled.Resources(pools=(good,), namespaces=(builders.namespace("one", "team=red"),)))
    bad = builders.pool_object("a", "x", allocation=allocation)
    after = compiled.compile(
        compiled.Resources(pools=(bad,), namespaces=(builders.namespace("two", "team=red"),)), before
    )
    for config, expected in ((before, {"one"}), (after, {"two"})):
        found = config.pools["a"].allocation
        assert found is not None
        assert found.namespaces == frozenset(expected)


ENTRIES = ("10.0.0.0/30", "10.0.0.2-10.0.0.5", "10.0.0.4/30", "10.0.0.0/29", "10.0.0.16/30", "2001:db8::/126", "junk")
specs = st.dictionaries(
    st.sampled_from("abcd"),
    st.lists(st.sampled_from(ENTRIES), max_size=2).map(" ".join),
    max_size=4,
)


@given(st.lists(specs, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_whatever_happens(steps: list[Spec], random: st.randoms) -> None:  # type: ignore[valid-type]
    config = compiled.EMPTY
    for spec in steps:
        found = wires(spec)
        after = compiled.compile(found, config)
        shuffled = list(found.pools)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        assert compiled.compile(dataclasses.replace(found, pools=tuple(shuffled)), config) == after
        # Nothing in force overlaps.
        for one, other in itertools.combinations(after.pools.values(), 2):
            assert not any(a.overlaps(b) for a in one.intervals for b in other.intervals)
        # Every object is in force as written, or is a problem; what was in force stays, in one form or the other.
        told = {each.name: each for each in after.problems}
        assert len(told) == len(after.problems)
        for wire in found.pools:
            name = wire.metadata.name
            assert (after.good_pools.get(name) == wire) == (name not in told)
            if name in config.pools:
                assert name in after.pools
            assert (name in told and told[name].kept) == (name in told and name in after.pools)
        assert after.pools.keys() <= spec.keys()
        assert list(after.pools) == sorted(after.pools)
        # Compiled again, the same is in force; of several pools that one overlaps, another may be named.
        again = compiled.compile(found, after)
        assert (again.pools, again.good_pools, wrong(again)) == (after.pools, after.good_pools, wrong(after))
        config = after


def test_a_pool_that_narrows_counts_as_in_force() -> None:
    """A newcomer that overlaps what is left of it is the one at fault, whatever its name."""
    before = compiled.compile(wires({"b": "10.0.0.0/8"}))
    after = compiled.compile(wires({"a": "10.0.0.0/24", "b": "10.0.0.0/16"}), before)
    assert [(each.name, each.kept) for each in after.problems] == [("a", False)]
    assert str(after.pools["b"].intervals[0]) == "10.0.0.0/16"
