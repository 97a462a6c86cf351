"""Who holds which address: observed Services plus reservations.

- What a Service's status shows is observed. What was just handed out is reserved, until the next observation of that Service, or until the
  write is known to have failed. Both are held; while a Service moves it holds the old and the new address.
- Seniority: of two Services whose observed addresses clash, the one that was there first keeps them. One whose own change makes it clash loses
  its seniority, so that it is the one to move.
- An address that a Service lost is remembered while the Service exists and has no other of that family, so that it can have it back.
- One owner, no locks. Every change says which pools it touched, so that Services waiting for them can be looked at again. A reservation that is
  observed changes nothing and touches none: else each address given out would wake everybody who waits in its pool.
"""

import bisect
import dataclasses
from collections.abc import Mapping

from metallb_core.allocation import request, sharing, shelf
from metallb_core.allocation import usage as counts
from metallb_core.domain import addresses, pools, reasons, services

Pools = frozenset[str]
NOTHING: Pools = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """Addresses held by one Service, and the terms on which others may hold them too."""

    addresses: tuple[addresses.Address, ...]
    terms: sharing.Sharing
    ports: frozenset[services.Port]


def claim_of(service: services.Service, where: tuple[addresses.Address, ...]) -> Claim:
    """The claim of a Service on the addresses `where`, on the terms its annotations and spec state now."""
    return Claim(where, sharing.of(service, request.annotation(service, request.SHARE)), frozenset(service.ports))


