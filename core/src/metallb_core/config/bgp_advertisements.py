"""BGPAdvertisement compiled: pools are resolved to names of today, communities to values.

- Peers and pools it names that do not exist are not its fault, and are skipped. A community alias that nobody defines is: the routes would go
  out without a mark that the network may rely on.
- An aggregate must not reach beyond the pool it is made from, since it would draw traffic for addresses of others. Where it would, the
  advertisement does not cover that pool, and covers the others.
- A local preference of 0 is an unset one, as in MetalLB.
"""

from collections.abc import Mapping

from metallb_core.api import v1beta1
from metallb_core.config import pool_names, problems, selectors
from metallb_core.domain import addresses, advertisements, communities, pools

LENGTH_LEAST, LENGTH_MOST = 1, 32
# MetalLB takes 0 here, and it does no harm where no pool has IPv6 addresses.
LENGTH_V6_LEAST, LENGTH_V6_MOST = 0, 128
LOCAL_PREF_MOST = (1 << 32) - 1


def compile_one(
    wire: v1beta1.BGPAdvertisement,
    known: Mapping[str, pools.Pool],
    aliases: Mapping[str, communities.Community],
    *,
    references: bool = True,
) -> advertisements.BGPAdvertisement:
    """One advertisement by itself. Raises InvalidError. Without `references`, aliases that nobody defines are skipped."""
    spec = wire.spec
    problems.refuse_duplicates("spec.ipAddressPools", spec.ip_address_pools or [])
    problems.refuse_duplicates("spec.communities", spec.communities or [])
    problems.refuse_duplicates("spec.peers", spec.peers or [])
    by_label = selectors.compile_all(spec.ip_address_pool_selectors, "spec.ipAddressPoolSelectors")
    length, length_v6 = _lengths(spec)
    if spec.local_pref is not None and not 0 <= spec.local_pref <= LOCAL_PREF_MOST:
        raise problems.InvalidError("spec.localPref", f"{spec.local_pref} is out of range; use 0 to {LOCAL_PREF_MOST}")
    node_selectors = selectors.compile_all(spec.node_selectors, "spec.nodeSelectors")
    service_selectors = selectors.compile_all(spec.service_selectors, "spec.serviceSelectors")
    return advertisements.BGPAdvertisement(
        name=wire.metadata.name,
        pools=pool_names.covered(known, spec.ip_address_pools, by_label),
        aggregation_length=length,
        aggregation_length_v6=length_v6,
        local_pref=spec.local_pref or None,
        communities=_communities(wire, aliases, references=references),
        peers=frozenset(spec.peers or ()),
        node_selectors=node_selectors,
        service_selectors=service_selectors,
    )


def misfit(advertisement: advertisements.BGPAdvertisement, pool: pools.Pool) -> problems.InvalidError | None:
    """What is wrong with advertising `pool` in aggregates of this length; None if nothing is."""
    for interval in pool.intervals:
        length = advertisement.length(interval.family)
        if length == interval.family.bits:
            continue
        # A range is judged by its widest block, as in MetalLB: its ends may well be narrower.
        widest = min(bits for _, bits in interval.prefixes())
        if length < widest:
            field = "aggregationLength" if interval.family is addresses.Family.IPV4 else "aggregationLengthV6"
            return problems.InvalidError(
                f"spec.{field}",
                f"invalid aggregation length {length}: prefix {widest} in this pool is more specific than the aggregation length for"
                f' addresses {interval} of pool "{pool.name}"; use at least {widest}, or do not advertise that pool here',
            )
    return None


def _lengths(spec: v1beta1.BGPAdvertisementSpec) -> tuple[int, int]:
    length = LENGTH_MOST if spec.aggregation_length is None else spec.aggregation_length
    length_v6 = LENGTH_V6_MOST if spec.aggregation_length_v6 is None else spec.aggregation_length_v6
    if not LENGTH_LEAST <= length <= LENGTH_MOST:
        raise problems.InvalidError(
            "spec.aggregationLength", f"invalid aggregation length {length}; use {LENGTH_LEAST} to {LENGTH_MOST}"
        )
    if not LENGTH_V6_LEAST <= length_v6 <= LENGTH_V6_MOST:
        raise problems.InvalidError(
            "spec.aggregationLengthV6",
            f"invalid aggregation length {length_v6} for IPv6; use {LENGTH_V6_LEAST} to {LENGTH_V6_MOST}",
        )
    if spec.service_selectors and (length, length_v6) != (LENGTH_MOST, LENGTH_V6_MOST):
        raise problems.InvalidError(
            "spec.serviceSelectors",
            "serviceSelectors and aggregationLength are mutually exclusive, since an aggregate holds addresses of other Services too;"
            " remove one of the two",
        )
    return length, length_v6


def _communities(
    wire: v1beta1.BGPAdvertisement, aliases: Mapping[str, communities.Community], *, references: bool
) -> frozenset[communities.Community]:
    found = set()
    unknown: problems.InvalidError | None = None
    for position, text in enumerate(wire.spec.communities or ()):
        field = f"spec.communities[{position}]"
        context = f'invalid community "{text}" in BGP advertisement "{wire.metadata.name}"'
        if text in aliases:
            found.add(aliases[text])
            continue
        try:
            found.add(communities.parse(text))
        except communities.UnknownCommunityError as error:
            unknown = unknown or problems.InvalidError(field, f"{context}: {error}", dangling=True)
        except communities.CommunityError as error:
            raise problems.InvalidError(field, f"{context}: {error}") from None
    if unknown is not None and references:
        raise unknown
    return frozenset(found)
