"""The clock of the machine and the fake one."""

import asyncio
import datetime

from metallb_core.runtime import clock as clocks
from metallb_core.testing import clock as fake_clock


async def test_the_machine_s_clock_tells_the_time() -> None:
    clock: clocks.Clock = clocks.SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    await clock.sleep(-1)
    assert clock.monotonic() - before >= 0.009
    assert clock.now().tzinfo is datetime.UTC


async def test_sleepers_wake_in_order_at_their_dates() -> None:
    clock = fake_clock.FakeClock(start=0.0)
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleep("a", 3.0)), asyncio.create_task(sleep("b", 1.0, 1.0, 5.0))]
    await clock.advance(0.5)
    assert woken == []
    await clock.advance(3.5)
    assert woken == [("b", 1.0), ("b", 2.0), ("a", 3.0)]
    assert clock.sleepers == 1
    await clock.advance(10)
    assert woken[-1] == ("b", 7.0)
    assert clock.now() == fake_clock.EPOCH + datetime.timedelta(seconds=14)
    await asyncio.gather(*tasks)


async def test_waiting_for_work_or_time() -> None:
    clock = fake_clock.FakeClock()

    async def work() -> str:
        await clock.sleep(2)
        return "done"

    task = asyncio.create_task(work())
    early = asyncio.create_task(clocks.wait_done(clock, task, 1.0))
    late = asyncio.create_task(clocks.wait_done(clock, task, 3.0))
    await clock.advance(1.5)
    assert early.result() is False
    await clock.advance(1.0)
    assert late.result() is True
    assert await clocks.wait_done(clock, task, 0.0)
    assert clock.sleepers == 0
