"""Whether this node advertises a Service to BGP peers, which prefixes, and with which attributes.

Unlike layer 2 there is no election: every node that may advertise does, and routers spread the traffic. So the decision is each node's own, and
membership has no part in it: a dead node's sessions die with it.

The first of these that fails is the reason, in MetalLB's order:
1. an advertisement of the pool covers this node; of those, one covers the Service;
2. no two of them contradict each other: different local preferences for the same prefix and a common peer;
3. a BGPPeer that they name has a session on this node;
4. the node's network is available, the exclude label is absent (unless ignored), the node is not being drained;
5. an endpoint can serve; with externalTrafficPolicy Local, one on this node.

While a node is being drained its routes carry GRACEFUL_SHUTDOWN for a while (RFC 8326 section 4.2) before they are withdrawn.
"""

import dataclasses
import functools
import itertools
from typing import NamedTuple

from metallb_core.announcement import origin, view
from metallb_core.domain import advertisements, communities, nodes, reasons, routes, services

OFFERS_REMEMBERED = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """What one advertisement says of its prefixes. `peers`: names, empty for all."""

    advertisement: str
    attributes: routes.Attributes = routes.PLAIN
    peers: frozenset[str] = frozenset()

    def reaches(self, peer: str) -> bool:
        """Whether the peer of that name is told."""
        return not self.peers or peer in self.peers


class Route(NamedTuple):
    """One prefix, as one advertisement offers it."""

    prefix: routes.Prefix
    offer: Offer


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What this node advertises for one Service. One prefix may be offered by several advertisements."""

    routes: tuple[Route, ...]


# The same advertisement gives the same object, so that ten thousand Services do not hold ten thousand copies.
@functools.lru_cache(OFFERS_REMEMBERED)
def offer_of(ad: advertisements.BGPAdvertisement, *, leaving: bool) -> Offer:
    """What `ad` offers; `leaving`: the node is being drained, and asks its neighbours to prefer others."""
    attributes = routes.Attributes(local_pref=ad.local_pref, communities=ad.communities)
    if leaving:
        attributes = routes.Attributes(local_pref=0, communities=ad.communities | {communities.GRACEFUL_SHUTDOWN})
    return Offer(ad.name, attributes, ad.peers)


def decide(service: services.Service, serving: frozenset[str], seen: view.View, me: str) -> Decision | reasons.Refusal:
    """What the node called `me` advertises for `service`, or why it does not. `serving`: nodes with an endpoint that can serve."""
    pool = origin.pool_of(service, seen)
    if isinstance(pool, reasons.Refusal):
        return pool
    node = seen.nodes.get(me)
    if node is None:
        return reasons.Refusal(reasons.Reason.NO_ELIGIBLE_NODE, f"there is no Node {me}")
    matching = _matching(service, pool, seen, node)
    if isinstance(matching, reasons.Refusal):
        return matching
    obstacle = (
        _conflict(service, matching)
        or _without_peer(matching, seen, node)
        or _withheld(seen, node)
        or _without_endpoint(service, serving, me)
    )
    if obstacle is not None:
        return obstacle
    found: dict[Route, None] = {}
    for ad in matching:
        offer = offer_of(ad, leaving=seen.leaving)
        for address in service.ingress:
            found[Route(routes.Prefix.of(address, ad.length(address.family)), offer)] = None
    return Decision(tuple(found))


def nobody(service: services.Service, serving: frozenset[str], seen: view.View) -> reasons.Refusal | None:
    """Why no node advertises `service`; None if one does. Where all nodes have the same obstacle it is that, else each node's is named."""
    refusals: dict[str, reasons.Refusal] = {}
    for name in sorted(seen.nodes):
        # A node without a live speaker advertises nothing, whatever it should.
        if seen.members is not None and name not in seen.members:
            continue
        verdict = decide(service, serving, seen, name)
        if isinstance(verdict, Decision):
            return None
        refusals[name] = verdict
    found = {refusal.reason for refusal in refusals.values()}
    if len(found) == 1 and not found & _OF_NODES:
        return next(iter(refusals.values()))
    if not serving and found <= {reasons.Reason.NO_READY_ENDPOINT, reasons.Reason.NO_LOCAL_ENDPOINT}:
        return reasons.Refusal(reasons.Reason.NO_READY_ENDPOINT, "no endpoint of the Service is ready")
    counts: dict[str, list[str]] = {}
    for name, refusal in refusals.items():
        # That a node is not the owner sounds as it should be; here nobody is.
        reason = reasons.Reason.NO_ADVERTISEMENT if refusal.reason is reasons.Reason.NOT_OWNER else refusal.reason
        counts.setdefault(reason.label, []).append(name)
    told = "; ".join(
        f"{label}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" for label, names in counts.items()
    )
    return reasons.Refusal(
        reasons.Reason.NO_ELIGIBLE_NODE, f"none of {len(seen.nodes)} nodes can advertise the Service ({told})"
    )


