"""Which addresses of one interval are used, so that the lowest free one is found at once.

- Used addresses are kept as runs, so the lowest free one is the interval's first, or the one after the first run. The size of the interval never
  matters.
- Where a pool avoids addresses that end in .0 and .255, addresses are numbered without them (254 in each 256), so that a run stays a run across
  them and they need no entry of their own.
"""

from metallb_core.allocation import runs
from metallb_core.domain import addresses

_BLOCK, _USABLE = 256, 254


class Space:
    """One interval of a pool. Values are addresses as integers; a value must be usable: inside, and not avoided."""

    __slots__ = ("_avoid", "_first", "_last", "_used", "interval")

    def __init__(self, interval: addresses.Interval, *, avoid_buggy: bool) -> None:
        self.interval = interval
        self._avoid = avoid_buggy and interval.family == addresses.Family.IPV4
        self._first = self._up(interval.first)
        self._last = self._down(interval.last)
        self._used = runs.Runs()

    @property
    def capacity(self) -> int:
        """How many addresses can be given out; exact."""
        return max(0, self._last - self._first + 1)

    def lowest_free(self) -> int | None:
        """The lowest address that is not used, or None."""
        number = self._used.next_out(self._first)
        return self._value(number) if number <= self._last else None

    def use(self, value: int) -> None:
        """Mark an address as used; it must be free."""
        self._used.add(self._up(value))

    def free(self, value: int) -> None:
        """Mark an address as free; it must be used."""
        self._used.remove(self._up(value))

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
