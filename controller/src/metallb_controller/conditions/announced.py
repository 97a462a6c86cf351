"""PURE. The condition `metallb.io/Announced` of a Service that has an address, from what all nodes say and what they should be doing.

- The status objects of the nodes are what is so: while one stands the condition is True, whatever the configuration says.
- Why nobody announces is decided by the functions that speakers use, over the same configuration, nodes and endpoints. What only membership
  knows is not seen here: a node counts as alive while its speaker's ConfigurationState is there.
- Where by all that is seen here some node should announce, and none does yet, the reason is AnnouncementPending.
- A message names a few nodes and counts the others.
"""

import dataclasses
from collections.abc import Iterable
from typing import Final

from metallb_controller.conditions import allocated
from metallb_core.announcement import bgp, eligibility, layer2, origin, view
from metallb_core.domain import conditions, reasons, remedies, services

ANNOUNCED: Final = "Announced"
SHOWN: Final = 3
LAYER2: Final = "layer 2"
BGP: Final = "BGP"
PROTOCOLS: Final = (LAYER2, BGP)

PENDING: Final = reasons.Refusal(
    reasons.Reason.ANNOUNCEMENT_PENDING,
    "by all that is configured some node should announce the Service, and none does yet; see the speakers' pods and logs",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Announcer:
    """A node that announces a Service by a protocol."""

    namespace: str
    name: str
    service: services.ServiceKey
    node: str
    protocol: str


def by(announcers: Iterable[Announcer]) -> conditions.Condition:
    """True: who announces."""
    nodes: dict[str, set[str]] = {}
    for each in announcers:
        nodes.setdefault(each.protocol, set()).add(each.node)
    told = "; ".join(f"from {_listed(nodes[each])} by {each}" for each in PROTOCOLS if each in nodes)
    return conditions.Condition(
        type=allocated.ANNOUNCED,
        status=conditions.Status.TRUE,
        reason=ANNOUNCED,
        message=conditions.shortened(f"announced {told}"),
    )


def by_nobody(refusal: reasons.Refusal) -> conditions.Condition:
    """False: why."""
    return conditions.Condition(
        type=allocated.ANNOUNCED,
        status=conditions.Status.FALSE,
        reason=refusal.reason.label,
        message=conditions.shortened(remedies.told(refusal)),
    )


def why(service: services.Service, serving: frozenset[str], seen: view.View) -> reasons.Refusal | None:
    """Why no node announces `service`; None where one should. `serving`: nodes with an endpoint that can serve."""
    over_layer2 = _layer2(service, serving, seen)
    if over_layer2 is None:
        return None
    if not seen.config.bgp and seen.config.l2:
        return over_layer2
    over_bgp = bgp.nobody(service, serving, seen)
    if over_bgp is None:
        return None
    uncovered = reasons.Reason.NO_ADVERTISEMENT
    if over_bgp.reason is uncovered and over_layer2.reason is uncovered:
        pool = origin.pool_of(service, seen)
        return reasons.Refusal(
            uncovered,
            f"no L2Advertisement or BGPAdvertisement covers pool {pool} and this Service; create one, or list the pool in"
            " spec.ipAddressPools of one",
        )
    if over_bgp.reason in (uncovered, over_layer2.reason):
        return over_layer2
    if over_layer2.reason is uncovered or not seen.config.l2:
        return over_bgp
    return reasons.Refusal(over_layer2.reason, f"by layer 2, {over_layer2.detail}; by BGP, {over_bgp.detail}")


def _layer2(service: services.Service, serving: frozenset[str], seen: view.View) -> reasons.Refusal | None:
    outcome = layer2.elect(service, serving, seen)
    if not isinstance(outcome, reasons.Refusal):
        return None
    if outcome.reason is reasons.Reason.NO_ELIGIBLE_NODE:
        return _common_obstacle(service, serving, seen) or outcome
    return outcome


def _common_obstacle(service: services.Service, serving: frozenset[str], seen: view.View) -> reasons.Refusal | None:
    """The obstacle of every node that an advertisement covers, where it is the same on all of them."""
    pool = origin.pool_of(service, seen)
    if isinstance(pool, reasons.Refusal):
        return pool
    matching = eligibility.advertisements_of(service, pool, seen.config.l2)
    local = service.traffic_policy is services.TrafficPolicy.LOCAL
    asked = layer2.families(service)
    verdicts = {
        name: eligibility.candidate(name, seen, matching, serving, families=asked, local=local)
        for name in sorted(seen.nodes)
    }
    obstacles = {
        name: verdict
        for name, verdict in verdicts.items()
        if isinstance(verdict, reasons.Refusal) and verdict.reason is not reasons.Reason.NO_ADVERTISEMENT
    }
    if len({each.reason for each in obstacles.values()}) != 1:
        return None
    told, others = next(iter(obstacles.values())), list(obstacles)[1:]
    if not others:
        return told
    return reasons.Refusal(told.reason, f"{told.detail}, and the same goes for {_listed(others)}")


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    shown = ", ".join(found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"node{'s' if len(found) > 1 else ''} {shown}{more}"
