"""Which addresses of one interval are used, so that the lowest free one is found at once.

- Used addresses are kept as runs: maximal, disjoint, sorted. The lowest free address is the interval's first, or the one after the first run;
  inserting and removing is a bisection over the runs. The size of the interval never matters.
- Where a pool avoids addresses that end in .0 and .255, addresses are numbered without them (254 in each 256), so that a run stays a run across
  them and they need no entry of their own.
"""

import bisect

from metallb_core.domain import addresses

_BLOCK, _USABLE = 256, 254


class Space:
    """One interval of a pool. Values are addresses as integers; a value must be usable: inside, and not avoided."""

    __slots__ = ("_avoid", "_ends", "_first", "_last", "_starts", "interval")

    def __init__(self, interval: addresses.Interval, *, avoid_buggy: bool) -> None:
        self.interval = interval
        self._avoid = avoid_buggy and interval.family == addresses.Family.IPV4
        self._first = self._up(interval.first)
        self._last = self._down(interval.last)
        # Numbers of the first and last address of each run.
        self._starts: list[int] = []
        self._ends: list[int] = []

    @property
    def capacity(self) -> int:
        """How many addresses can be given out; exact."""
        return max(0, self._last - self._first + 1)

    def lowest_free(self) -> int | None:
        """The lowest address that is not used, or None."""
        number = self._first
        if self._starts and self._starts[0] == number:
            number = self._ends[0] + 1
        return self._value(number) if number <= self._last else None

    def use(self, value: int) -> None:
        """Mark an address as used; it must be free."""
        number = self._up(value)
        at = bisect.bisect_right(self._starts, number)
        joins_before = at > 0 and self._ends[at - 1] == number - 1
        joins_after = at < len(self._starts) and self._starts[at] == number + 1
        if joins_before and joins_after:
            self._ends[at - 1] = self._ends.pop(at)
            self._starts.pop(at)
        elif joins_before:
            self._ends[at - 1] = number
        elif joins_after:
            self._starts[at] = number
        else:
            self._starts.insert(at, number)
            self._ends.insert(at, number)

    def free(self, value: int) -> None:
        """Mark an address as free; it must be used."""
        number = self._up(value)
        at = bisect.bisect_right(self._starts, number) - 1
        start, end = self._starts[at], self._ends[at]
        if start == end:
            self._starts.pop(at)
            self._ends.pop(at)
        elif number == start:
            self._starts[at] = number + 1
        elif number == end:
            self._ends[at] = number - 1
        else:
            self._ends[at] = number - 1
            self._starts.insert(at + 1, number + 1)
            self._ends.insert(at + 1, end)

    def _up(self, value: int) -> int:
        """The number of an address, or of the next usable one above it."""
        if not self._avoid:
            return value
        block, within = divmod(value, _BLOCK)
        return block * _USABLE + (0 if within == 0 else within - 1)

    def _down(self, value: int) -> int:
        """The number of an address, or of the next usable one below it."""
        if not self._avoid:
            return value
        block, within = divmod(value, _BLOCK)
        return block * _USABLE + min(within, _USABLE) - 1

    def _value(self, number: int) -> int:
        if not self._avoid:
            return number
        block, within = divmod(number, _USABLE)
        return block * _BLOCK + within + 1
