"""Finding addresses for a Service: which pools, in which order, for which families.

- Pools meant for the Service (serviceAllocation) come first, by priority (lower first, 0 last), then all others that assign automatically.
  Ties are broken by name: the same cluster gives the same answer, where MetalLB throws dice.
- Of one group of pools, the first that has every wanted family serves; with PreferDualStack, failing that, the first that has the primary
  family, then the secondary. The second group is asked only when the first has nothing at all.
- Of one pool, a Service gets the address that it lost last, if it can have that again, and else the lowest.
- What is found is in the order of the families of the Service.
"""

import dataclasses
from collections.abc import Iterable

from metallb_core.allocation import ledger, request
from metallb_core.domain import addresses, pools, reasons, services


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Families:
    """The families a Service needs, in its own order. `all_needed` is False where the first alone would do (PreferDualStack)."""

    wanted: tuple[addresses.Family, ...]
    all_needed: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Addresses in the order of the families, and the pool they are from."""

    addresses: tuple[addresses.Address, ...]
    pool: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why nothing was found, and the pools in which a change could help; None where only other configuration could."""

    refusal: reasons.Refusal
    pools: frozenset[str] | None = None


def refuse(reason: reasons.Reason, detail: str, names: Iterable[str] | None = None) -> Refused:
    """A refusal that waits for a change in the pools called `names`, or for other configuration."""
    return Refused(refusal=reasons.Refusal(reason, detail), pools=None if names is None else frozenset(names))


def families_of(service: services.Service) -> Families | reasons.Refusal:
    """Which families a Service needs: those of its cluster addresses, in the order of ipFamilies."""
    present = dict.fromkeys(address.family for address in service.cluster_ips)
    if not present:
        return reasons.Refusal(
            reasons.Reason.NO_CLUSTER_IP,
            "the Service has no cluster IP; a headless Service cannot have a load balancer address",
        )
    wanted = tuple(dict.fromkeys((*(family for family in service.families if family in present), *present)))
    policy = service.family_policy
    if policy is services.FamilyPolicy.REQUIRE_DUAL_STACK and len(wanted) < 2:
        return reasons.Refusal(
            reasons.Reason.FAMILY_UNAVAILABLE,
            "ipFamilyPolicy is RequireDualStack, but the Service has a cluster IP of one family only",
        )
    return Families(wanted=wanted, all_needed=policy is not services.FamilyPolicy.PREFER_DUAL_STACK)


def is_compatible(pool: pools.Pool, service: services.Service) -> bool:
    """Whether a pool may serve a Service: its namespaces hold it, and one of its service selectors matches, where it has any."""
    meant = pool.allocation
    if meant is None:
        return True
    if meant.namespaces is not None and service.key.namespace not in meant.namespaces:
        return False
    return not meant.service_selectors or any(each.matches(service.labels) for each in meant.service_selectors)


def groups(service: services.Service, known: Iterable[pools.Pool]) -> tuple[list[pools.Pool], list[pools.Pool]]:
    """The pools to try without being asked for one: those meant for the Service, then the general ones."""
    meant, general = [], []
    for pool in known:
        if not pool.auto_assign:
            continue
        if pool.allocation is None:
            general.append(pool)
        elif is_compatible(pool, service):
            meant.append(pool)
    meant.sort(key=lambda pool: (_priority(pool) == 0, _priority(pool), pool.name))
    general.sort(key=lambda pool: pool.name)
    return meant, general


def _priority(pool: pools.Pool) -> int:
    return pool.allocation.priority if pool.allocation else 0


