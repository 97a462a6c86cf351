"""A score of our own health: 0 is well, and each point adds one interval to a probe before it counts as failed.

Facts: Lifeguard section IV-A; hashicorp/memberlist v0.5.1 awareness.go.
"""


class Awareness:
    """The score, from 0 to `limit` - 1."""

    __slots__ = ("_limit", "score")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.score = 0

    def change(self, delta: int) -> None:
        """Worse by `delta`, or better if it is negative."""
        self.score = min(max(self.score + delta, 0), self._limit - 1)

    def scale(self, interval: float) -> float:
        """The interval as our health lets us judge."""
        return interval * (self.score + 1)
