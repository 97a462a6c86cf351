"""Keep `metallb.io/Announced` true on every Service that has an address: watch what speakers say, settle, write.

- One write for each transition, by the leader alone. While an address changes hands its old status goes and the new one comes, in either order:
  a condition that is True waits until that has been quiet for `SETTLE_SECONDS`.
- That nobody announces is said when it has stood for `SETTLE_SECONDS`, and, where some node should, for `PENDING_SECONDS`; longer while speakers
  are still writing elsewhere, since a thousand new Services take them that long.
- What changes for all Services at once (a node, the configuration) has only those looked at again that nobody announces; the others follow their
  status objects.
- Giving addresses comes first: nothing is written while Services wait for one.
- The write carries the version it was decided on. On a conflict the informer brings the news, and the key with it.
"""

import asyncio
import collections
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from metallb_controller.conditions import allocated, announced, sources
from metallb_core.allocation import converge
from metallb_core.announcement import view
from metallb_core.api import conditions as wires
from metallb_core.config import compiled
from metallb_core.domain import conditions, nodes, services
from metallb_core.kube import client as clients
from metallb_core.kube import errors, following, informer, resources, store
from metallb_core.runtime import backoff, clock, log, workqueue

LOG = log.get("conditions")

BY_SERVICE: Final = "service"
SETTLE_SECONDS: Final = 1.0
# A Service that is announced for the first time waits only for the status objects of other nodes to come along.
FIRST_SECONDS: Final = 0.1
PENDING_SECONDS: Final = 5.0
# Speakers that wrote a moment ago are still writing.
STREAMING_SECONDS: Final = 2.0
LONGEST_PENDING_SECONDS: Final = 60.0
BUSY_SECONDS: Final = 0.25
WORKERS: Final = 4
RETRY: Final = backoff.Policy(first=0.1, limit=60.0)


def _service_of(found: announced.Announcer | sources.Serving) -> tuple[services.ServiceKey]:
    return (found.service,)


