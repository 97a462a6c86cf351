"""The configuration brought into force: compiled anew whenever an object of it changed, and handed to who works by it.

- Many changes at once make one pass.
- A group of kinds, layer 2's or BGP's, counts when all of it has been listed: half a configuration would be a wrong one.
- A pool that goes, or shrinks, does not silence the addresses that Services still have of it: until the controller has moved them the last
  configuration stays in force, all of it, for a bounded time. A pool that is replaced by another then costs no route, and no answer.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Final

from metallb_core.allocation import converge
from metallb_core.config import compiled
from metallb_core.kube import instruments
from metallb_core.runtime import clock
from metallb_speaker import sources, world
from metallb_speaker.bgp import advertising

PATIENCE_SECONDS: Final = converge.POOL_SECONDS + 2.0
"""As long as the controller waits before it moves an address, and a while for it to do so."""
LOOK_AGAIN_SECONDS: Final = 0.5


class Compiling:
    """See the module. `on_configured(config)`: after each pass, what is wrong with passwords among its problems.

    `on_changed()`: what decisions read is another one now.
    """

    def __init__(
        self,
        *,
        clock: clock.Clock,
        node: str,
        followed: sources.Sources,
        seen: world.World,
        advertising: advertising.Advertising,
        instruments: instruments.Instruments,
        on_configured: Callable[[compiled.Config], None],
        on_changed: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._node = node
        self._sources = followed
        self._world = seen
        self._advertising = advertising
        self._instruments = instruments
        self._on_configured = on_configured
        self._on_changed = on_changed
        self._due = asyncio.Event()

    def due(self, *_: object) -> None:
        """An object of the configuration changed."""
        self._due.set()

    async def run(self) -> None:
        """Compile when it is due, for ever."""
        while True:
            await self._due.wait()
            await self._wait_caught_up()
            self._due.clear()
            self.configure()
            await asyncio.sleep(0)

    async def _wait_caught_up(self) -> None:
        """Wait until no Service has an address that would be in no pool any more, but not for ever.

        Where that was so, what comes with the pool, its advertisement say, may be a moment behind it: wait until changes cease, too.
        """
        give_up = self._clock.monotonic() + PATIENCE_SECONDS
        waited = False
        while (self._world.strands() or (waited and self._due.is_set())) and self._clock.monotonic() < give_up:
            waited = True
            self._due.clear()
            await self._clock.sleep(LOOK_AGAIN_SECONDS)

    def configure(self) -> None:
        """Make what is known by now the configuration in force."""
        layer2, bgp = (all(each.synced for each in group) for group in (self._sources.layer2, self._sources.bgp))
        if not layer2 and not bgp:
            return
        changed = self._world.recompile(layer2=layer2, bgp=bgp)
        config = self._world.config
        if bgp:
            node = self._world.nodes.get(self._node)
            self._advertising.configure(config, node.labels if node is not None else {}, self._world.secrets())
            config = dataclasses.replace(config, problems=(*config.problems, *self._advertising.problems()))
        self._instruments.configured(stale=bool(config.problems))
        self._on_configured(config)
        if changed:
            self._on_changed()
