"""What one Service should have: the decision, as a value.

An address that a Service has is kept unless
- the Service is no load balancer any more, or has no cluster IP;
- no pool holds the address any more: then another is found, in the same write; only if there is none is the Service left without. But while
  the pool that gave it exists and cannot be read, it stays: a restart, which forgets the pool's last good form, must not cost an address;
- its user asks for another address or pool, and that can be had; when it cannot, the old one stays and the reason is told;
- a more senior Service holds it on terms that do not allow sharing;
- its family is no longer one of the Service's; the other family's address stays.

A pool that stops being meant for a Service (serviceAllocation, labels of Service or namespace) does not take an address back that it has given:
nobody asked for the address to change. MetalLB would take it; so would it clear an address before looking whether the new wish can be met.
A loss that nobody asked for has to stand for a while before it is carried out (`Plan.hold`), for its cure may be the next to come: a range that
moves from one pool to another is in none for a moment, a pool is deleted and made anew, of two sharers one is changed before the other.
The order of two addresses is that of ipFamilies when they are given, and stays as it is afterwards: the election hangs on the first.
"""

import dataclasses
from collections.abc import Iterable
from typing import Final

from metallb_core.allocation import choice, ledger, request
from metallb_core.domain import addresses as ip  # a plan has a field called addresses
from metallb_core.domain import pools, reasons, services

POOL_SECONDS: Final = 5.0
"""The hold of an address that no pool holds any more: tools apply the objects of one change within seconds."""
SHARING_SECONDS: Final = 1.0
"""The hold of an address that two Services may not share any more: until one moves, both are announced with it."""


@dataclasses.dataclass(frozen=True, slots=True)
class EventIntent:
    """An Event to tell people, once for as long as it stays true."""

    type: str
    reason: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`addresses` and `pool` are what status and annotation should say; `write` says whether they do not yet.

    `refusal`: why the Service does not have all it asks for. `waits_for`: names of the pools in which a change could help, None where
    only other configuration could. `hold`: for how many seconds, without a break, an address has to have been lost before that is written.
    """

    addresses: tuple[ip.Address, ...] = ()
    pool: str | None = None
    write: bool = False
    events: tuple[EventIntent, ...] = ()
    refusal: reasons.Refusal | None = None
    waits_for: frozenset[str] | None = None
    hold: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Why a Service may not go on having some address. `hold`: see `Plan`; 0 where its user asked for it."""

    cause: str
    hold: float = 0.0


def is_ours(service: services.Service, load_balancer_class: str) -> bool:
    """Whether a Service is for a controller of `load_balancer_class` (empty: the one for Services without a class)."""
    return (service.load_balancer_class or "") == load_balancer_class


