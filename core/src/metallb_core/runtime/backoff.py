"""Exponential back-off with jitter, as a calculation: no clock, no sleeping, randomness is an argument.

Half of each delay is fixed and half is random: the fixed half keeps a failing loop from spinning, the random half keeps a thousand nodes that
lost the same server from coming back in one instant.
"""

import dataclasses
from typing import Protocol


class Random(Protocol):
    """What `random.Random` offers that is needed here."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How delays grow. `first` and `limit` in seconds."""

    first: float
    limit: float
    factor: float = 2.0

    def delay(self, failures: int, random: Random) -> float:
        """Seconds to wait after the `failures`th failure in a row (1 is the first): at least half of the nominal delay, at most all of it."""
        # The exponent is bounded so that a key which fails for months does not overflow a float.
        nominal = min(self.limit, self.first * self.factor ** min(failures - 1, 64))
        return nominal * (0.5 + 0.5 * random.random())


class Backoff:
    """A row of failures under one policy."""

    __slots__ = ("_failures", "_policy", "_random")

    def __init__(self, policy: Policy, random: Random) -> None:
        self._policy = policy
        self._random = random
        self._failures = 0

    @property
    def failures(self) -> int:
        """Failures since the last reset."""
        return self._failures

    def next(self) -> float:
        """Count one more failure and give the seconds to wait."""
        self._failures += 1
        return self._policy.delay(self._failures, self._random)

    def reset(self) -> None:
        """Start again from the first delay."""
        self._failures = 0
