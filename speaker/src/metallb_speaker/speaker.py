"""One speaker put together: informers and the deadline process feed the world, the reconciler decides, reports tell.

- An event says only what may have changed; an index says which Services that can affect.
- A change of members, links or nodes may affect every Service: one sweep over those that have an address, without waiting for anything.
- Nothing is announced before every informer that it depends on has synced and, over layer 2 with membership, before its word counts.
"""

import asyncio
import random
import re
from collections.abc import Iterable, Mapping

from metallb_core.announcement import routes as books
from metallb_core.api import v1beta1, workloads
from metallb_core.domain import addresses, endpoints, interfaces, nodes, reasons, services
from metallb_core.kube import client as clients
from metallb_core.kube import events, instruments, ownership
from metallb_core.runtime import clock, heap, log, supervise
from metallb_speaker import (
    capability,
    compiling,
    configuration,
    draining,
    gauges,
    joining,
    peers,
    place,
    reconcile,
    reports,
    sources,
    world,
)
from metallb_speaker.bfd import settings as bfd_settings
from metallb_speaker.bgp import advertising
from metallb_speaker.bgp import gauges as bgp_gauges
from metallb_speaker.deadline import client as deadline
from metallb_speaker.layer2 import claims, link
from metallb_speaker.status import objects, writers