def converge(
    service: services.Service,
    book: ledger.Ledger,
    known: Iterable[pools.Pool],
    *,
    left_out: frozenset[str] = frozenset(),
) -> Plan:
    """Decide about a Service of ours that exists. Reads the ledger, writes nothing.

    `left_out`: names of the pools that exist, but of which no form is in force.
    """
    if not service.is_load_balancer:
        return _plan(service, (), None)
    families = choice.families_of(service)
    # What was handed out last comes first; where that cannot stay, what the status shows still may.
    held = (*book.reserved(service.key), *service.ingress)
    if isinstance(families, reasons.Refusal) and families.reason is reasons.Reason.NO_CLUSTER_IP:
        event = EventIntent("Warning", "noclusterIPsIPFamily", str(families))
        return _plan(service, (), None, refusal=families, events=(event,), loss=Loss(cause=families.detail))
    wanted = tuple(ip.Family) if isinstance(families, reasons.Refusal) else families.wanted
    source = request.annotation(service, request.ORIGIN)
    if source in left_out and (orphans := _orphans(service, book, wanted)):
        why = reasons.Refusal(
            reasons.Reason.INVALID_OBJECT,
            f"IPAddressPool {source!r}, which gave the address, is invalid; nothing changes until it is mended or deleted",
        )
        event = EventIntent("Warning", "LoadBalancerFailed", str(why))
        return _plan(service, orphans, source, refusal=why, waits=None, events=(event,))
    if isinstance(families, reasons.Refusal):
        return _stay(service, book, held, wanted, families, "not enough clusterips")
    asked = request.parse(service)
    if isinstance(asked, reasons.Refusal):
        return _stay(service, book, held, wanted, asked, "LoadBalancerFailed" if held else "AllocationFailed")
    search = choice.Search(service, asked, families, known, book, held)
    kept, loss = _keepable(service, book, held, wanted, asked.pool)
    if kept and _is_wanted(kept, asked, book):
        return _completed(service, search, kept, book, families, loss)
    found = search.run() if asked.pool not in left_out else _unreadable(asked.pool)
    if isinstance(found, choice.Found):
        if loss is not None and not (set(asked.addresses) <= set(service.ingress) and asked.pool in {"", source}):
            # What its user asks for now can be had.
            loss = dataclasses.replace(loss, hold=0.0)
        return _plan(service, found.addresses, found.pool, loss=loss)
    if kept:
        event = EventIntent(
            "Warning", "LoadBalancerFailed", f"the address is kept, since the wish cannot be met: {found.refusal}"
        )
        return _plan(
            service,
            kept,
            _pool_name(book, kept),
            refusal=found.refusal,
            waits=found.pools,
            events=(event,),
            loss=loss,
        )
    event = EventIntent(
        "Warning", "AllocationFailed", f"Failed to allocate IP for {str(service.key)!r}: {found.refusal}"
    )
    return _plan(service, (), None, refusal=found.refusal, waits=found.pools, events=(event,), loss=loss)


def _unreadable(pool: str) -> choice.Refused:
    """The pool asked for exists, but nothing can be had from it; it is not "unknown"."""
    return choice.refuse(
        reasons.Reason.INVALID_OBJECT,
        f"the requested IPAddressPool {pool!r} is invalid; the Events on it say what to mend",
        {pool},
    )


def _keepable(
    service: services.Service,
    book: ledger.Ledger,
    held: tuple[ip.Address, ...],
    families: tuple[ip.Family, ...],
    asked_pool: str = "",
) -> tuple[tuple[ip.Address, ...], Loss | None]:
    """The part of `held` that the Service may go on having, all of one pool, and why the rest is lost."""
    mine = ledger.claim_of(service, held)
    kept: list[ip.Address] = []
    losses: list[Loss] = []
    for address in held:
        if address.family not in families:
            losses.append(Loss(cause=f"the Service has no {address.family.kubernetes_name} any more"))
        elif book.pool_of(address) is None:
            losses.append(Loss(cause=f"no IPAddressPool holds {address} any more", hold=POOL_SECONDS))
        elif (twin := next((other for other in kept if other.family == address.family), None)) is not None:
            # One that was handed out takes the place of the one shown: no news.
            if twin in service.ingress:
                losses.append(Loss(cause=f"{address} is the second address of its family"))
        elif (clash := book.clash(service.key, mine, address, seniors_only=True)) is not None:
            losses.append(Loss(cause=str(clash), hold=SHARING_SECONDS))
        else:
            kept.append(address)
    names = [_pool_name(book, (address,)) for address in kept]
    if len(set(names)) > 1:
        # Speakers announce the addresses of one Service together, under the advertisements of one pool.
        stays = kept[names.index(asked_pool) if asked_pool in names else 0]
        (goes,) = (address for address in kept if address != stays)
        losses.append(Loss(cause=f"{goes} is now of another pool than {stays}", hold=POOL_SECONDS))
        kept = [stays]
    if not losses:
        return tuple(kept), None
    return tuple(kept), Loss(cause=losses[-1].cause, hold=max(each.hold for each in losses))


