"""Randomness as an argument: jitter, discriminators and tokens come from whatever is passed in.

The jitter is RFC 5880 section 6.8.7: each interval is shortened by up to a quarter, so that systems do not fall into step; with a multiplier
of one it is 75 to 90 %, since a single late packet would be a failure.
"""

from typing import Protocol


class Random(Protocol):
    """What `random.Random` offers that is needed here."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...

    def getrandbits(self, bits: int, /) -> int:
        """A number of that many random bits."""
        ...


def jittered(interval: float, multiplier: int, random: Random) -> float:
    """The interval to use once in place of `interval`, in the same unit."""
    return interval * (0.75 + (0.15 if multiplier == 1 else 0.25) * random.random())
