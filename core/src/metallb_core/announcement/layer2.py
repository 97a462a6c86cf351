"""Whether this node announces a Service over layer 2.

A Service's addresses are announced by one node together, elected on the first of them, so that both families arrive at one place and Services
that share an address land on one node.
"""

import dataclasses

from metallb_core.announcement import election, eligibility, origin, view
from metallb_core.domain import addresses, annotations, reasons, services

SHARE_ANNOTATIONS = tuple(prefix + annotations.SHARE for prefix in annotations.PREFIXES)


@dataclasses.dataclass(frozen=True, slots=True)
class Announcement:
    """What this node should announce for one Service. `interfaces` is empty for all usable ones."""

    addresses: tuple[addresses.Address, ...]
    interfaces: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Ranking:
    """The outcome of an election, as every speaker sees it: the candidates in order, the owner first."""

    candidates: tuple[eligibility.Candidate, ...]

    @property
    def owner(self) -> eligibility.Candidate:
        """The candidate that announces."""
        return self.candidates[0]


def families(service: services.Service) -> frozenset[addresses.Family]:
    """The families that a node must be able to announce to be a candidate: all of the Service's.

    Of a Service that may share its address only the first address counts, by which it is elected. Otherwise a sharer with one family
    could be announced by a node where one with both cannot, and the address they share would answer from two.
    """
    counted = service.ingress[:1] if _may_share(service) else service.ingress
    return frozenset(address.family for address in counted)


def _may_share(service: services.Service) -> bool:
    return any(key in service.annotations for key in SHARE_ANNOTATIONS)


def elect(service: services.Service, serving: frozenset[str], seen: view.View) -> Ranking | reasons.Refusal:
    """Rank the nodes that may announce `service`. `serving`: names of the nodes with an endpoint that can serve."""
    pool = origin.pool_of(service, seen)
    if isinstance(pool, reasons.Refusal):
        return pool
    if not serving:
        return reasons.Refusal(reasons.Reason.NO_READY_ENDPOINT, "no endpoint of the Service is ready")
    ours = eligibility.advertisements_of(service, pool, seen.config.l2)
    if not ours:
        return reasons.Refusal(
            reasons.Reason.NO_ADVERTISEMENT,
            f"no L2Advertisement covers pool {pool} and this Service; create one, or list the pool in spec.ipAddressPools of one",
        )
    if any(ad.service_selectors for ad in ours) and _may_share(service):
        # Two sharers that match different advertisements could elect different nodes for one address.
        return reasons.Refusal(
            reasons.Reason.SHARED_WITH_SERVICE_SELECTOR,
            "the Service shares its address, but an L2Advertisement of its pool selects Services; use one or the other",
        )
    local = service.traffic_policy is services.TrafficPolicy.LOCAL
    asked = families(service)
    able = {each.node: each for each in eligibility.candidates(seen, ours, serving, families=asked, local=local)}
    if not able:
        return reasons.Refusal(reasons.Reason.NO_ELIGIBLE_NODE, _why_nobody(service, serving, seen, pool))
    preferences = {name: election.preference(seen.nodes[name].labels, ours) for name in able}
    order = election.ranking(able, service.ingress[0], preferences)
    return Ranking(tuple(able[name] for name in order))


def _why_nobody(service: services.Service, serving: frozenset[str], seen: view.View, pool: str) -> str:
    """Each node's first obstacle, the same ones counted together: `2 nodes: ...` reads better than a hundred lines."""
    ours = eligibility.advertisements_of(service, pool, seen.config.l2)
    local = service.traffic_policy is services.TrafficPolicy.LOCAL
    counts: dict[str, list[str]] = {}
    for name in sorted(seen.nodes):
        verdict = eligibility.candidate(name, seen, ours, serving, families=families(service), local=local)
        if isinstance(verdict, reasons.Refusal):
            counts.setdefault(verdict.reason.label, []).append(name)
    told = "; ".join(
        f"{label}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" for label, names in counts.items()
    )
    return f"none of {len(seen.nodes)} nodes can announce the Service ({told})"


def decide(
    service: services.Service, serving: frozenset[str], seen: view.View, me: str
) -> Announcement | reasons.Refusal:
    """What the node called `me` announces for `service`, or why it does not."""
    outcome = elect(service, serving, seen)
    if isinstance(outcome, reasons.Refusal):
        return outcome
    if outcome.owner.node != me:
        return reasons.Refusal(reasons.Reason.NOT_OWNER, f"node {outcome.owner.node} announces the Service")
    return Announcement(service.ingress, outcome.owner.interfaces)
