"""BGP in the whole configuration: quarantine, references that come and go, and advertisements that contradict each other."""

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_core.api import v1beta1
from metallb_core.config import compiled
from metallb_core.testing import builders

OLD, NEW = "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
peer, bgp, bfd, community = (
    builders.peer_object,
    builders.bgp_object,
    builders.bfd_object,
    builders.community_object,
)
select = builders.label_selector
V4, V6, DUAL = (
    builders.pool_object("four", "10.0.0.0/24"),
    builders.pool_object("six", "2001:db8::/120"),
    builders.pool_object("dual", "10.1.0.0/24", "2001:db8:1::/120"),
)


def wrong(config: compiled.Config) -> list[str]:
    return [
        f"{each.kind} {each.name} {'partly' if each.partly else 'kept' if each.kept else 'out'}{' dangling' if each.dangling else ''}"
        for each in config.problems
    ]


def after(*steps: compiled.Resources) -> compiled.Config:
    config = compiled.EMPTY
    for each in steps:
        config = compiled.compile(each, config)
    assert compiled.compile(steps[-1], config) == config, "compiling again changes something"
    return config


def resources(**fields: tuple[object, ...]) -> compiled.Resources:
    return compiled.Resources(**fields)  # type: ignore[arg-type]


def test_everything_at_once() -> None:
    config = after(
        resources(
            pools=(V4,),
            bgp_advertisements=(bgp("ad", communities=["mark"], peers=["b"]),),
            peers=(peer("b", bfd_profile="fast"), peer("a")),
            bfd_profiles=(bfd("fast", receive_interval=100),),
            communities=(community("c", "mark=65000:1"),),
        )
    )
    assert not config.problems
    assert list(config.peers) == ["a", "b"]
    assert config.peers["b"].bfd_profile == "fast"
    assert config.bfd_profiles["fast"].receive_interval == 100
    assert [str(each) for each in config.bgp[0].communities] == ["65000:1"]
    assert config.good_peers.keys() == {"a", "b"}


def test_echo_and_ipv6_pools_go_together() -> None:
    fields = resources(
        pools=(V6, DUAL),
        bgp_advertisements=(bgp("ad"),),
        peers=(peer("a", bfd_profile="echo"),),
        bfd_profiles=(bfd("echo", echo_mode=True),),
    )
    assert not after(fields).problems


def test_two_peers_may_have_one_address() -> None:
    assert not after(resources(peers=(peer("a"), peer("b", my_asn=64999, router_id="1.1.1.1")))).problems


def test_a_bad_peer_keeps_its_last_good_form_and_disturbs_no_other() -> None:
    good = resources(peers=(peer("a", hold_time="30s"), peer("b")))
    bad = resources(peers=(peer("a", hold_time="1s"), peer("b", peer_port=1790)))
    config = after(good, bad)
    assert wrong(config) == ["BGPPeer a kept"]
    assert (config.peers["a"].hold_time, config.peers["b"].port) == (30, 1790)
    assert wrong(after(bad)) == ["BGPPeer a out"]
    assert list(after(bad).peers) == ["b"]
    assert not after(good, bad, good).problems


def test_a_profile_that_comes_later() -> None:
    early = resources(peers=(peer("a", bfd_profile="fast"),))
    assert wrong(after(early)) == ["BGPPeer a out dangling"]
    assert "referencing non existing bfd profile fast" in str(after(early).problems[0])
    later = dataclasses.replace(early, bfd_profiles=(bfd("fast"),))
    assert not after(early, later).problems


def test_a_profile_that_goes_stays_for_the_peer_that_names_it() -> None:
    whole = resources(peers=(peer("a", bfd_profile="fast"),), bfd_profiles=(bfd("fast", detect_multiplier=9),))
    config = after(whole, dataclasses.replace(whole, bfd_profiles=()))
    assert wrong(config) == ["BGPPeer a kept dangling"]
    assert config.peers["a"].bfd_profile == "fast"
    assert config.bfd_profiles["fast"].detect_multiplier == 9
    # Nobody names it any more.
    assert not after(whole, dataclasses.replace(whole, bfd_profiles=()), resources()).bfd_profiles


def test_a_bad_profile_keeps_its_last_good_form() -> None:
    whole = resources(peers=(peer("a", bfd_profile="fast"),), bfd_profiles=(bfd("fast", detect_multiplier=9),))
    bad = dataclasses.replace(whole, bfd_profiles=(bfd("fast", detect_multiplier=1),))
    config = after(whole, bad)
    assert wrong(config) == ["BFDProfile fast kept"]
    assert config.bfd_profiles["fast"].detect_multiplier == 9
    assert wrong(after(bad)) == ["BFDProfile fast out", "BGPPeer a out dangling"]


