"""Which pings are out, what has come back, and what is still awaited.

- A probe goes through stages: a direct ping, then pings by way of helpers and over TCP, then failure at its deadline.
- Failure is told at the deadline, but helpers have longer to say that they tried: a helper on a slower profile than ours is
  no sign that something is wrong with us.
- Every ping keeps its target's name for a while, so that even a late answer counts as a sign of life.
- A stall of ours moves every deadline: an answer may be waiting in the socket.
"""

import collections
import dataclasses
from collections.abc import Iterator

_ECHOES = 2048
NACK_WINDOW = 0.75


@dataclasses.dataclass(slots=True, kw_only=True)
class Probe:
    """One member being probed. `regular`: in its turn, so that the outcome says something about our own health."""

    target: str
    sequence: int
    incarnation: int
    regular: bool
    indirect_at: float
    deadline: float
    asked: bool = False
    failed: bool = False
    answered_by_tcp: bool = False
    nacks_expected: int = 0
    nacks: int = 0
    nacks_until: float = 0.0

    @property
    def due(self) -> float:
        """When its next stage begins."""
        if self.failed:
            return self.nacks_until
        return self.deadline if self.asked else min(self.indirect_at, self.deadline)


@dataclasses.dataclass(slots=True, kw_only=True)
class Relay:
    """A ping sent for another member: answer `sequence` to `requester`, or say at `deadline` that nothing came."""

    requester: tuple[bytes, int]
    requester_name: str
    sequence: int
    deadline: float
    nack: bool


class ProbeBook:
    """All probes and relays, by the sequence number of our ping."""

    def __init__(self, first_sequence: int) -> None:
        self._sequence = first_sequence
        self.probes: dict[int, Probe] = {}
        self.relays: dict[int, Relay] = {}
        self._echoes: collections.OrderedDict[int, str] = collections.OrderedDict()

    def next_sequence(self, target: str) -> int:
        """A fresh sequence number for a ping to `target`, remembered for its answer."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._echoes[self._sequence] = target
        if len(self._echoes) > _ECHOES:
            self._echoes.popitem(last=False)
        return self._sequence

    def target_of(self, sequence: int) -> str | None:
        """Whom the ping with this number was for, once; None for a number that is not ours or was answered already."""
        return self._echoes.pop(sequence, None)

    def is_probing(self, target: str) -> bool:
        """Whether a probe of the member is under way."""
        return any(probe.target == target and not probe.failed for probe in self.probes.values())

    @property
    def busy(self) -> bool:
        """Whether a regular probe is under way; the next one waits for it."""
        return any(probe.regular and not probe.failed for probe in self.probes.values())

    def delay(self, stall: float) -> None:
        """We did not run for this long."""
        for probe in self.probes.values():
            probe.indirect_at += stall
            probe.deadline += stall
            probe.nacks_until += stall
        for relay in self.relays.values():
            relay.deadline += stall

    def deadlines(self) -> Iterator[float]:
        """Every point in time at which something here is due."""
        for probe in self.probes.values():
            yield probe.due
        for relay in self.relays.values():
            yield relay.deadline