class Ledger:
    """See the module."""

    def __init__(self) -> None:
        self._shelves: dict[str, shelf.Shelf] = {}
        # All intervals of all pools, sorted, to find an address's pool by bisection.
        self._starts: list[tuple[int, int]] = []
        self._interval_pools: list[tuple[addresses.Interval, str]] = []
        self._observed: dict[services.ServiceKey, Claim] = {}
        self._reserved: dict[services.ServiceKey, Claim] = {}
        self._lost: dict[services.ServiceKey, dict[addresses.Family, addresses.Address]] = {}
        # By address, its holders in order of seniority, each with all it holds the address by (one claim, or two equal in what counts).
        self._holders: dict[addresses.Address, dict[services.ServiceKey, list[Claim]]] = {}

    # Reading

    def observed(self, key: services.ServiceKey) -> tuple[addresses.Address, ...]:
        """The addresses the Service's status shows."""
        claim = self._observed.get(key)
        return claim.addresses if claim else ()

    def reserved(self, key: services.ServiceKey) -> tuple[addresses.Address, ...]:
        """The addresses handed to the Service that its status does not show yet."""
        claim = self._reserved.get(key)
        return claim.addresses if claim else ()

    def holders(self, address: addresses.Address) -> tuple[services.ServiceKey, ...]:
        """The Services that hold an address, the most senior first."""
        return tuple(self._holders.get(address, ()))

    def pool_of(self, address: addresses.Address) -> pools.Pool | None:
        """The pool that may hand out an address."""
        at = bisect.bisect_right(self._starts, (address.family, address.value)) - 1
        if at < 0:
            return None
        interval, name = self._interval_pools[at]
        if address not in interval:
            return None
        pool = self._shelves[name].pool
        return None if pool.avoid_buggy_ips and address.is_buggy() else pool

    def clash(
        self, key: services.ServiceKey, wanted: Claim, address: addresses.Address, *, seniors_only: bool = False
    ) -> reasons.Refusal | None:
        """Why a Service may not hold an address on its terms; None if it may. `seniors_only`: ask only those that were there before it."""
        for other, claims in self._holders.get(address, {}).items():
            if other == key:
                if seniors_only:
                    return None
                continue
            for theirs in claims:
                refusal = sharing.clash(wanted.terms, wanted.ports, other, theirs.terms, theirs.ports, str(address))
                if refusal is not None:
                    return refusal
        return None

    def lowest(
        self, key: services.ServiceKey, wanted: Claim, pool: str, family: addresses.Family
    ) -> addresses.Address | None:
        """The first address of a pool that the Service may have: free, or in use on terms it can share."""
        books = self._shelves[pool]
        free = books.lowest_free(family)
        for position, value in books.offered(family, wanted.terms, wanted.ports):
            if free is not None and free <= (position, value):
                break
            shared = addresses.Address(family, value)
            if self.clash(key, wanted, shared) is None:
                return shared
        return None if free is None else addresses.Address(family, free[1])

    def regained(
        self, key: services.ServiceKey, wanted: Claim, pool: str, family: addresses.Family
    ) -> addresses.Address | None:
        """The address of a family that the Service lost last, if it is of this pool and the Service may have it again."""
        address = self._lost.get(key, {}).get(family)
        found = self.pool_of(address) if address is not None else None
        if address is None or found is None or found.name != pool:
            return None
        return address if self.clash(key, wanted, address) is None else None

    def usage(self, pool: str) -> counts.Usage:
        """The counts of one pool, without the number of its Services."""
        return self._shelves[pool].usage()

    def usages(self) -> Mapping[str, counts.Usage]:
        """The counts of every pool; costs a pass over all Services."""
        users: dict[str, set[services.ServiceKey]] = {name: set() for name in self._shelves}
        for address, holding in self._holders.items():
            pool = self.pool_of(address)
            if pool is not None:
                users[pool.name].update(holding)
        return {name: books.usage(len(users[name])) for name, books in self._shelves.items()}

    # Writing

    def set_pools(self, wanted: Mapping[str, pools.Pool]) -> Pools:
        """These pools are in force now. Gives the names of those that are new, changed or gone."""
        changed = {name for name, books in self._shelves.items() if wanted.get(name) != books.pool}
        changed |= wanted.keys() - self._shelves.keys()
        if not changed:
            return NOTHING
        rebuilt = set()
        for name in changed:
            pool, books = wanted.get(name), self._shelves.get(name)
            if pool is None:
                del self._shelves[name]
            elif books is not None and _same_addresses(pool, books.pool):
                books.pool = pool
            else:
                self._shelves[name] = shelf.Shelf(pool)
                rebuilt.add(name)
        intervals = sorted(
            ((each, name) for name, books in self._shelves.items() for each in books.pool.intervals),
            key=lambda pair: pair[0],
        )
        self._interval_pools = intervals
        self._starts = [(each.family, each.first) for each, _ in intervals]
        if rebuilt:
            for address, holding in self._holders.items():
                found = self.pool_of(address)
                if found is not None and found.name in rebuilt:
                    books = self._shelves[found.name]
                    books.use(address)
                    for claims in holding.values():
                        for claim in claims:
                            books.offer(address, claim.terms, claim.ports)
        return frozenset(changed)

    def observe(self, service: services.Service) -> Pools:
        """The Service is seen as it is; a reservation for it has had its time."""
        claim = claim_of(service, service.ingress) if service.is_load_balancer and service.ingress else None
        settled = (
            claim is not None and self._reserved.get(service.key) == claim and self._only_grows(service.key, claim)
        )
        self._remember(service.key, self.observed(service.key), claim.addresses if claim is not None else ())
        touched = self._put(self._observed, service.key, claim)
        touched |= self.cancel(service.key)
        return NOTHING if settled else touched

    def _remember(
        self, key: services.ServiceKey, before: tuple[addresses.Address, ...], now: tuple[addresses.Address, ...]
    ) -> None:
        if before == now:
            return
        lost = {**self._lost.pop(key, {}), **{address.family: address for address in before}}
        for address in now:
            lost.pop(address.family, None)
        if lost:
            self._lost[key] = lost

    def _only_grows(self, key: services.ServiceKey, claim: Claim) -> bool:
        """Whether a claim, once observed, leaves the Service everything it was observed with, on the same terms."""
        before = self._observed.get(key)
        return before is None or (
            set(before.addresses) <= set(claim.addresses) and (before.terms, before.ports) == (claim.terms, claim.ports)
        )

    def forget(self, key: services.ServiceKey) -> Pools:
        """The Service is gone, or is none of ours."""
        self._lost.pop(key, None)
        return self._put(self._observed, key, None) | self.cancel(key)

    def reserve(self, service: services.Service, where: tuple[addresses.Address, ...]) -> Pools:
        """Hold addresses for a Service until it is observed with them."""
        return self._put(self._reserved, service.key, claim_of(service, where))

    def cancel(self, key: services.ServiceKey) -> Pools:
        """Drop the reservation of a Service; none is fine."""
        return self._put(self._reserved, key, None)

    def _put(self, entries: dict[services.ServiceKey, Claim], key: services.ServiceKey, claim: Claim | None) -> Pools:
        before = entries.get(key)
        if before == claim:
            return NOTHING
        touched = set()
        kept = (
            set(before.addresses).intersection(claim.addresses) if before is not None and claim is not None else set()
        )
        fitted = {address: self._fits(key, before, address) for address in kept} if before is not None else {}
        # Hold the new before dropping the old: what is in both keeps its seniority.
        if claim is not None:
            entries[key] = claim
            for address in claim.addresses:
                touched.add(self._hold(key, address, claim))
        else:
            entries.pop(key, None)
        if before is not None:
            for address in before.addresses:
                touched.add(self._drop(key, address, before))
                if address in fitted and claim is not None and fitted[address] - self._fits(key, claim, address):
                    # Its own change made it clash with another: it goes to the end of the line.
                    holding = self._holders[address]
                    holding[key] = holding.pop(key)
        return frozenset(name for name in touched if name)

    def _fits(self, key: services.ServiceKey, claim: Claim, address: addresses.Address) -> set[services.ServiceKey]:
        """The other holders of an address beside which a claim is allowed."""
        return {
            other
            for other, claims in self._holders.get(address, {}).items()
            if other != key
            and all(sharing.clash(claim.terms, claim.ports, other, c.terms, c.ports, "") is None for c in claims)
        }

    def _hold(self, key: services.ServiceKey, address: addresses.Address, claim: Claim) -> str:
        holding = self._holders.get(address)
        books = self._books(address)
        if holding is None:
            holding = self._holders[address] = {}
            if books is not None:
                books.use(address)
        holding.setdefault(key, []).append(claim)
        if books is not None:
            books.offer(address, claim.terms, claim.ports)
        return books.pool.name if books is not None else ""

    def _drop(self, key: services.ServiceKey, address: addresses.Address, claim: Claim) -> str:
        holding = self._holders[address]
        claims = holding[key]
        claims.remove(claim)
        if not claims:
            del holding[key]
        books = self._books(address)
        if books is not None:
            books.retract(address, claim.terms, claim.ports)
        if not holding:
            del self._holders[address]
            if books is not None:
                books.free(address)
        return books.pool.name if books is not None else ""

    def _books(self, address: addresses.Address) -> shelf.Shelf | None:
        pool = self.pool_of(address)
        return self._shelves[pool.name] if pool is not None else None


def _same_addresses(one: pools.Pool, other: pools.Pool) -> bool:
    return (one.intervals, one.avoid_buggy_ips) == (other.intervals, other.avoid_buggy_ips)
