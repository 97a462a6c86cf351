"""How long a suspected member has to speak up, before it is called dead.

- The time shrinks from `longest` to `shortest` as independent accusers confirm, logarithmically: one member with a problem of
  its own cannot rush a verdict.
- Any sign of life, such as a late answer, gives it `shortest` more: answering members are not called dead.
- A stall of ours is given back: while we did not run, nobody could convince us.

Facts: Lifeguard (Dadgar, Phillips, Currey 2018) section IV-B; hashicorp/memberlist v0.5.1 suspicion.go, util.go.
"""

import math


def shortest_timeout(multiplier: int, members: int, interval: float) -> float:
    """Seconds a fully confirmed suspicion lasts: grows with the decimal logarithm of the cluster, from ten members on."""
    return multiplier * max(1.0, math.log10(max(1, members))) * interval


class Suspicion:
    """One running suspicion, of one member."""

    __slots__ = ("_accusers", "_expected", "_held_until", "_longest", "_shortest", "_started")

    def __init__(self, *, accuser: str, expected: int, shortest: float, longest: float, now: float) -> None:
        self._accusers = {accuser}
        self._expected = expected
        self._shortest = shortest
        self._longest = longest
        self._started = now
        self._held_until = now

    @property
    def confirmations(self) -> int:
        """Accusers beside the first."""
        return len(self._accusers) - 1

    def confirm(self, accuser: str) -> bool:
        """Count another accuser; whether it is news that should be passed on."""
        if self.confirmations >= self._expected or accuser in self._accusers:
            return False
        self._accusers.add(accuser)
        return True

    def hold(self, now: float) -> None:
        """It gave a sign of life just now."""
        self._held_until = max(self._held_until, now + self._shortest)

    def delay(self, stall: float) -> None:
        """We did not run for this long."""
        self._started += stall
        self._held_until += stall

    @property
    def deadline(self) -> float:
        """When the verdict falls, as things stand."""
        if self._expected < 1:
            timeout = self._shortest
        else:
            share = math.log(self.confirmations + 1) / math.log(self._expected + 1)
            timeout = max(self._shortest, self._longest - share * (self._longest - self._shortest))
        return max(self._started + timeout, self._held_until)