_OF_NODES = frozenset(
    {
        reasons.Reason.NOT_OWNER,
        reasons.Reason.NO_ELIGIBLE_NODE,
        reasons.Reason.NODE_EXCLUDED,
        reasons.Reason.NODE_NETWORK_UNAVAILABLE,
        reasons.Reason.DRAINING,
        reasons.Reason.NO_LOCAL_ENDPOINT,
    }
)


def peers_on(node: nodes.Node, seen: view.View) -> frozenset[str]:
    """Names of the peers that have a session on `node`."""
    return frozenset(name for name, peer in seen.config.peers.items() if peer.covers_node(node.labels))


def _matching(
    service: services.Service, pool: str, seen: view.View, node: nodes.Node
) -> tuple[advertisements.BGPAdvertisement, ...] | reasons.Refusal:
    """The advertisements in force for the Service on the node, in their order; at least one."""
    of_pool = [ad for ad in seen.config.bgp if pool in ad.pools]
    here = [ad for ad in of_pool if ad.covers_node(node.labels)]
    if of_pool and not here:
        return reasons.Refusal(reasons.Reason.NOT_OWNER, f"no BGPAdvertisement of pool {pool} covers node {node.name}")
    matching = tuple(ad for ad in here if ad.covers_service(service.labels))
    if not matching:
        return reasons.Refusal(
            reasons.Reason.NO_ADVERTISEMENT,
            f"no BGPAdvertisement covers pool {pool} and this Service; create one, or list the pool in spec.ipAddressPools of one",
        )
    return matching


def _conflict(
    service: services.Service, matching: tuple[advertisements.BGPAdvertisement, ...]
) -> reasons.Refusal | None:
    families = {address.family for address in service.ingress}
    for one, other in itertools.combinations(matching, 2):
        if one.local_pref == other.local_pref or all(one.length(each) != other.length(each) for each in families):
            continue
        if not one.peers or not other.peers or one.peers & other.peers:
            return reasons.Refusal(
                reasons.Reason.CONFLICTING_ADVERTISEMENTS,
                f"BGPAdvertisements {one.name} and {other.name} give one prefix and peer different values of localPref"
                f" ({_shown(one.local_pref)} and {_shown(other.local_pref)}); make them equal, or their spec.peers apart",
            )
    return None


def _shown(local_pref: int | None) -> str:
    return "unset" if local_pref is None else str(local_pref)


def _without_peer(
    matching: tuple[advertisements.BGPAdvertisement, ...], seen: view.View, node: nodes.Node
) -> reasons.Refusal | None:
    here = peers_on(node, seen)
    if here and any(not ad.peers or ad.peers & here for ad in matching):
        return None
    wanted = sorted(frozenset().union(*(ad.peers for ad in matching)))
    which = f" that spec.peers names ({', '.join(wanted)})" if wanted else ""
    return reasons.Refusal(
        reasons.Reason.NO_PEER,
        f"no BGPPeer{which} has a session on node {node.name}; create one, or mend its spec.nodeSelectors",
    )


def _withheld(seen: view.View, node: nodes.Node) -> reasons.Refusal | None:
    if node.network_unavailable:
        return reasons.Refusal(
            reasons.Reason.NODE_NETWORK_UNAVAILABLE, f"the network of node {node.name} is unavailable"
        )
    if node.excluded and not seen.ignore_exclude_label:
        return reasons.Refusal(
            reasons.Reason.NODE_EXCLUDED, f"node {node.name} carries the exclude-from-external-load-balancers label"
        )
    if seen.drains(node) and not seen.leaving:
        return reasons.Refusal(reasons.Reason.DRAINING, f"node {node.name} carries the taint {seen.drain_taint}")
    return None


def _without_endpoint(service: services.Service, serving: frozenset[str], me: str) -> reasons.Refusal | None:
    if service.traffic_policy is services.TrafficPolicy.LOCAL and me not in serving:
        return reasons.Refusal(
            reasons.Reason.NO_LOCAL_ENDPOINT, f"externalTrafficPolicy is Local and node {me} has no ready endpoint"
        )
    if not serving:
        return reasons.Refusal(reasons.Reason.NO_READY_ENDPOINT, "no endpoint of the Service is ready")
    return None
