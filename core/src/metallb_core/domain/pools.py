"""Pools of addresses that the controller may hand out.

A pool is compiled: its text is parsed, its intervals are in the order of the spec (the order of allocation), and the namespace selectors of
`serviceAllocation` are already resolved to the names of the namespaces they select today.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from metallb_core.domain import addresses, selectors


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAllocation:
    """Which Services a pool is meant for.

    `namespaces` is None where the spec restricts no namespace, and a (perhaps empty) set where it does: names and what the namespace selectors
    match, joined. `service_selectors` is empty where the spec restricts no Service. `priority`: lower wins, 0 comes last.
    """

    priority: int = 0
    namespaces: frozenset[str] | None = None
    service_selectors: tuple[selectors.Selector, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One IPAddressPool. `labels` are the object's own, which advertisements select."""

    name: str
    intervals: tuple[addresses.Interval, ...]
    auto_assign: bool = True
    avoid_buggy_ips: bool = False
    allocation: ServiceAllocation | None = None
    labels: selectors.Labels = dataclasses.field(default_factory=dict, hash=False)

    def __contains__(self, address: object) -> bool:
        """Whether the pool may hand out `address`."""
        if not isinstance(address, addresses.Address):
            return False
        if self.avoid_buggy_ips and address.is_buggy():
            return False
        return any(address in interval for interval in self.intervals)

    def families(self) -> frozenset[addresses.Family]:
        """The families it has addresses of."""
        return frozenset(interval.family for interval in self.intervals)


def containing(pools: Iterable[Pool], wanted: Sequence[addresses.Address]) -> Pool | None:
    """The first pool that may hand out every one of `wanted`, or None; no addresses are in no pool."""
    if not wanted:
        return None
    return next((pool for pool in pools if all(address in pool for address in wanted)), None)
