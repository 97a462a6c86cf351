"""Time. The only module that reads a clock; everything else gets a `Clock` or the number it would have read.

Durations are measured with `monotonic`, never with `now`: the wall clock is for people and may jump.
"""

import asyncio
import datetime
import time
from typing import Any, Protocol


class Clock(Protocol):
    """What tells the time and waits."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def now(self) -> datetime.datetime:
        """The wall clock, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less yields to the event loop once."""
        ...


class SystemClock:
    """The clock of this machine."""

    __slots__ = ()

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        return time.monotonic()

    def now(self) -> datetime.datetime:
        """The wall clock, in UTC."""
        return datetime.datetime.now(datetime.UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less yields to the event loop once."""
        await asyncio.sleep(max(0.0, seconds))


def rfc3339(at: datetime.datetime) -> str:
    """A moment as objects of the API carry it: whole seconds, UTC."""
    return at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def wait_done(clock: Clock, work: "asyncio.Future[Any]", seconds: float) -> bool:
    """Wait until `work` is done or `seconds` have passed on `clock`; say whether it is done. Never cancels `work`, never raises its error.

    `asyncio.timeout` would do this on the event loop's clock only, out of reach of a fake one.
    """
    if work.done():
        return True
    alarm = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({work, alarm}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        alarm.cancel()
        await asyncio.gather(alarm, return_exceptions=True)
    return work.done()
