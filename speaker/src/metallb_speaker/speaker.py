"""One speaker put together: informers and the deadline process feed the world, the reconciler decides, reports tell.

- An event says only what may have changed; an index says which Services that can affect.
- A change of members, links or nodes may affect every Service: one sweep over those that have an address, without waiting for anything.
- Nothing is announced before every informer has synced and, with membership, before its word counts.
"""

import asyncio
import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from metallb_core.api import meta, v1beta1, workloads
from metallb_core.domain import addresses, endpoints, nodes, reasons, services
from metallb_core.kube import client as clients
from metallb_core.kube import events, following, informer, instruments, resources
from metallb_core.runtime import clock, heap, log, supervise
from metallb_speaker import capability, gauges, keyring, peers, reconcile, reports, world
from metallb_speaker.deadline import client as deadline
from metallb_speaker.layer2 import claims, link
from metallb_speaker.status import plan, writer

LOG = log.get("speaker")
KEY_CHECK_SECONDS = 10.0
KEY_RETRY_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a speaker needs to know about its place. `member_labels` empty: no membership."""

    node: str
    namespace: str
    load_balancer_class: str = ""
    ignore_exclude_label: bool = False
    member_labels: str = ""
    member_address: str = ""
    member_advertised: str = ""
    member_port: int = 7946
    member_profile: str = "fast"
    member_override: str = ""
    key_folder: pathlib.Path | None = None
    exclude: tuple[str, ...] = ()
    linger: float = 1.0

    @property
    def has_members(self) -> bool:
        """Whether membership is on."""
        return bool(self.member_labels and self.member_address)


class _Responder:
    """The deadline process as the reconciler sees it: an empty set of interfaces means all usable ones there."""

    def __init__(self, process: deadline.Client) -> None:
        self._process = process

    def announce(self, address: addresses.Address, interfaces: frozenset[str]) -> None:
        self._process.announce(address, interfaces or None)

    def withdraw(self, address: addresses.Address) -> None:
        self._process.withdraw(address)


class Speaker:
    """See the module."""

    def __init__(
        self,
        settings: Settings,
        *,
        client: clients.Client,
        clock: clock.Clock,
        registry_metrics: gauges.Metrics,
        shared_metrics: instruments.Instruments,
        recorder: events.EventRecorder,
        owner: meta.OwnerReference | None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = registry_metrics
        self._instruments = shared_metrics
        self._recorder = recorder
        self._exclude = tuple(re.compile(pattern) for pattern in settings.exclude)
        self._stopping = False
        # Set once it is known who is alive: before that nothing is decided, so nothing is given up either.
        self._counts = asyncio.Event()
        self._process_task: asyncio.Task[None] | None = None
        self._rotation: keyring.Rotation | None = None
        self._problem = ""
        self._process = deadline.Client(
            on_links=self._links_changed,
            on_members=self._members_changed,
            on_counters=self._counted,
            on_conflict=self._conflicting,
            on_warning=self._warned,
            on_exit=self._exited,
            linger=settings.linger,
        )
        namespace = settings.namespace
        self._services = following.follow(
            client, resources.SERVICES, on_change=self._service_changed, clock=clock, logger=LOG
        )
        self._slices = following.follow(
            client, resources.ENDPOINT_SLICES, on_change=self._slice_changed, clock=clock, logger=LOG
        )
        self._nodes = following.follow(client, resources.NODES, on_change=self._node_changed, clock=clock, logger=LOG)
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
        self._statuses = following.follow(
            client,
            resources.SERVICE_L2_STATUSES,
            namespace=namespace,
            on_change=self._status_changed,
            clock=clock,
            logger=LOG,
        )
        self._pods = following.follow(
            client,
            resources.PODS,
            namespace=namespace,
            label_selector=settings.member_labels or None,
            on_change=self._pod_changed,
            clock=clock,
            logger=LOG,
        )
        self._world = world.World(
            services=self._services.store,
            slices=self._slices.store,
            nodes=self._nodes.store,
            pools=self._pools.store,
            advertisements=self._advertisements.store,
            ignore_exclude_label=settings.ignore_exclude_label,
        )
        if settings.has_members:
            # Until membership's word counts nobody is alive, this node included.
            self._world.set_members({})
        self._reconciler = reconcile.Reconciler(
            node=settings.node,
            load_balancer_class=settings.load_balancer_class,
            seen=self._world,
            responder=_Responder(self._process),
            on_outcome=self._decided,
        )
        self._reports = reports.Reports(
            node=settings.node,
            clock=clock,
            recorder=recorder,
            metrics=registry_metrics,
            statuses=writer.Writer(
                client,
                namespace=namespace,
                node=settings.node,
                owner=owner,
                observed=self._statuses.store,
                announced=self._reconciler.announced.get,
            ),
            refusal=self._standing_refusal,
            on_error=self._report_failed,
        )
        self._peers = peers.Peers(
            own_address=settings.member_advertised or settings.member_address,
            clock=clock,
            pods=self._pods.store,
            join=self._process.join,
            on_members=self._members_count,
        )
        self._config_changed = asyncio.Event()

    # Assembly

    def parts(self) -> list[supervise.Part]:
        """What runs, in the order of starting; what hands over comes last, so that it stops first."""
        parts = [
            supervise.Part(name=f"watch {each.resource.plural}", run=each.run)
            for each in (self._services, self._slices, self._nodes, self._pools, self._advertisements, self._statuses)
        ]
        if self._settings.has_members:
            parts.append(supervise.Part(name="watch pods", run=self._pods.run))
        parts += [
            supervise.Part(name="events", run=self._recorder.run),
            supervise.Part(name="status objects", run=self._reports.statuses.run),
            supervise.Part(name="refusals", run=self._reports.refusals.run),
            supervise.Part(name="configuration", run=self._run_configuration),
            supervise.Part(name="announcing", run=self._run_announcing),
            supervise.Part(name="deadline process", run=self._run_process, stop=self._stop_process),
        ]
        return parts

    def failing(self) -> dict[str, str]:
        """What keeps this speaker from being ready, by name."""
        found = {}
        for each in self._watched():
            if not each.synced:
                found[each.resource.plural] = each.problem or "not yet listed"
        if not found and not self._counts.is_set():
            found["announcing"] = self._problem or (
                "waiting for membership" if self._settings.has_members else "starting"
            )
        if self._process.pid is None:
            found["deadline process"] = "not running"
        return found

    # Running

    def _watched(self) -> list[informer.Informer[Any, Any, Any]]:
        """What has to be known before anything is decided."""
        watched: list[informer.Informer[Any, Any, Any]] = [
            self._services,
            self._slices,
            self._nodes,
            self._pools,
            self._advertisements,
            self._statuses,
        ]
        return [*watched, self._pods] if self._settings.has_members else watched

    async def _run_process(self) -> None:
        self._process_task = asyncio.current_task()
        self._process.start()
        await self._wait_synced()
        if self._settings.has_members:
            await self._start_membership()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._peers.run())
                if self._rotation is not None:
                    group.create_task(self._watch_key())
        else:
            LOG.warn("membership is off: every Node counts as able to announce, so speakers must run on all of them")
            self._counts.set()
        await asyncio.Event().wait()

    async def _stop_process(self) -> None:
        """Leave first: the next owner announces while this one still answers."""
        self._stopping = True
        await self._process.wait_stopped(self._settings.linger)
        if self._process_task is not None:
            self._process_task.cancel()

    async def _run_announcing(self) -> None:
        await self._wait_synced()
        await self._counts.wait()
        heap.freeze()
        self._reconciler.mark_all()
        while self._reconciler.sweep(reconcile.BATCH):  # noqa: ASYNC110 - work in pieces, not waiting
            await asyncio.sleep(0)
        # What this node said before its restart is put right now, when it is known what is right.
        for status in self._statuses.store.values():
            self._reports.statuses.add(plan.service_of(status))
        await self._reconciler.run()

    async def _wait_synced(self) -> None:
        for each in self._watched():
            await each.wait_synced()

    async def _run_configuration(self) -> None:
        """Compile again whenever an object of the configuration changed; many changes at once make one pass."""
        await self._wait_synced()
        self._config_changed.set()
        while True:
            await self._config_changed.wait()
            self._config_changed.clear()
            changed = self._world.recompile()
            config = self._world.config
            self._instruments.configured(stale=bool(config.problems))
            if changed:
                self._process.configure(self._world.intervals(), self._settings.exclude)
                self._reconciler.mark_all()
            await asyncio.sleep(0)

    # What informers say

    def _service_changed(self, key: services.ServiceKey, _old: object, _new: object) -> None:
        self._instruments.updates.inc()
        self._mark(key)

    def _slice_changed(
        self, _key: object, old: endpoints.EndpointSlice | None, new: endpoints.EndpointSlice | None
    ) -> None:
        for piece in (old, new):
            if piece is not None:
                self._mark(piece.service)

    def _node_changed(self, _key: str, old: nodes.Node | None, new: nodes.Node | None) -> None:
        # A kubelet's heartbeat changes nothing that is kept of a Node.
        if old != new:
            self._world.forget_view()
            self._mark_all()

    def _pool_changed(self, _key: object, old: v1beta1.IPAddressPool | None, new: v1beta1.IPAddressPool | None) -> None:
        # Counters in its status change with every allocation and mean nothing here.
        if old is None or new is None or (old.spec, old.metadata.labels) != (new.spec, new.metadata.labels):
            self._config_changed.set()

    def _advertisement_changed(self, *_: object) -> None:
        self._config_changed.set()

    def _status_changed(
        self, _key: object, old: v1beta1.ServiceL2Status | None, new: v1beta1.ServiceL2Status | None
    ) -> None:
        found = new or old
        if not self._counts.is_set():
            return
        if found is not None and (
            plan.node_of(found) == self._settings.node or plan.service_of(found) in self._reconciler.announced
        ):
            self._reports.statuses.add(plan.service_of(found))

    def _pod_changed(self, _key: object, _old: workloads.Pod | None, _new: workloads.Pod | None) -> None:
        self._peers.pods_changed()

    def _mark(self, key: services.ServiceKey) -> None:
        self._reconciler.mark(key)

    def _mark_all(self) -> None:
        self._reconciler.mark_all()

    # What the deadline process says

    def _links_changed(self, table: link.Table) -> None:
        usable = frozenset(table.usable(self._exclude))
        LOG.debug("links", usable=sorted(usable))
        self._world.set_own_links(self._settings.node, usable)
        self._mark_all()

    def _members_changed(self, members: Mapping[str, bytes]) -> None:
        # While leaving, membership empties; the addresses are answered for until the next owner is heard.
        if not self._stopping:
            self._peers.report({name: capability.decode(meta) for name, meta in members.items()})

    def _members_count(self, members: peers.Members) -> None:
        LOG.info("members", alive=sorted(members))
        self._problem = ""
        self._world.set_members(members)
        self._counts.set()
        self._mark_all()

    def _counted(self, counts: Mapping[addresses.Address, gauges.Counts]) -> None:
        self._metrics.packets(counts, self._reconciler.announced)

    def _conflicting(self, conflict: claims.Conflict) -> None:
        LOG.warn(
            "another station claims an address that this node announces",
            address=str(conflict.address),
            interface=conflict.interface,
            mac=conflict.mac.hex(":"),
        )
        self._metrics.conflicts.labels(str(conflict.address)).inc()

    def _warned(self, text: str) -> None:
        # Shown in /readyz too, while it may be what keeps this speaker from starting.
        self._problem = text
        LOG.warn(text)

    def _exited(self, status: int) -> None:
        if not self._stopping:
            LOG.error("the deadline process ended and is started again", status=status)
            self._peers.restarted()

    # What the reconciler says

    def _decided(self, key: services.ServiceKey, outcome: reconcile.Outcome) -> None:
        self._reports.outcome(key, outcome)

    def _standing_refusal(self, key: services.ServiceKey) -> tuple[services.Service, reasons.Refusal] | None:
        service, refusal = self._world.services.get(key), self._reconciler.refusal(key)
        if service is None or refusal is None or not self._reconciler.tells(service, refusal):
            return None
        return service, refusal

    def _report_failed(self, key: services.ServiceKey, error: Exception) -> None:
        self._instruments.update_errors.inc()
        LOG.warn("could not report; trying again", service=str(key), error=error)

    # Membership

    async def _wait_key(self) -> bytes | None:
        """The key, once its file can be read: the Secret may come later than the pod."""
        folder = self._settings.key_folder
        while folder is not None:
            try:
                return keyring.read(folder)
            except OSError as error:
                if not self._problem:
                    LOG.warn("cannot read the membership key; waiting for it", error=error)
                self._problem = f"cannot read the membership key: {error}"
                await self._clock.sleep(KEY_RETRY_SECONDS)
        return None

    async def _start_membership(self) -> None:
        settings = self._settings
        key = await self._wait_key()
        if key is None:
            LOG.warn("membership is not encrypted: there is no key")
        else:
            self._rotation = keyring.Rotation(key)
        self._process.start_membership(
            settings.node,
            bind_address=settings.member_address,
            advertise_address=settings.member_advertised,
            port=settings.member_port,
            profile=settings.member_profile,
            override=settings.member_override,
            keys=(key,) if key else (),
        )

    async def _watch_key(self) -> None:
        """Follow the Secret's file: a changed key is phased in."""
        assert self._settings.key_folder is not None
        assert self._rotation is not None
        keys = self._rotation.keys(self._clock.monotonic())
        while True:
            await self._clock.sleep(KEY_CHECK_SECONDS)
            try:
                key = keyring.read(self._settings.key_folder)
            except OSError as error:
                LOG.warn("cannot read the membership key; going on with the one there is", error=error)
                continue
            now = self._clock.monotonic()
            if key is None:
                continue
            self._rotation.observe(key, now)
            if self._rotation.keys(now) != keys:
                keys = self._rotation.keys(now)
                LOG.info("membership keys changed", accepted=len(keys))
                self._process.set_keys(keys)
