"""One controller put together: informers feed stores and ledger, the elected one of all controllers gives out addresses.

- Every controller watches, so that the next leader starts with warm stores; only the leader decides and writes.
- A new leader lists all Services once more, consistently, and waits until its informer has caught up with that: the leader before it may have
  given out an address a moment ago, to a Service of which our copy shows nothing yet. A copy that does not catch up ends the process.
- Until this process has seen a pool, a Service that has an address keeps it. Where pools are applied after the controller (another installation,
  GitOps), clearing would only mean that each gets another address a moment later.
- While the namespace of the controller is being deleted nothing is decided; see `installation`.
- The configuration is compiled anew when a pool, an advertisement or a namespace changes; a bad object is told in an Event on itself.
"""

import asyncio
import dataclasses
import functools
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import prometheus_client

from metallb_controller import configuration, gauges, installation, memberlist_secret, pool_status, reconcile
from metallb_controller.conditions import announcing
from metallb_core.allocation import usage
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import configuration_state, errors, events, following, informer, instruments, leases, resources
from metallb_core.runtime import backoff, clock, heap, log, supervise, workqueue

LOG = log.get("controller")
LEASE = "metallb-controller"
CATCH_UP_SECONDS = 10.0
CATCH_UP_POLL = 0.01
SECRET_RETRY_SECONDS = 2.0
# How long a kind may take to be listed before the configuration counts as unknown.
UNKNOWN_SECONDS = 10.0


