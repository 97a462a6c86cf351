"""The pools that an advertisement covers: those it names, joined with those whose labels it selects; all if it does neither."""

from collections.abc import Mapping

from metallb_core.domain import pools, selectors


def covered(
    known: Mapping[str, pools.Pool], names: list[str] | None, by_label: tuple[selectors.Selector, ...]
) -> frozenset[str]:
    """The names of the pools. A name that no pool has is skipped; by names alone, this costs nothing for the other pools."""
    if not names and not by_label:
        return frozenset(known)
    named = frozenset(name for name in names or () if name in known)
    if not by_label:
        return named
    return named | {name for name, pool in known.items() if selectors.any_matches(by_label, pool.labels)}
