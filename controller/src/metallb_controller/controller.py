"""One controller put together: informers feed stores and ledger, the elected one of all controllers gives out addresses.

- Every controller watches, so that the next leader starts with warm stores; only the leader decides and writes.
- A new leader lists all Services once more, consistently, and waits until its informer has caught up with that: the leader before it may have
  given out an address a moment ago, to a Service of which our copy shows nothing yet. A copy that does not catch up ends the process.
- Until this process has seen a pool, a Service that has an address keeps it. Where pools are applied after the controller (another installation,
  GitOps), clearing would only mean that each gets another address a moment later. The first pools are given a second to be complete.
- The configuration is compiled anew when a pool, an advertisement or a namespace changes; a bad object is told in an Event on itself.
"""

import asyncio
import dataclasses
import secrets
from collections.abc import Iterable, Mapping

import prometheus_client

from metallb_controller import gauges, memberlist_secret, pool_status, reconcile
from metallb_core.allocation import usage
from metallb_core.api import v1beta1
from metallb_core.config import compiled, problems
from metallb_core.domain import namespaces, services
from metallb_core.kube import client as clients
from metallb_core.kube import errors, events, following, instruments, leases, resources
from metallb_core.runtime import backoff, clock, heap, log, supervise, workqueue

LOG = log.get("controller")
LEASE = "metallb-controller"
CATCH_UP_SECONDS = 10.0
CATCH_UP_POLL = 0.01
FIRST_POOLS_SECONDS = 1.0
SECRET_RETRY_SECONDS = 2.0


class StaleCopyError(Exception):
    """What we know of the Services is older than what is: deciding on it could give an address twice. A new process lists anew."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a controller needs to know about its place. `secret` empty: it makes no membership key. `deployment` also names the Lease."""

    namespace: str
    identity: str
    load_balancer_class: str = ""
    secret: str = ""
    deployment: str = ""
    workers: int = 32


