"""When a changed configuration comes into force: at once, but for one that leaves a Service with an address in no pool."""

import asyncio
import contextlib
import dataclasses
import types
from collections.abc import AsyncIterator

import pytest

from metallb_core.config import compiled
from metallb_core.kube import instruments
from metallb_core.runtime import metrics
from metallb_core.testing import builders
from metallb_core.testing import clock as clocks
from metallb_speaker import compiling, world

HOME = "metallb-system"
WEB = builders.service("web", holds="192.0.2.9", held_from="pool")


class Bench:
    """A world in which `web` has an address of `pool`, and what brings configurations into force there."""

    def __init__(self) -> None:
        self.clock = clocks.FakeClock()
        self.world = world.World(world.Stores(), ignore_exclude_label=False)
        self.world.services.put(WEB.key, WEB)
        self.brought: list[list[str]] = []
        listed = (types.SimpleNamespace(synced=True),)
        self.compiling = compiling.Compiling(
            clock=self.clock,
            node="n1",
            followed=types.SimpleNamespace(layer2=listed, bgp=listed),  # type: ignore[arg-type]
            seen=self.world,
            advertising=types.SimpleNamespace(configure=lambda *_: None, problems=tuple),  # type: ignore[arg-type]
            instruments=instruments.Instruments(metrics.Registry(process=False)),
            on_configured=self._configured,
            on_changed=lambda: None,
        )
        self.pool("pool", "192.0.2.0/28")
        self.compiling.configure()

    def _configured(self, config: compiled.Config) -> None:
        self.brought.append(sorted([*config.pools, *(each.name for each in config.l2)]))

    def advertisement(self, *, there: bool) -> None:
        key = (HOME, "advertisement")
        if there:
            self.world.stores.l2_advertisements.put(key, builders.l2_object("advertisement"))
        else:
            self.world.stores.l2_advertisements.remove(key)
        self.compiling.due()

    def pool(self, name: str, *texts: str, labelled: str = "") -> None:
        self.world.stores.pools.put((HOME, name), builders.pool_object(name, *texts, labelled=labelled))
        self.compiling.due()

    def no_pool(self, name: str) -> None:
        self.world.stores.pools.remove((HOME, name))
        self.compiling.due()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.compiling.run())
        try:
            await self.clock.settle()
            self.brought.clear()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_pool_that_is_replaced_stays_in_force_meanwhile(bench: Bench) -> None:
    async with bench.running():
        bench.no_pool("pool")
        await bench.clock.advance(2.0)
        assert bench.brought == []
        bench.pool("another", "192.0.2.8/29")
        await bench.clock.advance(2 * compiling.LOOK_AGAIN_SECONDS)
        assert bench.brought == [["another"]]


async def test_a_range_that_moves_between_pools_stays_in_force_meanwhile(bench: Bench) -> None:
    async with bench.running():
        bench.pool("pool", "192.0.2.0/29")
        await bench.clock.advance(2.0)
        assert bench.brought == []
        bench.pool("upper", "192.0.2.8/29")
        await bench.clock.advance(2 * compiling.LOOK_AGAIN_SECONDS)
        assert bench.brought == [["pool", "upper"]]


async def test_an_advertisement_that_is_replaced_with_its_pool_stays_in_force_meanwhile(bench: Bench) -> None:
    bench.advertisement(there=True)
    bench.compiling.configure()
    async with bench.running():
        bench.no_pool("pool")
        await bench.clock.advance(0.1)
        bench.advertisement(there=False)
        # Back shortly before it is looked at again, the advertisement shortly after that.
        await bench.clock.advance(1.85)
        bench.pool("pool", "192.0.2.0/28")
        await bench.clock.advance(0.1)
        bench.advertisement(there=True)
        await bench.clock.advance(2.0)
        assert bench.brought
        assert all(names == ["advertisement", "pool"] for names in bench.brought)


async def test_a_pool_whose_services_have_moved_goes(bench: Bench) -> None:
    async with bench.running():
        bench.pool("other", "198.51.100.0/28")
        bench.no_pool("pool")
        await bench.clock.advance(2.0)
        bench.world.services.put(WEB.key, builders.service("web", holds="198.51.100.0", held_from="other"))
        await bench.clock.advance(compiling.LOOK_AGAIN_SECONDS)
        assert bench.brought == [["other"]]


async def test_nobody_waits_for_ever(bench: Bench) -> None:
    async with bench.running():
        bench.no_pool("pool")
        await bench.clock.advance(compiling.PATIENCE_SECONDS - compiling.LOOK_AGAIN_SECONDS)
        assert bench.brought == []
        await bench.clock.advance(compiling.LOOK_AGAIN_SECONDS)
        assert bench.brought == [[]]


@pytest.mark.parametrize(
    ("name", "texts"),
    [("pool", ("192.0.2.0/24",)), ("pool", ("192.0.2.9/32",)), ("more", ("198.51.100.0/28",)), ("pool", ("nonsense",))],
    ids=["larger", "smaller-around-it", "another", "unreadable"],
)
async def test_what_strands_nobody_comes_into_force_at_once(bench: Bench, name: str, texts: tuple[str, ...]) -> None:
    """Addresses that nobody announces, or that are of no pool anyway, strand nobody."""
    for other in (
        builders.service("foreign", holds="203.0.113.1"),
        dataclasses.replace(builders.service("internal", holds="192.0.2.1"), is_load_balancer=False),
        dataclasses.replace(builders.service("shared", holds="192.0.2.2"), ingress_extra=True),
    ):
        bench.world.services.put(other.key, other)
    async with bench.running():
        bench.pool(name, *texts)
        await bench.clock.settle()
        assert len(bench.brought) == 1
