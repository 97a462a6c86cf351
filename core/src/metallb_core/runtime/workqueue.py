"""A queue of keys to reconcile.

- A key waits at most once however often it is added, and is never handled twice at once; added while being handled, it runs again afterwards.
- Different keys run concurrently, up to the number of workers; others on the event loop get their turn between two keys.
- A handler that raises puts its key back after a delay of its own, growing from 5 ms to a minute; one that succeeds forgets the failures.
- A handler that returns a number runs again after that many seconds. Of several dates for one key the earliest counts.
- Keys added with `front=True` overtake those that were not: a person waiting for one Service comes before a pass over ten thousand.
"""

import asyncio
import collections
import heapq
import random as _random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from metallb_core.runtime import backoff, clock

K = TypeVar("K", bound=Hashable)

RETRY = backoff.Policy(first=0.005, limit=60.0)


class Workqueue(Generic[K]):
    """See the module. `on_error(key, error)` hears of each failed handling; `on_handled(key, queued, worked)` of each one, in seconds."""

    def __init__(
        self,
        clock: clock.Clock,
        *,
        handler: Callable[[K], Awaitable[float | None]],
        on_error: Callable[[K, Exception], None],
        workers: int = 8,
        retry: backoff.Policy = RETRY,
        random: backoff.Random | None = None,
        on_handled: Callable[[K, float, float], None] | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"a queue needs at least one worker, got {workers}")
        self._clock = clock
        self._handler = handler
        self._on_error = on_error
        self._on_handled = on_handled
        self._workers = workers
        self._retry = retry
        self._random: backoff.Random = random if random is not None else _random.Random()
        # A key is in `_ready` while it waits; the deques may hold stale entries of a key that was moved to the front.
        self._ready: dict[K, tuple[bool, float]] = {}
        self._front: collections.deque[K] = collections.deque()
        self._back: collections.deque[K] = collections.deque()
        self._active: dict[K, bool | None] = {}
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._serial = 0
        self._idle_workers: collections.deque[asyncio.Future[None]] = collections.deque()
        self._timer_changed = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._stopping = False

    @property
    def depth(self) -> int:
        """Keys that wait to be handled now; those with a later date are not counted."""
        return len(self._ready)

    @property
    def delayed(self) -> int:
        """Keys with a later date."""
        return len(self._due)

    def failures(self, key: K) -> int:
        """How often in a row the key has failed."""
        return self._failures.get(key, 0)

    def add(self, key: K, *, front: bool = False) -> None:
        """Have `key` handled as soon as a worker is free."""
        self._due.pop(key, None)
        if key in self._active:
            self._active[key] = bool(self._active[key]) or front
            return
        waiting = self._ready.get(key)
        if waiting is not None:
            if front and not waiting[0]:
                self._ready[key] = (True, waiting[1])
                self._front.append(key)
            return
        self._ready[key] = (front, self._clock.monotonic())
        (self._front if front else self._back).append(key)
        self._quiet.clear()
        self._wake_worker()

    def add_after(self, key: K, delay: float) -> None:
        """Have `key` handled in `delay` seconds; an earlier date or a place in the queue stays as it is."""
        if delay <= 0:
            self.add(key)
            return
        if key in self._ready:
            return
        due = self._clock.monotonic() + delay
        known = self._due.get(key)
        if known is not None and known <= due:
            return
        self._due[key] = due
        self._serial += 1
        heapq.heappush(self._timers, (due, self._serial, key))
        if self._timers[0][2] == key:
            self._timer_changed.set()

    def retry_failed(self) -> None:
        """Have every key that failed handled now, and count failures anew, also of those that are being handled: what they failed of is over."""
        failed, self._failures = self._failures, {}
        for key in failed:
            if key in self._due:
                self.add(key)

    def forget(self, key: K) -> None:
        """Drop the key's failures and later date, for an object that is gone."""
        self._failures.pop(key, None)
        self._due.pop(key, None)

    async def run(self) -> None:
        """Handle keys until cancelled, or until `stop` was called and what was begun is finished."""
        timers = asyncio.ensure_future(self._run_timers())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._work())
        finally:
            timers.cancel()
            await asyncio.gather(timers, return_exceptions=True)

    def stop(self) -> None:
        """Begin nothing more; `run` returns when what was begun is finished. Waiting keys stay unhandled."""
        self._stopping = True
        while self._idle_workers:
            self._wake_worker()

    async def wait_idle(self) -> None:
        """Wait until no key waits or is being handled. Later dates do not count."""
        await self._quiet.wait()

    def _wake_worker(self) -> None:
        while self._idle_workers:
            waiter = self._idle_workers.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _work(self) -> None:
        while not self._stopping:
            if not self._ready:
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle_workers.append(waiter)
                await waiter
                continue
            await self._handle(*self._take())
            # Handlers that find nothing to do wait for nothing, and ten thousand of those in a row would keep timers and sockets waiting.
            await asyncio.sleep(0)

    def _take(self) -> tuple[K, float]:
        """The next key and when it was queued. There is one."""
        while True:
            queue, in_front = (self._front, True) if self._front else (self._back, False)
            key = queue.popleft()
            waiting = self._ready.get(key)
            if waiting is not None and waiting[0] is in_front:
                del self._ready[key]
                return key, waiting[1]

    async def _handle(self, key: K, queued: float) -> None:
        self._active[key] = None
        started = self._clock.monotonic()
        again: float | None = None
        try:
            again = await self._handler(key)
            self._failures.pop(key, None)
        except Exception as error:
            count = self._failures.get(key, 0) + 1
            self._failures[key] = count
            again = self._retry.delay(count, self._random)
            self._on_error(key, error)
        finally:
            dirty = self._active.pop(key)
            if dirty is not None:
                # A change arrived meanwhile. A failure's delay does not hold it up: the change may be the cure.
                self.add(key, front=dirty)
            elif again is not None:
                self.add_after(key, again)
            if not self._ready and not self._active:
                self._quiet.set()
        if self._on_handled is not None:
            self._on_handled(key, started - queued, self._clock.monotonic() - started)

    async def _run_timers(self) -> None:
        while True:
            self._timer_changed.clear()
            now = self._clock.monotonic()
            while self._timers and (
                self._timers[0][0] <= now or self._due.get(self._timers[0][2]) != self._timers[0][0]
            ):
                due, _, key = heapq.heappop(self._timers)
                # An entry whose date is no longer the key's own was superseded.
                if self._due.get(key) == due:
                    self.add(key)
            changed = asyncio.ensure_future(self._timer_changed.wait())
            try:
                if self._timers:
                    await clock.wait_done(self._clock, changed, self._timers[0][0] - now)
                else:
                    await changed
            finally:
                changed.cancel()