def test_an_alias_that_comes_later_and_one_that_goes() -> None:
    early = resources(pools=(V4,), bgp_advertisements=(bgp("ad", communities=["mark"]), bgp("plain")))
    config = after(early)
    assert wrong(config) == ["BGPAdvertisement ad out dangling"]
    assert [each.name for each in config.bgp] == ["plain"]
    whole = dataclasses.replace(early, communities=(community("c", "mark=65000:1 other=1:1"),))
    assert not after(early, whole).problems
    config = after(early, whole, early)
    assert wrong(config) == ["BGPAdvertisement ad kept dangling"]
    assert [str(each) for each in config.bgp[0].communities] == ["65000:1"]
    assert list(config.aliases) == ["mark"], "what nobody names any more is gone"


def test_an_aggregate_beyond_a_pool_leaves_that_pool_out() -> None:
    small = builders.pool_object("small", "10.2.0.0/28")
    ads = (bgp("ad", aggregation_length=24),)
    config = after(resources(pools=(V4,), bgp_advertisements=ads), resources(pools=(V4, small), bgp_advertisements=ads))
    assert wrong(config) == ["BGPAdvertisement ad partly"]
    assert config.bgp[0].pools == frozenset({"four"})
    assert config.left_out == frozenset()
    assert "prefix 28 in this pool" in str(config.problems[0])


def test_an_advertisement_changed_to_aggregate_beyond_its_pool_keeps_its_last_good_form() -> None:
    before = resources(pools=(V4,), bgp_advertisements=(bgp("ad", local_pref=7),))
    config = after(before, dataclasses.replace(before, bgp_advertisements=(bgp("ad", aggregation_length=8),)))
    assert wrong(config) == ["BGPAdvertisement ad kept"]
    assert (config.bgp[0].local_pref, config.bgp[0].pools) == (7, frozenset({"four"}))


@pytest.mark.parametrize(
    ("pool", "one", "other", "clash"),
    [
        pytest.param(V4, {"local_pref": 1}, {"local_pref": 2}, True, id="differ"),
        pytest.param(V4, {"local_pref": 1}, {}, True, id="one-is-unset"),
        pytest.param(V4, {"local_pref": 0}, {}, False, id="zero-is-unset"),
        pytest.param(V4, {"local_pref": 1}, {"local_pref": 1}, False, id="equal"),
        pytest.param(V4, {"local_pref": 1}, {"aggregation_length": 24}, False, id="other-length"),
        pytest.param(
            V4, {"local_pref": 1}, {"aggregation_length_v6": 124}, True, id="other-length-of-the-other-family"
        ),
        pytest.param(V6, {"local_pref": 1}, {"aggregation_length_v6": 124}, False, id="other-length-ipv6"),
        pytest.param(DUAL, {"local_pref": 1}, {"aggregation_length_v6": 124}, True, id="one-family-of-two-is-enough"),
        pytest.param(
            DUAL,
            {"local_pref": 1},
            {"aggregation_length": 24, "aggregation_length_v6": 124},
            False,
            id="both-families-differ",
        ),
        pytest.param(V4, {"local_pref": 1, "peers": ["a"]}, {"peers": ["b"]}, False, id="other-peers"),
        pytest.param(V4, {"local_pref": 1, "peers": ["a", "b"]}, {"peers": ["b"]}, True, id="one-common-peer"),
        pytest.param(V4, {"local_pref": 1, "peers": ["a"]}, {}, True, id="one-is-for-all-peers"),
        pytest.param(
            V4,
            {"local_pref": 1, "node_selectors": [select("r=a")]},
            {"node_selectors": [select("r=b")]},
            False,
            id="other-nodes",
        ),
        pytest.param(
            V4,
            {"local_pref": 1, "node_selectors": [select("r=a")]},
            {"node_selectors": [select("r=a")]},
            True,
            id="same-nodes",
        ),
        pytest.param(V4, {"local_pref": 1, "node_selectors": [select("r=a")]}, {}, True, id="one-is-for-all-nodes"),
        pytest.param(
            V4, {"local_pref": 1, "service_selectors": [select("a=b")]}, {}, False, id="decided-for-each-service"
        ),
        pytest.param(V4, {"local_pref": 1, "ip_address_pools": ["other"]}, {}, False, id="other-pool"),
    ],
)
def test_local_preferences(
    pool: v1beta1.IPAddressPool, one: dict[str, Any], other: dict[str, Any], clash: bool
) -> None:
    config = after(resources(pools=(pool,), bgp_advertisements=(bgp("one", **one), bgp("other", **other))))
    assert wrong(config) == (["BGPAdvertisement other partly"] if clash else [])
    if clash:
        assert config.bgp[1].pools == frozenset()
        assert 'BGPAdvertisement "one" advertises the same prefixes of pool' in str(config.problems[0])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([("a 1", "b 2")], "a=1 b=2-", id="first-by-name"),
        pytest.param([(f"a 1 {NEW}", f"b 2 {OLD}")], "a=1- b=2", id="older"),
        pytest.param([("b 2",), ("a 1", "b 2")], "a=1- b=2", id="in-force"),
        pytest.param([("b 2",), (f"a 1 {OLD}", "b 2")], "a=1- b=2", id="in-force-over-older"),
        pytest.param([("a 1", "b 1"), ("a 2", "b 1")], "a=1 b=1", id="changed-keeps-its-last-good-form"),
        pytest.param([("a 1", "b 1"), ("a 2", "b 2")], "a=2 b=2", id="both-changed"),
        pytest.param([("a 1", "b 2"), ("b 2",)], "b=2", id="the-other-is-gone"),
        pytest.param([("a 1", "b 1"), ("a 2", "b 1", "c 2")], "a=1 b=1 c=2-", id="a-kept-form-bars-a-newcomer"),
        pytest.param([("a 1", "b 2", "c 1")], "a=1 b=2- c=1", id="only-the-odd-one"),
    ],
)
def test_who_wins_a_contradiction(steps: list[tuple[str, ...]], expected: str) -> None:
    def read(text: str) -> v1beta1.BGPAdvertisement:
        name, preference, *created = text.split()
        return bgp(name, local_pref=int(preference), created=created[0] if created else NEW)

    config = after(*(resources(pools=(V4,), bgp_advertisements=tuple(read(text) for text in texts)) for texts in steps))
    assert " ".join(f"{each.name}={each.local_pref}{'' if each.pools else '-'}" for each in config.bgp) == expected


