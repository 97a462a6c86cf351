"""One pool's books: which of its addresses are used, which could be shared, and how many there are."""

import bisect
from collections.abc import Iterator

from metallb_core.allocation import offers, sharing, space, usage
from metallb_core.domain import addresses, pools, services


class Shelf:
    """The books of `pool`; the ledger writes them."""

    __slots__ = ("_assigned", "_offers", "_positions", "_spaces", "_starts", "pool")

    def __init__(self, pool: pools.Pool) -> None:
        self.pool = pool
        self._spaces = [space.Space(each, avoid_buggy=pool.avoid_buggy_ips) for each in pool.intervals]
        self._assigned = {addresses.Family.IPV4: 0, addresses.Family.IPV6: 0}
        # The intervals sorted, to find an address's by bisection, and where each stands in the spec.
        ordered = sorted((each.family, each.first, position) for position, each in enumerate(pool.intervals))
        self._starts = [(family, first) for family, first, _ in ordered]
        self._positions = [position for _, _, position in ordered]
        self._offers: dict[tuple[sharing.Sharing, int], offers.Offers] = {}

    def use(self, address: addresses.Address) -> None:
        """The address got its first user."""
        self._spaces[self._position(address)].use(address.value)
        self._assigned[address.family] += 1

    def free(self, address: addresses.Address) -> None:
        """The address lost its last user."""
        self._spaces[self._position(address)].free(address.value)
        self._assigned[address.family] -= 1

    def offer(self, address: addresses.Address, terms: sharing.Sharing, ports: frozenset[services.Port]) -> None:
        """A user of the address, with these ports on it, would share it on these terms."""
        if terms.key:
            offered = self._offers.setdefault((terms, address.family), offers.Offers())
            offered.add(offers.number(self._position(address), address.value), ports)

    def retract(self, address: addresses.Address, terms: sharing.Sharing, ports: frozenset[services.Port]) -> None:
        """Undo one `offer`."""
        if terms.key:
            offered = self._offers[(terms, address.family)]
            offered.remove(offers.number(self._position(address), address.value), ports)
            if not offered:
                del self._offers[(terms, address.family)]

    def lowest_free(self, family: addresses.Family) -> tuple[int, int] | None:
        """The first free address in the order of allocation, as (position of the interval, value)."""
        for position, each in enumerate(self._spaces):
            if each.interval.family == family:
                value = each.lowest_free()
                if value is not None:
                    return position, value
        return None

    def offered(
        self, family: addresses.Family, terms: sharing.Sharing, ports: frozenset[services.Port]
    ) -> Iterator[tuple[int, int]]:
        """The addresses in use on these terms on which none of `ports` is, in the order of allocation, as (position of the interval, value)."""
        found = self._offers.get((terms, family))
        return map(offers.place, found.free_of(ports)) if found is not None else iter(())

    def usage(self, services: int = 0) -> usage.Usage:
        """The counts now; `services` is how many Services hold an address of the pool, which the ledger knows."""
        capacity = dict.fromkeys(addresses.Family, 0)
        for each in self._spaces:
            capacity[each.interval.family] += each.capacity
        return usage.Usage(
            capacity_ipv4=capacity[addresses.Family.IPV4],
            capacity_ipv6=capacity[addresses.Family.IPV6],
            assigned_ipv4=self._assigned[addresses.Family.IPV4],
            assigned_ipv6=self._assigned[addresses.Family.IPV6],
            services=services,
        )

    def _position(self, address: addresses.Address) -> int:
        return self._positions[bisect.bisect_right(self._starts, (address.family, address.value)) - 1]
