"""Who gives way to whom: the deadline process and every successor of it keep their priority, its parent's thread stands back."""

import os
from collections.abc import Awaitable, Callable

import pytest

pytestmark = pytest.mark.timeout(60)

PROGRAM = """
import asyncio, os, signal, threading
from metallb_speaker.deadline import client
async def run():
    tables, exits = [], []
    made = client.Client(on_links=tables.append, on_exit=exits.append, linger=0, stand_back=True)
    made.configure([], [".*"])
    made.start()
    async def wait_tables(count):
        async with asyncio.timeout(40):
            while len(tables) < count:
                await asyncio.sleep(0.01)
    await wait_tables(1)
    first = made.pid
    kept = os.getpriority(os.PRIO_PROCESS, first)
    os.kill(first, signal.SIGKILL)
    await wait_tables(2)
    print("parent", os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    print("child", kept)
    print("successor", os.getpriority(os.PRIO_PROCESS, made.pid))
    await made.wait_stopped(0)
asyncio.run(run())
"""


async def test_the_parent_stands_back_and_no_child_inherits_that(
    run_program: Callable[..., Awaitable[tuple[int | None, str]]],
) -> None:
    _, output = await run_program(PROGRAM)
    said = dict(line.split() for line in output.splitlines())
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert said["parent"] == "19", said
    # With the right to, the child raises its priority; it never lowers it.
    assert int(said["child"]) <= before
    assert int(said["successor"]) <= before
