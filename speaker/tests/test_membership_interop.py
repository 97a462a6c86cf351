"""Our members and members on the reference library in one cluster, as processes on loopback addresses.

They need the Go compiler, or the peer built before (`hack/tools/build.py memberlist`), and are skipped by name without.
"""

import asyncio
import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from metallb_speaker.membership import encryption, lzw, settings, transport
from tools import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

_PORT = 17990
_SECRET = "the secret of the cluster\n"
_MEMBER = """
import asyncio, sys
from metallb_speaker.membership import transport

async def main(name, address, port, peers):
    config = transport.Config(name=name, bind_address=address, bind_port=int(port))
    member = transport.Membership(config, lambda present: print(*sorted(present), flush=True))
    await member.start()
    await member.join(peers)
    await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:4], sys.argv[4:]))
"""


@pytest.fixture(scope="module")
def program() -> Path:
    tool = build.TOOLS["memberlist"]
    if build.installed(tool, "memberlist") is None and shutil.which("go") is None:
        pytest.skip("the memberlist peer is not built and there is no Go compiler")
    return build.ensure("memberlist")["memberlist"]


async def _wait_until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for the condition, which looks at what the event loop brought; how long that took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + seconds:
            raise TimeoutError(f"not within {seconds} s")
        await asyncio.sleep(0.005)
    return time.monotonic() - began


class _GoPeer:
    """One process on the reference library."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self.name = name
        self.events: list[tuple[str, str, float]] = []
        self.process = process
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            said = json.loads(line)
            if "answer" in said:
                self._answers.put_nowait(said)
            else:
                self.events.append((said["event"], said.get("node", ""), time.monotonic()))

    async def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")
        return await asyncio.wait_for(self._answers.get(), 15)

    async def members(self) -> set[str]:
        return set((await self.ask("members"))["members"])

    def saw(self, event: str, node: str, since: float = 0.0) -> bool:
        return any((kind, who) == (event, node) and at >= since for kind, who, at in self.events)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


class _Cluster:
    """Starts members of both kinds, each at an address of its own, and ends them."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._ends: list[Callable[[], Awaitable[object]]] = []

    async def go(self, number: int, *options: str, name: str = "") -> _GoPeer:
        name = name or f"go{number}"
        process = await asyncio.create_subprocess_exec(
            *(self._program, "-name", name, "-bind", f"127.0.0.{80 + number}", "-port", str(_PORT), *options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        peer = _GoPeer(process, name)
        self._ends.append(peer.kill)
        await _wait_until(lambda: peer.saw("ready", ""), 10)
        return peer

    async def ours(self, number: int, **options: Any) -> tuple[transport.Membership, list[frozenset[str]]]:
        views: list[frozenset[str]] = []
        config = transport.Config(
            **{"name": f"py{number}", "bind_address": f"127.0.0.{80 + number}", "bind_port": _PORT, **options}
        )
        member = transport.Membership(config, views.append)
        await member.start()
        self._ends.append(member.stop)
        return member, views

    async def our_process(self, number: int, peers: list[str]) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _MEMBER, f"py{number}", f"127.0.0.{80 + number}", str(_PORT), *peers),
            stdout=subprocess.DEVNULL,
        )

        async def end() -> None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

        self._ends.append(end)
        return process

    async def close(self) -> None:
        for end in reversed(self._ends):
            await end()


@pytest.fixture
async def cluster(program: Path) -> AsyncIterator[_Cluster]:
    cluster = _Cluster(program)
    try:
        yield cluster
    finally:
        await cluster.close()


def _key(secret: str) -> tuple[bytes, ...]:
    key = encryption.key_from_secret(secret)
    return () if key is None else (key,)


