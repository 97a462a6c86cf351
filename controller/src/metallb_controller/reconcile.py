"""Give Services their addresses: decide, reserve, write, report.

- One key is never handled twice at once; between reading the ledger and reserving in it nothing awaits, so two keys never get one address.
- A write carries the version the decision was made on: a Service that changed meanwhile is decided anew, not overwritten. So whatever the
  informer shows next settles whether the write took place, and ends the reservation.
- While the informer still shows the version that was written on, there is nothing to decide: the key comes back with the news.
- A write that failed keeps its reservation, whatever the answer was: an earlier one, whose answer was lost, may have taken place, and giving the
  address to somebody else would give it twice. When there is nothing more to write, the standing state is written once more: the server's answer
  tells whether that changed anything.
- An address that goes though nobody asked for it stays until that has been so for a while (`converge.Plan.hold`), and while all of this may be
  on its way out: pools that go with the installation take no address with them.
- An Event tells of a change once; that a resync reaches the same conclusion is no news.
- The condition `metallb.io/Allocated` goes into the patch of the address, and into a patch of its own only where nothing else changes. It is a
  strategic merge patch, so conditions of other writers stay.
"""

from collections.abc import Awaitable, Callable, Iterable

from metallb_controller.conditions import allocated
from metallb_core.allocation import converge, ledger, request, waiting
from metallb_core.api import conditions as wires
from metallb_core.config import compiled
from metallb_core.domain import conditions, services
from metallb_core.kube import client as clients
from metallb_core.kube import errors, events, resources, store
from metallb_core.runtime import clock, log

LOG = log.get("allocation")
LOOK_AGAIN_SECONDS = 1.0
UNSEEN_POOL_SECONDS = 30.0
"""So long after the start of leading an address stays that is of a pool never seen here: several tools may apply pools, each in its time."""


def patch(
    service: services.Service, plan: converge.Plan, told: list[dict[str, str]] | None = None
) -> dict[str, object]:
    """The status patch that makes `plan` true: addresses, annotation and conditions together, on the version that was decided on."""
    ingress = [{"ip": str(address)} for address in plan.addresses]
    return {
        "metadata": {
            "resourceVersion": service.resource_version,
            "annotations": {request.ALLOCATED_FROM: plan.pool},
        },
        "status": {"loadBalancer": {"ingress": ingress or None}, **({"conditions": told} if told else {})},
    }


def patch_of_conditions(service: services.Service, told: list[dict[str, str]]) -> dict[str, object]:
    """The status patch that changes conditions and nothing else."""
    return {"metadata": {"resourceVersion": service.resource_version}, "status": {"conditions": told}}


def _seniority(service: services.Service) -> tuple[bool, str, services.ServiceKey]:
    return bool(request.annotation(service, request.SHARE)), service.created, service.key


