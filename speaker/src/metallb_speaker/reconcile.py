"""Announce what this node should: one pass over the Services that may have changed, without waiting for anything.

- A key in the dirty set may have changed: the pass re-reads the world, decides for each protocol, and hands the difference to the deadline
  process and to the BGP sessions. None of that waits, so a dead node's addresses are taken over in one sweep, whatever the API server is doing.
- A protocol is decided from when it is opened: each has its own things to wait for at the start, and none waits for the other's.
- What has to wait (status objects, Events) goes to queues of their own, after the announcement.
- A refusal is told only when it has stood for a while, and by one node: the first in the ranking of all nodes for that address.
"""

import asyncio
import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol as Interface

from metallb_core.announcement import bgp, difference, election, layer2
from metallb_core.announcement import routes as books
from metallb_core.domain import addresses, reasons, routes, services
from metallb_core.runtime import log
from metallb_speaker import world

LOG = log.get("speaker")
BATCH = 200

# Refusals that are somebody's mistake or misfortune. The others are how it should be: no address yet, or another node announces.
TELLING = frozenset(reasons.Reason) - {reasons.Reason.NO_ADDRESS, reasons.Reason.NOT_OWNER}
# A protocol that says this is not meant for the Service, where the other one is.
NOT_MEANT = frozenset({reasons.Reason.NO_ADVERTISEMENT, reasons.Reason.NO_PEER})


class Protocol(enum.Enum):
    """How a Service is announced; the value is MetalLB's name for it, in Events and metrics."""

    LAYER2 = "layer2"
    BGP = "bgp"


class Responder(Interface):
    """Makes addresses answer; level-triggered, never blocks."""

    def announce(self, address: addresses.Address, interfaces: frozenset[str]) -> None:
        """Answer for an address on these interfaces, on all usable ones if empty."""
        ...

    def withdraw(self, address: addresses.Address) -> None:
        """Stop answering."""
        ...


class Sessions(Interface):
    """Tells BGP peers of routes; never blocks."""

    def change(self, peer: str, changes: Mapping[routes.Prefix, routes.Attributes | None]) -> None:
        """Routes of one peer changed; None withdraws."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a pass decided for one Service and protocol, when that differs from the last time.

    `addresses`: what this node announces, none if it does not. `turned`: it began or ended to announce.
    """

    protocol: Protocol
    service: services.Service | None
    addresses: tuple[addresses.Address, ...]
    refusal: reasons.Refusal | None
    turned: bool


