"""IPAddressPool compiled into a Pool.

Namespace selectors are resolved here, to the names of the namespaces they match now. A pool whose selectors match none is meant for nobody, and
serves nobody; MetalLB would let every Service ask for it.
"""

from collections.abc import Iterable

from metallb_core.api import v1beta1
from metallb_core.config import problems, selectors
from metallb_core.domain import addresses, namespaces, pools, reasons
from metallb_core.domain import selectors as domain_selectors


def compile_one(wire: v1beta1.IPAddressPool, known: Iterable[namespaces.Namespace]) -> pools.Pool:
    """One pool by itself. Raises InvalidError."""
    if not wire.spec.addresses:
        raise problems.InvalidError("spec.addresses", "a pool needs at least one prefix or range")
    intervals: list[addresses.Interval] = []
    for position, text in enumerate(wire.spec.addresses):
        where = f"spec.addresses[{position}]"
        try:
            interval = addresses.Interval.parse(text)
        except addresses.AddressError as error:
            raise problems.InvalidError(where, str(error)) from None
        for earlier, other in zip(wire.spec.addresses, intervals, strict=False):
            if interval.overlaps(other):
                raise problems.InvalidError(
                    where,
                    f"{text!r} overlaps with already defined CIDR {earlier!r} of the same pool; remove one of the two",
                    reasons.Reason.POOL_OVERLAP,
                )
        intervals.append(interval)
    return pools.Pool(
        name=wire.metadata.name,
        intervals=tuple(intervals),
        auto_assign=wire.spec.auto_assign,
        avoid_buggy_ips=wire.spec.avoid_buggy_ips,
        allocation=_allocation(wire.spec.service_allocation, known),
        labels=wire.metadata.labels or {},
    )


def _allocation(
    wire: v1beta1.ServiceAllocation | None, known: Iterable[namespaces.Namespace]
) -> pools.ServiceAllocation | None:
    if wire is None:
        return None
    field = "spec.serviceAllocation"
    problems.refuse_duplicates(f"{field}.namespaces", wire.namespaces or [])
    by_label = selectors.compile_all(wire.namespace_selectors, f"{field}.namespaceSelectors")
    by_service = selectors.compile_all(wire.service_selectors, f"{field}.serviceSelectors")
    if not wire.namespaces and not by_label and not by_service:
        # Nothing but a priority: meant for every Service.
        return pools.ServiceAllocation(priority=wire.priority, service_selectors=(domain_selectors.Selector(),))
    names = None
    if wire.namespaces or by_label:
        matched = {each.name for each in known if domain_selectors.any_matches(by_label, each.labels)}
        names = frozenset(matched | set(wire.namespaces or ()))
    return pools.ServiceAllocation(priority=wire.priority, namespaces=names, service_selectors=by_service)
