"""When to announce an address on a link. PURE: the time goes in, what is due comes out.

- Taking an address over is announced at once, after 50 and 200 ms, and then every 1.1 s until 5 s are over: the first copies beat the loss of
  a single frame, the later ones reach equipment that was itself converging. MetalLB announces at the same 1.1 s for 5 s.
- Afterwards a slow refresh, each at a random time within half to one and a half of its interval, keeps switches' and routers' tables fresh
  for routed clients and silent hosts.
- Three lanes, each with a token bucket: first copies may burst, later copies and refreshes are paced. Two thousand addresses taken over at
  once are two thousand first copies at once, but never a spike of refreshes afterwards.
- A copy that the pacing delayed past the next planned one replaces it: being late never piles up work.
"""

import dataclasses
import heapq
from typing import Protocol

from metallb_core.domain import addresses

Key = tuple[addresses.Address, str]

BURST = (0.0, 0.05, 0.2, 1.3, 2.4, 3.5, 4.6)
REFRESH = 60.0


class Uniform(Protocol):
    """Randomness: a number from 0 to below 1."""

    def random(self) -> float: ...


@dataclasses.dataclass(slots=True)
class _Lane:
    """A queue of (due time, order, key, generation, planned) drained at most at `rate` a second, with `capacity` at once.

    What is not planned is a single extra copy, which has no successor.
    """

    rate: float
    capacity: float
    queue: list[tuple[float, int, Key, int, bool]] = dataclasses.field(default_factory=list)
    tokens: float = 0.0
    filled_at: float | None = None

    def fill(self, now: float) -> None:
        if self.filled_at is None:
            self.tokens = self.capacity
        else:
            self.tokens = min(self.capacity, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now

    def wait(self, now: float) -> float | None:
        if not self.queue:
            return None
        self.fill(now)
        return max(0.0, self.queue[0][0] - now, (1.0 - self.tokens) / self.rate)


@dataclasses.dataclass(slots=True)
class _Entry:
    generation: int
    started: float


class Schedule:
    """The announcements to come, for each (address, link name)."""

    def __init__(
        self,
        random: Uniform,
        *,
        refresh: float = REFRESH,
        first_rate: float = 4000.0,
        first_capacity: float = 2000.0,
        repeat_rate: float = 2000.0,
        refresh_rate: float = 500.0,
    ) -> None:
        """`refresh` is in seconds, 0 for none; rates are announcements a second."""
        self._random = random
        self._refresh = refresh
        self._first = _Lane(first_rate, first_capacity)
        self._repeats = _Lane(repeat_rate, 32.0)
        self._refreshes = _Lane(refresh_rate, 16.0)
        self._entries: dict[Key, _Entry] = {}
        self._order = 0

    def __len__(self) -> int:
        return len(self._entries)

    def start(self, key: Key, now: float) -> None:
        """Announce `key` as taken over now; a burst under way begins anew."""
        self._entries[key] = _Entry(self._next_order(), now)
        self._push(self._first, key, now)

    def again(self, key: Key, now: float) -> None:
        """Announce `key` once more now, whatever else is planned; nothing if it is not in the schedule."""
        if key in self._entries:
            self._push(self._repeats, key, now, planned=False)

    def stop(self, key: Key) -> None:
        """Forget `key`. What is queued for it is dropped when its turn comes."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        for lane in (self._first, self._repeats, self._refreshes):
            lane.queue.clear()

    def due(self, now: float, limit: int) -> list[Key]:
        """At most `limit` keys to announce now, first copies first."""
        chosen: list[Key] = []
        for lane in (self._first, self._repeats, self._refreshes):
            lane.fill(now)
            while len(chosen) < limit and lane.queue and lane.queue[0][0] <= now:
                _, _, key, generation, planned = lane.queue[0]
                entry = self._entries.get(key)
                if entry is None or entry.generation != generation:
                    heapq.heappop(lane.queue)
                    continue
                if lane.tokens < 1.0:
                    break
                lane.tokens -= 1.0
                heapq.heappop(lane.queue)
                chosen.append(key)
                if planned:
                    self._plan_next(key, entry, now)
        return chosen

    def wait(self, now: float) -> float | None:
        """Seconds until `due` may have something, 0 if it has now, None if nothing is planned."""
        waits = [wait for lane in (self._first, self._repeats, self._refreshes) if (wait := lane.wait(now)) is not None]
        return min(waits, default=None)

    def _plan_next(self, key: Key, entry: _Entry, now: float) -> None:
        for offset in BURST:
            if entry.started + offset > now:
                self._push(self._repeats, key, entry.started + offset)
                return
        if self._refresh > 0:
            self._push(self._refreshes, key, now + self._refresh * (0.5 + self._random.random()))

    def _push(self, lane: _Lane, key: Key, at: float, *, planned: bool = True) -> None:
        heapq.heappush(lane.queue, (at, self._next_order(), key, self._entries[key].generation, planned))

    def _next_order(self) -> int:
        self._order += 1
        return self._order
