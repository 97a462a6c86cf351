"""Client and process together, for real. Links are excluded, so nothing is sent anywhere and no root is needed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from metallb_core.domain import addresses
from metallb_speaker.deadline import client
from metallb_speaker.layer2 import link

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

V4 = addresses.Address.parse("192.0.2.10")


class Bench:
    def __init__(self) -> None:
        self.tables: list[link.Table] = []
        self.members: list[Mapping[str, bytes]] = []
        self.counters: list[Mapping[addresses.Address, client.Counts]] = []
        self.warnings: list[str] = []
        self.exits: list[int] = []
        self.client = client.Client(
            on_links=self.tables.append,
            on_members=self.members.append,
            on_counters=self.counters.append,
            on_warning=self.warnings.append,
            on_exit=self.exits.append,
        )
        self.client.configure([addresses.Interval.parse("192.0.2.0/24")], [".*"])

    async def wait(self, condition: Callable[[], bool], seconds: float = 15.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - another process is the one to wait for
                await asyncio.sleep(0.01)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.client.start()
    yield made
    await made.client.wait_stopped(0)


async def test_links_arrive_and_stopping_is_orderly(bench: Bench) -> None:
    bench.client.announce(V4, None)
    bench.client.announce(V4, None)
    await bench.wait(lambda: bool(bench.tables))
    assert bench.tables[0].links["lo"].loopback
    pid = bench.client.pid
    assert pid is not None
    await bench.client.wait_stopped(5)
    assert bench.exits == [0], "no address is served, so there is nothing to wait for"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    await bench.client.wait_stopped(5)
    bench.client.announce(V4, frozenset())
    assert bench.client.pid is None
    assert bench.warnings == []


async def test_a_killed_process_is_replaced(bench: Bench) -> None:
    await bench.wait(lambda: bool(bench.tables))
    before = bench.client.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await bench.wait(lambda: len(bench.tables) >= 2)
    assert bench.exits == [-signal.SIGKILL]
    assert bench.client.pid not in (None, before)


async def test_a_process_that_hangs_is_replaced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PING", 0.1)
    await bench.wait(lambda: bool(bench.tables))
    before = bench.client.pid
    assert before is not None
    # The timer that runs was set with the longer interval; the process is stopped so that the shorter ones find it silent.
    os.kill(before, signal.SIGSTOP)
    await bench.wait(lambda: bool(bench.exits))
    assert bench.exits == [-signal.SIGKILL]
    await bench.wait(lambda: len(bench.tables) >= 2)
    assert "the deadline process does not answer and is replaced" in bench.warnings


async def test_membership_runs_and_survives_a_replacement(bench: Bench) -> None:
    bench.client.start_membership("solo", bind_address="127.0.0.91", port=17946, keys=(b"k" * 32,))
    bench.client.join(())
    await bench.wait(lambda: bool(bench.members))
    assert bench.members[-1].keys() == {"solo"}
    count = len(bench.members)
    bench.client.set_keys((b"n" * 32, b"k" * 32))
    assert bench.client.pid is not None
    os.kill(bench.client.pid, signal.SIGKILL)
    await bench.wait(lambda: len(bench.members) > count)
    bench.client.leave()
    assert bench.warnings == []


async def test_two_processes_are_members_of_one_cluster() -> None:
    one, two = Bench(), Bench()
    for name, each in (("n1", one), ("n2", two)):
        each.client.start()
        each.client.start_membership(name, bind_address=f"127.0.0.9{name[1]}", port=17947)
    await one.wait(lambda: bool(one.members) and bool(two.members))
    one.client.join(("127.0.0.92:17947",))
    both = frozenset({"n1", "n2"})
    await one.wait(lambda: one.members[-1].keys() == both == two.members[-1].keys())
    began = asyncio.get_running_loop().time()
    await two.client.wait_stopped(1)
    await one.wait(lambda: one.members[-1].keys() == {"n1"})
    assert asyncio.get_running_loop().time() - began < 3
    await one.client.wait_stopped(0)


async def test_bad_patterns_are_a_warning(bench: Bench) -> None:
    bench.client.configure([], ["("])
    await bench.wait(lambda: bool(bench.warnings))
    assert "not a regular expression" in bench.warnings[0]
    assert bench.exits == []


PARENT = """
import asyncio
from metallb_speaker.deadline import client
async def run():
    made = client.Client(linger=0.3)
    made.configure([], [".*"])
    made.start()
    print(made.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(run())
"""


async def test_a_dead_parent_takes_the_process_along() -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(10):
        while _state(pid) != "Z":  # noqa: ASYNC110 - a process of nobody's
            await asyncio.sleep(0.01)


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
