"""The queue's promises, on a fake clock, and its delays."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_core.runtime import backoff, workqueue
from metallb_core.testing import clock as fake_clock


class Bench:
    """A queue whose handler takes as long, and answers, as told; it checks that no key is handled twice at once."""

    def __init__(self, clock: fake_clock.FakeClock, workers: int = 8) -> None:
        self.clock = clock
        self.handled: list[tuple[str, float]] = []
        self.errors: list[tuple[str, str]] = []
        self.active: set[str] = set()
        self.most_active = 0
        self.takes: dict[str, float] = {}
        self.answers: dict[str, float | None] = {}
        self.fails: dict[str, int] = {}
        self.queue: workqueue.Workqueue[str] = workqueue.Workqueue(
            clock,
            workers=workers,
            handler=self.handle,
            on_error=lambda key, error: self.errors.append((key, str(error))),
            random=random.Random(1),
        )

    async def handle(self, key: str) -> float | None:
        assert key not in self.active, "handled twice at once"
        self.active.add(key)
        self.most_active = max(self.most_active, len(self.active))
        self.handled.append((key, self.clock.monotonic() - 1000.0))
        try:
            if key in self.takes:
                await self.clock.sleep(self.takes[key])
            if self.fails.get(key, 0) > 0:
                self.fails[key] -= 1
                raise RuntimeError("no luck")
            return self.answers.pop(key, None)
        finally:
            self.active.discard(key)

    @property
    def order(self) -> list[str]:
        return [key for key, _ in self.handled]


@contextlib.asynccontextmanager
async def running(workers: int = 8) -> AsyncIterator[Bench]:
    bench = Bench(fake_clock.FakeClock(), workers)
    task = asyncio.create_task(bench.queue.run())
    await bench.clock.settle()
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_waiting_key_is_handled_once() -> None:
    async with running() as bench:
        for _ in range(5):
            bench.queue.add("a")
        assert bench.queue.depth == 1
        await bench.queue.wait_idle()
        assert bench.order == ["a"]


async def test_a_key_added_while_handled_runs_again_afterwards() -> None:
    async with running() as bench:
        bench.takes["a"] = 1.0
        bench.queue.add("a")
        await bench.clock.advance(0.5)
        bench.queue.add("a")
        bench.queue.add("a")
        await bench.clock.advance(0.4)
        assert len(bench.handled) == 1
        await bench.clock.advance(5)
        assert [when for _, when in bench.handled] == [0.0, 1.0]


@pytest.mark.parametrize("workers", [1, 3, 8])
async def test_different_keys_run_at_once_up_to_the_workers(workers: int) -> None:
    async with running(workers) as bench:
        for number in range(10):
            bench.takes[str(number)] = 1.0
            bench.queue.add(str(number))
        await bench.clock.advance(30)
        assert bench.most_active == workers
        assert len(bench.handled) == 10


async def test_front_overtakes() -> None:
    async with running(workers=1) as bench:
        bench.takes["first"] = 1.0
        bench.queue.add("first")
        await bench.clock.settle()
        for key in ("b", "c", "d"):
            bench.queue.add(key)
        bench.queue.add("now", front=True)
        bench.queue.add("d", front=True)
        await bench.clock.advance(2)
        assert bench.order == ["first", "now", "d", "b", "c"]


async def test_front_counts_for_a_key_that_is_being_handled() -> None:
    async with running(workers=1) as bench:
        bench.takes["a"] = 1.0
        bench.queue.add("a")
        await bench.clock.settle()
        bench.queue.add("b")
        bench.queue.add("a", front=True)
        bench.queue.add("a")
        await bench.clock.advance(1.5)
        bench.takes.clear()
        await bench.clock.advance(5)
        assert bench.order == ["a", "a", "b"]


async def test_a_failing_key_comes_back_later_and_later_and_does_not_hold_others_up() -> None:
    async with running() as bench:
        bench.fails["a"] = 6
        bench.queue.add("a")
        bench.queue.add("b")
        await bench.clock.advance(60)
        times = [when for key, when in bench.handled if key == "a"]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert len(gaps) == 6
        for number, gap in enumerate(gaps):
            nominal = 0.005 * 2**number
            assert nominal / 2 <= gap <= nominal + 1e-6
        assert [key for key, _ in bench.errors] == ["a"] * 6
        assert bench.queue.failures("a") == 0, "success forgets"
        assert ("b", 0.0) in bench.handled


async def test_the_delay_is_bounded() -> None:
    async with running() as bench:
        bench.fails["a"] = 10**6
        bench.queue.add("a")
        await bench.clock.advance(2000)
        times = [when for _, when in bench.handled]
        assert times[-1] - times[-2] <= 60.0
        assert len(times) < 100


async def test_a_change_does_not_wait_for_a_failure_s_delay() -> None:
    async with running() as bench:
        bench.fails["a"] = 12
        bench.queue.add("a")
        await bench.clock.advance(8)
        bench.fails["a"] = 0
        count = len(bench.handled)
        bench.queue.add("a")
        await bench.clock.settle()
        assert len(bench.handled) == count + 1
        await bench.clock.advance(100)
        assert len(bench.handled) == count + 1, "the old date is void"


async def test_what_failed_is_tried_again_when_its_cause_is_over() -> None:
    async with running() as bench:
        bench.fails["a"] = 12
        bench.queue.add("a")
        bench.queue.add("b")
        await bench.clock.advance(8)
        assert bench.queue.failures("a") > 8
        bench.fails["a"] = 1
        count = len(bench.handled)
        bench.queue.retry_failed()
        await bench.clock.settle()
        assert [key for key, _ in bench.handled[count:]] == ["a"], "what did not fail is left alone"
        # It failed once more, which is a first time now.
        await bench.clock.advance(0.005)
        assert [key for key, _ in bench.handled[count:]] == ["a", "a"]
        assert bench.queue.failures("a") == 0
        await bench.clock.advance(100)
        assert len(bench.handled) == count + 2, "the old date is void"


async def test_a_handler_may_ask_for_another_turn() -> None:
    async with running() as bench:
        bench.answers["a"] = 5.0
        bench.queue.add("a")
        await bench.clock.advance(4.9)
        assert len(bench.handled) == 1
        assert bench.queue.delayed == 1
        await bench.clock.advance(0.2)
        assert [when for _, when in bench.handled] == [0.0, 5.0]


async def test_of_several_dates_the_earliest_counts() -> None:
    async with running() as bench:
        bench.queue.add_after("a", 10)
        bench.queue.add_after("a", 3)
        bench.queue.add_after("a", 20)
        bench.queue.add_after("b", 1)
        bench.queue.add_after("now", 0)
        await bench.clock.advance(60)
        assert bench.handled == [("now", 0.0), ("b", 1.0), ("a", 3.0)]


async def test_a_forgotten_key_stays_away() -> None:
    async with running() as bench:
        bench.queue.add_after("a", 3)
        bench.queue.forget("a")
        await bench.clock.advance(60)
        assert bench.handled == []


async def test_stop_finishes_what_was_begun_and_begins_nothing() -> None:
    bench = Bench(fake_clock.FakeClock(), workers=2)
    task = asyncio.create_task(bench.queue.run())
    await bench.clock.settle()
    bench.takes |= {"a": 1.0, "b": 1.0}
    for key in ("a", "b", "c"):
        bench.queue.add(key)
    await bench.clock.advance(0.5)
    bench.queue.stop()
    await bench.clock.advance(5)
    assert task.done()
    assert task.exception() is None
    assert bench.order == ["a", "b"]


async def test_handlers_that_wait_for_nothing_leave_turns_to_others() -> None:
    clock = fake_clock.FakeClock()
    turns = 0
    seen: list[int] = []

    async def handle(_key: int) -> None:
        seen.append(turns)

    queue: workqueue.Workqueue[int] = workqueue.Workqueue(clock, handler=handle, on_error=lambda *_: None, workers=1)
    for key in range(30):
        queue.add(key)
    running = asyncio.ensure_future(queue.run())
    while len(seen) < 30:
        turns += 1
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(set(seen)) == 30


async def test_what_was_added_before_the_start_is_handled() -> None:
    bench = Bench(fake_clock.FakeClock())
    bench.queue.add("a")
    bench.queue.add_after("b", 1)
    task = asyncio.create_task(bench.queue.run())
    await bench.clock.advance(2)
    assert bench.order == ["a", "b"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_how_long_it_took_is_told() -> None:
    clock = fake_clock.FakeClock()
    told: list[tuple[str, float, float]] = []

    async def handle(_key: str) -> None:
        await clock.sleep(2)

    queue: workqueue.Workqueue[str] = workqueue.Workqueue(
        clock,
        workers=1,
        handler=handle,
        on_error=lambda _key, _error: None,
        on_handled=lambda key, queued, worked: told.append((key, queued, worked)),
    )
    task = asyncio.create_task(queue.run())
    queue.add("a")
    queue.add("b")
    await clock.advance(10)
    assert told == [("a", 0.0, 2.0), ("b", 2.0, 2.0)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


STEP = st.one_of(
    st.tuples(st.just("add"), st.sampled_from("abc"), st.booleans()),
    st.tuples(st.just("after"), st.sampled_from("abc"), st.sampled_from([0.0, 0.5, 2.0])),
    st.tuples(st.just("wait"), st.just(""), st.sampled_from([0.1, 0.7, 3.0])),
    st.tuples(st.just("fail"), st.sampled_from("abc"), st.integers(0, 3)),
)


@given(st.lists(STEP, max_size=40), st.integers(1, 3))
def test_every_key_is_handled_after_its_last_change(steps: list[tuple[str, str, float]], workers: int) -> None:
    async def play() -> None:
        bench = Bench(fake_clock.FakeClock(), workers)
        bench.takes = {"a": 0.3, "b": 0.05}
        task = asyncio.create_task(bench.queue.run())
        changed: dict[str, float] = {}
        for what, key, number in steps:
            match what:
                case "add":
                    bench.queue.add(key, front=bool(number))
                    changed[key] = bench.clock.monotonic() - 1000.0
                case "after":
                    bench.queue.add_after(key, number)
                    changed.setdefault(key, 0.0)
                case "fail":
                    bench.fails[key] = int(number)
                case _:
                    await bench.clock.advance(number)
        await bench.clock.advance(120)
        for key, when in changed.items():
            assert max(at for handled, at in bench.handled if handled == key) >= when
        assert bench.queue.depth == bench.queue.delayed == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("failures", "lowest", "highest"),
    [(1, 0.5, 1.0), (2, 1.0, 2.0), (4, 4.0, 8.0), (5, 5.0, 10.0), (100_000, 5.0, 10.0)],
    ids=["first", "second", "fourth", "limit", "no-overflow"],
)
def test_backoff_delays(failures: int, lowest: float, highest: float) -> None:
    policy = backoff.Policy(first=1.0, limit=10.0)
    generator = random.Random(1)
    delays = [policy.delay(failures, generator) for _ in range(100)]
    assert all(lowest <= delay <= highest for delay in delays)
    assert len(set(delays)) > 50


def test_backoff_counts_and_resets() -> None:
    row = backoff.Backoff(backoff.Policy(first=1.0, limit=100.0), random.Random(1))
    assert [row.next() > 0 for _ in range(3)] == [True] * 3
    assert row.failures == 3
    row.reset()
    assert row.failures == 0
    assert row.next() <= 1.0


def test_a_queue_needs_a_worker() -> None:
    async def handle(_key: str) -> None:
        return

    handler: Callable[[str], Awaitable[None]] = handle
    with pytest.raises(ValueError, match="at least one"):
        workqueue.Workqueue(fake_clock.FakeClock(), workers=0, handler=handler, on_error=lambda _k, _e: None)
