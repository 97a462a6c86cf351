"""The timers of one connection, and how long to stay away after a failure (RFC 4271 sections 8.1.3 and 10).

- A timer is a deadline on the caller's monotonic clock, in seconds. Nothing runs by itself: `due` says what has expired.
- Keepalive and a configured connect retry are drawn from 0.75 to 1.0 of their time, anew at each start (RFC 4271 section 10), so that the
  sessions of a router do not beat together.
- Failures in a row double the delay, up to `DELAY_LIMIT`; half of each delay is random. The row ends when a session has been Established for
  `STABLE`: one that flaps is damped, one that drops once in a while is back within a second.
- A peer that cannot be connected to is tried every `CONNECT_LIMIT` at least. Nobody listens here, so a router that comes back after minutes
  waits for us; an attempt that fails costs it nothing.
- The hold timer is stronger than all others: when several have expired, nothing is sent on a session that is dead.
"""

import dataclasses
from typing import Protocol

from metallb_speaker.bgp import fsm

DEFAULT_HOLD = 90.0
# How long a peer that took our connection has for its OPEN. The RFC suggests four minutes, for which a router that hangs would be waited for
# before it is tried again; a router that is merely busy answers within seconds.
OPEN_HOLD = 30.0
# An attempt to connect that the kernel has neither finished nor given up.
CONNECT_TIMEOUT = 10.0
DELAY_FIRST = 1.0
DELAY_LIMIT = 120.0
CONNECT_LIMIT = 15.0
STABLE = 60.0
# How long a peer that refused capabilities is offered none. A session that came up without them is left alone until it ends.
WITHOUT_CAPABILITIES = 600.0


class Random(Protocol):
    """What `random.Random` offers that is needed here."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


def jittered(seconds: float, random: Random) -> float:
    """0.75 to 1.0 of `seconds` (RFC 4271 section 10)."""
    return seconds * (0.75 + 0.25 * random.random())


@dataclasses.dataclass(slots=True)
class Timers:
    """Deadlines; None where a timer does not run."""

    connect_retry: float | None = None
    idle_hold: float | None = None
    hold: float | None = None
    keepalive: float | None = None

    def due(self, now: float) -> fsm.Event | None:
        """One timer that has expired, as an event; it does not run any more. Call until None."""
        if self.hold is not None and self.hold <= now:
            self.hold = None
            return fsm.Event.HOLD_EXPIRES
        if self.keepalive is not None and self.keepalive <= now:
            self.keepalive = None
            return fsm.Event.KEEPALIVE_EXPIRES
        if self.connect_retry is not None and self.connect_retry <= now:
            self.connect_retry = None
            return fsm.Event.CONNECT_RETRY_EXPIRES
        if self.idle_hold is not None and self.idle_hold <= now:
            self.idle_hold = None
            return fsm.Event.AUTOMATIC_START
        return None

    def next(self) -> float | None:
        """The earliest deadline."""
        running = [
            deadline
            for deadline in (self.connect_retry, self.idle_hold, self.hold, self.keepalive)
            if deadline is not None
        ]
        return min(running, default=None)

    def stop(self) -> None:
        """Stop all."""
        self.connect_retry = self.idle_hold = self.hold = self.keepalive = None


class Damping:
    """How long until the next attempt. One for each peer, since its connections fail for one reason.

    `interval`: the peer's connect time in seconds, which then is the delay each time; None lets it grow.
    """

    __slots__ = ("_failures", "_interval", "_random", "_up_since")

    def __init__(self, interval: float | None, random: Random) -> None:
        self._interval = interval
        self._random = random
        self._failures = 0
        self._up_since: float | None = None

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    def established(self, now: float) -> None:
        """A session is up."""
        self._up_since = now

    def delay(self, now: float, limit: float = DELAY_LIMIT) -> float:
        """Count a failure and give the seconds to wait, `limit` at most where the delay grows."""
        if self._up_since is not None:
            if now - self._up_since >= STABLE:
                self._failures = 0
            self._up_since = None
        self._failures += 1
        if self._interval is not None:
            return jittered(self._interval, self._random)
        # The exponent is bounded so that a peer which is away for months does not overflow a float.
        nominal = min(limit, DELAY_FIRST * 2.0 ** min(self._failures - 1, 16))
        return nominal * (0.5 + 0.5 * self._random.random())

    def attempt_timeout(self) -> float:
        """Seconds that one attempt to connect may take."""
        return CONNECT_TIMEOUT if self._interval is None else min(CONNECT_TIMEOUT, max(1.0, self._interval))

    def reset(self) -> None:
        """Forget all failures."""
        self._failures = 0
        self._up_since = None
