"""The book of what this node advertises: which Services want which prefix, and what each peer is therefore told.

- Services that share an address, or whose addresses fall into one aggregate, want one prefix. It is advertised while any of them wants it.
- What a peer is told of a prefix is the union of the offers that reach it: all their communities, and the local preference of the first offer,
  by name of the advertisement, that sets one. So it depends on what is wanted, not on the order in which it came to be.
- A change costs what the Service concerned costs: offers are counted, so that neither its sharers nor the other prefixes are looked at.

One owner, no locks.
"""

from collections.abc import Iterable

from metallb_core.announcement import bgp
from metallb_core.domain import communities, routes, services

Changes = dict[str, dict[routes.Prefix, routes.Attributes | None]]

_MERGED_REMEMBERED = 4096


class Book:
    """See the module."""

    def __init__(self) -> None:
        self._by_service: dict[services.ServiceKey, tuple[bgp.Route, ...]] = {}
        # How many Services make each offer, in no order.
        self._offers: dict[routes.Prefix, dict[bgp.Offer, int]] = {}
        self._peers: tuple[str, ...] = ()
        self._merged: dict[frozenset[bgp.Offer], routes.Attributes] = {}

    def __contains__(self, key: services.ServiceKey) -> bool:
        return key in self._by_service

    def __len__(self) -> int:
        return len(self._by_service)

    def keys(self) -> tuple[services.ServiceKey, ...]:
        """The Services that are advertised."""
        return tuple(self._by_service)

    def get(self, key: services.ServiceKey) -> tuple[bgp.Route, ...]:
        """The routes of a Service; none if it is not advertised."""
        return self._by_service.get(key, ())

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers that changes are told of."""
        return self._peers

    def set_peers(self, names: Iterable[str]) -> None:
        """Which peers there are. One that is new gets `routes_for`, no changes come from here."""
        self._peers = tuple(sorted(names))

    def update(self, key: services.ServiceKey, desired: tuple[bgp.Route, ...]) -> Changes:
        """Make `desired` the routes of a Service; none withdraws it. Gives what each peer has to be told; idempotent.

        A prefix with None is to be withdrawn. Peers that have nothing to be told are absent.
        """
        current = self._by_service.get(key, ())
        if current == desired:
            return {}
        touched = dict.fromkeys(route.prefix for route in (*current, *desired))
        before = {prefix: frozenset(self._offers.get(prefix, ())) for prefix in touched}
        for route in desired:
            counts = self._offers.setdefault(route.prefix, {})
            counts[route.offer] = counts.get(route.offer, 0) + 1
        for route in current:
            self._release(route)
        if desired:
            self._by_service[key] = desired
        else:
            del self._by_service[key]
        changes: Changes = {}
        for prefix in touched:
            after = frozenset(self._offers.get(prefix, ()))
            if after == before[prefix]:
                continue
            for peer in self._peers:
                now = self._attributes(after, peer)
                if now != self._attributes(before[prefix], peer):
                    changes.setdefault(peer, {})[prefix] = now
        return changes

    def routes_for(self, peer: str) -> dict[routes.Prefix, routes.Attributes]:
        """Everything that a peer is told."""
        found = {}
        for prefix, counts in self._offers.items():
            attributes = self._attributes(frozenset(counts), peer)
            if attributes is not None:
                found[prefix] = attributes
        return found

    def prefixes_for(self, key: services.ServiceKey, peer: str) -> tuple[routes.Prefix, ...]:
        """The prefixes of a Service that a peer is told of by the Service's own advertisements."""
        return tuple(dict.fromkeys(route.prefix for route in self.get(key) if route.offer.reaches(peer)))

    def _release(self, route: bgp.Route) -> None:
        counts = self._offers[route.prefix]
        if counts[route.offer] > 1:
            counts[route.offer] -= 1
            return
        del counts[route.offer]
        if not counts:
            del self._offers[route.prefix]

    def _attributes(self, offers: frozenset[bgp.Offer], peer: str) -> routes.Attributes | None:
        reaching = [offer for offer in offers if offer.reaches(peer)]
        if len(reaching) < 2:
            return reaching[0].attributes if reaching else None
        # Equal sets give the very same object: peers pack prefixes by their attributes, and compare them often.
        wanted = frozenset(reaching)
        found = self._merged.get(wanted)
        if found is None:
            if len(self._merged) >= _MERGED_REMEMBERED:
                self._merged.clear()
            found = self._merged[wanted] = merge(reaching)
        return found


def merge(offers: Iterable[bgp.Offer]) -> routes.Attributes:
    """The union of `offers`, whatever their order."""
    ordered = sorted(offers, key=_rank)
    return routes.Attributes(
        local_pref=next(
            (each.attributes.local_pref for each in ordered if each.attributes.local_pref is not None), None
        ),
        communities=frozenset().union(*(each.attributes.communities for each in ordered)),
    )


def _rank(offer: bgp.Offer) -> tuple[str, int, list[communities.Community], list[str]]:
    """By advertisement; while one is being changed, its two forms are told apart by what they say."""
    local_pref = offer.attributes.local_pref
    return (
        offer.advertisement,
        -1 if local_pref is None else local_pref,
        sorted(offer.attributes.communities),
        sorted(offer.peers),
    )