class Announcing:
    """See the module. `config()` is the configuration in force; `busy()` says whether Services wait for an address."""

    def __init__(
        self,
        client: clients.Client,
        clock: clock.Clock,
        namespace: str,
        *,
        stored: store.Store[services.ServiceKey, services.Service],
        load_balancer_class: str,
        config: Callable[[], compiled.Config],
        busy: Callable[[], bool],
        on_error: Callable[[services.ServiceKey, Exception], None],
    ) -> None:
        self._client = client
        self._clock = clock
        self._services = stored
        self._class = load_balancer_class
        self._config = config
        self._busy = busy
        self._leading = False
        self._view: view.View | None = None
        # Since when nobody announces a Service; when its status objects last changed.
        self._lacking: dict[services.ServiceKey, float] = {}
        self._moved: dict[services.ServiceKey, float] = {}
        self._last_moved = float("-inf")
        self._others = asyncio.Event()

        def follow(
            resource: resources.Resource[Any, Any, Any], on_change: Callable[[Any, Any, Any], None], where: str | None
        ) -> informer.Informer[Any, Any, Any]:
            return following.follow(client, resource, namespace=where, on_change=on_change, clock=clock, logger=LOG)

        self._layer2 = follow(sources.LAYER2_STATUSES, self._status_changed, namespace)
        self._bgp = follow(sources.BGP_STATUSES, self._status_changed, namespace)
        self._slices = follow(sources.ENDPOINT_SLICES, self._slice_changed, None)
        self._nodes = follow(resources.NODES, self._node_changed, None)
        self._speakers = follow(sources.SPEAKERS, self._speaker_changed, namespace)
        for each in (self._layer2, self._bgp, self._slices):
            each.store.index(BY_SERVICE, _service_of)
        self.queue: workqueue.Workqueue[services.ServiceKey] = workqueue.Workqueue(
            clock, workers=WORKERS, handler=self._settle, on_error=on_error, retry=RETRY
        )

    @property
    def followed(self) -> tuple[informer.Informer[Any, Any, Any], ...]:
        """What is followed for this alone. Nothing else waits for it."""
        return (self._layer2, self._bgp, self._slices, self._nodes, self._speakers)

    async def run(self) -> None:
        """Write, while this controller leads; ends by cancellation."""
        for each in self.followed:
            await each.wait_synced()
        self._leading = True
        self._lacking.clear()
        try:
            self._mark(self._services.keys())
            async with asyncio.TaskGroup() as group:
                group.create_task(self.queue.run())
                group.create_task(self._mark_others())
        finally:
            self._leading = False

    def not_announced(self) -> Mapping[str, int]:
        """How many Services of ours no node announces, by reason, as far as that is written; empty where another controller leads."""
        found: collections.Counter[str] = collections.Counter()
        for service in self._services.values() if self._leading else ():
            held = conditions.named(service.conditions, allocated.ANNOUNCED)
            if held is not None and held.status is conditions.Status.FALSE and converge.is_ours(service, self._class):
                found[held.reason] += 1
        return found

    # What changes

    def service_changed(self, key: services.ServiceKey, new: services.Service | None) -> None:
        """The informer shows a Service anew."""
        if new is None:
            self._forget(key)
        elif self._leading and self._concerns(new):
            self.queue.add_after(key, FIRST_SECONDS)

    def configured(self) -> None:
        """Another configuration is in force."""
        self._view = None
        self._others.set()

    def _status_changed(self, _key: object, old: announced.Announcer | None, new: announced.Announcer | None) -> None:
        if old == new or not self._leading:
            return
        now = self._last_moved = self._clock.monotonic()
        for each in (old, new):
            if each is not None:
                self._moved[each.service] = now
                self.queue.add_after(each.service, FIRST_SECONDS)

    def _slice_changed(self, _key: object, old: sources.Serving | None, new: sources.Serving | None) -> None:
        if old == new or not self._leading:
            return
        for each in (old, new):
            if each is not None and not self._announcers(each.service):
                self.queue.add_after(each.service, SETTLE_SECONDS)

    def _node_changed(self, _key: object, old: nodes.Node | None, new: nodes.Node | None) -> None:
        if old != new:
            self.configured()

    def _speaker_changed(self, _key: object, old: sources.Speaker | None, new: sources.Speaker | None) -> None:
        if old != new:
            self.configured()

    async def _mark_others(self) -> None:
        """Have the Services looked at that nobody announces, after what concerns all of them has changed."""
        while True:
            await self._others.wait()
            await self._clock.sleep(SETTLE_SECONDS)
            self._others.clear()
            self._mark(key for key in tuple(self._services) if not self._announcers(key))

    def _mark(self, keys: Iterable[services.ServiceKey]) -> None:
        for key in keys:
            service = self._services.get(key)
            if service is not None and self._concerns(service):
                self.queue.add(key)

    # One Service

    def _concerns(self, service: services.Service) -> bool:
        """Whether the condition of `service` is ours to write: without an address, it is written with the other one."""
        return (
            service.is_load_balancer
            and bool(service.ingress)
            and not service.deleting
            and converge.is_ours(service, self._class)
        )

    def _announcers(self, key: services.ServiceKey) -> tuple[announced.Announcer, ...]:
        return (*self._layer2.store.by_index(BY_SERVICE, key), *self._bgp.store.by_index(BY_SERVICE, key))

    async def _settle(self, key: services.ServiceKey) -> float | None:
        """Write what is so, or say in how many seconds to look again. Raises ApiError, Unreachable."""
        # Thousands may be queued: the event loop gets a turn between two of them in any case.
        await asyncio.sleep(0)
        while self._busy():
            await self._clock.sleep(BUSY_SECONDS)
        service = self._services.get(key)
        if service is None or not self._concerns(service):
            self._forget(key)
            return None
        held = conditions.named(service.conditions, allocated.ANNOUNCED)
        wanted = self._wanted(service, held)
        if isinstance(wanted, float):
            return wanted
        if not wanted.says(held):
            await self._write(service, conditions.dated(wanted, held, clock.rfc3339(self._clock.now())))
        return None

    def _wanted(self, service: services.Service, held: conditions.Condition | None) -> conditions.Condition | float:
        """The condition that has settled, or the seconds until it may have."""
        now, key = self._clock.monotonic(), service.key
        announcers = self._announcers(key)
        if announcers:
            self._lacking.pop(key, None)
            quiet = now - self._moved.get(key, float("-inf"))
            if held is not None and held.status is conditions.Status.TRUE and quiet < SETTLE_SECONDS:
                return SETTLE_SECONDS - quiet
            self._moved.pop(key, None)
            return announced.by(announcers)
        lacking = now - self._lacking.setdefault(key, now)
        refusal = announced.why(service, self._serving(key), self._seen())
        wait = SETTLE_SECONDS if refusal is not None else PENDING_SECONDS
        if lacking < wait:
            return wait - lacking
        if refusal is None and now - self._last_moved < STREAMING_SECONDS and lacking < LONGEST_PENDING_SECONDS:
            return STREAMING_SECONDS
        self._moved.pop(key, None)
        return announced.by_nobody(refusal or announced.PENDING)

    def _serving(self, key: services.ServiceKey) -> frozenset[str]:
        return frozenset().union(*(piece.nodes for piece in self._slices.store.by_index(BY_SERVICE, key)))

    def _seen(self) -> view.View:
        """The cluster as it is seen from here. A node counts as alive while its speaker's object is there.

        Flags are those of all speakers together: they are the same everywhere but for the time it takes to change them.
        """
        if self._view is None:
            speakers = [each for each in self._speakers.store.values() if each.node]
            self._view = view.View(
                config=self._config(),
                nodes=dict(self._nodes.store.items()),
                members=frozenset(each.node for each in speakers),
                links={each.node: each.usable for each in speakers if each.usable is not None},
                ignore_exclude_label=any(each.ignores_exclude_label for each in speakers),
                drain_taint=max((each.drain_taint for each in speakers), default=""),
            )
        return self._view

    async def _write(self, service: services.Service, condition: conditions.Condition) -> None:
        body = {
            "metadata": {"resourceVersion": service.resource_version},
            "status": {"conditions": [wires.write(condition)]},
        }
        key = service.key
        try:
            await self._client.strategic_patch(resources.SERVICES, key.name, key.namespace, body, subresource="status")
        except errors.ApiError as error:
            if not (error.conflict or error.not_found):
                raise
            return
        if condition.status is conditions.Status.FALSE:
            LOG.info("not announced", service=str(key), reason=condition.reason, why=condition.message)
        else:
            LOG.debug("announced", service=str(key), where=condition.message)

    def _forget(self, key: services.ServiceKey) -> None:
        self._lacking.pop(key, None)
        self._moved.pop(key, None)