def _orphans(service: services.Service, book: ledger.Ledger, families: tuple[ip.Family, ...]) -> tuple[ip.Address, ...]:
    """What the status shows and may stay, where some of it is of no pool in force; empty where all of it is."""
    mine = ledger.claim_of(service, service.ingress)
    kept = tuple(
        address
        for address in service.ingress
        if address.family in families and book.clash(service.key, mine, address, seniors_only=True) is None
    )
    return kept if any(book.pool_of(address) is None for address in kept) else ()


def _is_wanted(kept: tuple[ip.Address, ...], asked: request.Request, book: ledger.Ledger) -> bool:
    """Whether what is held is what the user asks for."""
    if asked.pool and _pool_name(book, kept) != asked.pool:
        return False
    return set(asked.addresses) <= set(kept)


def _completed(
    service: services.Service,
    search: choice.Search,
    kept: tuple[ip.Address, ...],
    book: ledger.Ledger,
    families: choice.Families,
    loss: Loss | None,
) -> Plan:
    """Keep what is held, and add the family that is missing, if that can be had."""
    pool = _pool_name(book, kept)
    full = search.complete(kept, pool)
    if isinstance(full, choice.Found):
        return _plan(service, full.addresses, pool, loss=loss)
    if families.all_needed:
        event = EventIntent("Warning", "AllocationFailed", str(full.refusal))
        return _plan(service, kept, pool, refusal=full.refusal, waits=full.pools, events=(event,), loss=loss)
    event = EventIntent("Normal", "AdditionalAssignFailed", str(full.refusal))
    return _plan(service, kept, pool, waits=full.pools, events=(event,), loss=loss)


def _stay(
    service: services.Service,
    book: ledger.Ledger,
    held: tuple[ip.Address, ...],
    families: tuple[ip.Family, ...],
    refusal: reasons.Refusal,
    told_as: str,
) -> Plan:
    """The wish cannot be read: what is held and still allowed stays, nothing new is given."""
    event = EventIntent("Warning", told_as, str(refusal))
    kept, loss = _keepable(service, book, held, families)
    pool = _pool_name(book, kept) if kept else None
    return _plan(service, kept, pool, refusal=refusal, events=(event,), loss=loss)


def _pool_name(book: ledger.Ledger, where: tuple[ip.Address, ...]) -> str:
    pool = book.pool_of(where[0])
    return pool.name if pool is not None else ""


def _plan(
    service: services.Service,
    where: tuple[ip.Address, ...],
    pool: str | None,
    *,
    refusal: reasons.Refusal | None = None,
    waits: frozenset[str] | None = frozenset(),
    events: tuple[EventIntent, ...] = (),
    loss: Loss | None = None,
) -> Plan:
    written = service.annotations.get(request.ALLOCATED_FROM)
    write = where != service.ingress or service.ingress_extra or (pool or None) != (written or None)
    told = list(events)
    hold = 0.0
    if write:
        lost = [str(address) for address in service.ingress if address not in where]
        new = [str(address) for address in where if address not in service.ingress]
        shown = [address.family for address in service.ingress]
        if lost and len(shown) != len(set(shown)):
            listed = ", ".join(map(str, service.ingress))
            told.insert(0, EventIntent("Warning", "nolbIPsIPFamily", f"More than one address of a family: {listed}"))
        if lost and loss is not None:
            told.insert(0, EventIntent("Normal", "ClearAssignment", f"Cleared {', '.join(lost)}: {loss.cause}"))
            hold = loss.hold
        if new:
            listed = ", ".join(f'"{address}"' for address in new)
            told.append(EventIntent("Normal", "IPAllocated", f"Assigned IP [{listed}]"))
        if request.uses_legacy(service):
            message = (
                f'Service "{service.key}" uses deprecated annotations of metallb.universe.tf; use metallb.io instead'
            )
            told.append(EventIntent("Warning", "deprecatedAnnotation", message))
    return Plan(
        addresses=where,
        pool=pool or None,
        write=write,
        events=tuple(told),
        refusal=refusal,
        waits_for=frozenset() if refusal is None and not waits else waits,
        hold=hold,
    )
