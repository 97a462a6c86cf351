"""A node that is being drained leaves BGP in two steps: its routes ask to be avoided (RFC 8326), a moment later they are withdrawn.

The moment is for a node that was advertising when the taint came; one that starts with the taint has nothing to hand over.
"""

import asyncio
from collections.abc import Callable

from metallb_core.runtime import clock, log

LOG = log.get("speaker")


class Draining:
    """See the module. `seconds`: the moment, 0 for none. `on_leaving(leaving)`: this node is in the first step, or is not."""

    def __init__(self, clock: clock.Clock, seconds: float, on_leaving: Callable[[bool], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._on_leaving = on_leaving
        self._drained = False
        self._begun = asyncio.Event()
        self._leaving = False

    def observe(self, *, drained: bool, advertises: bool) -> None:
        """Whether the node carries the taint now, and whether it advertises anything."""
        if drained == self._drained:
            return
        self._drained = drained
        LOG.info("the node is being drained" if drained else "the node is not drained any more")
        self._set_leaving(drained and advertises and self._seconds > 0)
        if self._leaving:
            self._begun.set()

    async def run(self) -> None:
        """End the first step when its time is over, for ever."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            await self._clock.sleep(self._seconds)
            if not self._begun.is_set():
                self._set_leaving(False)

    def _set_leaving(self, leaving: bool) -> None:
        if leaving != self._leaving:
            self._leaving = leaving
            self._on_leaving(leaving)
