"""One BGPAdvertisement by itself: every rule, and what it compiles to."""

from typing import Any

import pytest

from metallb_core.config import bgp_advertisements, problems
from metallb_core.domain import advertisements, communities
from metallb_core.testing import builders

select = builders.label_selector
Fields = dict[str, Any]
KNOWN = {
    "a": builders.pool("a", "10.0.0.0/24"),
    "b": builders.pool("b", "2001:db8::/120"),
    "c": builders.pool("c", "10.0.1.0/24"),
}
ALIASES = {"drain": communities.Standard(65535, 0), "65000:70000": communities.Standard(1, 1)}


def compiled(**fields: Any) -> advertisements.BGPAdvertisement:
    return bgp_advertisements.compile_one(builders.bgp_object("ad", **fields), KNOWN, ALIASES)


@pytest.mark.parametrize(
    ("fields", "field", "fragment"),
    [
        pytest.param({"ip_address_pools": ["a", "a"]}, "ipAddressPools[1]", "duplicate", id="pool-twice"),
        pytest.param({"peers": ["p", "q", "p"]}, "peers[2]", "duplicate", id="peer-twice"),
        pytest.param({"communities": ["1:2", "1:2"]}, "communities[1]", "duplicate", id="community-twice"),
        pytest.param(
            {"ip_address_pool_selectors": [select(), select()]},
            "ipAddressPoolSelectors[1]",
            "duplicate",
            id="pool-selector-twice",
        ),
        pytest.param(
            {"node_selectors": [select(), select()]}, "nodeSelectors[1]", "duplicate", id="node-selector-twice"
        ),
        pytest.param(
            {"service_selectors": [select(), select()]}, "serviceSelectors[1]", "duplicate", id="service-selector-twice"
        ),
        pytest.param({"aggregation_length": 33}, "aggregationLength", "use 1 to 32", id="too-long"),
        pytest.param({"aggregation_length": 0}, "aggregationLength", "use 1 to 32", id="too-short"),
        pytest.param({"aggregation_length_v6": 129}, "aggregationLengthV6", "use 0 to 128", id="too-long-ipv6"),
        pytest.param({"aggregation_length_v6": -1}, "aggregationLengthV6", "use 0 to 128", id="negative-ipv6"),
        pytest.param(
            {"service_selectors": [select()], "aggregation_length": 24},
            "serviceSelectors",
            "serviceSelectors and aggregationLength are mutually exclusive",
            id="selectors-and-aggregation",
        ),
        pytest.param(
            {"service_selectors": [select()], "aggregation_length_v6": 64},
            "serviceSelectors",
            "serviceSelectors and aggregationLength are mutually exclusive",
            id="selectors-and-aggregation-ipv6",
        ),
        pytest.param({"local_pref": -1}, "localPref", "use 0 to 4294967295", id="negative-preference"),
        pytest.param({"local_pref": 1 << 32}, "localPref", "use 0 to 4294967295", id="preference-too-large"),
        pytest.param(
            {"communities": ["1:65536"]},
            "communities[0]",
            "invalid community value: invalid section",
            id="community-number",
        ),
        pytest.param(
            {"communities": ["l:1:2:3"]},
            "communities[0]",
            "expected community to be of format large",
            id="community-marker",
        ),
        pytest.param(
            {"communities": ["nobody"]},
            "communities[0]",
            'invalid community "nobody" in BGP advertisement',
            id="unknown-alias",
        ),
        pytest.param(
            {"communities": ["1:2", "x:y:z"]}, "communities[1]", "invalid community format: x:y:z", id="three-parts"
        ),
        pytest.param(
            {"communities": ["nobody", "1:x"]},
            "communities[1]",
            "invalid section",
            id="a-mistake-before-an-unknown-alias",
        ),
    ],
)
def test_a_bad_advertisement_is_refused_by_its_field(fields: Fields, field: str, fragment: str) -> None:
    with pytest.raises(problems.InvalidError) as caught:
        compiled(**fields)
    assert caught.value.field == f"spec.{field}"
    assert fragment in caught.value.refusal.detail
    assert caught.value.dangling == ("invalid community format" in caught.value.refusal.detail)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {},
            {
                "pools": frozenset("abc"),
                "aggregation_length": 32,
                "aggregation_length_v6": 128,
                "local_pref": None,
                "peers": frozenset(),
            },
            id="least",
        ),
        pytest.param(
            {"ip_address_pools": ["a", "nowhere"]}, {"pools": frozenset("a")}, id="an-unknown-pool-is-skipped"
        ),
        pytest.param({"ip_address_pool_selectors": [select("x=y")]}, {"pools": frozenset()}, id="no-label-matches"),
        pytest.param({"peers": ["nobody"]}, {"peers": frozenset({"nobody"})}, id="an-unknown-peer-is-let-be"),
        pytest.param({"local_pref": 0}, {"local_pref": None}, id="zero-is-unset"),
        pytest.param({"local_pref": 4294967295}, {"local_pref": 4294967295}, id="largest-preference"),
        pytest.param(
            {"service_selectors": [select()], "aggregation_length": 32, "aggregation_length_v6": 128},
            {"aggregation_length": 32},
            id="selectors-and-the-defaults-written-out",
        ),
        pytest.param(
            {"communities": ["drain", "65000:1", "large:1:2:3"]},
            {
                "communities": frozenset(
                    {communities.Standard(65535, 0), communities.Standard(65000, 1), communities.Large(1, 2, 3)}
                )
            },
            id="communities",
        ),
        pytest.param(
            {"communities": ["65000:70000"]},
            {"communities": frozenset({communities.Standard(1, 1)})},
            id="an-alias-comes-first",
        ),
    ],
)
def test_what_an_advertisement_compiles_to(fields: Fields, expected: Fields) -> None:
    found = compiled(**fields)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("entry", "fields", "said"),
    [
        pytest.param("10.0.0.0/24", {"aggregation_length": 24}, None, id="as-wide-as-the-pool"),
        pytest.param("10.0.0.0/24", {"aggregation_length": 26}, None, id="narrower"),
        pytest.param("10.0.0.0/24", {"aggregation_length": 23}, "length 23: prefix 24 in this pool", id="wider"),
        pytest.param("10.0.0.0/24", {"aggregation_length_v6": 1}, None, id="other-family"),
        pytest.param(
            "2001:db8::/120", {"aggregation_length_v6": 64}, "length 64: prefix 120 in this pool", id="wider-ipv6"
        ),
        pytest.param("10.0.0.3-10.0.0.20", {"aggregation_length": 29}, None, id="range-by-its-widest-block"),
        pytest.param(
            "10.0.0.3-10.0.0.20",
            {"aggregation_length": 28},
            "for addresses 10.0.0.3-10.0.0.20",
            id="wider-than-every-block",
        ),
        pytest.param("10.0.0.1/32", {}, None, id="no-aggregation"),
    ],
)
def test_aggregates_stay_within_the_pool(entry: str, fields: Fields, said: str | None) -> None:
    error = bgp_advertisements.misfit(compiled(**fields), builders.pool("p", entry))
    if said is None:
        assert error is None
    else:
        assert error is not None
        assert "invalid aggregation length" in error.refusal.detail
        assert "is more specific than the aggregation length for addresses" in error.refusal.detail
        assert said in error.refusal.detail
