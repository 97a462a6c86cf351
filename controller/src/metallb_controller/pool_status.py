"""The counters in the status of each IPAddressPool: written when they differ, at most about once a second for each pool.

A burst of a thousand allocations is a thousand changes of one counter; a reader wants the last.
"""

from collections.abc import Callable

from metallb_core.allocation import usage
from metallb_core.api import v1beta1
from metallb_core.kube import client as clients
from metallb_core.kube import errors, resources, store
from metallb_core.runtime import clock, workqueue

PAUSE_SECONDS = 1.0


class Writer:
    """See the module. `usage_of(name)` gives the counts of a pool in force, None for one that is not."""

    def __init__(
        self,
        client: clients.Client,
        clock: clock.Clock,
        namespace: str,
        pools: store.Store[tuple[str, str], v1beta1.IPAddressPool],
        usage_of: Callable[[str], usage.Usage | None],
        on_error: Callable[[str, Exception], None],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._pools = pools
        self._usage_of = usage_of
        self.queue: workqueue.Workqueue[str] = workqueue.Workqueue(
            clock, workers=2, handler=self._write, on_error=on_error
        )

    def changed(self, names: frozenset[str]) -> None:
        """The counts of these pools may have changed."""
        for name in names:
            self.queue.add_after(name, PAUSE_SECONDS)

    async def _write(self, name: str) -> None:
        pool, counts = self._pools.get((self._namespace, name)), self._usage_of(name)
        if pool is None or counts is None:
            return
        wanted = v1beta1.IPAddressPoolStatus(
            assigned_ipv4=counts.assigned_ipv4,
            assigned_ipv6=counts.assigned_ipv6,
            available_ipv4=usage.wire(counts.available_ipv4),
            available_ipv6=usage.wire(counts.available_ipv6),
        )
        if pool.status == wanted:
            return
        try:
            await self._client.merge_patch(
                resources.IP_ADDRESS_POOLS, name, self._namespace, {"status": wanted}, subresource="status"
            )
        except errors.ApiError as error:
            if not error.not_found:
                raise
