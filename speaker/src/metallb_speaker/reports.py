"""Tell people what was decided: status objects, Events, metrics. Everything here may wait; nothing here decides.

- A Service that this node begins to announce gets one Event for each protocol; the same again after a resync does not.
- A refusal is told when it has stood for `STANDING_SECONDS`, since most are over in a moment (no endpoint is ready yet), and by one node.
- Which peers have a route is known when it was sent, a moment after the decision: a Service whose routes changed is looked at again whenever
  a peer was told something, until all were told everything. A session that was lost is often back at once, so that waits.
"""

from collections.abc import Awaitable, Callable, Iterable

from metallb_core.domain import addresses, reasons, services
from metallb_core.kube import events
from metallb_core.runtime import clock, workqueue
from metallb_speaker import gauges, reconcile

STANDING_SECONDS = 5.0
# One that drops once is tried again within a second, and has then to be told everything.
LOST_SECONDS = 3.0
# How often at most all that is not settled is looked at: one peer may take minutes over ten thousand routes, while the others are told news.
UNSETTLED_SECONDS = 1.0
WRITERS = 4

Queue = workqueue.Workqueue[services.ServiceKey]
Write = Callable[[services.ServiceKey], Awaitable[float | None]]


class Reports:
    """See the module.

    - `write_layer2(key)`, `write_bgp(key)`: make the status objects of a Service true.
    - `refusal(key)`: the Service, and why nobody announces it, if this node is the one to tell.
    """

    def __init__(
        self,
        *,
        node: str,
        clock: clock.Clock,
        recorder: events.EventRecorder,
        metrics: gauges.Metrics,
        write_layer2: Write,
        write_bgp: Write,
        refusal: Callable[[services.ServiceKey], tuple[services.Service, reasons.Refusal] | None],
        on_error: Callable[[services.ServiceKey, Exception], None],
    ) -> None:
        self._node = node
        self._recorder = recorder
        self._metrics = metrics
        self._refusal = refusal
        self._shown: dict[tuple[services.ServiceKey, reconcile.Protocol], tuple[addresses.Address, ...]] = {}
        self._told: dict[services.ServiceKey, reasons.Refusal] = {}
        # Services whose routes changed, and which some peer may not have been told of yet.
        self._unsettled: set[services.ServiceKey] = set()
        self.statuses: Queue = workqueue.Workqueue(clock, workers=WRITERS, handler=write_layer2, on_error=on_error)
        self.bgp_statuses: Queue = workqueue.Workqueue(clock, workers=WRITERS, handler=write_bgp, on_error=on_error)
        self.refusals: Queue = workqueue.Workqueue(clock, workers=1, handler=self._tell, on_error=on_error)

    def retry_failed(self) -> None:
        """Write now what could not be written: the API server is back."""
        for queue in (self.statuses, self.bgp_statuses):
            queue.retry_failed()

    def outcome(self, key: services.ServiceKey, outcome: reconcile.Outcome) -> None:
        """A decision about a Service changed."""
        place = (key, outcome.protocol)
        self._metrics.announced(key, outcome.protocol, self._shown.get(place, ()), outcome.addresses)
        if outcome.addresses:
            self._shown[place] = outcome.addresses
        else:
            self._shown.pop(place, None)
        if outcome.turned:
            if outcome.protocol is reconcile.Protocol.LAYER2:
                self._metrics.owner_changes.inc()
            if outcome.addresses and outcome.service is not None:
                self._recorder.emit(
                    events.service_reference(outcome.service),
                    "Normal",
                    "nodeAssigned",
                    f'announcing from node "{self._node}" with protocol "{outcome.protocol.value}"',
                )
        if outcome.protocol is reconcile.Protocol.LAYER2:
            self.statuses.add(key)
        else:
            if outcome.addresses:
                self._unsettled.add(key)
            else:
                # No peer is to be told of it, so that none would ever settle it.
                self._unsettled.discard(key)
            self.bgp_statuses.add(key)
        if outcome.refusal is not None and outcome.refusal.reason in reconcile.TELLING:
            self.refusals.add_after(key, STANDING_SECONDS)
        else:
            self._told.pop(key, None)

    def session_found(self, advertised: Iterable[services.ServiceKey]) -> None:
        """A session was established: its peer is about to be told of all these Services."""
        self._unsettled.update(advertised)

    def session_lost(self, advertised: Iterable[services.ServiceKey]) -> None:
        """A session was lost: its peer has none of these any more."""
        for key in advertised:
            self.bgp_statuses.add_after(key, LOST_SECONDS)

    def peer_told(self, *, settled: bool) -> None:
        """A peer was told routes. `settled`: every peer was told everything by now."""
        for key in self._unsettled:
            self.bgp_statuses.add_after(key, 0.0 if settled else UNSETTLED_SECONDS)
        if settled:
            self._unsettled.clear()

    async def _tell(self, key: services.ServiceKey) -> None:
        found = self._refusal(key)
        if found is None:
            self._told.pop(key, None)
            return
        service, refusal = found
        if self._told.get(key) == refusal:
            return
        self._told[key] = refusal
        self._recorder.emit(events.service_reference(service), "Warning", "announceFailed", str(refusal))