class Reconciler:
    """See the module. `stands()`: whether this installation is there to stay, so that its pools are gone because somebody meant it.

    `requeue(keys)` has Services looked at again; `on_latency(seconds)` hears how long each first address took.
    """

    def __init__(
        self,
        *,
        client: clients.Client,
        clock: clock.Clock,
        recorder: events.EventRecorder,
        stored: store.Store[services.ServiceKey, services.Service],
        load_balancer_class: str,
        stands: Callable[[], Awaitable[bool]],
        requeue: Callable[[Iterable[services.ServiceKey]], None],
        on_pools: Callable[[frozenset[str]], None],
        on_latency: Callable[[float], None],
    ) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._services = stored
        self._class = load_balancer_class
        self._stands = stands
        self._requeue = requeue
        self._on_pools = on_pools
        self._on_latency = on_latency
        self._config = compiled.EMPTY
        self._written_on: dict[services.ServiceKey, str] = {}
        self._noticed: dict[services.ServiceKey, float] = {}
        # Names of all pools that were ever in force here.
        self._pools_seen: set[str] = set()
        self._began = float("-inf")
        # Services that lose an address unless that is cured: since when, and for how long that has to be so.
        self._losing: dict[services.ServiceKey, tuple[float, float]] = {}
        self._told: dict[services.ServiceKey, frozenset[converge.EventIntent]] = {}
        # Services that belong to another class since a moment ago, and the conditions they had when they were ours.
        self._leaving: dict[services.ServiceKey, tuple[conditions.Condition, ...]] = {}
        self._waiting = waiting.Waiting()
        self.book = ledger.Ledger()

    # What changes from outside

    def begin(self, config: compiled.Config) -> None:
        """Start from what is observed: assigned Services first, the oldest first, so that none loses its address to a newcomer.

        Those that share nothing come before those that do: of a clash left by an interrupted change, the sharer was the one to move.
        """
        self.book = ledger.Ledger()
        self._written_on.clear()
        self._losing.clear()
        self._began = self._clock.monotonic()
        self._waiting = waiting.Waiting()
        self._config = config
        self.book.set_pools(config.pools)
        self._pools_seen |= config.pools.keys()
        for service in sorted(self._services.values(), key=_seniority):
            if converge.is_ours(service, self._class):
                self.book.observe(service)
        self._on_pools(frozenset(config.pools))
        queue = sorted(self._services.values(), key=lambda each: (not each.ingress, each.created, each.key))
        self._requeue([service.key for service in queue])

    def configure(self, config: compiled.Config) -> None:
        """A new configuration is in force: look again at the Services it can affect, those that hold addresses of changed pools first."""
        before, self._config = self._config, config
        self._pools_seen |= config.pools.keys()
        changed = self.book.set_pools(config.pools) | (before.left_out ^ config.left_out)
        if not changed:
            return
        self._touched(changed, woken=False)
        affected = [
            service.key
            for service in self._services.values()
            if (service.ingress and request.annotation(service, request.ORIGIN) in changed)
            or any((pool := self.book.pool_of(address)) is None or pool.name in changed for address in service.ingress)
        ]
        self._requeue([*affected, *self._waiting.all()])

    def observed(
        self, key: services.ServiceKey, old: services.Service | None, service: services.Service | None
    ) -> None:
        """The informer shows a Service anew; `old` is what it showed before."""
        self._leaving.pop(key, None)
        if service is None or not converge.is_ours(service, self._class):
            touched = self.book.forget(key)
            self._forget(key)
            if service is not None and old is not None and converge.is_ours(old, self._class):
                self._leaving[key] = old.conditions
        else:
            touched = self.book.observe(service)
        self._touched(touched)

    # One Service

    async def reconcile(self, key: services.ServiceKey) -> float | None:
        """Make one Service right; in how many seconds to look at it again, if at all. Raises ApiError and Unreachable, to be tried again."""
        service = self._services.get(key)
        if service is None or service.deleting or self._written_on.get(key) == service.resource_version:
            return None
        if not converge.is_ours(service, self._class):
            await self._leave(service)
            return None
        plan = self._plan(service)
        self._wait_or_not(service, plan)
        too_early = self._too_early(service, plan)
        if too_early is not None:
            return too_early
        if plan.hold >= converge.POOL_SECONDS:
            if not await self._stands():
                return LOOK_AGAIN_SECONDS
            if self._services.get(key) is not service or self._plan(service) != plan:
                # The API server was asked, and meanwhile somebody else may have got what was meant for this one.
                return 0.0
        unsettled = self.book.reserved(key)
        told = self._news(service, plan)
        if plan.write or (unsettled and unsettled != plan.addresses):
            if plan.addresses:
                self._noticed.setdefault(key, self._clock.monotonic())
                # A reservation may take an address that others hope for, and frees none.
                self._on_pools(self.book.reserve(service, plan.addresses))
            version = await self._write(service, patch(service, plan, told))
            if version is None:
                return None
            self._losing.pop(key, None)
            if version != service.resource_version:
                self._assigned(service, plan)
            told = []
        self._tell(service, plan)
        if told:
            await self._write(service, patch_of_conditions(service, told))
        return None

    def _plan(self, service: services.Service) -> converge.Plan:
        return converge.converge(service, self.book, self._config.pools.values(), left_out=self._config.left_out)

    def _too_early(self, service: services.Service, plan: converge.Plan) -> float | None:
        """In how many seconds to look again, where an address goes that nobody asked to go; None where it is time."""
        if not plan.hold:
            self._losing.pop(service.key, None)
            return None
        now = self._clock.monotonic()
        since, hold = self._losing.get(service.key, (now, 0.0))
        if hold != plan.hold:
            since = now
            self._losing[service.key] = since, plan.hold
            why = "; ".join(event.message for event in plan.events if event.reason == "ClearAssignment")
            LOG.warn("about to lose an address", service=str(service.key), why=why)
        until = since + plan.hold
        origin = request.annotation(service, request.ORIGIN)
        if plan.hold >= converge.POOL_SECONDS and origin and origin not in self._pools_seen:
            until = max(until, self._began + UNSEEN_POOL_SECONDS)
        return until - now if until > now else None

    async def _leave(self, service: services.Service) -> None:
        """Take our conditions off a Service that is not ours, unless whoever it belongs to now has written them."""
        kinds = allocated.stale(service)
        if kinds and (not service.is_load_balancer or self._leaving.get(service.key) == service.conditions):
            await self._write(service, patch_of_conditions(service, [wires.remove(kind) for kind in kinds]))
        self._leaving.pop(service.key, None)

    async def _write(self, service: services.Service, body: dict[str, object]) -> str | None:
        """Write; the version that stands now, None for a Service that changed meanwhile. Raises ApiError, Unreachable."""
        key = service.key
        self._written_on[key] = service.resource_version
        try:
            answer = await self._client.strategic_patch(
                resources.SERVICES, key.name, key.namespace, body, subresource="status"
            )
        except errors.ApiError as error:
            self._written_on.pop(key, None)
            if error.conflict or error.not_found:
                # The Service changed or went; the informer brings the news, and the key with it.
                return None
            raise
        except errors.Unreachable:
            self._written_on.pop(key, None)
            raise
        if answer.metadata.resource_version == service.resource_version:
            # Nothing changed, so the informer will show nothing, and no earlier write took place either.
            self._written_on.pop(key, None)
            shown = self._services.get(key)
            if shown is not None and shown.resource_version == service.resource_version:
                self._touched(self.book.observe(shown))
        return answer.metadata.resource_version

    # Consequences

    def _news(self, service: services.Service, plan: converge.Plan) -> list[dict[str, str]]:
        """The conditions to write or to take out, for a strategic merge patch."""
        if not service.is_load_balancer:
            return [wires.remove(kind) for kind in allocated.stale(service)]
        wanted = allocated.wanted(service, plan)
        now = clock.rfc3339(self._clock.now())
        return [wires.write(each) for each in conditions.changed(wanted, service.conditions, now)]

    def _assigned(self, service: services.Service, plan: converge.Plan) -> None:
        """Addresses were written."""
        LOG.info(
            "assigned" if plan.addresses else "cleared",
            service=str(service.key),
            addresses=[str(address) for address in plan.addresses],
            pool=plan.pool or "",
        )
        noticed = self._noticed.pop(service.key, None)
        if noticed is not None and not service.ingress:
            self._on_latency(self._clock.monotonic() - noticed)

    def _wait_or_not(self, service: services.Service, plan: converge.Plan) -> None:
        if plan.waits_for is not None and not plan.waits_for:
            self._waiting.remove(service.key)
        else:
            self._waiting.put(service.key, service.created, plan.waits_for)

    def _touched(self, names: frozenset[str], *, woken: bool = True) -> None:
        if not names:
            return
        self._on_pools(names)
        if woken:
            self._requeue(self._waiting.for_pools(names))

    def _tell(self, service: services.Service, plan: converge.Plan) -> None:
        told = self._told.get(service.key, frozenset())
        now = frozenset(plan.events)
        for event in plan.events:
            if event not in told or plan.write:
                self._recorder.emit(events.service_reference(service), event.type, event.reason, event.message)
        if now:
            self._told[service.key] = now
        else:
            self._told.pop(service.key, None)
        if plan.refusal is not None and now - told:
            LOG.warn(
                "not as asked for", service=str(service.key), code=plan.refusal.reason.code, why=plan.refusal.detail
            )

    def _forget(self, key: services.ServiceKey) -> None:
        self._waiting.remove(key)
        self._written_on.pop(key, None)
        self._noticed.pop(key, None)
        self._losing.pop(key, None)
        self._told.pop(key, None)
        self._leaving.pop(key, None)