class Reconciler:
    """See the module. `on_outcome(key, outcome)` is called after the effects of each changed decision."""

    def __init__(
        self,
        *,
        node: str,
        load_balancer_class: str,
        seen: world.World,
        responder: Responder,
        sessions: Sessions,
        book: books.Book,
        on_outcome: Callable[[services.ServiceKey, Outcome], None],
    ) -> None:
        self._node = node
        self._class = load_balancer_class
        self._world = seen
        self._responder = responder
        self._sessions = sessions
        self._on_outcome = on_outcome
        self._dirty: dict[services.ServiceKey, None] = {}
        self._wake = asyncio.Event()
        self._open: set[Protocol] = set()
        self._refusals: dict[Protocol, dict[services.ServiceKey, reasons.Refusal]] = {each: {} for each in Protocol}
        self._pending: books.Changes = {}
        self.announced = difference.Announced()
        self.book = book

    def open(self, protocol: Protocol) -> None:
        """Decide for this protocol from now on; everything is looked at anew."""
        self._open.add(protocol)
        self.mark_all()

    def mark(self, key: services.ServiceKey) -> None:
        """The Service may have changed."""
        self._dirty[key] = None
        self._wake.set()

    def mark_all(self) -> None:
        """Everything may have changed."""
        self.mark_some((*self._world.services.keys(), *self.announced.keys(), *self.book.keys()))

    def mark_some(self, keys: Iterable[services.ServiceKey]) -> None:
        """These Services may have changed."""
        self._dirty.update(dict.fromkeys(keys))
        self._wake.set()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.drain()

    async def drain(self) -> None:
        """Reconcile what is dirty, in pieces, so that others get their turn."""
        while self._dirty:
            self.sweep(BATCH)
            await asyncio.sleep(0)

    def sweep(self, limit: int) -> int:
        """Reconcile at most `limit` Services; gives how many there were."""
        keys = [key for key, _ in zip(self._dirty, range(limit), strict=False)]
        for key in keys:
            del self._dirty[key]
            self.reconcile(key)
        self.flush()
        return len(keys)

    def flush(self) -> None:
        """Hand on the changes of routes that the Services since the last time brought, joined by peer."""
        pending, self._pending = self._pending, {}
        for peer, changes in pending.items():
            self._sessions.change(peer, changes)

    def reconcile(self, key: services.ServiceKey) -> None:
        """Decide about one Service and make it so; changes of routes leave with the next `flush`."""
        service = self._world.services.get(key)
        obstacle = self._obstacle(service)
        if Protocol.LAYER2 in self._open:
            self._layer2(key, service, obstacle)
        if Protocol.BGP in self._open:
            self._bgp(key, service, obstacle)

    def refusal(self, key: services.ServiceKey, protocol: Protocol) -> reasons.Refusal | None:
        """Why the Service is not announced from here by that protocol."""
        return self._refusals[protocol].get(key)

    def tells(self, service: services.Service) -> reasons.Refusal | None:
        """Why nobody announces `service`, if this node is the one to tell people: one node does, the same on all nodes."""
        if not service.ingress:
            return None
        sight = self._world.view()
        names = sight.nodes if sight.members is None else sight.members
        if min(names, key=lambda name: election.hash_of(name, service.ingress[0]), default=None) != self._node:
            return None
        found = [refusal for refusal in self._everywhere(service) if refusal is not None]
        # One of two protocols is not meant for the Service: the other one's word counts, and it has none if all is well.
        meant = [refusal for refusal in found if refusal.reason not in NOT_MEANT]
        if not meant and len(found) < len(self._meant()):
            return None
        told = [*meant, *sorted(found, key=lambda each: each.reason is not reasons.Reason.NO_PEER)]
        return told[0] if told and told[0].reason in TELLING else None

    def _meant(self) -> set[Protocol]:
        """The protocols that anything is advertised by. Layer 2 stands for both where nothing is."""
        config = self._world.config
        used = {Protocol.BGP} if Protocol.BGP in self._open and config.bgp else set()
        if Protocol.LAYER2 in self._open and (config.l2 or not used):
            used.add(Protocol.LAYER2)
        return used

    def _everywhere(self, service: services.Service) -> Iterable[reasons.Refusal | None]:
        """For each protocol in use, why no node announces the Service; None if one does."""
        used = self._meant()
        if Protocol.LAYER2 in used:
            refusal = self.refusal(service.key, Protocol.LAYER2)
            yield None if refusal is None or refusal.reason is reasons.Reason.NOT_OWNER else refusal
        if Protocol.BGP in used:
            refusal = self.refusal(service.key, Protocol.BGP)
            # This node's refusal says nothing of the others: each of them decides by itself.
            yield refusal and bgp.nobody(service, self._world.serving(service.key), self._world.view())

    def _obstacle(self, service: services.Service | None) -> reasons.Refusal | None:
        if service is None:
            return reasons.Refusal(reasons.Reason.NO_ADDRESS, "the Service is gone")
        if (service.load_balancer_class or "") != self._class:
            return reasons.Refusal(reasons.Reason.NO_ADDRESS, "the Service is of another load balancer class")
        return None

    def _layer2(
        self, key: services.ServiceKey, service: services.Service | None, obstacle: reasons.Refusal | None
    ) -> None:
        desired: layer2.Announcement | None = None
        refusal = obstacle
        if service is not None and refusal is None:
            decided = layer2.decide(service, self._world.serving(key), self._world.view(), self._node)
            desired, refusal = (None, decided) if isinstance(decided, reasons.Refusal) else (decided, None)
        before = self.announced.get(key)
        change = self.announced.update(key, desired)
        for address in change.withdraw:
            self._responder.withdraw(address)
        for address, interfaces in change.announce:
            self._responder.announce(address, interfaces)
        if desired == before and refusal == self.refusal(key, Protocol.LAYER2):
            return
        if change:
            _log_layer2(key, desired, change, refusal)
        now = desired.addresses if desired else ()
        self._tell(key, Protocol.LAYER2, service, now, refusal, turned=(before is None) != (desired is None))

    def _bgp(
        self, key: services.ServiceKey, service: services.Service | None, obstacle: reasons.Refusal | None
    ) -> None:
        sight = self._world.view()
        desired: tuple[bgp.Route, ...] = ()
        refusal = obstacle
        if service is not None and refusal is None and sight.config.bgp:
            decided = bgp.decide(service, self._world.serving(key), sight, self._node)
            if isinstance(decided, reasons.Refusal):
                refusal = decided
            else:
                desired = decided.routes
        elif not sight.config.bgp:
            # Where BGP is not used, ten thousand Services need not each hold why they are not advertised.
            refusal = None
        before = self.book.get(key)
        for peer, changes in self.book.update(key, desired).items():
            self._pending.setdefault(peer, {}).update(changes)
        if desired == before and refusal == self.refusal(key, Protocol.BGP):
            return
        if desired != before:
            _log_bgp(key, desired, refusal)
        now = service.ingress if service is not None and desired else ()
        self._tell(key, Protocol.BGP, service, now, refusal, turned=bool(before) != bool(desired))

    def _tell(
        self,
        key: services.ServiceKey,
        protocol: Protocol,
        service: services.Service | None,
        now: tuple[addresses.Address, ...],
        refusal: reasons.Refusal | None,
        *,
        turned: bool,
    ) -> None:
        if refusal is None or service is None:
            self._refusals[protocol].pop(key, None)
        else:
            self._refusals[protocol][key] = refusal
        self._on_outcome(
            key, Outcome(protocol=protocol, service=service, addresses=now, refusal=refusal, turned=turned)
        )


def _log_layer2(
    key: services.ServiceKey,
    desired: layer2.Announcement | None,
    change: difference.Change,
    refusal: reasons.Refusal | None,
) -> None:
    if change.announce:
        LOG.info(
            "announcing",
            service=str(key),
            protocol=Protocol.LAYER2.value,
            addresses=[str(address) for address, _ in change.announce],
            interfaces=sorted(desired.interfaces) if desired else [],
        )
    if change.withdraw:
        LOG.info(
            "withdrawing",
            service=str(key),
            protocol=Protocol.LAYER2.value,
            addresses=[str(address) for address in change.withdraw],
            reason=refusal.reason.label if refusal else "addressChanged",
            detail=refusal.detail if refusal else "",
        )


def _log_bgp(key: services.ServiceKey, desired: tuple[bgp.Route, ...], refusal: reasons.Refusal | None) -> None:
    if desired:
        prefixes = dict.fromkeys(str(route.prefix) for route in desired)
        LOG.info("announcing", service=str(key), protocol=Protocol.BGP.value, prefixes=list(prefixes))
    else:
        LOG.info(
            "withdrawing",
            service=str(key),
            protocol=Protocol.BGP.value,
            reason=refusal.reason.label if refusal else "advertisementGone",
            detail=refusal.detail if refusal else "",
        )
