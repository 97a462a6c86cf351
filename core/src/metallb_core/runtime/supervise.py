"""Run the parts of a process together, and end them together.

- Parts run for ever. One that fails, or returns although it should not, ends the process with status 1: whoever started it (kubelet, systemd)
  starts it again from a clean state, which is easier to get right than a half-dead process.
- SIGTERM or SIGINT stops the parts in the reverse of their order, each by its own `stop` if it has one and by cancellation otherwise, all
  within one deadline. A second signal cuts that short.
- Order is the caller's: what others need comes first, so it goes last.
"""

import asyncio
import dataclasses
import signal
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from metallb_core.runtime import clock, log

_LOG: Final = log.get("supervise")
# How long a part may take over being cancelled after the deadline; then the process ends around it.
_CANCEL_SECONDS: Final = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`run` is the part's work. `stop` asks it to end by itself, after which `run` should return. `finite`: it may return on its own."""

    name: str
    run: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]] | None = None
    finite: bool = False


async def _run_part(part: Part) -> None:
    await part.run()


async def supervise(
    parts: Sequence[Part],
    *,
    clock: clock.Clock,
    stop_seconds: float = 10.0,
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
) -> int:
    """Run `parts` until a signal (status 0) or a failure (status 1), and stop them all. Gives the status to exit with."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    hurried = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        _LOG.info("asked to stop", signal=number.name)
        (hurried if asked.is_set() else asked).set()

    for each in signals:
        loop.add_signal_handler(each, on_signal, each)
    tasks: dict[str, asyncio.Task[None]] = {}
    try:
        for part in parts:
            tasks[part.name] = asyncio.create_task(_run_part(part), name=part.name)
        failed = await _wait_end(parts, tasks, asked)
        stopped = await _stop_all(parts, tasks, hurried, clock, stop_seconds)
    finally:
        for each in signals:
            loop.remove_signal_handler(each)
        for task in tasks.values():
            task.cancel()
    return 1 if failed or not stopped else 0


async def _wait_end(parts: Sequence[Part], tasks: dict[str, "asyncio.Task[None]"], asked: asyncio.Event) -> bool:
    """Wait until the process should end; True if a part is the reason."""
    waiting = asyncio.create_task(asked.wait())
    endless = {part.name for part in parts if not part.finite}
    pending: set[asyncio.Task[None]] = set(tasks.values())
    try:
        while True:
            done, _ = await asyncio.wait({waiting, *pending}, return_when=asyncio.FIRST_COMPLETED)
            if waiting in done:
                return False
            for name, task in tasks.items():
                if task not in pending or not task.done():
                    continue
                pending.discard(task)
                if _failed(name, task):
                    return True
                if name in endless:
                    _LOG.error("a part ended that should run for ever", part=name)
                    return True
    finally:
        waiting.cancel()


def _failed(name: str, task: "asyncio.Task[None]") -> bool:
    """Whether a part that is done failed; says so."""
    if task.cancelled():
        return False
    error = task.exception()
    if error is None:
        return False
    trace = "".join(traceback.format_exception(error))
    _LOG.error("a part failed", part=name, error=error, trace=trace)
    return True


async def _stop_all(
    parts: Sequence[Part],
    tasks: dict[str, "asyncio.Task[None]"],
    hurried: asyncio.Event,
    clock: clock.Clock,
    seconds: float,
) -> bool:
    """Stop in reverse order within the deadline; whether all of it went in order."""
    orderly = asyncio.create_task(_stop_in_order(parts, tasks))
    alarm = asyncio.ensure_future(clock.sleep(seconds))
    hurry = asyncio.create_task(hurried.wait())
    try:
        await asyncio.wait({orderly, alarm, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if orderly.done():
            return orderly.result()
        late = [name for name, task in tasks.items() if not task.done()]
        _LOG.error("not everything stopped in time", parts=late, seconds=seconds)
        return False
    finally:
        for each in (orderly, alarm, hurry):
            each.cancel()
        left = [task for task in tasks.values() if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_CANCEL_SECONDS)


async def _stop_in_order(parts: Sequence[Part], tasks: dict[str, "asyncio.Task[None]"]) -> bool:
    good = True
    for part in reversed(parts):
        task = tasks[part.name]
        if task.done():
            continue
        if part.stop is not None:
            try:
                await part.stop()
            except Exception as error:
                _LOG.error("a part did not stop as asked", part=part.name, error=error)
                good = False
                task.cancel()
        else:
            task.cancel()
        await asyncio.wait({task})
        good = not _failed(part.name, task) and good
    return good
