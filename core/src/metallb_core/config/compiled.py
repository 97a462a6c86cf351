"""The whole configuration: every object compiled, every bad one set aside, the last good form of each remembered.

- A bad object is replaced by its own last good form, if this process has seen one; nothing else depends on whether it is good.
- Two pools may not overlap (`overlaps`); two advertisements may not contradict each other (`coverage`); a name stands for one community
  (`communities`). Where objects clash, what is in force already stays; else the older, so that a restart, which remembers nothing, decides as
  it was decided before; else the first by name. The other is the bad one.
- What a good form needs stays with it: a BFD profile or a community alias that is deleted while something in force names it stays in force for
  that.
- The same objects and the same previous configuration always give the same result, whatever their order.
"""

import dataclasses
from collections.abc import Mapping

from metallb_core.api import v1beta1, v1beta2
from metallb_core.config import (
    bfd_profiles,
    bgp_advertisements,
    communities,
    coverage,
    l2advertisements,
    overlaps,
    peers,
    quarantine,
)
from metallb_core.config import pools as pool_rules
from metallb_core.config import problems as rules
from metallb_core.domain import advertisements, bfd
from metallb_core.domain import communities as domain_communities
from metallb_core.domain import namespaces as domain_namespaces
from metallb_core.domain import peers as domain_peers
from metallb_core.domain import pools as domain_pools


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The objects to compile, in any order. BGPPeers of both versions come as v1beta2, which is the form that is stored."""

    pools: tuple[v1beta1.IPAddressPool, ...] = ()
    l2_advertisements: tuple[v1beta1.L2Advertisement, ...] = ()
    bgp_advertisements: tuple[v1beta1.BGPAdvertisement, ...] = ()
    peers: tuple[v1beta2.BGPPeer, ...] = ()
    bfd_profiles: tuple[v1beta1.BFDProfile, ...] = ()
    communities: tuple[v1beta1.Community, ...] = ()
    namespaces: tuple[domain_namespaces.Namespace, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is in force, by name or in order of name. `good_*` are the objects that it was compiled from."""

    pools: Mapping[str, domain_pools.Pool] = dataclasses.field(default_factory=dict)
    l2: tuple[advertisements.L2Advertisement, ...] = ()
    bgp: tuple[advertisements.BGPAdvertisement, ...] = ()
    peers: Mapping[str, domain_peers.Peer] = dataclasses.field(default_factory=dict)
    bfd_profiles: Mapping[str, bfd.BFDProfile] = dataclasses.field(default_factory=dict)
    aliases: Mapping[str, communities.Alias] = dataclasses.field(default_factory=dict)
    problems: tuple[rules.Problem, ...] = ()
    good_pools: Mapping[str, v1beta1.IPAddressPool] = dataclasses.field(default_factory=dict)
    good_l2: Mapping[str, v1beta1.L2Advertisement] = dataclasses.field(default_factory=dict)
    good_bgp: Mapping[str, v1beta1.BGPAdvertisement] = dataclasses.field(default_factory=dict)
    good_peers: Mapping[str, v1beta2.BGPPeer] = dataclasses.field(default_factory=dict)
    good_bfd_profiles: Mapping[str, v1beta1.BFDProfile] = dataclasses.field(default_factory=dict)
    good_communities: Mapping[str, v1beta1.Community] = dataclasses.field(default_factory=dict)

    @property
    def left_out(self) -> frozenset[str]:
        """Names of the pools that exist, but of which no form is in force."""
        return frozenset(each.name for each in self.problems if each.kind == "IPAddressPool" and not each.kept)


EMPTY = Config()


