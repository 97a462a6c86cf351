"""A clock that moves only when told to.

`advance` goes from one sleeper's date to the next, letting the event loop settle in between, so that what a woken task does (sleep again, say)
happens at the date it would have happened. Nothing here waits for real time.
"""

import asyncio
import datetime
import heapq

# How often the loop turns before it counts as settled: longer than any chain of wake-ups in a test without sockets.
_TURNS = 50
EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class FakeClock:
    """See the module. `start` is what `monotonic` says first."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._start = start
        self._serial = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        """Seconds; moves only in `advance`."""
        return self._now

    def now(self) -> datetime.datetime:
        """The wall clock in UTC, in step with `monotonic`."""
        return EPOCH + datetime.timedelta(seconds=self._now - self._start)

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has come that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._serial += 1
        heapq.heappush(self._sleepers, (self._now + seconds, self._serial, waiter))
        await waiter

    @property
    def sleepers(self) -> int:
        """Tasks that sleep."""
        return sum(1 for _, _, waiter in self._sleepers if not waiter.done())

    async def settle(self) -> None:
        """Let everything that can run without time passing run."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Move on, waking each sleeper at its date, in order."""
        end = self._now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, waiter = heapq.heappop(self._sleepers)
            if waiter.done():
                continue
            self._now = max(self._now, due)
            waiter.set_result(None)
            await self.settle()
        self._now = end
        await self.settle()

    def jump(self, seconds: float) -> None:
        """Move on without waking anybody, as a machine that was suspended does; sleepers wake at the next `advance`."""
        self._now += seconds
