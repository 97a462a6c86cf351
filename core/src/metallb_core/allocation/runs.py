"""A set of integers kept as runs: maximal, disjoint, sorted.

Addresses are given out lowest first, so a set of used ones is a few long runs however many it holds. Looking up, and finding the next member or
the next gap, is a bisection over the runs; inserting and removing is one, and a move of the list's tail.
"""

import bisect


class Runs:
    """See the module."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        # First and last member of each run.
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __contains__(self, number: int) -> bool:
        at = bisect.bisect_right(self._starts, number) - 1
        return at >= 0 and number <= self._ends[at]

    def next_in(self, number: int) -> int | None:
        """The lowest member that is `number` or above it; None if there is none."""
        at = bisect.bisect_left(self._ends, number)
        return max(number, self._starts[at]) if at < len(self._starts) else None

    def next_out(self, number: int) -> int:
        """The lowest integer that is `number` or above it and no member."""
        at = bisect.bisect_right(self._starts, number) - 1
        return self._ends[at] + 1 if at >= 0 and number <= self._ends[at] else number

    def add(self, number: int) -> None:
        """Insert a number; it must not be a member."""
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

    def remove(self, number: int) -> None:
        """Take out a number; it must be a member."""
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