_VARIANTS = [
    pytest.param([], {}, id="as they are"),
    pytest.param(["-compression=false"], {"timings": settings.LAN}, id="only ours compresses"),
    pytest.param(["-secret", _SECRET], {"keys": _key(_SECRET)}, id="encrypted"),
    pytest.param(["-secret", _SECRET], {"keys": _key(_SECRET), "timings": settings.LAN}, id="encrypted, compressed"),
    pytest.param(
        ["-secret", _SECRET, "-protocol", "1"], {"keys": _key(_SECRET), "protocol": 1}, id="encrypted with padding"
    ),
    pytest.param(["-label", "blue"], {"label": "blue"}, id="labelled"),
    pytest.param(
        ["-label", "blue", "-secret", _SECRET], {"label": "blue", "keys": _key(_SECRET)}, id="label, encrypted"
    ),
    pytest.param(["-meta", "m" * 512, "-state", "user state"], {"meta": b"o" * 512}, id="metadata"),
]


@pytest.mark.parametrize("from_go", [pytest.param(True, id="from Go"), pytest.param(False, id="from ours")])
@pytest.mark.parametrize(("go_options", "our_options"), _VARIANTS)
async def test_join_and_stay(
    cluster: _Cluster, go_options: list[str], our_options: dict[str, Any], from_go: bool
) -> None:
    go = await cluster.go(1, *go_options)
    ours, views = await cluster.ours(11, **our_options)
    if from_go:
        assert (await go.ask(f"join 127.0.0.91:{_PORT}")).get("joined") == 1
    else:
        assert await ours.join([f"127.0.0.81:{_PORT}"]) == 1
    await _wait_until(lambda: ours.members() == {"go1", "py11"} and go.saw("join", "py11"), 3)
    began = time.monotonic()
    await asyncio.sleep(2.5)
    assert views[-1] == {"go1", "py11"}
    assert not go.saw("leave", "py11", began)
    assert await go.members() == {"go1", "py11"}
    counters = ours.protocol_counters
    assert (counters.malformed, counters.suspicions, counters.probes_failed) == (0, 0, 0)
    assert (await go.ask("health"))["score"] == 0


async def test_leaving_is_seen_at_once_both_ways(cluster: _Cluster) -> None:
    stays, leaves = await cluster.go(1), await cluster.go(2)
    ours, views = await cluster.ours(11)
    other, _ = await cluster.ours(12)
    assert await ours.join([f"127.0.0.{80 + number}:{_PORT}" for number in (1, 2, 12)]) == 3
    await _wait_until(lambda: all(stays.saw("join", name) for name in ("go2", "py11", "py12")), 5)
    await _wait_until(lambda: all(leaves.saw("join", name) for name in ("go1", "py11", "py12")), 5)
    began = time.monotonic()
    assert await other.leave(1.0)
    await _wait_until(lambda: stays.saw("leave", "py12", began) and leaves.saw("leave", "py12", began), 0.3)
    assert "py12" not in views[-1]
    await leaves.ask("leave 1000")
    await _wait_until(lambda: "go2" not in ours.members(), 0.3)
    assert ours.protocol_counters.departures == 2
    assert ours.protocol_counters.deaths == 0


async def test_a_killed_member_is_dropped_both_ways_and_comes_back(cluster: _Cluster) -> None:
    stays, dies = await cluster.go(1), await cluster.go(2)
    ours, _ = await cluster.ours(11)
    peers = [f"127.0.0.{80 + number}:{_PORT}" for number in (1, 2, 11)]
    await ours.join(peers[:2])
    process = await cluster.our_process(12, peers)
    everybody = {"go1", "go2", "py11", "py12"}
    await _wait_until(lambda: ours.members() == everybody and stays.saw("join", "py12"), 5)
    await asyncio.sleep(1)
    began = time.monotonic()
    process.kill()
    await _wait_until(lambda: "py12" not in ours.members() and stays.saw("leave", "py12", began), 2.5)
    began = time.monotonic()
    await dies.kill()
    await _wait_until(lambda: "go2" not in ours.members() and stays.saw("leave", "go2", began), 2.5)
    assert await stays.members() == {"go1", "py11"}
    began = time.monotonic()
    await cluster.our_process(12, peers)
    again = await cluster.go(2)
    await again.ask(f"join {peers[2]}")
    await _wait_until(lambda: ours.members() == everybody, 5)
    await _wait_until(lambda: stays.saw("join", "py12", began) and stays.saw("join", "go2", began), 5)