class StaleCopyError(Exception):
    """What we know of the Services is older than what is: deciding on it could give an address twice. A new process lists anew."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a controller needs to know about its place. `secret` empty: it makes no membership key. `deployment` also names the Lease.

    `reconciles` false: it follows the configuration for the webhook's sake, and leaves Services to others.
    """

    namespace: str
    identity: str
    load_balancer_class: str = ""
    secret: str = ""
    deployment: str = ""
    workers: int = 32
    reconciles: bool = True


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
        self._config_changed = asyncio.Event()
        namespace = settings.namespace
        self._services = following.follow(
            client,
            resources.SERVICES_WITH_CONDITIONS,
            on_change=self._service_changed,
            on_recovered=self._server_is_back,
            clock=clock,
            logger=LOG,
        )
        self._configuration = configuration.Configuration(
            client, clock, namespace, on_changed=self._config_changed.set, on_pool=self._pool_written
        )
        self._installation = installation.Installation(
            client, clock, namespace, settings.deployment, ending=lambda: self._configuration.namespace_ending
        )
        self._pool_status = pool_status.Writer(
            client, clock, namespace, self._configuration.pools.store, self._usage_of, self._pool_status_failed
        )
        self._reconciler = reconcile.Reconciler(
            client=client,
            clock=clock,
            recorder=recorder,
            stored=self._services.store,
            load_balancer_class=settings.load_balancer_class,
            stands=self._installation.stands,
            requeue=self._requeue,
            on_pools=self._pool_status.changed,
            on_latency=gauges.Metrics(collectors, self.usages).latency.observe,
        )
        self._queue: workqueue.Workqueue[services.ServiceKey] = workqueue.Workqueue(
            clock, workers=settings.workers, handler=self._reconcile, on_error=self._failed
        )
        self._announcing = announcing.Announcing(
            client,
            clock,
            namespace,
            stored=self._services.store,
            load_balancer_class=settings.load_balancer_class,
            config=lambda: self._configuration.current,
            busy=lambda: self._queue.depth > 0,
            on_error=self._condition_failed,
        )
        collectors.register(gauges.NotAnnounced(self._announcing.not_announced))
        self._own_state, self._state = configuration_state.follow(
            client,
            clock,
            configuration_state.Identity.of_controller(namespace),
            logger=LOG,
            on_error=self._state_failed,
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
        if not self._settings.reconciles:
            return [
                *(
                    supervise.Part(name=f"watch {each.resource.plural}", run=each.run)
                    for each in self._configuration.followed
                ),
                supervise.Part(name="watch own configurationstate", run=self._own_state.run),
                supervise.Part(name="configurationstate", run=self._say_unknown, finite=True),
            ]
        watching = (self._services, *self._configuration.followed)
        return [
            supervise.Part(name="events", run=self._recorder.run),
            *(supervise.Part(name=f"watch {each.resource.plural}", run=each.run) for each in watching),
            *(
                supervise.Part(
                    name=f"watch {each.resource.plural} for conditions", run=functools.partial(self._follow_later, each)
                )
                for each in self._announcing.followed
            ),
            supervise.Part(name="watch own configurationstate", run=self._own_state.run),
            # Also while standing by: the last good form of an object is known only to who has seen it.
            supervise.Part(name="configuration", run=self._run_configuration),
            supervise.Part(name="leading", run=self._elector.run),
        ]

    @property
    def configuration(self) -> configuration.Configuration:
        """The configuration as it is followed."""
        return self._configuration

    def failing(self) -> dict[str, str]:
        """What keeps this controller from being ready, by name. One that stands by is ready to take over."""
        return {
            each.resource.plural: each.problem or "not yet listed"
            for each in (*((self._services,) if self._settings.reconciles else ()), *self._configuration.awaited)
            if not each.synced
        }

    def usages(self) -> Mapping[str, usage.Usage]:
        """The counts of all pools; empty where another controller leads."""
        return self._reconciler.book.usages() if self._leading else {}

    async def _say_unknown(self) -> None:
        """Nobody here judges the configuration. Said once, where nobody says anything: a controller that judges may run beside this one."""
        await self._configuration.wait_answered()
        # It was read, and answers rest on it, so the alert for a configuration that is not loaded has no reason to fire.
        self._instruments.configured(stale=False)
        await self._own_state.wait_synced()
        if any(each.status.conditions for each in self._own_state.store.values()):
            return
        why = "this controller only answers the webhook (--webhook-mode=onlywebhook)"
        self._state.say(configuration_state.POOLS, [configuration_state.unknown(configuration_state.POOLS, why)])
        saying = asyncio.ensure_future(self._state.run())
        try:
            while not any(each.status.conditions for each in self._own_state.store.values()):
                await self._clock.sleep(CATCH_UP_POLL)
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)

    async def _follow_later(self, followed: informer.Informer[Any, Any, Any]) -> None:
        """Follow what conditions need once that is known which addresses need: it comes first after a restart."""
        await self._services.wait_synced()
        await self._configuration.wait_needed()
        await followed.run()

    # Leading

    async def _lead(self) -> None:
        LOG.info("leading", identity=self._settings.identity)
        await self._services.wait_synced()
        await self._configuration.wait_needed()
        await self._wait_caught_up()
        self._leading = True
        self._compile()
        self._had_pools = self._had_pools or bool(self._configuration.current.pools)
        self._reconciler.begin(self._configuration.current)
        heap.freeze()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())
            group.create_task(self._pool_status.queue.run())
            group.create_task(self._ensure_secret())
            group.create_task(self._announcing.run())
            group.create_task(self._state.run())
            group.create_task(self._wait_whole())

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

    async def _wait_whole(self) -> None:
        """Say that the configuration is unknown while some kind of it cannot be listed, and judge it once all can."""
        whole = asyncio.ensure_future(self._configuration.wait_synced())
        try:
            if not await clock.wait_done(self._clock, whole, UNKNOWN_SECONDS):
                missing = "; ".join(
                    f"{each.resource.label}: {each.problem or 'not yet listed'}"
                    for each in self._configuration.followed
                    if not each.synced
                )
                manager = configuration_state.POOLS
                self._state.say(manager, [configuration_state.unknown(manager, f"cannot be listed: {missing}")])
            await whole
        finally:
            whole.cancel()
        self._config_changed.set()

    async def _run_configuration(self) -> None:
        await self._configuration.wait_needed()
        self._config_changed.set()
        while True:
            await self._config_changed.wait()
            self._config_changed.clear()
            self._compile()
            self._had_pools = self._had_pools or bool(self._configuration.current.pools)
            if self._leading:
                self._reconciler.configure(self._configuration.current)
                self._announcing.configured()
            await asyncio.sleep(0)

    def _compile(self) -> None:
        self._configuration.compile()
        self._instruments.configured(stale=bool(self._configuration.problems()))
        if self._leading:
            self._configuration.tell(self._recorder)
            if self._configuration.whole:
                self._state.say(configuration_state.POOLS, [self._configuration.condition()])

    # What informers say

    def _service_changed(
        self, key: services.ServiceKey, old: services.Service | None, new: services.Service | None
    ) -> None:
        if new is not None:
            self._shown_version = max(self._shown_version, int(new.resource_version))
        if self._leading:
            self._reconciler.observed(key, old, new)
            self._queue.add(key, front=new is not None and not new.ingress)
        self._announcing.service_changed(key, new)

    def _pool_written(self, name: str) -> None:
        if self._leading:
            # Whoever changed the counters, they are put right.
            self._pool_status.changed(frozenset({name}))

    def _server_is_back(self) -> None:
        for queue in (self._queue, self._pool_status.queue, self._announcing.queue):
            queue.retry_failed()

    # The queue

    def _requeue(self, keys: Iterable[services.ServiceKey]) -> None:
        for key in keys:
            self._queue.add(key)

    async def _reconcile(self, key: services.ServiceKey) -> float | None:
        self._instruments.updates.inc()
        if self._installation.ending():
            return None
        service = self._services.store.get(key)
        if not self._had_pools and service is not None and service.is_load_balancer and service.ingress:
            # The first pools have all of these looked at.
            return None
        return await self._reconciler.reconcile(key)

    def _failed(self, key: services.ServiceKey, error: Exception) -> None:
        self._instruments.update_errors.inc()
        LOG.warn("could not handle a Service; trying again", service=str(key), error=error)
        service = self._services.store.get(key)
        expected = isinstance(error, errors.ApiError | errors.Unreachable)
        if service is not None and not expected and self._queue.failures(key) == 1:
            text = f"cannot decide about the Service, by a mistake of the controller's: {type(error).__name__}: {error}"
            self._recorder.emit(events.service_reference(service), "Warning", "InternalError", text)

    def _condition_failed(self, key: services.ServiceKey, error: Exception) -> None:
        LOG.warn("could not write the condition of a Service; trying again", service=str(key), error=error)

    def _state_failed(self, manager: str, error: Exception) -> None:
        LOG.warn("could not write the ConfigurationState; trying again", manager=manager, error=error)

    def _pool_status_failed(self, name: str, error: Exception) -> None:
        LOG.warn("could not write the status of a pool; trying again", pool=name, error=error)

    def _usage_of(self, name: str) -> usage.Usage | None:
        return self._reconciler.book.usage(name) if name in self._configuration.current.pools else None