def compile(  # noqa: A001 - the field's word for it
    found: Resources, previous: Config = EMPTY, *, references: bool = True
) -> Config:
    """Compile `found`. Never raises: what is wrong is in `problems`, sorted by kind, name and message.

    Without `references` nothing is wrong with naming a BFD profile or an alias that does not exist.
    """
    wrong: list[rules.Problem] = []
    good_pools, pools, covered = _pools(found, previous, wrong)
    good_l2, l2 = quarantine.each(
        "L2Advertisement",
        found.l2_advertisements,
        previous.good_l2,
        lambda wire: l2advertisements.compile_one(wire, covered),
        wrong,
    )
    good_profiles, profiles = quarantine.each(
        "BFDProfile", found.bfd_profiles, previous.good_bfd_profiles, bfd_profiles.compile_one, wrong
    )
    good_peers, compiled_peers = quarantine.each(
        "BGPPeer",
        found.peers,
        previous.good_peers,
        lambda wire: peers.compile_one(wire, profiles if references else None),
        wrong,
        lambda wire: peers.compile_one(wire, None),
    )
    for peer in compiled_peers.values():
        if peer.bfd_profile not in profiles and peer.bfd_profile in previous.bfd_profiles:
            profiles[peer.bfd_profile] = previous.bfd_profiles[peer.bfd_profile]
    good_communities, aliases = _aliases(found, previous, wrong)
    good_bgp, bgp = _bgp(found, previous, pools, covered, aliases, wrong, references=references)
    return Config(
        pools=pools,
        l2=tuple(l2.values()),
        bgp=tuple(bgp.values()),
        peers=compiled_peers,
        bfd_profiles=dict(sorted(profiles.items())),
        aliases=_with_used(aliases, previous, good_bgp),
        problems=tuple(sorted(wrong, key=lambda problem: (problem.kind, problem.name, problem.refusal.detail))),
        good_pools=good_pools,
        good_l2=good_l2,
        good_bgp=good_bgp,
        good_peers=good_peers,
        good_bfd_profiles=good_profiles,
        good_communities=good_communities,
    )


def _pools(
    found: Resources, previous: Config, wrong: list[rules.Problem]
) -> tuple[dict[str, v1beta1.IPAddressPool], dict[str, domain_pools.Pool], dict[str, domain_pools.Pool]]:
    """The good pools, compiled; and all pools that advertisements cover."""
    known = sorted(found.namespaces, key=lambda each: each.name)

    def compile_one(wire: v1beta1.IPAddressPool) -> domain_pools.Pool:
        return pool_rules.compile_one(wire, known)

    good, compiled = quarantine.each("IPAddressPool", found.pools, previous.good_pools, compile_one, wrong)
    good, compiled = overlaps.settle(
        found.pools, good, compiled, previous.good_pools, previous.pools, compile_one, wrong
    )
    # A pool that is left out can still be advertised: speakers go on announcing what it gave.
    unread = {
        wire.metadata.name: domain_pools.Pool(name=wire.metadata.name, intervals=(), labels=wire.metadata.labels or {})
        for wire in found.pools
        if wire.metadata.name not in compiled
    }
    return good, compiled, compiled | unread


def _aliases(
    found: Resources, previous: Config, wrong: list[rules.Problem]
) -> tuple[dict[str, v1beta1.Community], dict[str, communities.Alias]]:
    good, compiled = quarantine.each(
        "Community", found.communities, previous.good_communities, communities.compile_one, wrong
    )
    aliases, twice = communities.join(good, compiled, previous.aliases)
    objects = {wire.metadata.name: wire for wire in found.communities}
    wrong += [quarantine.problem("Community", objects[name], error, partly=True) for name, error in twice]
    return good, aliases


def _bgp(
    found: Resources,
    previous: Config,
    pools: Mapping[str, domain_pools.Pool],
    covered: Mapping[str, domain_pools.Pool],
    aliases: Mapping[str, communities.Alias],
    wrong: list[rules.Problem],
    *,
    references: bool,
) -> tuple[dict[str, v1beta1.BGPAdvertisement], coverage.Forms]:
    values = {name: alias.value for name, alias in aliases.items()}
    # Those that are gone still have the value that they had when the last good forms were good.
    values_kept: dict[str, domain_communities.Community] = {
        **{name: alias.value for name, alias in previous.aliases.items()},
        **values,
    }

    def compile_kept(wire: v1beta1.BGPAdvertisement) -> advertisements.BGPAdvertisement:
        return bgp_advertisements.compile_one(wire, covered, values_kept, references=False)

    good, compiled = quarantine.each(
        "BGPAdvertisement",
        found.bgp_advertisements,
        previous.good_bgp,
        lambda wire: bgp_advertisements.compile_one(wire, covered, values, references=references),
        wrong,
        compile_kept,
    )
    return coverage.settle(
        {wire.metadata.name: wire for wire in found.bgp_advertisements},
        good,
        compiled,
        pools,
        previous.good_bgp,
        {each.name: each for each in previous.bgp},
        compile_kept,
        wrong,
    )


def _with_used(
    aliases: Mapping[str, communities.Alias], previous: Config, good: Mapping[str, v1beta1.BGPAdvertisement]
) -> dict[str, communities.Alias]:
    """The aliases, and those that are gone but that an advertisement in force still names."""
    used = {text for wire in good.values() for text in wire.spec.communities or ()}
    gone = {name: alias for name, alias in previous.aliases.items() if name in used and name not in aliases}
    return dict(sorted({**gone, **aliases}.items()))
