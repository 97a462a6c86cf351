"""The deadline process on real links, with the one capability it is given, and what happens on the wire when either process ends."""

import asyncio
import os
import pathlib
import re
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from bench import pair
from metallb_core.domain import addresses
from metallb_speaker.deadline import client
from metallb_speaker.layer2 import claims, link
from metallb_speaker.packets import arp, ethernet

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"),
]

V4 = addresses.Address.parse("192.0.2.10")
V6 = addresses.Address.parse("2001:db8::10")
POOLS = (addresses.Interval.parse("192.0.2.0/28"), addresses.Interval.parse("2001:db8::/120"))
STATION = bytes.fromhex("020000000099")

# What a container gets whose securityContext drops ALL and adds NET_RAW, run as root.
ONLY_NET_RAW = ("setpriv", "--bounding-set=-all,+net_raw", "--inh-caps=-all", "--no-new-privs")
PROGRAM = """
import asyncio, sys
from metallb_core.domain import addresses
from metallb_speaker.deadline import client
async def run():
    made = client.Client(on_warning=lambda text: print("warning:", text, flush=True), linger=float(sys.argv[1]))
    made.start()
    made.configure([addresses.Interval.parse("192.0.2.0/28"), addresses.Interval.parse("2001:db8::/120")], [])
    for text in ("192.0.2.10", "2001:db8::10"):
        made.announce(addresses.Address.parse(text), None)
    print(made.pid, flush=True)
    await asyncio.sleep(50)
asyncio.run(run())
"""


@pytest.fixture
def cabling() -> Iterator[pair.Pair]:
    made = pair.Pair("l2u")
    try:
        with made.node.inside():
            yield made
    finally:
        made.close()


@pytest.fixture
def asker(cabling: pair.Pair) -> Iterator["Asker"]:
    made = Asker(cabling)
    yield made
    made.capture.close()


class Asker:
    """A station at the other end of the cable that asks for V4 and listens."""

    def __init__(self, cabling: pair.Pair) -> None:
        self.capture = pair.Capture(cabling.peer, "lan0")
        self.heard: list[tuple[float, arp.Packet]] = []

    def ask(self) -> None:
        request = arp.Packet(
            operation=arp.REQUEST,
            sender_mac=STATION,
            sender=addresses.Address.parse("192.0.2.1"),
            target_mac=ethernet.NO_MAC,
            target=V4,
        )
        self._send(
            ethernet.Frame(
                destination=ethernet.BROADCAST, source=STATION, ethertype=0x0806, payload=request.serialise()
            )
        )

    def claim(self) -> None:
        for frame in arp.announcements(V4, STATION):
            self._send(frame)

    def _send(self, frame: ethernet.Frame) -> None:
        self.capture.socket.send(frame.serialise())

    def listen(self) -> None:
        self.heard += [
            (when, arp.Packet.parse(frame[14:]))
            for when, frame in self.capture.frames()
            if frame[12:14] == b"\x08\x06" and frame[6:12] != STATION
        ]

    def answers(self) -> list[float]:
        self.listen()
        return [when for when, packet in self.heard if packet.target_mac == STATION and packet.operation == arp.REPLY]

    async def is_answered(self, seconds: float = 0.5) -> bool:
        """Ask once, and wait for an answer."""
        before = len(self.answers())
        self.ask()
        for _ in range(int(seconds / 0.01)):
            if len(self.answers()) > before:
                return True
            await asyncio.sleep(0.01)
        return False

    async def wait_answered(self) -> None:
        async with asyncio.timeout(10):
            while not await self.is_answered(0.1):
                pass


