"""The whole configuration: every object compiled, every bad one set aside, the last good form of each remembered.

- A bad object is replaced by its own last good form, if this process has seen one; nothing else depends on whether it is good.
- Two pools may not overlap. Of two that do, the one in force already stays; else the older, so that a restart, which remembers nothing, decides
  as it was decided before; else the first by name. The other is the bad one.
- The same objects and the same previous configuration always give the same result, whatever their order.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from metallb_core.api import meta, v1beta1
from metallb_core.config import l2advertisements
from metallb_core.config import pools as pool_rules
from metallb_core.config import problems as rules
from metallb_core.domain import advertisements, reasons
from metallb_core.domain import namespaces as domain_namespaces
from metallb_core.domain import pools as domain_pools


class _Object(Protocol):
    @property
    def metadata(self) -> meta.ObjectMeta: ...


W = TypeVar("W", bound=_Object)
C = TypeVar("C")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The objects to compile, in any order."""

    pools: tuple[v1beta1.IPAddressPool, ...] = ()
    l2_advertisements: tuple[v1beta1.L2Advertisement, ...] = ()
    namespaces: tuple[domain_namespaces.Namespace, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is in force. `good_*` are the objects that `pools` and `l2` were compiled from, by name."""

    pools: Mapping[str, domain_pools.Pool]
    l2: tuple[advertisements.L2Advertisement, ...]
    problems: tuple[rules.Problem, ...]
    good_pools: Mapping[str, v1beta1.IPAddressPool]
    good_l2: Mapping[str, v1beta1.L2Advertisement]

    @property
    def left_out(self) -> frozenset[str]:
        """Names of the pools that exist, but of which no form is in force."""
        return frozenset(each.name for each in self.problems if each.kind == "IPAddressPool" and not each.kept)


EMPTY = Config(pools={}, l2=(), problems=(), good_pools={}, good_l2={})


def compile(found: Resources, previous: Config = EMPTY) -> Config:  # noqa: A001 - the field's word for it
    """Compile `found`. Never raises: what is wrong is in `problems`, sorted by kind and name."""
    wrong: list[rules.Problem] = []
    known = sorted(found.namespaces, key=lambda each: each.name)
    good, compiled = _each(
        "IPAddressPool", found.pools, previous.good_pools, lambda wire: pool_rules.compile_one(wire, known), wrong
    )
    good, compiled = _without_overlaps(found.pools, good, compiled, previous, known, wrong)
    unread = [
        domain_pools.Pool(name=wire.metadata.name, intervals=(), labels=wire.metadata.labels or {})
        for wire in found.pools
        if wire.metadata.name not in compiled
    ]
    good_l2, compiled_l2 = _each(
        "L2Advertisement",
        found.l2_advertisements,
        previous.good_l2,
        # A pool that is left out can still be advertised: speakers go on announcing what it gave.
        lambda wire: l2advertisements.compile_one(wire, [*compiled.values(), *unread]),
        wrong,
    )
    return Config(
        pools=compiled,
        l2=tuple(compiled_l2.values()),
        problems=tuple(sorted(wrong, key=lambda problem: (problem.kind, problem.name))),
        good_pools=good,
        good_l2=good_l2,
    )


def _each(
    kind: str,
    wires: Iterable[W],
    previous: Mapping[str, W],
    compile_one: Callable[[W], C],
    wrong: list[rules.Problem],
) -> tuple[dict[str, W], dict[str, C]]:
    """Compile every object by itself, in order of name; a bad one by its last good form."""
    good: dict[str, W] = {}
    compiled: dict[str, C] = {}
    for wire in sorted(wires, key=lambda each: each.metadata.name):
        name = wire.metadata.name
        try:
            compiled[name] = compile_one(wire)
            good[name] = wire
        except rules.InvalidError as error:
            before = previous.get(name)
            if before is not None:
                compiled[name] = compile_one(before)
                good[name] = before
            wrong.append(_problem(kind, wire, error, kept=before is not None))
    return good, compiled


def _problem(kind: str, wire: _Object, error: rules.InvalidError, *, kept: bool) -> rules.Problem:
    return rules.Problem(
        kind=kind,
        namespace=wire.metadata.namespace,
        name=wire.metadata.name,
        uid=wire.metadata.uid,
        field=error.field,
        refusal=error.refusal,
        kept=kept,
    )


def _without_overlaps(
    wires: Iterable[v1beta1.IPAddressPool],
    good: dict[str, v1beta1.IPAddressPool],
    compiled: dict[str, domain_pools.Pool],
    previous: Config,
    known: Iterable[domain_namespaces.Namespace],
    wrong: list[rules.Problem],
) -> tuple[dict[str, v1beta1.IPAddressPool], dict[str, domain_pools.Pool]]:
    """Set aside the pools that overlap others, until none does.

    A pool that is set aside falls back to its last good form, which may now clash with a pool that was accepted before it; so acceptance starts
    again with that form counted as in force. Each round sets one more pool aside, so there are at most as many rounds as pools.
    """
    objects = {wire.metadata.name: wire for wire in wires}
    while True:
        in_force = [
            name for name, pool in compiled.items() if name in previous.pools and _is_within(pool, previous.pools[name])
        ]
        rest = [name for name in compiled if name not in in_force]
        rest.sort(key=lambda name: (objects[name].metadata.creation_timestamp or "", name))
        order = [*in_force, *rest]
        clash = _first_clash([compiled[name] for name in order])
        if clash is None:
            return good, compiled
        offender, error = clash
        before = previous.good_pools.get(offender)
        # A form that is in force cannot be set aside in favour of itself.
        kept = before is not None and before is not good[offender]
        del compiled[offender], good[offender]
        if kept and before is not None:
            good[offender] = before
            compiled[offender] = pool_rules.compile_one(before, known)
            good, compiled = dict(sorted(good.items())), dict(sorted(compiled.items()))
        wrong.append(_problem("IPAddressPool", objects[offender], error, kept=kept))


def _is_within(pool: domain_pools.Pool, other: domain_pools.Pool) -> bool:
    """Whether a pool claims no address that `other` does not: the same pool, relabelled or narrowed."""
    return all(
        any(
            each.family == theirs.family and theirs.first <= each.first and each.last <= theirs.last
            for theirs in other.intervals
        )
        for each in pool.intervals
    )


def _first_clash(order: list[domain_pools.Pool]) -> tuple[str, rules.InvalidError] | None:
    """The first pool, in order of acceptance, that overlaps one before it."""
    accepted: list[domain_pools.Pool] = []
    for pool in order:
        for position, interval in enumerate(pool.intervals):
            for other in accepted:
                for theirs in other.intervals:
                    if interval.overlaps(theirs):
                        detail = (
                            f'"{interval}" in pool "{pool.name}" overlaps with already defined CIDR "{theirs}" of pool'
                            f' "{other.name}"; change or remove one of the two'
                        )
                        where = f"spec.addresses[{position}]"
                        return pool.name, rules.InvalidError(where, detail, reasons.Reason.POOL_OVERLAP)
        accepted.append(pool)
    return None
