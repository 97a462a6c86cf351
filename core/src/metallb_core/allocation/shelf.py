"""One pool's books: which of its addresses are used, which could be shared, and how many there are."""

import bisect

from metallb_core.allocation import sharing, space, usage
from metallb_core.domain import addresses, pools


class Shelf:
    """The books of `pool`; the ledger writes them."""

    __slots__ = ("_assigned", "_shared", "_spaces", "pool")

    def __init__(self, pool: pools.Pool) -> None:
        self.pool = pool
        self._spaces = [space.Space(each, avoid_buggy=pool.avoid_buggy_ips) for each in pool.intervals]
        self._assigned = {addresses.Family.IPV4: 0, addresses.Family.IPV6: 0}
        # Addresses in use by sharing and family, as (position of the interval, value), sorted: the order of allocation.
        self._shared: dict[tuple[sharing.Sharing, int], list[tuple[int, int]]] = {}

    def use(self, address: addresses.Address) -> None:
        """The address got its first user."""
        self._spaces[self._position(address)].use(address.value)
        self._assigned[address.family] += 1

    def free(self, address: addresses.Address) -> None:
        """The address lost its last user."""
        self._spaces[self._position(address)].free(address.value)
        self._assigned[address.family] -= 1

    def offer(self, address: addresses.Address, terms: sharing.Sharing) -> None:
        """A user of the address would share it on these terms."""
        if terms.key:
            listed = self._shared.setdefault((terms, address.family), [])
            bisect.insort(listed, (self._position(address), address.value))

    def retract(self, address: addresses.Address, terms: sharing.Sharing) -> None:
        """Undo one `offer`."""
        if terms.key:
            listed = self._shared[(terms, address.family)]
            del listed[bisect.bisect_left(listed, (self._position(address), address.value))]
            if not listed:
                del self._shared[(terms, address.family)]

    def lowest_free(self, family: addresses.Family) -> tuple[int, int] | None:
        """The first free address in the order of allocation, as (position of the interval, value)."""
        for position, each in enumerate(self._spaces):
            if each.interval.family == family:
                value = each.lowest_free()
                if value is not None:
                    return position, value
        return None

    def offered(self, family: addresses.Family, terms: sharing.Sharing) -> list[tuple[int, int]]:
        """The addresses in use on these terms, in the order of allocation; one may stand there more than once."""
        return self._shared.get((terms, family), []) if terms.key else []

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
        for position, each in enumerate(self._spaces):
            if address in each.interval:
                return position
        raise KeyError(f"{address} is not in pool {self.pool.name}")
