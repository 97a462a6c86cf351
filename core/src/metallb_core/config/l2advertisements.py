"""L2Advertisement compiled: pool names and pool selectors are resolved to the names of the pools in force."""

from collections.abc import Mapping

from metallb_core.api import v1beta1
from metallb_core.config import pool_names, problems, selectors
from metallb_core.domain import advertisements, pools

WEIGHT_LEAST, WEIGHT_MOST = 1, 100


def compile_one(wire: v1beta1.L2Advertisement, known: Mapping[str, pools.Pool]) -> advertisements.L2Advertisement:
    """One advertisement by itself. Raises InvalidError. A pool it names that does not exist is not its fault, and is skipped."""
    spec = wire.spec
    problems.refuse_duplicates("spec.ipAddressPools", spec.ip_address_pools or [])
    by_label = selectors.compile_all(spec.ip_address_pool_selectors, "spec.ipAddressPoolSelectors")
    preferences = []
    for position, wish in enumerate(spec.preferred_node_selectors or ()):
        field = f"spec.preferredNodeSelectors[{position}]"
        if not WEIGHT_LEAST <= wish.weight <= WEIGHT_MOST:
            raise problems.InvalidError(
                f"{field}.weight", f"{wish.weight} is not a weight; use {WEIGHT_LEAST} to {WEIGHT_MOST}"
            )
        preferences.append(
            advertisements.NodePreference(
                weight=wish.weight, selector=selectors.compile_one(wish.preference, f"{field}.preference")
            )
        )
    return advertisements.L2Advertisement(
        name=wire.metadata.name,
        pools=pool_names.covered(known, spec.ip_address_pools, by_label),
        node_selectors=selectors.compile_all(spec.node_selectors, "spec.nodeSelectors"),
        interfaces=frozenset(spec.interfaces or ()),
        service_selectors=selectors.compile_all(spec.service_selectors, "spec.serviceSelectors"),
        preferences=tuple(preferences),
    )