LOG = log.get("speaker")
# What a restarted speaker said before it restarted is put right when its sessions have had the time to come back.
RESTORE_SECONDS = 10.0
# How long a status object of a Service that is announced from here stays as somebody else left it.
DISPUTED_SECONDS = 5.0


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
        where: place.Place,
        *,
        client: clients.Client,
        clock: clock.Clock,
        registry_metrics: gauges.Metrics,
        session_metrics: bgp_gauges.Sessions,
        shared_metrics: instruments.Instruments,
        recorder: events.EventRecorder,
        owner: ownership.Owner,
    ) -> None:
        self._place = where
        self._clock = clock
        self._metrics = registry_metrics
        self._session_metrics = session_metrics
        self._instruments = shared_metrics
        self._recorder = recorder
        self._exclude = tuple(re.compile(pattern) for pattern in where.exclude)
        self._stopping = False
        self._usable: interfaces.Usable | None = None
        # Set once it is known who is alive: before that nothing is decided over layer 2, so nothing is given up either.
        self._counts = asyncio.Event()
        self._is_advertising = False
        # Until then a session that is not established may be about to come back.
        self._sessions_back_at = 0.0
        self._process_task: asyncio.Task[None] | None = None
        self._problem = ""
        self._process = deadline.Client(
            on_links=self._links_changed,
            on_members=self._members_changed,
            on_counters=self._counted,
            on_conflict=self._conflicting,
            on_bfd=self._paths_changed,
            on_bfd_counters=session_metrics.counted,
            on_warning=self._warned,
            on_exit=self._exited,
            linger=where.linger,
        )
        self._sources = sources.Sources(
            client,
            clock=clock,
            namespace=where.namespace,
            node=where.node,
            member_labels=where.member_labels if where.has_members else "",
            on_service=self._service_changed,
            on_server_back=self._server_is_back,
            on_slice=self._slice_changed,
            on_node=self._node_changed,
            on_pool=self._pool_changed,
            on_configuration=self._configuration_changed,
            on_layer2_status=self._layer2_status_changed,
            on_bgp_status=self._bgp_status_changed,
            on_pod=self._pod_changed,
        )
        self._world = world.World(
            self._sources.stores(),
            ignore_exclude_label=where.ignore_exclude_label,
            drain_taint=where.drain_taint,
        )
        if where.has_members:
            # Until membership's word counts nobody is alive, this node included.
            self._world.set_members({})
        book = books.Book()
        self._advertising = advertising.Advertising(
            clock=clock,
            random=random.Random(),
            node=where.node,
            namespace=where.namespace,
            book=book,
            watch=self._watch_paths,
            on_session=self._session_changed,
            on_told=self._peer_told,
            on_conditions=self._conditions_changed,
        )
        session_metrics.read = lambda: self._advertising.sessions().values()
        self._reconciler = reconcile.Reconciler(
            node=where.node,
            load_balancer_class=where.load_balancer_class,
            seen=self._world,
            responder=_Responder(self._process),
            sessions=self._advertising,
            book=book,
            on_outcome=self._decided,
        )
        self._bgp_writer = writers.of_bgp(
            client,
            namespace=where.namespace,
            node=where.node,
            owner=owner,
            observed=self._sources.bgp_statuses.store,
            told=self._advertising.told,
        )
        self._draining = draining.Draining(clock, where.bgp_drain, self._leaving_changed)
        self._reports = reports.Reports(
            node=where.node,
            clock=clock,
            recorder=recorder,
            metrics=registry_metrics,
            write_layer2=writers.of_layer2(
                client,
                namespace=where.namespace,
                node=where.node,
                owner=owner,
                observed=self._sources.layer2_statuses.store,
                announced=self._reconciler.announced.get,
            ).write,
            write_bgp=self._settle_bgp_status,
            refusal=self._standing_refusal,
            on_error=self._report_failed,
        )
        self._state = configuration.State(client, clock, namespace=where.namespace, node=where.node, owner=owner)
        self._state.started(ignores_exclude_label=where.ignore_exclude_label, drain_taint=where.drain_taint)
        self._compiling = compiling.Compiling(
            clock=clock,
            node=where.node,
            followed=self._sources,
            seen=self._world,
            advertising=self._advertising,
            instruments=shared_metrics,
            on_configured=self._state.configured,
            on_changed=self._config_changed,
        )
        self._peers = peers.Peers(
            own_address=where.member_advertised or where.member_address,
            clock=clock,
            pods=self._sources.pods.store,
            join=self._process.join,
            on_members=self._members_count,
        )
        self._joining = joining.Joining(
            clock=clock,
            process=self._process,
            others=self._peers,
            key_folder=where.key_folder,
            start=self._start_member,
            on_problem=self._set_problem,
        )

    # Assembly

    def parts(self) -> list[supervise.Part]:
        """What runs, in the order of starting; what hands over comes last, so that it stops first."""
        return [
            *self._sources.parts(),
            supervise.Part(name="events", run=self._recorder.run),
            supervise.Part(name="layer 2 status objects", run=self._write_layer2_statuses),
            supervise.Part(name="BGP status objects", run=self._write_bgp_statuses),
            supervise.Part(name="refusals", run=self._reports.refusals.run),
            *self._state.parts(),
            supervise.Part(name="configuration", run=self._compiling.run),
            supervise.Part(name="draining", run=self._draining.run),
            supervise.Part(name="announcing", run=self._reconciler.run),
            supervise.Part(name="layer 2", run=self._open_layer2, finite=True),
            supervise.Part(name="BGP", run=self._open_bgp, finite=True),
            supervise.Part(name="deadline process", run=self._run_process, stop=self._stop_process),
            supervise.Part(name="BGP sessions", run=self._advertising.run, stop=self._stop_sessions),
        ]

    def failing(self) -> dict[str, str]:
        """What keeps this speaker from being ready, by name."""
        found = self._sources.failing()
        if not found and not self._counts.is_set():
            found["announcing"] = self._problem or ("waiting for membership" if self._place.has_members else "starting")
        if self._process.pid is None:
            found["deadline process"] = "not running"
        return found

    # Running

    async def _write_layer2_statuses(self) -> None:
        await self._sources.layer2_statuses.wait_synced()
        await self._reports.statuses.run()

    async def _write_bgp_statuses(self) -> None:
        await self._sources.bgp_statuses.wait_synced()
        await self._reports.bgp_statuses.run()

    async def _settle_bgp_status(self, key: services.ServiceKey) -> float | None:
        left = self._sessions_back_at - self._clock.monotonic()
        if left > 0 and key in self._reconciler.book and not self._advertising.told(key):
            # What was said before a restart stays meanwhile: it would be deleted and made again, on every node for every Service.
            return left
        await self._bgp_writer.write(key)
        return None

    async def _run_process(self) -> None:
        self._process_task = asyncio.current_task()
        self._process.start()
        await sources.wait_synced(self._sources.layer2)
        if self._place.has_members:
            await self._joining.run()
        else:
            LOG.warn("membership is off: every Node counts as able to announce, so speakers must run on all of them")
            self._counts.set()
        await asyncio.Event().wait()

    async def _stop_process(self) -> None:
        """Leave first: the next owner announces while this one still answers."""
        self._stopping = True
        await self._process.wait_stopped(self._place.linger)
        if self._process_task is not None:
            self._process_task.cancel()

    async def _stop_sessions(self) -> None:
        await self._advertising.wait_stopped(self._place.bgp_drain)

    async def _open_layer2(self) -> None:
        await sources.wait_synced(self._sources.layer2)
        self._compiling.configure()
        await self._counts.wait()
        heap.freeze()
        self._reconciler.open(reconcile.Protocol.LAYER2)
        await self._reconciler.drain()
        # What this node said before its restart is put right now, when it is known what is right.
        await self._sources.layer2_statuses.wait_synced()
        for status in self._sources.layer2_statuses.store.values():
            self._reports.statuses.add(objects.service_of(status))

    async def _open_bgp(self) -> None:
        await sources.wait_synced(self._sources.bgp)
        self._compiling.configure()
        self._sessions_back_at = self._clock.monotonic() + RESTORE_SECONDS
        self._reconciler.open(reconcile.Protocol.BGP)
        await self._reconciler.drain()
        self._advertising.initial_complete()
        self._is_advertising = True
        await self._sources.bgp_statuses.wait_synced()
        for status in self._sources.bgp_statuses.store.values():
            self._reports.bgp_statuses.add_after(objects.service_of(status), RESTORE_SECONDS)

    def _config_changed(self) -> None:
        self._process.configure(self._world.intervals(), self._place.exclude)
        self._reconciler.mark_all()

    # What informers say

    def _server_is_back(self) -> None:
        self._reports.retry_failed()

    def _service_changed(self, key: services.ServiceKey, _old: object, _new: object) -> None:
        self._instruments.updates.inc()
        self._reconciler.mark(key)

    def _slice_changed(
        self, _key: object, old: endpoints.EndpointSlice | None, new: endpoints.EndpointSlice | None
    ) -> None:
        for piece in (old, new):
            if piece is not None:
                self._reconciler.mark(piece.service)

    def _node_changed(self, key: str, old: nodes.Node | None, new: nodes.Node | None) -> None:
        # A kubelet's heartbeat changes nothing that is kept of a Node.
        if not self._world.node_matters(old, new):
            return
        self._world.forget_view()
        if key == self._place.node:
            self._compiling.due()
            advertises = len(self._reconciler.book) > 0
            self._draining.observe(drained=self._world.drains(key), advertises=advertises)
        self._reconciler.mark_all()

    def _pool_changed(self, _key: object, old: v1beta1.IPAddressPool | None, new: v1beta1.IPAddressPool | None) -> None:
        # Counters in its status change with every allocation and mean nothing here.
        if old is None or new is None or (old.spec, old.metadata.labels) != (new.spec, new.metadata.labels):
            self._compiling.due()

    def _configuration_changed(self, *_: object) -> None:
        self._compiling.due()

    def _layer2_status_changed(
        self, _key: object, old: v1beta1.ServiceL2Status | None, new: v1beta1.ServiceL2Status | None
    ) -> None:
        found = new or old
        if found is None or not self._counts.is_set():
            return
        key = objects.service_of(found)
        if key in self._reconciler.announced:
            # Not at once: two nodes that do not hear each other both announce, and each would delete the other's word as fast as it is written.
            self._reports.statuses.add_after(key, DISPUTED_SECONDS)
        elif objects.node_of(found) == self._place.node:
            self._reports.statuses.add(key)

    def _bgp_status_changed(
        self, _key: object, old: v1beta1.ServiceBGPStatus | None, new: v1beta1.ServiceBGPStatus | None
    ) -> None:
        found = new or old
        if found is not None and self._is_advertising:
            self._reports.bgp_statuses.add(objects.service_of(found))

    def _pod_changed(self, _key: object, _old: workloads.Pod | None, _new: workloads.Pod | None) -> None:
        self._peers.pods_changed()

    # What the deadline process says

    def _links_changed(self, table: link.Table) -> None:
        usable = table.announcing(self._exclude)
        if usable == self._usable:
            # Every pod that comes or goes brings or takes a link, none of which matters to a Service.
            return
        self._usable = usable
        LOG.debug("links", ipv4=sorted(usable.ipv4), ipv6=sorted(usable.ipv6))
        self._world.set_own_links(self._place.node, usable)
        self._state.links(usable)
        self._reconciler.mark_all()

    def _members_changed(self, members: Mapping[str, bytes]) -> None:
        # While leaving, membership empties; the addresses are answered for until the next owner is heard.
        if not self._stopping:
            self._peers.report({name: capability.decode(meta) for name, meta in members.items()})

    def _members_count(self, members: peers.Members) -> None:
        LOG.info("members", alive=sorted(members))
        self._problem = ""
        self._world.set_members(members)
        self._counts.set()
        self._reconciler.mark_all()

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

    def _watch_paths(self, configs: Iterable[bfd_settings.Config]) -> None:
        wanted = tuple(configs)
        self._session_metrics.watched(wanted)
        self._process.bfd(wanted)

    def _paths_changed(self, statuses: Mapping[str, bfd_settings.Status]) -> None:
        self._session_metrics.paths(statuses)
        self._advertising.paths_changed(statuses)

    def _warned(self, text: str) -> None:
        # Shown in /readyz too, while it may be what keeps this speaker from starting.
        self._problem = text
        LOG.warn(text)

    def _set_problem(self, text: str) -> None:
        self._problem = text

    def _exited(self, status: int) -> None:
        if not self._stopping:
            LOG.error("the deadline process ended and is started again", status=status)
            self._peers.restarted()

    # What is decided, and what becomes of it

    def _decided(self, key: services.ServiceKey, outcome: reconcile.Outcome) -> None:
        self._reports.outcome(key, outcome)

    def _standing_refusal(self, key: services.ServiceKey) -> tuple[services.Service, reasons.Refusal] | None:
        service = self._world.services.get(key)
        refusal = self._reconciler.tells(service) if service is not None else None
        return (service, refusal) if service is not None and refusal is not None else None

    def _report_failed(self, key: services.ServiceKey, error: Exception) -> None:
        self._instruments.update_errors.inc()
        LOG.warn("could not report; trying again", service=str(key), error=error)

    def _leaving_changed(self, leaving: bool) -> None:
        self._world.set_leaving(leaving)
        self._reconciler.mark_all()

    def _session_changed(self, name: str, established: bool) -> None:
        if not established:
            # It was there since the restart, so what is said of it now is no leftover.
            self._sessions_back_at = 0.0
        advertised = self._reconciler.book.keys()
        (self._reports.session_found if established else self._reports.session_lost)(advertised)

    def _peer_told(self, _name: str) -> None:
        self._reports.peer_told(settled=self._advertising.settled)

    def _conditions_changed(self) -> None:
        self._state.sessions(self._advertising.conditions())

    def _start_member(self, keys: tuple[bytes, ...]) -> None:
        where = self._place
        self._process.start_membership(
            where.node,
            bind_address=where.member_address,
            advertise_address=where.member_advertised,
            port=where.member_port,
            profile=where.member_profile,
            override=where.member_override,
            keys=keys,
        )
