"""Which pools a BGP advertisement really covers, once aggregates and local preferences are compared.

- An aggregate must not reach beyond its pool; and two advertisements may not say different local preferences of one prefix to one peer from one
  node. An advertisement that is changed into such a thing keeps its last good form; one that was so from the start, or became so by a change of
  something else, does not cover the pool in question, and covers the others.
- Of two whose preferences differ, the one that covers the pool already stays; else the older; else the first by name.
- Only what is certain is refused here: neither advertisement selects Services, and their nodes surely meet. Two node selectors may or may not
  match one node; that is seen where the route is made.
"""

import dataclasses
from collections.abc import Callable, Mapping

from metallb_core.api import v1beta1
from metallb_core.config import bgp_advertisements, problems, quarantine
from metallb_core.domain import addresses, advertisements, pools

KIND = "BGPAdvertisement"
Compile = Callable[[v1beta1.BGPAdvertisement], advertisements.BGPAdvertisement]
Forms = dict[str, advertisements.BGPAdvertisement]
Wires = Mapping[str, v1beta1.BGPAdvertisement]
Faults = dict[str, dict[str, problems.InvalidError]]
"""By advertisement, then by pool."""


def settle(
    objects: Wires,
    good: dict[str, v1beta1.BGPAdvertisement],
    compiled: Forms,
    known: Mapping[str, pools.Pool],
    previous_good: Wires,
    previous: Mapping[str, advertisements.BGPAdvertisement],
    compile_kept: Compile,
    wrong: list[problems.Problem],
) -> tuple[dict[str, v1beta1.BGPAdvertisement], Forms]:
    """`good` and `compiled` without what must not be advertised, which is appended to `wrong`.

    A form that is taken back is not looked at twice, so there are at most as many rounds as advertisements.
    """
    while True:
        in_force = {
            name for name, wire in good.items() if name in previous_good and previous_good[name].spec == wire.spec
        }
        faults = _faults(objects, compiled, known, {name: previous[name] for name in in_force if name in previous})
        changed = next((name for name in faults if name in previous_good and name not in in_force), None)
        if changed is None:
            break
        good[changed] = previous_good[changed]
        compiled[changed] = compile_kept(good[changed])
        first = next(iter(faults[changed].values()))
        wrong.append(quarantine.problem(KIND, objects[changed], first, kept=True))
    for name, by_pool in faults.items():
        compiled[name] = _without(compiled[name], frozenset(by_pool))
        wrong += [quarantine.problem(KIND, objects[name], error, partly=True) for error in by_pool.values()]
    return good, compiled


def _without(advertisement: advertisements.BGPAdvertisement, gone: frozenset[str]) -> advertisements.BGPAdvertisement:
    return dataclasses.replace(advertisement, pools=advertisement.pools - gone)


def _faults(
    objects: Wires,
    compiled: Forms,
    known: Mapping[str, pools.Pool],
    in_force: Mapping[str, advertisements.BGPAdvertisement],
) -> Faults:
    """What is wrong, in order of name of advertisement, then of pool."""
    found: Faults = {}
    whole: dict[str, list[advertisements.BGPAdvertisement]] = {}
    for name, advertisement in compiled.items():
        for pool in sorted(advertisement.pools & known.keys()):
            error = bgp_advertisements.misfit(advertisement, known[pool])
            if error is not None:
                found.setdefault(name, {})[pool] = error
            elif not advertisement.service_selectors:
                whole.setdefault(pool, []).append(advertisement)
    for pool, candidates in sorted(whole.items()):

        def rank(each: advertisements.BGPAdvertisement, pool: str = pool) -> tuple[bool, str, str]:
            covers = each.name in in_force and pool in in_force[each.name].pools
            return not covers, objects[each.name].metadata.creation_timestamp or "", each.name

        accepted: list[advertisements.BGPAdvertisement] = []
        for one in sorted(candidates, key=rank):
            others = [each for each in accepted if _conflict(one, each, known[pool].families())]
            if others:
                # Of several the first by name is told, so that the message stays the same whoever was accepted first.
                other = min(others, key=lambda each: each.name)
                found.setdefault(one.name, {})[pool] = _conflict_error(one, other, pool)
            else:
                accepted.append(one)
    return dict(sorted(found.items()))


def _conflict(
    one: advertisements.BGPAdvertisement,
    other: advertisements.BGPAdvertisement,
    families: frozenset[addresses.Family],
) -> bool:
    return (
        one.local_pref != other.local_pref
        and any(one.length(family) == other.length(family) for family in families)
        and (not one.peers or not other.peers or not one.peers.isdisjoint(other.peers))
        and (
            not one.node_selectors
            or not other.node_selectors
            or not frozenset(one.node_selectors).isdisjoint(other.node_selectors)
        )
    )


def _conflict_error(
    one: advertisements.BGPAdvertisement, other: advertisements.BGPAdvertisement, pool: str
) -> problems.InvalidError:
    ours, theirs = (each.local_pref if each.local_pref is not None else "unset" for each in (one, other))
    return problems.InvalidError(
        "spec.localPref",
        f'invalid localPref {ours}: BGPAdvertisement "{other.name}" advertises the same prefixes of pool "{pool}" to the same peers with'
        f" localPref {theirs}; use one value, or other aggregation lengths, peers or nodes",
    )
