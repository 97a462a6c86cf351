"""Which nodes may announce a Service over layer 2, and through which interfaces.

A node is a candidate when all of this holds; the first that fails is the reason it is not:
1. its speaker is alive (membership), or membership is off;
2. the exclude label is absent (unless ignored), its NetworkUnavailable condition is not True, and it is not being drained;
3. an advertisement that covers the Service covers the node;
4. for each family of the Service's addresses, it has one of the interfaces those advertisements name, up, with carrier and able to announce
   that family; where they name none, it has any such one;
5. with externalTrafficPolicy Local, it has an endpoint that can serve.

Rule 4 goes beyond MetalLB, which elects first and then finds the interface missing. Rule 1 comes first, so that a dead node's endpoints leave
the election with the verdict, not when Kubernetes gives up on the node.
"""

import dataclasses
from collections.abc import Mapping

from metallb_core.announcement import view
from metallb_core.domain import addresses, advertisements, reasons, services
from metallb_core.domain import interfaces as links  # a candidate has a field called interfaces

# What an interface that is up with carrier lacks where it cannot announce a family, and what helps.
_LACKING = {
    addresses.Family.IPV4: "IPv4: it must be a broadcast interface (BROADCAST in `ip link`); name another one",
    addresses.Family.IPV6: "IPv6: it needs an IPv6 link-local address (`ip -6 address`); switch IPv6 on there, or name another one",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A node that may announce. `interfaces`: names to announce through, empty for all usable ones."""

    node: str
    interfaces: frozenset[str]


def advertisements_of(
    service: services.Service, pool: str, announced: tuple[advertisements.L2Advertisement, ...]
) -> tuple[advertisements.L2Advertisement, ...]:
    """The advertisements that cover both the pool of that name and the Service."""
    return tuple(ad for ad in announced if pool in ad.pools and ad.covers_service(service.labels))


def interfaces_on(
    labels: Mapping[str, str], matching: tuple[advertisements.L2Advertisement, ...]
) -> frozenset[str] | None:
    """The interfaces that the advertisements covering a node with `labels` name: their union, empty for "all", None if none covers it."""
    covering = [ad for ad in matching if ad.covers_node(labels)]
    if not covering:
        return None
    if any(not ad.interfaces for ad in covering):
        return frozenset()
    return frozenset().union(*(ad.interfaces for ad in covering))


def candidate(
    name: str,
    seen: view.View,
    matching: tuple[advertisements.L2Advertisement, ...],
    serving: frozenset[str],
    *,
    families: frozenset[addresses.Family],
    local: bool,
) -> Candidate | reasons.Refusal:
    """Whether node `name` may announce addresses of all `families` under the advertisements `matching`.

    `serving`: the nodes with an endpoint that can serve.
    """
    node = seen.nodes.get(name)
    if node is None or (seen.members is not None and name not in seen.members):
        return reasons.Refusal(reasons.Reason.NO_ELIGIBLE_NODE, f"node {name} has no live speaker")
    if node.excluded and not seen.ignore_exclude_label:
        return reasons.Refusal(
            reasons.Reason.NODE_EXCLUDED, f"node {name} carries the exclude-from-external-load-balancers label"
        )
    if node.network_unavailable:
        return reasons.Refusal(reasons.Reason.NODE_NETWORK_UNAVAILABLE, f"the network of node {name} is unavailable")
    if seen.drains(node):
        return reasons.Refusal(reasons.Reason.DRAINING, f"node {name} carries the taint {seen.drain_taint}")
    interfaces = interfaces_on(node.labels, matching)
    if interfaces is None:
        return reasons.Refusal(reasons.Reason.NO_ADVERTISEMENT, f"no L2Advertisement of the pool covers node {name}")
    usable = seen.links.get(name)
    missing = _missing(interfaces, usable, families) if usable is not None else ""
    if missing:
        wanted = f"none of {', '.join(sorted(interfaces))}" if interfaces else "no interface"
        return reasons.Refusal(reasons.Reason.INTERFACE_MISSING, f"{wanted} on node {name} {missing}")
    if local and name not in serving:
        return reasons.Refusal(
            reasons.Reason.NO_LOCAL_ENDPOINT, f"externalTrafficPolicy is Local and node {name} has no ready endpoint"
        )
    return Candidate(name, interfaces)


def _missing(interfaces: frozenset[str], usable: links.Usable, families: frozenset[addresses.Family]) -> str:
    """What no interface of a node is or can do, as the rest of a sentence; empty where nothing is missing. `interfaces` empty: any will do."""
    if not (interfaces & usable.any if interfaces else usable.any):
        return "is up with carrier"
    for family in sorted(families):
        able = usable.of(family)
        if not (interfaces & able if interfaces else able):
            return f"can announce {_LACKING[family]}"
    return ""


def candidates(
    seen: view.View,
    matching: tuple[advertisements.L2Advertisement, ...],
    serving: frozenset[str],
    *,
    families: frozenset[addresses.Family],
    local: bool,
) -> tuple[Candidate, ...]:
    """Every node that may announce addresses of all `families` under the advertisements `matching`."""
    names = seen.nodes if seen.members is None else seen.members
    judged = (candidate(name, seen, matching, serving, families=families, local=local) for name in names)
    return tuple(verdict for verdict in judged if isinstance(verdict, Candidate))