def test_a_new_pool_does_not_turn_a_contradiction_round() -> None:
    ads = (bgp("a", local_pref=1), bgp("b", local_pref=2))
    config = after(
        resources(pools=(V4,), bgp_advertisements=ads[1:]),
        resources(pools=(V4,), bgp_advertisements=ads),
        resources(pools=(V4, V6), bgp_advertisements=ads),
    )
    assert [(each.name, sorted(each.pools)) for each in config.bgp] == [("a", ["six"]), ("b", ["four"])]


AD_FIELDS: list[dict[str, Any]] = [
    {},
    {"local_pref": 1},
    {"local_pref": 2, "aggregation_length": 24},
    {"aggregation_length": 8},
    {"communities": ["mark"]},
    {"communities": ["1:x"]},
    {"ip_address_pools": ["four"], "local_pref": 3},
]
PEER_FIELDS: list[dict[str, Any]] = [{}, {"bfd_profile": "fast"}, {"my_asn": 0}, {"hold_time": "9s"}]
ads = st.dictionaries(st.sampled_from("abc"), st.sampled_from(AD_FIELDS), max_size=3)
peers = st.dictionaries(st.sampled_from("pq"), st.sampled_from(PEER_FIELDS), max_size=2)
worlds = st.tuples(
    ads,
    peers,
    st.sampled_from(["", "mark=1:1", "mark=bad"]),
    st.sampled_from([None, 1, 3]),
    st.sets(st.sampled_from([0, 1, 2])),
)


@given(st.lists(worlds, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_whatever_happens_to_bgp(steps: list[tuple[object, ...]], random: st.randoms) -> None:  # type: ignore[valid-type]
    config = compiled.EMPTY
    for ad_fields, peer_fields, aliases, multiplier, pools in steps:
        found = resources(
            pools=tuple((V4, V6, DUAL)[each] for each in sorted(pools)),  # type: ignore[call-overload]
            bgp_advertisements=tuple(bgp(name, **fields) for name, fields in ad_fields.items()),  # type: ignore[attr-defined]
            peers=tuple(peer(name, **fields) for name, fields in peer_fields.items()),  # type: ignore[attr-defined]
            bfd_profiles=() if multiplier is None else (bfd("fast", detect_multiplier=multiplier),),
            communities=(community("c", str(aliases)),) if aliases else (),
        )
        now = compiled.compile(found, config)
        shuffled = {
            field: tuple(random.sample(getattr(found, field), len(getattr(found, field))))  # type: ignore[attr-defined]
            for field in ("bgp_advertisements", "peers", "pools")
        }
        assert compiled.compile(dataclasses.replace(found, **shuffled), config) == now
        # Compiled again, the same is in force; of several that one contradicts, another may be named, once.
        again = compiled.compile(found, now)
        assert dataclasses.replace(again, problems=()) == dataclasses.replace(now, problems=())
        assert wrong(again) == wrong(now)
        assert compiled.compile(found, again) == again
        # Every object is in force as written, or is a problem; what was in force stays.
        told = {(each.kind, each.name) for each in now.problems}
        for kind, wires, good, before in (
            ("BGPAdvertisement", found.bgp_advertisements, now.good_bgp, config.good_bgp),
            ("BGPPeer", found.peers, now.good_peers, config.good_peers),
        ):
            for wire in wires:
                assert good.get(wire.metadata.name) == wire or (kind, wire.metadata.name) in told
                assert wire.metadata.name in good or wire.metadata.name not in before
        # Whoever names a profile finds it, and nothing in force contradicts itself.
        assert all(each.bfd_profile in now.bfd_profiles for each in now.peers.values() if each.bfd_profile)
        for one, other in itertools.combinations(now.bgp, 2):
            for name in one.pools & other.pools & now.pools.keys():
                same = any(one.length(family) == other.length(family) for family in now.pools[name].families())
                assert one.local_pref == other.local_pref or not same
        config = now