class Controller:
    """See the module."""

    def __init__(
        self,
        settings: Settings,
        *,
        client: clients.Client,
        clock: clock.Clock,
        random: backoff.Random,
        recorder: events.EventRecorder,
        shared_metrics: instruments.Instruments,
        collectors: prometheus_client.CollectorRegistry,
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._instruments = shared_metrics
        self._leading = False
        self._shown_version = 0
        self._had_pools = False
        self._config = compiled.EMPTY
        self._config_changed = asyncio.Event()
        self._told: dict[tuple[str, str], problems.Problem] = {}
        namespace = settings.namespace
        self._services = following.follow(
            client, resources.SERVICES, on_change=self._service_changed, clock=clock, logger=LOG
        )
        self._namespaces = following.follow(
            client, resources.NAMESPACES, on_change=self._namespace_changed, clock=clock, logger=LOG
        )
        self._pools = following.follow(
            client,
            resources.IP_ADDRESS_POOLS,
            namespace=namespace,
            on_change=self._pool_changed,
            clock=clock,
            logger=LOG,
        )
        self._advertisements = following.follow(
            client,
            resources.L2_ADVERTISEMENTS,
            namespace=namespace,
            on_change=self._advertisement_changed,
            clock=clock,
            logger=LOG,
        )
        self._pool_status = pool_status.Writer(
            client, clock, namespace, self._pools.store, self._usage_of, self._pool_status_failed
        )
        self._reconciler = reconcile.Reconciler(
            client=client,
            clock=clock,
            recorder=recorder,
            stored=self._services.store,
            load_balancer_class=settings.load_balancer_class,
            requeue=self._requeue,
            on_pools=self._pool_status.changed,
            on_latency=gauges.Metrics(collectors, self.usages).latency.observe,
        )
        self._queue: workqueue.Workqueue[services.ServiceKey] = workqueue.Workqueue(
            clock, workers=settings.workers, handler=self._reconcile, on_error=self._failed
        )
        self._elector = leases.LeaseElector(
            client,
            namespace,
            settings.deployment or LEASE,
            settings.identity,
            clock,
            random,
            on_started=self._lead,
            on_stopped=self._stop_leading,
        )

    # Assembly

    def parts(self) -> list[supervise.Part]:
        """What runs, in the order of starting."""
        watching = (self._services, self._namespaces, self._pools, self._advertisements)
        return [
            supervise.Part(name="events", run=self._recorder.run),
            *(supervise.Part(name=f"watch {each.resource.plural}", run=each.run) for each in watching),
            # Also while standing by: the last good form of an object is known only to who has seen it.
            supervise.Part(name="configuration", run=self._run_configuration),
            supervise.Part(name="leading", run=self._elector.run),
        ]

    def failing(self) -> dict[str, str]:
        """What keeps this controller from being ready, by name. One that stands by is ready to take over."""
        return {
            each.resource.plural: each.problem or "not yet listed"
            for each in (self._services, self._namespaces, self._pools, self._advertisements)
            if not each.synced
        }

    def usages(self) -> Mapping[str, usage.Usage]:
        """The counts of all pools; empty where another controller leads."""
        return self._reconciler.book.usages() if self._leading else {}

    # Leading

    async def _lead(self) -> None:
        LOG.info("leading", identity=self._settings.identity)
        for each in (self._services, self._namespaces, self._pools, self._advertisements):
            await each.wait_synced()
        await self._wait_caught_up()
        self._leading = True
        self._compile()
        self._had_pools = self._had_pools or bool(self._config.pools)
        self._reconciler.begin(self._config)
        heap.freeze()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())
            group.create_task(self._pool_status.queue.run())
            group.create_task(self._ensure_secret())

    def _stop_leading(self) -> None:
        self._leading = False
        LOG.info("no longer leading")

    async def _wait_caught_up(self) -> None:
        """Wait until the informer has shown what a consistent list shows now, or later. Raises StaleCopyError, ApiError, Unreachable."""
        listed: dict[services.ServiceKey, int] = {}
        async for page in self._client.list(resources.SERVICES):
            for wire in page.items:
                key = services.ServiceKey(wire.metadata.namespace, wire.metadata.name)
                listed[key] = int(wire.metadata.resource_version)
        give_up = self._clock.monotonic() + CATCH_UP_SECONDS
        # Changes come in the order of their versions, so the newest one shown stands for all before it. That a Service is absent from our
        # copy says nothing: it may be gone already, or not yet shown. What cannot be taken in is never shown.
        while self._shown_version < max(
            (version for key, version in listed.items() if key not in self._services.invalid), default=0
        ):
            if self._clock.monotonic() >= give_up:
                raise StaleCopyError(f"the watch of Services is behind by more than {CATCH_UP_SECONDS:.0f} s")
            await self._clock.sleep(CATCH_UP_POLL)

    async def _ensure_secret(self) -> None:
        while self._settings.secret:
            try:
                await memberlist_secret.ensure(
                    self._client,
                    self._settings.namespace,
                    self._settings.secret,
                    self._settings.deployment,
                    secrets.token_bytes,
                )
                return
            except (errors.ApiError, errors.Unreachable) as error:
                LOG.warn("cannot make the membership key; trying again", name=self._settings.secret, error=error)
                await self._clock.sleep(SECRET_RETRY_SECONDS)

    # Configuration

    async def _run_configuration(self) -> None:
        for each in (self._namespaces, self._pools, self._advertisements):
            await each.wait_synced()
        self._config_changed.set()
        while True:
            await self._config_changed.wait()
            self._config_changed.clear()
            self._compile()
            if self._leading and self._config.pools and not self._had_pools:
                # The pool of somebody's address may be the next to come.
                await self._clock.sleep(FIRST_POOLS_SECONDS)
                self._config_changed.clear()
                self._compile()
            self._had_pools = self._had_pools or bool(self._config.pools)
            if self._leading:
                self._reconciler.configure(self._config)
            await asyncio.sleep(0)

    def _compile(self) -> None:
        found = compiled.Resources(
            pools=tuple(self._pools.store.values()),
            l2_advertisements=tuple(self._advertisements.store.values()),
            namespaces=tuple(self._namespaces.store.values()),
        )
        self._config = compiled.compile(found, self._config)
        self._instruments.configured(stale=bool(self._config.problems))
        if self._leading:
            self._tell_problems(self._config.problems)

    def _tell_problems(self, found: Iterable[problems.Problem]) -> None:
        now = {(problem.kind, problem.name): problem for problem in found}
        for place, problem in now.items():
            if self._told.get(place) != problem:
                LOG.error("invalid object", kind=problem.kind, name=problem.name, problem=str(problem))
                regarding = events.ObjectRef(
                    api_version=f"{v1beta1.GROUP}/{v1beta1.VERSION}",
                    kind=problem.kind,
                    namespace=problem.namespace,
                    name=problem.name,
                    uid=problem.uid,
                )
                self._recorder.emit(regarding, "Warning", "InvalidConfiguration", str(problem))
        self._told = now

    # What informers say

    def _service_changed(
        self, key: services.ServiceKey, _old: services.Service | None, new: services.Service | None
    ) -> None:
        if new is not None:
            self._shown_version = max(self._shown_version, int(new.resource_version))
        if self._leading:
            self._reconciler.observed(key, new)
            self._queue.add(key, front=new is not None and not new.ingress)

    def _namespace_changed(self, _key: str, old: namespaces.Namespace | None, new: namespaces.Namespace | None) -> None:
        if old is None or new is None or old.labels != new.labels:
            self._config_changed.set()

    def _pool_changed(
        self, key: tuple[str, str], old: v1beta1.IPAddressPool | None, new: v1beta1.IPAddressPool | None
    ) -> None:
        if old is None or new is None or (old.spec, old.metadata.labels) != (new.spec, new.metadata.labels):
            self._config_changed.set()
        if self._leading and new is not None:
            # Whoever changed the counters, they are put right.
            self._pool_status.changed(frozenset({key[1]}))

    def _advertisement_changed(self, *_: object) -> None:
        self._config_changed.set()

    # The queue

    def _requeue(self, keys: Iterable[services.ServiceKey]) -> None:
        for key in keys:
            self._queue.add(key)

    async def _reconcile(self, key: services.ServiceKey) -> None:
        self._instruments.updates.inc()
        service = self._services.store.get(key)
        if not self._had_pools and service is not None and service.is_load_balancer and service.ingress:
            # The first pools have all of these looked at.
            return
        await self._reconciler.reconcile(key)

    def _failed(self, key: services.ServiceKey, error: Exception) -> None:
        self._instruments.update_errors.inc()
        LOG.warn("could not handle a Service; trying again", service=str(key), error=error)

    def _pool_status_failed(self, name: str, error: Exception) -> None:
        LOG.warn("could not write the status of a pool; trying again", pool=name, error=error)

    def _usage_of(self, name: str) -> usage.Usage | None:
        return self._reconciler.book.usage(name) if name in self._config.pools else None
