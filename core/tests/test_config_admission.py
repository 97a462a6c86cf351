"""What is answered when an object is written: refusals, warnings, and who is to blame."""

import dataclasses

import msgspec
import pytest

from metallb_core.api import v1beta1
from metallb_core.config import admission, compiled
from metallb_core.testing import builders

OLD = "2025-01-01T00:00:00Z"
peer, bgp, bfd, community, pool = (
    builders.peer_object,
    builders.bgp_object,
    builders.bfd_object,
    builders.community_object,
    builders.pool_object,
)
EXISTING = compiled.Resources(
    pools=(pool("a", "10.0.0.0/24"), pool("bad", "10.0.0.0/25"), pool("junk", "junk")),
    l2_advertisements=(builders.l2_object("all"),),
    bgp_advertisements=(
        bgp("ad", ip_address_pools=["a", "next"], aggregation_length=24, local_pref=1),
        bgp("dangling", peers=["p"], ip_address_pools=["bad"], communities=["nobody"]),
    ),
    peers=(peer("p"), peer("q", bfd_profile="fast")),
    bfd_profiles=(bfd("fast"), bfd("idle")),
    communities=(community("c", "mark=65000:1"),),
)


def verdict(kind: str, incoming: admission.Incoming) -> admission.Verdict:
    return admission.judge(EXISTING, incoming, kind)


@pytest.mark.parametrize(
    ("kind", "incoming", "fragments"),
    [
        pytest.param("IPAddressPool", pool("new", "10.0.0.9/32", created=OLD), ['pool "new" overlaps with already defined CIDR'], id="overlap"),
        pytest.param("IPAddressPool", pool("new", "x"), ["spec.addresses[0]"], id="bad-pool"),
        pytest.param(
            "IPAddressPool",
            pool("next", "10.9.0.0/28"),
            ['BGPAdvertisement "ad"', "invalid aggregation length 24: prefix 28 in this pool is more specific"],
            id="a-pool-too-small-for-an-advertisement",
        ),
        pytest.param("IPAddressPool", pool("a", "10.0.0.0/28"), ["invalid aggregation length 24"], id="a-pool-that-shrinks"),
        pytest.param("IPAddressPool", pool("junk", "still junk"), ["spec.addresses[0]"], id="still-bad"),
        pytest.param(
            "L2Advertisement", builders.l2_object("all", v1beta1.L2AdvertisementSpec(interfaces=["e"], ip_address_pools=["a", "a"])),
            ["spec.ipAddressPools[1]", "duplicate"], id="layer-2"
        ),
        pytest.param("BGPAdvertisement", bgp("new", aggregation_length=8), ["invalid aggregation length 8"], id="aggregate"),
        pytest.param(
            "BGPAdvertisement", bgp("aa", created=OLD, aggregation_length=24), ['"aa"', "invalid localPref unset", '"ad"'], id="contradiction"
        ),
        pytest.param("BGPAdvertisement", bgp("new", communities=["1:x"]), ["invalid section"], id="community"),
        pytest.param(
            "BGPAdvertisement", bgp("new", communities=["nobody"], aggregation_length=8), ["invalid aggregation length 8"],
            id="an-unknown-alias-hides-no-mistake",
        ),
        pytest.param("BGPPeer", peer("new", peer_asn=0), ["missing peer ASN"], id="peer"),
        pytest.param("BGPPeer", peer("new", bfd_profile="none", router_id="x"), ["routerID"], id="an-unknown-profile-hides-no-mistake"),
        pytest.param("BGPPeer", peer("new", disable_mp=True, peer_address=""), ["no Address or Interface"], id="deprecated-and-bad"),
        pytest.param("BFDProfile", bfd("fast", detect_multiplier=1), ["spec.detectMultiplier", "use 2 to 255"], id="profile"),
        pytest.param("Community", community("d", "mark=1:1"), ['duplicate definition of community "mark"'], id="alias-twice"),
        pytest.param("Community", community("d", "x=1:1:1:1"), ["expected community to be of format large"], id="bad-community"),
    ],
)  # fmt: skip
def test_refused(kind: str, incoming: admission.Incoming, fragments: list[str]) -> None:
    found = verdict(kind, incoming)
    assert not found.allowed
    assert len(found.refusals) == 1
    for fragment in fragments:
        assert fragment in found.refusals[0]


