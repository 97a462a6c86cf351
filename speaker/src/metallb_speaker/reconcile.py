"""Announce what this node should: one pass over the Services that may have changed, without waiting for anything.

- A key in the dirty set may have changed: the pass re-reads the world, decides, and hands the difference to the deadline process. None of
  that waits, so a dead node's addresses are taken over in one sweep, whatever the API server is doing.
- What has to wait (status objects, Events) goes to queues of their own, after the announcement.
- A refusal is told only when it has stood for a while, and by one node: the first in the ranking of all nodes for that address.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from typing import Protocol

from metallb_core.announcement import difference, election, layer2
from metallb_core.domain import addresses, reasons, services
from metallb_core.runtime import log
from metallb_speaker import world

LOG = log.get("speaker")
BATCH = 200

# Refusals that are somebody's mistake or misfortune. The others are how it should be: no address yet, or another node announces.
TELLING = frozenset(reasons.Reason) - {reasons.Reason.NO_ADDRESS, reasons.Reason.NOT_OWNER}


class Responder(Protocol):
    """Makes addresses answer; level-triggered, never blocks."""

    def announce(self, address: addresses.Address, interfaces: frozenset[str]) -> None:
        """Answer for an address on these interfaces, on all usable ones if empty."""
        ...

    def withdraw(self, address: addresses.Address) -> None:
        """Stop answering."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a pass decided for one Service, when that differs from the last time."""

    service: services.Service | None
    announcement: layer2.Announcement | None
    refusal: reasons.Refusal | None
    owner_changed: bool


class Reconciler:
    """See the module. `on_outcome(key, outcome)` is called after the effects of each changed decision."""

    def __init__(
        self,
        *,
        node: str,
        load_balancer_class: str,
        seen: world.World,
        responder: Responder,
        on_outcome: Callable[[services.ServiceKey, Outcome], None],
    ) -> None:
        self._node = node
        self._class = load_balancer_class
        self._world = seen
        self._responder = responder
        self._on_outcome = on_outcome
        self._dirty: dict[services.ServiceKey, None] = {}
        self._wake = asyncio.Event()
        self._refusals: dict[services.ServiceKey, reasons.Refusal] = {}
        self.announced = difference.Announced()

    def mark(self, key: services.ServiceKey) -> None:
        """The Service may have changed."""
        self._dirty[key] = None
        self._wake.set()

    def mark_all(self) -> None:
        """Everything may have changed."""
        self.mark_some((*self._world.services.keys(), *self.announced.keys()))

    def mark_some(self, keys: Iterable[services.ServiceKey]) -> None:
        """These Services may have changed."""
        self._dirty.update(dict.fromkeys(keys))
        self._wake.set()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._dirty:
                self.sweep(BATCH)
                await asyncio.sleep(0)

    def sweep(self, limit: int) -> int:
        """Reconcile at most `limit` Services; gives how many there were."""
        keys = [key for key, _ in zip(self._dirty, range(limit), strict=False)]
        for key in keys:
            del self._dirty[key]
            self.reconcile(key)
        return len(keys)

    def reconcile(self, key: services.ServiceKey) -> None:
        """Decide about one Service and make it so."""
        service = self._world.services.get(key)
        desired, refusal = self._decide(service)
        before = self.announced.get(key)
        change = self.announced.update(key, desired)
        for address in change.withdraw:
            self._responder.withdraw(address)
        for address, interfaces in change.announce:
            self._responder.announce(address, interfaces)
        if desired == before and refusal == self._refusals.get(key):
            return
        if refusal is None:
            self._refusals.pop(key, None)
        else:
            self._refusals[key] = refusal
        if change:
            self._log(key, desired, change, refusal)
        if service is None:
            self._refusals.pop(key, None)
        self._on_outcome(
            key,
            Outcome(
                service=service,
                announcement=desired,
                refusal=refusal,
                owner_changed=(before is None) != (desired is None),
            ),
        )

    def refusal(self, key: services.ServiceKey) -> reasons.Refusal | None:
        """Why the Service is not announced from here."""
        return self._refusals.get(key)

    def tells(self, service: services.Service, refusal: reasons.Refusal) -> bool:
        """Whether this node is the one to tell people of `refusal`: one node does, the same on all nodes."""
        if refusal.reason not in TELLING or not service.ingress:
            return False
        sight = self._world.view()
        names = sight.nodes if sight.members is None else sight.members
        return min(names, key=lambda name: election.hash_of(name, service.ingress[0]), default=None) == self._node

    def _decide(self, service: services.Service | None) -> tuple[layer2.Announcement | None, reasons.Refusal | None]:
        if service is None:
            return None, reasons.Refusal(reasons.Reason.NO_ADDRESS, "the Service is gone")
        if (service.load_balancer_class or "") != self._class:
            return None, reasons.Refusal(reasons.Reason.NO_ADDRESS, "the Service is of another load balancer class")
        decided = layer2.decide(service, self._world.serving(service.key), self._world.view(), self._node)
        return (None, decided) if isinstance(decided, reasons.Refusal) else (decided, None)

    @staticmethod
    def _log(
        key: services.ServiceKey,
        desired: layer2.Announcement | None,
        change: difference.Change,
        refusal: reasons.Refusal | None,
    ) -> None:
        if change.announce:
            LOG.info(
                "announcing",
                service=str(key),
                addresses=[str(address) for address, _ in change.announce],
                interfaces=sorted(desired.interfaces) if desired else [],
            )
        if change.withdraw:
            LOG.info(
                "withdrawing",
                service=str(key),
                addresses=[str(address) for address in change.withdraw],
                reason=refusal.reason.label if refusal else "addressChanged",
                detail=refusal.detail if refusal else "",
            )
