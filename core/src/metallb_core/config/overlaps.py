"""Pools that overlap: of two, the one in force already stays; else the older; else the first by name. The other is set aside.

A pool that is set aside falls back to its last good form, which may now clash with a pool that was accepted before it; so acceptance starts
again with that form counted as in force. Each round sets one more pool aside, so there are at most as many rounds as pools.
"""

import bisect
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from metallb_core.api import v1beta1
from metallb_core.config import problems, quarantine
from metallb_core.domain import addresses, pools, reasons


def settle(
    wires: Iterable[v1beta1.IPAddressPool],
    good: dict[str, v1beta1.IPAddressPool],
    compiled: dict[str, pools.Pool],
    previous_good: Mapping[str, v1beta1.IPAddressPool],
    previous: Mapping[str, pools.Pool],
    compile_one: Callable[[v1beta1.IPAddressPool], pools.Pool],
    wrong: list[problems.Problem],
) -> tuple[dict[str, v1beta1.IPAddressPool], dict[str, pools.Pool]]:
    """`good` and `compiled` without the pools that overlap others; those are appended to `wrong`."""
    objects = {wire.metadata.name: wire for wire in wires}
    while True:
        in_force = {name for name, pool in compiled.items() if name in previous and _is_within(pool, previous[name])}
        rest = sorted(
            (name for name in compiled if name not in in_force),
            key=lambda name: (objects[name].metadata.creation_timestamp or "", name),
        )
        order = [*(name for name in compiled if name in in_force), *rest]
        clash = _first_clash([compiled[name] for name in order])
        if clash is None:
            return good, compiled
        offender, error = clash
        before = previous_good.get(offender)
        # A form that is in force cannot be set aside in favour of itself.
        kept = before is not None and before is not good[offender]
        del compiled[offender], good[offender]
        if kept and before is not None:
            good[offender] = before
            compiled[offender] = compile_one(before)
            good, compiled = dict(sorted(good.items())), dict(sorted(compiled.items()))
        wrong.append(quarantine.problem("IPAddressPool", objects[offender], error, kept=kept))


def _is_within(pool: pools.Pool, other: pools.Pool) -> bool:
    """Whether a pool claims no address that `other` does not: the same pool, relabelled or narrowed."""
    return all(
        any(
            each.family == theirs.family and theirs.first <= each.first and each.last <= theirs.last
            for theirs in other.intervals
        )
        for each in pool.intervals
    )


def _first_clash(order: list[pools.Pool]) -> tuple[str, problems.InvalidError] | None:
    """The first pool, in order of acceptance, that overlaps one before it; of several before it, the first is named.

    What is accepted overlaps nothing, so of each family it lies in one order, and whatever an interval overlaps lies side by side.
    """
    accepted: dict[addresses.Family, list[_Accepted]] = {family: [] for family in addresses.Family}
    for rank, pool in enumerate(order):
        for position, interval in enumerate(pool.intervals):
            others = accepted[interval.family]
            start = bisect.bisect_left(others, interval.first, key=lambda each: each.interval.last)
            end = bisect.bisect_right(others, interval.last, key=lambda each: each.interval.first)
            if start < end:
                theirs = min(others[start:end], key=lambda each: (each.rank, each.position))
                detail = (
                    f'"{interval}" in pool "{pool.name}" overlaps with already defined CIDR "{theirs.interval}" of pool'
                    f' "{order[theirs.rank].name}"; change or remove one of the two'
                )
                where = f"spec.addresses[{position}]"
                return pool.name, problems.InvalidError(where, detail, reasons.Reason.POOL_OVERLAP)
        for position, interval in enumerate(pool.intervals):
            found = _Accepted(interval, rank, position)
            bisect.insort(accepted[interval.family], found, key=lambda each: each.interval.first)
    return None


class _Accepted(NamedTuple):
    """An interval of the pool that was accepted as number `rank`; `position` is its place there."""

    interval: addresses.Interval
    rank: int
    position: int