@pytest.mark.parametrize(
    ("kind", "incoming", "warnings"),
    [
        pytest.param("IPAddressPool", pool("new", "10.9.0.0/24"), [], id="pool"),
        pytest.param("IPAddressPool", pool("a", "10.0.0.0/24", labelled="x=y"), [], id="pool-again"),
        pytest.param("IPAddressPool", pool("next", "10.9.0.0/24"), [], id="a-pool-that-fits-its-advertisement"),
        pytest.param("IPAddressPool", pool("bad", "10.8.0.0/24"), [], id="mended"),
        pytest.param("L2Advertisement", builders.l2_object("new"), [], id="layer-2"),
        pytest.param(
            "L2Advertisement",
            builders.l2_object("new", v1beta1.L2AdvertisementSpec(ip_address_pools=["none"])),
            ['L2Advertisement "new": spec.ipAddressPools: there is no IPAddressPool "none"'],
            id="layer-2-of-an-unknown-pool",
        ),
        pytest.param("BGPAdvertisement", bgp("new", local_pref=1, communities=["mark"]), [], id="bgp"),
        pytest.param(
            "BGPAdvertisement",
            bgp("new", local_pref=1, communities=["none", "1:2"], peers=["none", "p"], ip_address_pools=["none"]),
            ['no Community defines the alias "none"', 'no IPAddressPool "none"', 'no BGPPeer "none"'],
            id="bgp-of-unknown-things",
        ),
        pytest.param("BGPPeer", peer("new", bfd_profile="fast"), [], id="peer"),
        pytest.param(
            "BGPPeer",
            peer("new", bfd_profile="none"),
            ['there is no BFDProfile "none"'],
            id="peer-of-an-unknown-profile",
        ),
        pytest.param("BGPPeer", peer("new", disable_mp=True), ["disableMP is deprecated"], id="deprecated"),
        pytest.param("BFDProfile", bfd("new"), [], id="profile"),
        pytest.param("Community", community("d", "other=1:1"), [], id="community"),
    ],
)
def test_allowed(kind: str, incoming: admission.Incoming, warnings: list[str]) -> None:
    found = verdict(kind, incoming)
    assert found.refusals == ()
    assert len(found.warnings) == len(warnings)
    for said, expected in zip(found.warnings, warnings, strict=True):
        assert expected in said


def test_taking_an_alias_away_warns_of_its_users() -> None:
    existing = dataclasses.replace(EXISTING, bgp_advertisements=(bgp("ad", communities=["mark"]),))
    found = admission.judge(existing, community("c", "other=1:1"), "Community")
    assert found.allowed
    assert found.warnings == (
        'BGPAdvertisement "ad": spec.communities: no Community defines the alias "mark"; this is not advertised until one does',
    )


def test_an_object_that_is_being_deleted_may_be_written() -> None:
    going = pool("junk", "junk")
    going = msgspec.structs.replace(going, metadata=msgspec.structs.replace(going.metadata, deletion_timestamp=OLD))
    assert verdict("IPAddressPool", going) == admission.Verdict()


def test_an_odd_kind_is_our_mistake() -> None:
    with pytest.raises(KeyError):
        verdict("Service", pool("a", "10.0.0.0/24"))


def test_a_profile_in_use_is_not_deleted() -> None:
    found = admission.judge_deletion(EXISTING, "fast", "BFDProfile")
    assert found.refusals == (
        'failed to delete BFDProfile "fast": used by BGPPeer "q"; remove spec.bfdProfile there, or name another profile',
    )
    many = dataclasses.replace(EXISTING, peers=tuple(peer(name, bfd_profile="fast") for name in "edcba"))
    assert 'BGPPeer "a", "b", "c" and 2 more' in admission.judge_deletion(many, "fast", "BFDProfile").refusals[0]
    assert admission.judge_deletion(EXISTING, "idle", "BFDProfile").allowed
    assert admission.judge_deletion(EXISTING, "a", "IPAddressPool").allowed
