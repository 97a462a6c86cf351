"""Tell people what was decided: status objects, Events, metrics. Everything here may wait; nothing here decides.

- A Service that this node begins to announce gets one Event; the same again after a resync does not.
- A refusal is told when it has stood for `STANDING_SECONDS`, since most are over in a moment (no endpoint is ready yet), and by one node.
"""

from collections.abc import Callable

from metallb_core.domain import addresses, reasons, services
from metallb_core.kube import events
from metallb_core.runtime import clock, workqueue
from metallb_speaker import gauges, reconcile
from metallb_speaker.status import writer

STANDING_SECONDS = 5.0
WRITERS = 4


class Reports:
    """See the module. `refusal(key)` gives the Service and why it is not announced from here, if this node is the one to tell."""

    def __init__(
        self,
        *,
        node: str,
        clock: clock.Clock,
        recorder: events.EventRecorder,
        metrics: gauges.Metrics,
        statuses: writer.Writer,
        refusal: Callable[[services.ServiceKey], tuple[services.Service, reasons.Refusal] | None],
        on_error: Callable[[services.ServiceKey, Exception], None],
    ) -> None:
        self._node = node
        self._recorder = recorder
        self._metrics = metrics
        self._refusal = refusal
        self._shown: dict[services.ServiceKey, tuple[addresses.Address, ...]] = {}
        self._told: dict[services.ServiceKey, reasons.Refusal] = {}
        self.statuses: workqueue.Workqueue[services.ServiceKey] = workqueue.Workqueue(
            clock, workers=WRITERS, handler=statuses.write, on_error=on_error
        )
        self.refusals: workqueue.Workqueue[services.ServiceKey] = workqueue.Workqueue(
            clock, workers=1, handler=self._tell, on_error=on_error
        )

    def outcome(self, key: services.ServiceKey, outcome: reconcile.Outcome) -> None:
        """A decision about a Service changed."""
        now = outcome.announcement.addresses if outcome.announcement else ()
        self._metrics.announced(key, self._shown.get(key, ()), now)
        if now:
            self._shown[key] = now
        else:
            self._shown.pop(key, None)
        if outcome.owner_changed:
            self._metrics.owner_changes.inc()
            if outcome.announcement is not None and outcome.service is not None:
                self._recorder.emit(
                    events.service_reference(outcome.service),
                    "Normal",
                    "nodeAssigned",
                    f'announcing from node "{self._node}" with protocol "layer2"',
                )
        self.statuses.add(key)
        if outcome.refusal is not None and outcome.refusal.reason in reconcile.TELLING:
            self.refusals.add_after(key, STANDING_SECONDS)
        else:
            self._told.pop(key, None)

    async def _tell(self, key: services.ServiceKey) -> None:
        found = self._refusal(key)
        if found is None:
            return
        service, refusal = found
        if self._told.get(key) == refusal:
            return
        self._told[key] = refusal
        self._recorder.emit(events.service_reference(service), "Warning", "announceFailed", str(refusal))
