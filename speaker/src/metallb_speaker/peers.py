"""Finding the other speakers, and knowing when membership's word counts.

- The other speakers' pods are the members to join; a pod that appears is joined at once, all of them again every minute, since a partition heals
  only when somebody calls.
- While fewer members are alive than there are pods, some of the pods are called in turn every ten seconds. Either somebody is dead, and that
  costs little; or the cluster is parted, and an address may have two owners until somebody gets through.
- A member that has just started sees only itself. Taking that for the truth, it would claim every address. So a lone report counts only when
  there is no other pod to join, or when joining has had its time; after that, being alone is news like any other.
"""

import asyncio
from collections.abc import Callable, Mapping

from metallb_core.api import workloads
from metallb_core.domain import interfaces
from metallb_core.kube import store
from metallb_core.runtime import clock

REJOIN_SECONDS = 60.0
RECALL_SECONDS = 10.0
# Each call exchanges the whole state. Among hundreds of speakers, everybody calling everybody would be the larger trouble.
RECALLED_AT_ONCE = 8
SETTLE_SECONDS = 3.0
Members = Mapping[str, interfaces.Usable | None]


class Peers:
    """See the module. `join(hosts)` calls them; `on_members` gets every report that counts."""

    def __init__(
        self,
        *,
        own_address: str,
        clock: clock.Clock,
        pods: store.Store[tuple[str, str], workloads.Pod],
        join: Callable[[tuple[str, ...]], None],
        on_members: Callable[[Members], None],
    ) -> None:
        self._own_address = own_address
        self._clock = clock
        self._pods = pods
        self._join = join
        self._on_members = on_members
        self._settled = False
        self._waiting_since: float | None = None
        self._latest: Members = {}
        self._turn = 0
        self._changed = asyncio.Event()

    def hosts(self) -> tuple[str, ...]:
        """The addresses of the other speakers' pods."""
        found = {pod.status.pod_ip for pod in self._pods.values()} - {"", self._own_address}
        return tuple(sorted(found))

    def pods_changed(self) -> None:
        """A speaker's pod came, went or got its address."""
        self._changed.set()

    def report(self, members: Members) -> None:
        """Membership reports who is alive, this node included."""
        self._latest = members
        if not self._settled:
            now = self._clock.monotonic()
            if self._waiting_since is None:
                self._waiting_since = now
            if len(members) < 2 and self.hosts() and now - self._waiting_since < SETTLE_SECONDS:
                self._changed.set()
                return
            self._settled = True
        self._on_members(members)

    def restarted(self) -> None:
        """The member was started anew: what it reports first does not count."""
        self._settled, self._waiting_since = False, None

    async def run(self) -> None:
        """Join whom there is to join, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._call_all())
            group.create_task(self._recall())

    async def _recall(self) -> None:
        while True:
            await self._clock.sleep(RECALL_SECONDS)
            hosts = self.hosts()
            # The report counts this node too, the hosts do not.
            if not hosts or not self._settled or len(self._latest) > len(hosts):
                continue
            start = self._turn % len(hosts)
            chosen = (*hosts[start:], *hosts[:start])[:RECALLED_AT_ONCE]
            self._turn = start + len(chosen)
            self._join(chosen)

    async def _call_all(self) -> None:
        while True:
            hosts = self.hosts()
            if hosts:
                self._join(hosts)
            self._changed.clear()
            pause = REJOIN_SECONDS if self._settled else SETTLE_SECONDS
            waiting = asyncio.ensure_future(self._changed.wait())
            try:
                await clock.wait_done(self._clock, waiting, pause)
            finally:
                waiting.cancel()
            if not self._settled and self._waiting_since is not None:
                self.report(self._latest)
            # Pods come in bunches: one call for all of them.
            await self._clock.sleep(0.05)
