"""How a process ends."""

import asyncio
import os
import signal

import pytest

from metallb_core.runtime import clock as clocks
from metallb_core.runtime import supervise
from metallb_core.testing import clock as fake_clock

SIGNAL = signal.SIGUSR1


class Recorder:
    """Parts that note what happens to them."""

    def __init__(self, clock: clocks.Clock) -> None:
        self.clock = clock
        self.ended: list[str] = []

    def part(self, name: str, *, stop_takes: float = 0.0, finite: bool = False) -> supervise.Part:
        async def run() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                if stop_takes:
                    await self.clock.sleep(stop_takes)
                self.ended.append(name)

        return supervise.Part(name=name, run=run, finite=finite)

    def graceful(self, name: str) -> supervise.Part:
        asked = asyncio.Event()

        async def run() -> None:
            await asked.wait()
            self.ended.append(f"{name} by itself")

        async def stop() -> None:
            asked.set()

        return supervise.Part(name=name, run=run, stop=stop)


@pytest.fixture
def clock() -> fake_clock.FakeClock:
    return fake_clock.FakeClock()


async def start(clock: fake_clock.FakeClock, *parts: supervise.Part) -> "asyncio.Task[int]":
    task = asyncio.create_task(supervise.supervise(parts, clock=clock, signals=(SIGNAL,)))
    await clock.settle()
    return task


async def send(clock: fake_clock.FakeClock) -> None:
    """A real signal; the loop hears of it through a pipe, hence a moment of real time."""
    os.kill(os.getpid(), SIGNAL)
    await asyncio.sleep(0.05)
    await clock.settle()


async def test_a_signal_stops_in_reverse_order(clock: fake_clock.FakeClock) -> None:
    recorder = Recorder(clock)
    task = await start(clock, recorder.part("first"), recorder.graceful("second"), recorder.part("third"))
    await send(clock)
    assert await task == 0
    assert recorder.ended == ["third", "second by itself", "first"]


async def test_each_part_waits_for_those_after_it(clock: fake_clock.FakeClock) -> None:
    recorder = Recorder(clock)
    task = await start(clock, recorder.part("first"), recorder.part("slow", stop_takes=3.0))
    await send(clock)
    await clock.advance(2.9)
    assert recorder.ended == []
    await clock.advance(0.2)
    assert await task == 0
    assert recorder.ended == ["slow", "first"]


async def test_the_deadline_ends_what_would_not_end(
    clock: fake_clock.FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async def stubborn_stop() -> None:
        await asyncio.get_running_loop().create_future()

    async def run() -> None:
        await asyncio.get_running_loop().create_future()

    stubborn = supervise.Part(name="stubborn", run=run, stop=stubborn_stop)
    recorder = Recorder(clock)
    task = await start(clock, recorder.part("first"), stubborn)
    await send(clock)
    await clock.advance(10.1)
    assert await task == 1
    assert recorder.ended == ["first"]


async def test_a_second_signal_hurries(clock: fake_clock.FakeClock) -> None:
    async def stop() -> None:
        await asyncio.get_running_loop().create_future()

    async def run() -> None:
        await asyncio.get_running_loop().create_future()

    task = await start(clock, supervise.Part(name="stubborn", run=run, stop=stop))
    await send(clock)
    assert not task.done()
    await send(clock)
    assert await task == 1


async def test_a_part_that_fails_ends_the_process(clock: fake_clock.FakeClock) -> None:
    async def run() -> None:
        await clock.sleep(5)
        raise ZeroDivisionError

    recorder = Recorder(clock)
    task = await start(clock, recorder.part("other"), supervise.Part(name="broken", run=run))
    await clock.advance(4)
    assert not task.done()
    await clock.advance(2)
    assert await task == 1
    assert recorder.ended == ["other"]


async def test_a_part_that_ends_unasked_ends_the_process_unless_it_may(clock: fake_clock.FakeClock) -> None:
    async def run() -> None:
        return

    recorder = Recorder(clock)
    task = await start(clock, recorder.part("a"), supervise.Part(name="once", run=run, finite=True))
    await clock.advance(100)
    assert not task.done()
    await send(clock)
    assert await task == 0
    assert await (await start(clock, recorder.part("b"), supervise.Part(name="odd", run=run))) == 1


async def test_a_failure_while_stopping_counts(clock: fake_clock.FakeClock) -> None:
    async def run() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise ZeroDivisionError

    async def stop() -> None:
        raise ValueError("cannot")

    recorder = Recorder(clock)
    odd = supervise.Part(name="odd", run=recorder.part("x").run, stop=stop)
    task = await start(clock, recorder.part("first"), supervise.Part(name="broken", run=run), odd)
    await send(clock)
    assert await task == 1
    assert recorder.ended == ["x", "first"]