async def test_a_member_restarted_before_it_is_missed_stays(cluster: _Cluster) -> None:
    go = await cluster.go(1)
    ours, views = await cluster.ours(11)
    process = await cluster.our_process(12, [f"127.0.0.{number}:{_PORT}" for number in (81, 91)])
    await ours.join([f"127.0.0.81:{_PORT}"])
    await _wait_until(lambda: ours.members() == {"go1", "py11", "py12"} and go.saw("join", "py12"), 5)
    began = time.monotonic()
    await go.kill()
    go = await cluster.go(1)
    await go.ask(f"join 127.0.0.91:{_PORT}")
    await asyncio.sleep(2)
    assert ours.members() == {"go1", "py11", "py12"}
    assert await go.members() == {"go1", "py11", "py12"}
    assert process.returncode is None
    assert time.monotonic() - began < 10
    assert views[-1] == ours.members()


async def test_the_key_is_changed_while_running(cluster: _Cluster) -> None:
    go = await cluster.go(1, "-secret", "old")
    ours, views = await cluster.ours(11, keys=_key("old"))
    assert await ours.join([f"127.0.0.81:{_PORT}"]) == 1
    await _wait_until(lambda: go.saw("join", "py11") and len(ours.members()) == 2, 3)
    began = time.monotonic()
    (old,), (new,) = _key("old"), _key("new")
    ours.set_keys(old, new)
    await go.ask("key-add new")
    await asyncio.sleep(0.5)
    ours.set_keys(new, old)
    await asyncio.sleep(0.5)
    await go.ask("key-use new")
    await asyncio.sleep(0.5)
    ours.set_keys(new)
    await go.ask("key-remove old")
    await asyncio.sleep(1.0)
    assert await ours.join([f"127.0.0.81:{_PORT}"]) == 1
    assert not go.saw("leave", "py11", began)
    assert views[-1] == {"go1", "py11"}
    assert ours.protocol_counters.malformed == 0


@pytest.mark.parametrize(
    ("go_options", "keys"),
    [
        pytest.param(["-secret", "one"], _key("other"), id="another key"),
        pytest.param(["-secret", "one"], (), id="ours in plaintext"),
        pytest.param([], _key("other"), id="theirs in plaintext"),
        pytest.param(["-label", "blue"], (), id="their label"),
    ],
)
async def test_members_that_do_not_fit_stay_apart(
    cluster: _Cluster, go_options: list[str], keys: tuple[bytes, ...]
) -> None:
    go = await cluster.go(1, *go_options)
    ours, _ = await cluster.ours(11, keys=keys)
    assert await ours.join([f"127.0.0.81:{_PORT}"]) == 0
    assert len(ours.join_errors) == 1
    assert "error" in await go.ask(f"join 127.0.0.91:{_PORT}")
    assert ours.members() == {"py11"}
    assert await go.members() == {"go1"}


async def test_a_stalled_go_member_is_given_its_time(cluster: _Cluster) -> None:
    go = await cluster.go(1)
    ours, views = await cluster.ours(11)
    await ours.join([f"127.0.0.81:{_PORT}"])
    await _wait_until(lambda: len(ours.members()) == 2, 3)
    go.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(0.3)
    go.process.send_signal(signal.SIGCONT)
    await asyncio.sleep(2)
    assert views[-1] == {"go1", "py11"}
    assert ours.protocol_counters.deaths == 0


@pytest.mark.parametrize("seed", range(12))
def test_compression_is_the_same_as_theirs_both_ways(program: Path, seed: int) -> None:
    chance = random.Random(seed)
    alphabet = chance.randbytes(chance.choice((1, 2, 20, 256)))
    data = bytes(chance.choice(alphabet) for _ in range(chance.choice((0, 1, 300, 4000, 40_000))))

    def run(what: str, given: bytes) -> bytes:
        return subprocess.run([program, "-lzw", what], input=given, capture_output=True, check=True, timeout=20).stdout

    theirs = run("compress", data)
    assert lzw.decompress(theirs, len(data)) == data
    assert lzw.compress(data) == theirs
    assert run("decompress", lzw.compress(data)) == data