class Search:
    """A search for one Service. Reads the ledger, writes nothing."""

    def __init__(
        self,
        service: services.Service,
        asked: request.Request,
        families: Families,
        known: Iterable[pools.Pool],
        book: ledger.Ledger,
        held: tuple[addresses.Address, ...],
    ) -> None:
        self._service = service
        self._asked = asked
        self._families = families
        self._pools = {pool.name: pool for pool in known}
        self._book = book
        self._held = held
        self._terms = ledger.claim_of(service, ())

    def run(self) -> Found | Refused:
        """What the Service should get."""
        if not self._pools:
            return refuse(reasons.Reason.NO_POOL, "there is no valid IPAddressPool; create one")
        if self._asked.addresses:
            return self._these(self._asked.addresses)
        if self._asked.pool:
            return self._from_pool(self._asked.pool)
        return self._automatic()

    def complete(self, held: tuple[addresses.Address, ...], pool: str) -> Found | Refused:
        """Keep `held`, all of one pool, and add what family is missing from that pool."""
        if len(held) < len(self._families.wanted) and not is_compatible(self._pools[pool], self._service):
            # What was given stays, but nothing new comes from a pool that is meant for others.
            return self._not_meant(pool)
        missing = [family for family in self._families.wanted if all(family != each.family for each in held)]
        added = []
        for family in missing:
            address = self._held_in(pool, family) or self._one_of(pool, family)
            if address is None:
                why = self._why_not(self._pools[pool], family)
                return refuse(
                    reasons.Reason.FAMILY_UNAVAILABLE, f"no second address for this dual-stack Service: {why}", {pool}
                )
            added.append(address)
        return Found(addresses=(*held, *added), pool=pool)

    def _one_of(self, pool: str, family: addresses.Family) -> addresses.Address | None:
        key = self._service.key
        return self._book.regained(key, self._terms, pool, family) or self._book.lowest(key, self._terms, pool, family)

    def _held_in(self, pool: str, family: addresses.Family) -> addresses.Address | None:
        """The address of a family that the Service has from a pool already: it is not exchanged for a lower one."""
        for address in self._held:
            found = self._book.pool_of(address)
            if address.family == family and found is not None and found.name == pool:
                clash = self._book.clash(self._service.key, self._terms, address, seniors_only=True)
                return address if clash is None else None
        return None

    def _these(self, wanted: tuple[addresses.Address, ...]) -> Found | Refused:
        listed = ", ".join(map(str, wanted))
        for address in wanted:
            if address.family not in self._families.wanted:
                names = " and ".join(family.kubernetes_name for family in self._families.wanted)
                return refuse(
                    reasons.Reason.FAMILY_UNAVAILABLE,
                    f"requested address {address} does not match the ipFamily of the service, which is {names}",
                )
        found = {pool.name for address in wanted if (pool := self._book.pool_of(address)) is not None}
        outside = [str(address) for address in wanted if self._book.pool_of(address) is None]
        if outside or len(found) != 1:
            what = (
                f"no IPAddressPool holds {', '.join(outside)}" if outside else f"no single IPAddressPool holds {listed}"
            )
            return refuse(
                reasons.Reason.ADDRESS_NOT_IN_POOL,
                f"requested address {listed} is not allowed in config: {what}; known pools: {self._names()}",
            )
        name = found.pop()
        if self._asked.pool and self._asked.pool != name:
            return refuse(
                reasons.Reason.ADDRESS_NOT_IN_POOL,
                f"requested address {listed} is not compatible with requested address pool {self._asked.pool!r}: it is in pool {name!r}",
            )
        if not is_compatible(self._pools[name], self._service):
            return self._not_meant(name)
        for address in wanted:
            clash = self._book.clash(self._service.key, self._terms, address)
            if clash is not None:
                return Refused(refusal=clash, pools=frozenset({name}))
        full = self.complete(wanted, name)
        if isinstance(full, Refused):
            if self._families.all_needed:
                return full
            full = Found(addresses=wanted, pool=name)
        order = self._families.wanted.index
        return Found(addresses=tuple(sorted(full.addresses, key=lambda each: order(each.family))), pool=name)

    def _from_pool(self, name: str) -> Found | Refused:
        pool = self._pools.get(name)
        if pool is None:
            return refuse(reasons.Reason.UNKNOWN_POOL, f"unknown pool {name!r}; known pools: {self._names()}", {name})
        if not is_compatible(pool, self._service):
            return self._not_meant(name)
        return self._best([pool]) or self._exhausted([pool], f"no available IPs in pool {name!r}")

    def _automatic(self) -> Found | Refused:
        meant, general = groups(self._service, self._pools.values())
        if not meant and not general:
            return refuse(
                reasons.Reason.SELECTOR_MISMATCH,
                f"no available IPs: no pool assigns addresses to this Service by itself (pools: {self._names()});"
                " name one in annotation metallb.io/address-pool, or set autoAssign or serviceAllocation of a pool",
            )
        return self._best(meant) or self._best(general) or self._exhausted([*meant, *general], "no available IPs")

    def _best(self, candidates: list[pools.Pool]) -> Found | None:
        wanted = self._families.wanted
        choices = [wanted] if self._families.all_needed else [wanted, *((family,) for family in wanted)]
        for families in choices:
            for pool in candidates:
                found = [self._one_of(pool.name, family) for family in families]
                if None not in found:
                    return Found(addresses=tuple(each for each in found if each is not None), pool=pool.name)
        return None

    def _exhausted(self, tried: list[pools.Pool], summary: str) -> Refused:
        whys = [f"{pool.name}: {self._why_not_any(pool)}" for pool in tried[:5]]
        more = f"; and {len(tried) - 5} more" if len(tried) > 5 else ""
        can_serve = [pool for pool in tried if pool.families() >= set(self._families.wanted)]
        reason = reasons.Reason.POOL_EXHAUSTED if can_serve else reasons.Reason.FAMILY_UNAVAILABLE
        return refuse(reason, f"{summary} ({'; '.join(whys)}{more})", {pool.name for pool in tried})

    def _why_not_any(self, pool: pools.Pool) -> str:
        return ", ".join(
            why
            for family in self._families.wanted
            if self._book.lowest(self._service.key, self._terms, pool.name, family) is None
            for why in [self._why_not(pool, family)]
        )

    def _why_not(self, pool: pools.Pool, family: addresses.Family) -> str:
        if family not in pool.families():
            return f"pool {pool.name} has no {family.kubernetes_name} addresses"
        use = self._book.usage(pool.name)
        capacity = use.capacity_ipv4 if family is addresses.Family.IPV4 else use.capacity_ipv6
        return f"all {capacity} {family.kubernetes_name} addresses of pool {pool.name} are in use"

    def _not_meant(self, name: str) -> Refused:
        return refuse(
            reasons.Reason.SELECTOR_MISMATCH,
            f"pool {name!r} is not compatible with Service {self._service.key}: spec.serviceAllocation of the pool selects other"
            " namespaces or Services",
            {name},
        )

    def _names(self) -> str:
        names = sorted(self._pools)
        return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