class Bench:
    def __init__(self) -> None:
        self.tables: list[link.Table] = []
        self.conflicts: list[claims.Conflict] = []
        self.warnings: list[str] = []
        self.exits: list[int] = []
        self.client = client.Client(
            on_links=self.tables.append,
            on_conflict=self.conflicts.append,
            on_warning=self.warnings.append,
            on_exit=self.exits.append,
        )
        self.client.configure(POOLS, [])
        self.client.announce(V4, None)
        self.client.announce(V6, None)
        self.client.start()

    async def wait(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - another process is the one to wait for
                await asyncio.sleep(0.01)


@pytest.fixture
async def bench(cabling: pair.Pair) -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.client.wait_stopped(0)


async def test_answers_again_after_a_crash(bench: Bench, asker: Asker) -> None:
    await asker.wait_answered()
    assert bench.client.pid is not None
    os.kill(bench.client.pid, signal.SIGKILL)
    await bench.wait(lambda: bool(bench.exits))
    await asker.wait_answered()
    assert bench.warnings == []


async def test_withdraw_and_announce_through_the_process(bench: Bench, asker: Asker) -> None:
    await asker.wait_answered()
    bench.client.withdraw(V4)
    await asyncio.sleep(0.1)
    assert not await asker.is_answered()
    bench.client.announce(V4, frozenset({"lan0"}))
    await asker.wait_answered()


async def test_conflicts_reach_the_parent_and_are_defended(bench: Bench, asker: Asker) -> None:
    await asker.wait_answered()
    asker.claim()
    await bench.wait(lambda: bool(bench.conflicts))
    assert bench.conflicts == [claims.Conflict(address=V4, interface="lan0", mac=STATION)]


async def test_stopping_answers_on_until_the_heir_claims(bench: Bench, asker: Asker) -> None:
    await asker.wait_answered()
    bench.client.withdraw(V6)
    stopping = asyncio.create_task(bench.client.wait_stopped(8))
    await asyncio.sleep(0.3)
    assert await asker.is_answered(), "nobody took over yet"
    claimed = time.monotonic()
    asker.claim()
    await stopping
    assert time.monotonic() - claimed < 1.5, "the heir was heard, so the rest of the linger time is not waited for"
    assert bench.exits == [0]
    assert not await asker.is_answered()


async def test_stopping_lingers_if_nobody_claims(bench: Bench, asker: Asker) -> None:
    await asker.wait_answered()
    began = time.monotonic()
    await bench.client.wait_stopped(0.6)
    assert 0.6 <= time.monotonic() - began < 2.5
    assert not await asker.is_answered()


async def test_a_dead_parent(cabling: pair.Pair, asker: Asker) -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, "1.0", stdout=-1)
    assert parent.stdout is not None
    await parent.stdout.readline()
    await asker.wait_answered()
    parent.kill()  # not waited for yet: its output ends only with the process that inherited it
    await asyncio.sleep(0.2)
    assert await asker.is_answered(), "the linger time is not over"
    await asyncio.sleep(1.3)
    assert not await asker.is_answered(), "nobody could withdraw it any more"
    await parent.wait()


async def test_one_capability_is_enough(cabling: pair.Pair, asker: Asker) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    parent = await asyncio.create_subprocess_exec(*ONLY_NET_RAW, sys.executable, "-c", PROGRAM, "0", stdout=-1)
    assert parent.stdout is not None
    try:
        pid = int(await parent.stdout.readline())
        await asker.wait_answered()
        effective = re.search(r"CapEff:\s+(\w+)", _status(pid))
        assert effective is not None
        assert int(effective[1], 16) == 1 << 13, "CAP_NET_RAW and nothing else"
        groups = cabling.node.run("cat", "/proc/net/igmp6")
        assert re.search(r"lan0\s+ff0200000000000000000001ff000010", groups), "joined without CAP_NET_ADMIN"
        assert "33:33:ff:00:00:10" in cabling.node.ip("maddr", "show", "dev", "lan0")
        if shutil.which("ndisc6"):
            answer = await asyncio.to_thread(
                cabling.peer.run, "ndisc6", "-1", "-r", "5", "-w", "500", str(V6), "lan0", check=False
            )
            assert "link-layer address" in answer
    finally:
        parent.terminate()
        said, _ = await parent.communicate()
    assert b"warning" not in said
    # The parent died without a hand-over, which the process notices by itself.
    async with asyncio.timeout(5):
        while _alive(pid):  # noqa: ASYNC110 - a process of nobody's
            await asyncio.sleep(0.01)


def _status(pid: int) -> str:
    return pathlib.Path(f"/proc/{pid}/status").read_text()


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
