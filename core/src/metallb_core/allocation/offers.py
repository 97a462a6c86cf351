"""The addresses of one pool that could be shared, by the terms of those who hold them.

A sharing key is often put on many Services that all use the same port, so that none of their addresses will do for the next of them; the ports
in use are therefore kept as runs of addresses too, and such addresses are skipped a run at a time. Addresses are numbered in the order of
allocation: the position of their interval in the pool, then their value.
"""

from collections.abc import Iterable, Iterator

from metallb_core.allocation import runs
from metallb_core.domain import services

# Above any address, so that position and value make one number.
_STRIDE = 1 << 129


def number(position: int, value: int) -> int:
    """The place of an address in the order of allocation."""
    return position * _STRIDE + value


def place(number: int) -> tuple[int, int]:
    """The position of the interval and the value of the address at a place."""
    return divmod(number, _STRIDE)


class Offers:
    """The addresses held on the same terms in one family. Not for Services without a sharing key."""

    __slots__ = ("_counts", "_members", "_taken")

    def __init__(self) -> None:
        self._members = runs.Runs()
        self._taken: dict[services.Port, runs.Runs] = {}
        # How many holders an address has (None), or a port has on it; Services in dispute may have the same one.
        self._counts: dict[tuple[int, services.Port | None], int] = {}

    def __bool__(self) -> bool:
        return bool(self._members)

    def add(self, number: int, ports: Iterable[services.Port]) -> None:
        """One more holder of the address, with these ports."""
        if self._one_more(number, None):
            self._members.add(number)
        for port in ports:
            if self._one_more(number, port):
                self._taken.setdefault(port, runs.Runs()).add(number)

    def remove(self, number: int, ports: Iterable[services.Port]) -> None:
        """Undo one `add`."""
        if self._one_less(number, None):
            self._members.remove(number)
        for port in ports:
            if self._one_less(number, port):
                taken = self._taken[port]
                taken.remove(number)
                if not taken:
                    del self._taken[port]

    def free_of(self, ports: Iterable[services.Port]) -> Iterator[int]:
        """The addresses on which none of `ports` is taken, in the order of allocation."""
        taken = [self._taken[port] for port in ports if port in self._taken]
        at = self._members.next_in(0)
        while at is not None:
            beyond = max((each.next_out(at) for each in taken), default=at)
            if beyond == at:
                yield at
                beyond = at + 1
            at = self._members.next_in(beyond)

    def _one_more(self, number: int, port: services.Port | None) -> bool:
        count = self._counts.get((number, port), 0)
        self._counts[(number, port)] = count + 1
        return count == 0

    def _one_less(self, number: int, port: services.Port | None) -> bool:
        count = self._counts.pop((number, port))
        if count > 1:
            self._counts[(number, port)] = count - 1
        return count == 1
