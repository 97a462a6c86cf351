"""The announcer on real links: two network namespaces, real `arping`, `ndisc6`, and the kernel's own neighbour tables."""

import asyncio
import contextlib
import itertools
import os
import pathlib
import random
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from bench import pair
from metallb_core.domain import addresses
from metallb_speaker.layer2 import announcer, claims, link, links, schedule, verdict
from metallb_speaker.packets import arp, ethernet, ndp

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"),
]

V4 = addresses.Address.parse("192.0.2.10")
V6 = addresses.Address.parse("2001:db8::10")
POOLS = (addresses.Interval.parse("192.0.2.0/28"), addresses.Interval.parse("2001:db8::/120"))
EVERYWHERE: announcer.Interfaces = None


def _need(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")


class Bench:
    """An announcer that follows the links of the node."""

    def __init__(self, cabling: pair.Pair) -> None:
        self.pair = cabling
        self.tables: list[link.Table] = []
        self.conflicts: list[claims.Conflict] = []
        self.warnings: list[str] = []
        self.announcer = announcer.Announcer(
            asyncio.get_running_loop(),
            random.Random(1),
            on_conflict=self.conflicts.append,
            on_warning=self.warnings.append,
        )
        self.links = links.Links(self._changed)
        self.links.start()
        self.announcer.configure(POOLS, ())

    def _changed(self, table: link.Table) -> None:
        self.tables.append(table)
        self.announcer.set_links(table)

    async def wait_served(self, address: addresses.Address, *names: str) -> None:
        await wait_until(lambda: self.announcer.served.get(address) == frozenset(names))

    def mac(self, name: str = "lan0") -> bytes:
        return self.tables[-1].links[name].mac

    def close(self) -> None:
        self.announcer.close()
        self.links.stop()


async def wait_until(condition: Callable[[], bool], seconds: float = 8.0) -> None:
    """Let the loop run until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # the kernel is the other party here, and has no event for a test


@pytest.fixture
def cabling() -> Iterator[pair.Pair]:
    made = pair.Pair("l2t")
    try:
        with made.node.inside():  # the announcer opens sockets whenever it needs to, so the whole test is in there
            yield made
    finally:
        made.close()


@pytest.fixture
async def bench(cabling: pair.Pair) -> AsyncIterator[Bench]:
    made = Bench(cabling)
    await wait_until(lambda: bool(made.tables) and made.tables[-1].links["lan0"].has_link_local)
    yield made
    made.close()


def _arps(frames: list[tuple[float, bytes]], sender: bytes) -> list[tuple[float, arp.Packet]]:
    return [
        (when, arp.Packet.parse(frame[14:]))
        for when, frame in frames
        if frame[12:14] == b"\x08\x06" and frame[6:12] == sender
    ]


def _ndps(frames: list[tuple[float, bytes]], sender: bytes) -> list[tuple[float, ndp.Advertisement]]:
    found = []
    for when, frame in frames:
        if frame[12:14] == b"\x86\xdd" and frame[6:12] == sender:
            with contextlib.suppress(ndp.MalformedNdpError):
                message = ndp.parse(frame[14:])
                if isinstance(message, ndp.Advertisement):
                    found.append((when, message))
    return found


async def _in_peer(bench: Bench, *command: str) -> str:
    return await asyncio.to_thread(bench.pair.peer.run, *command, check=False)


async def test_arping_and_ndisc6(bench: Bench) -> None:
    _need("arping")
    _need("ndisc6")
    bench.announcer.update({V4: EVERYWHERE, V6: EVERYWHERE})
    mac = ethernet.format_mac(bench.mac())
    assert mac in (await _in_peer(bench, "arping", "-c", "1", "-w", "2", "-I", "lan0", str(V4))).lower()
    assert mac in (await _in_peer(bench, "ndisc6", "-1", "-r", "1", "-w", "1000", str(V6), "lan0")).lower()
    counted = bench.announcer.counters()
    assert counted[V4][:2] == (1, 1)
    assert counted[V6][:2] == (1, 1)
    for absent in ("192.0.2.11", "192.0.2.200"):
        answer = await _in_peer(bench, "arping", "-c", "1", "-w", "1", "-I", "lan0", absent)
        assert mac not in answer.lower()


async def test_a_kernel_resolves_both_families(bench: Bench) -> None:
    bench.announcer.update({V4: EVERYWHERE, V6: EVERYWHERE})
    # The burst must not be what fills the table: forget it, and make the kernel ask.
    await asyncio.sleep(0.3)
    bench.pair.peer.ip("neigh", "flush", "all")
    await _in_peer(bench, "ping", "-c", "1", "-W", "1", str(V4))
    await _in_peer(bench, "ping", "-c", "1", "-W", "1", str(V6))
    for address in (V4, V6):
        entry = bench.pair.peer.ip("neigh", "show", str(address))
        assert ethernet.format_mac(bench.mac()) in entry, entry
        assert re.search("REACHABLE|DELAY|STALE", entry), entry


async def test_a_kernel_host_gives_up_our_addresses(bench: Bench) -> None:
    bench.announcer.update({V4: EVERYWHERE, V6: EVERYWHERE})
    await bench.wait_served(V6, "lan0")
    bench.pair.peer.run("sysctl", "-qw", "net.ipv6.conf.lan0.accept_dad=1", "net.ipv6.conf.all.accept_dad=1")
    bench.pair.peer.ip("addr", "add", f"{V6}/64", "dev", "lan0")
    await wait_until(lambda: "dadfailed" in bench.pair.peer.ip("addr", "show", "dev", "lan0"))
    capture = pair.Capture(bench.pair.peer, "lan0")
    prober = bytes.fromhex("020000000099")
    probe = arp.Packet(
        operation=arp.REQUEST,
        sender_mac=prober,
        sender=addresses.Address(addresses.Family.IPV4, 0),
        target_mac=ethernet.NO_MAC,
        target=V4,
    )
    capture.socket.send(
        ethernet.Frame(
            destination=ethernet.BROADCAST, source=prober, ethertype=ethernet.TYPE_ARP, payload=probe.serialise()
        ).serialise()
    )
    answers: list[arp.Packet] = []

    def answered() -> bool:
        answers.extend(packet for _, packet in _arps(capture.frames(), bench.mac()) if packet.target_mac == prober)
        return bool(answers)

    await wait_until(answered)
    capture.close()
    assert (answers[0].operation, answers[0].sender) == (arp.REPLY, V4)
    assert bench.conflicts == [], "a probe claims nothing"


async def test_burst_on_the_wire(bench: Bench) -> None:
    capture = pair.Capture(bench.pair.peer, "lan0")
    bench.announcer.update({V4: EVERYWHERE, V6: EVERYWHERE})
    await asyncio.sleep(schedule.BURST[-1] + 0.3)
    frames = capture.frames()
    capture.close()
    arps, ndps = _arps(frames, bench.mac()), _ndps(frames, bench.mac())
    assert [packet.operation for _, packet in arps] == [arp.REQUEST, arp.REPLY] * len(schedule.BURST)
    assert all(packet.is_announcement and packet.sender == V4 for _, packet in arps)
    assert all(message.override and not message.solicited and message.target == V6 for _, message in ndps)
    for times in ([when for when, _ in arps[::2]], [when for when, _ in ndps]):
        offsets = [when - times[0] for when in times]
        assert offsets == pytest.approx(list(schedule.BURST), abs=0.045)
    counted = bench.announcer.counters()
    assert (counted[V4][2], counted[V6][2]) == (2 * len(schedule.BURST), len(schedule.BURST))


async def test_withdrawing_is_immediate_and_silent(bench: Bench) -> None:
    _need("arping")
    bench.announcer.update({V4: EVERYWHERE, V6: EVERYWHERE})
    await asyncio.sleep(0.3)
    capture = pair.Capture(bench.pair.peer, "lan0")
    bench.announcer.update({}, [V4, V6])
    bench.announcer.update({}, [V4, V6])
    assert bench.announcer.served == {}
    answer = await _in_peer(bench, "arping", "-c", "1", "-w", "1", "-I", "lan0", str(V4))
    assert ethernet.format_mac(bench.mac()) not in answer.lower()
    await asyncio.sleep(0.5)
    frames = capture.frames()
    capture.close()
    assert _arps(frames, bench.mac()) == []
    assert _ndps(frames, bench.mac()) == []
    assert bench.announcer.counters() == {}


async def test_carrier(bench: Bench) -> None:
    bench.announcer.update({V4: EVERYWHERE, V6: frozenset({"lan0"})})
    await bench.wait_served(V4, "lan0")
    bench.pair.peer.ip("link", "set", "lan0", "down")
    await bench.wait_served(V4)
    await bench.wait_served(V6)
    assert bench.tables[-1].links["lan0"].unusable() is link.Unusable.NO_CARRIER
    bench.pair.peer.ip("link", "set", "lan0", "up")
    capture = pair.Capture(bench.pair.peer, "lan0")
    await bench.wait_served(V4, "lan0")
    await bench.wait_served(V6, "lan0")
    await asyncio.sleep(0.3)
    frames = capture.frames()
    capture.close()
    assert len(_arps(frames, bench.mac())) >= 4, "the addresses are announced again"
    assert len(_ndps(frames, bench.mac())) >= 2


async def test_a_link_that_appears_later_serves_both_families(bench: Bench) -> None:
    _need("ndisc6")
    bench.announcer.update({V4: EVERYWHERE, V6: EVERYWHERE})
    bench.pair.cable("lan1")
    await bench.wait_served(V6, "lan0", "lan1")
    await bench.wait_served(V4, "lan0", "lan1")
    groups = bench.pair.node.run("cat", "/proc/net/igmp6")
    assert re.search(r"lan1\s+ff0200000000000000000001ff000010", groups), "the kernel reports the group (MLD)"
    assert "33:33:ff:00:00:10" in bench.pair.node.ip("maddr", "show", "dev", "lan1"), "and the card listens to it"
    await wait_until(lambda: "scope link" in bench.pair.peer.ip("addr", "show", "dev", "lan1", "-tentative"))
    answer = await _in_peer(bench, "ndisc6", "-1", "-r", "5", "-w", "500", str(V6), "lan1")
    assert ethernet.format_mac(bench.mac("lan1")) in answer.lower()
    bench.pair.node.ip("link", "del", "lan1")
    await bench.wait_served(V6, "lan0")


async def test_groups_are_counted(bench: Bench) -> None:
    twin = addresses.Address.parse("2001:db8::7:0:10")  # ends in the same 24 bits as V6
    bench.announcer.update({V6: EVERYWHERE, twin: EVERYWHERE})
    group = "ff0200000000000000000001ff000010"
    assert group in bench.pair.node.run("cat", "/proc/net/igmp6")
    bench.announcer.update({}, [twin])
    assert group in bench.pair.node.run("cat", "/proc/net/igmp6")
    bench.announcer.update({}, [V6])
    await wait_until(lambda: group not in bench.pair.node.run("cat", "/proc/net/igmp6"))


async def test_more_groups_than_one_socket_may_join(bench: Bench) -> None:
    many = [addresses.Address(addresses.Family.IPV6, V6.value + number) for number in range(1500)]
    bench.announcer.update(dict.fromkeys(many, EVERYWHERE))
    assert bench.warnings == []
    joined = bench.pair.node.run("cat", "/proc/net/igmp6")
    assert len(re.findall(r"ff0200000000000000000001ff000", joined)) >= 1500
    bench.announcer.update({}, many)
    assert bench.announcer.served == {}


async def test_hardware_address_changes(bench: Bench) -> None:
    _need("arping")
    bench.announcer.update({V4: EVERYWHERE})
    await asyncio.sleep(0.3)
    capture = pair.Capture(bench.pair.peer, "lan0")
    bench.pair.node.ip("link", "set", "lan0", "address", "02:00:00:00:00:77")
    new = bytes.fromhex("020000000077")
    await wait_until(lambda: bench.mac() == new)
    await asyncio.sleep(0.3)
    assert len(_arps(capture.frames(), new)) >= 4
    capture.close()
    answer = await _in_peer(bench, "arping", "-c", "1", "-w", "1", "-I", "lan0", str(V4))
    assert "02:00:00:00:00:77" in answer.lower()


async def test_named_links_only(bench: Bench) -> None:
    bench.pair.cable("lan1")
    bench.announcer.update({V4: frozenset({"lan1"}), V6: frozenset({"absent"})})
    await bench.wait_served(V4, "lan1")
    assert bench.announcer.served[V6] == frozenset()
    bench.announcer.update({V4: frozenset({"lan0"})})
    await bench.wait_served(V4, "lan0")
    bench.announcer.configure(POOLS, (re.compile("lan0"),))
    await bench.wait_served(V4)


async def test_a_bridge_answers_in_place_of_its_ports(bench: Bench) -> None:
    _need("arping")
    bench.announcer.update({V4: EVERYWHERE, V6: EVERYWHERE})
    await bench.wait_served(V4, "lan0")
    bench.pair.node.ip("link", "add", "br0", "type", "bridge", "forward_delay", "0")
    bench.pair.node.ip("link", "set", "lan0", "master", "br0")
    bench.pair.node.ip("link", "set", "br0", "up")
    await bench.wait_served(V4, "br0")
    await bench.wait_served(V6, "br0")
    assert bench.tables[-1].links["lan0"].master == "br0"
    answer = await _in_peer(bench, "arping", "-c", "1", "-w", "2", "-I", "lan0", str(V4))
    assert ethernet.format_mac(bench.mac("br0")) in answer.lower()
    bench.pair.node.ip("link", "del", "br0")
    await bench.wait_served(V4, "lan0")


@pytest.mark.parametrize("kind", [pytest.param("bond", id="bond"), pytest.param("vlan", id="VLAN")])
async def test_stacked_links(bench: Bench, kind: str) -> None:
    if kind == "bond":
        made = bench.pair.node.ip("link", "add", "top0", "type", "bond", "miimon", "50", check=False)
    else:
        made = bench.pair.node.ip("link", "add", "link", "lan0", "name", "top0", "type", "vlan", "id", "7", check=False)
    if "top0" not in bench.pair.node.ip("link", check=False):
        pytest.skip(f"this kernel has no {kind}: {made}")
    if kind == "bond":
        bench.pair.node.ip("link", "set", "lan0", "down")
        bench.pair.node.ip("link", "set", "lan0", "master", "top0")
    bench.pair.node.ip("link", "set", "top0", "up")
    bench.announcer.update({V4: EVERYWHERE})
    await bench.wait_served(V4, *({"top0"} if kind == "bond" else {"lan0", "top0"}))


async def test_another_station_claims_our_address(bench: Bench) -> None:
    bench.announcer.update({V4: EVERYWHERE, V6: EVERYWHERE})
    await asyncio.sleep(0.3)
    thief = bytes.fromhex("020000000099")
    capture = pair.Capture(bench.pair.peer, "lan0")
    for frame in (*arp.announcements(V4, thief), ndp.announcement(V6, thief)):
        capture.socket.send(frame.serialise())
    began = asyncio.get_running_loop().time()
    await wait_until(lambda: len(bench.conflicts) == 2)
    assert 0.9 <= asyncio.get_running_loop().time() - began <= 2.0
    assert {(each.address, each.interface, each.mac) for each in bench.conflicts} == {
        (V4, "lan0", thief),
        (V6, "lan0", thief),
    }
    capture.close()


async def test_a_planned_move_is_no_conflict(bench: Bench) -> None:
    bench.announcer.update({V4: EVERYWHERE})
    await bench.wait_served(V4, "lan0")
    capture = pair.Capture(bench.pair.peer, "lan0")
    capture.socket.send(arp.announcements(V4, bytes.fromhex("020000000099"))[0].serialise())
    await asyncio.sleep(0.2)
    bench.announcer.update({}, [V4])
    await asyncio.sleep(1.2)
    assert bench.conflicts == []
    capture.close()


async def test_hand_over_lets_go_of_what_is_claimed(bench: Bench) -> None:
    bench.announcer.update({V4: EVERYWHERE, V6: EVERYWHERE})
    await bench.wait_served(V6, "lan0")
    finished = asyncio.Event()
    bench.announcer.hand_over(finished.set)
    capture = pair.Capture(bench.pair.peer, "lan0")
    heir = bytes.fromhex("020000000099")
    capture.socket.send(arp.announcements(V4, heir)[0].serialise())
    await wait_until(lambda: V4 not in bench.announcer.served)
    assert bench.announcer.served[V6] == frozenset({"lan0"}), "what nobody claimed is answered on"
    assert not finished.is_set()
    capture.socket.send(ndp.announcement(V6, heir).serialise())
    async with asyncio.timeout(2):
        await finished.wait()
    assert bench.conflicts == []
    assert _arps(capture.frames(), bench.mac()) == [], "nothing is announced during a hand-over"
    capture.close()


async def test_an_address_outside_the_pools_is_answered_too(bench: Bench) -> None:
    _need("arping")
    late = addresses.Address.parse("192.0.2.200")
    bench.announcer.update({late: EVERYWHERE})
    answer = await _in_peer(bench, "arping", "-c", "1", "-w", "2", "-I", "lan0", str(late))
    assert ethernet.format_mac(bench.mac()) in answer.lower()


async def test_irrelevant_frames_do_not_wake_us(bench: Bench) -> None:
    bench.announcer.update({V4: EVERYWHERE})
    await bench.wait_served(V4, "lan0")
    judged = 0
    responder = bench.announcer._responders["lan0"]
    original = responder._read

    def counting(*arguments: object) -> None:
        nonlocal judged
        judged += 1
        original(*arguments)  # type: ignore[arg-type]

    loop = asyncio.get_running_loop()
    assert responder._arp is not None
    loop.add_reader(responder._arp, counting, responder._arp, verdict.on_arp)
    capture = pair.Capture(bench.pair.peer, "lan0")
    for number in range(200):
        noise = arp.Packet(
            operation=arp.REQUEST,
            sender_mac=b"\2" * 6,
            sender=addresses.Address.parse("192.0.2.99"),
            target_mac=bytes(6),
            target=addresses.Address(addresses.Family.IPV4, 0x0A000000 + number),
        )
        frame = ethernet.Frame(
            destination=ethernet.BROADCAST, source=b"\2" * 6, ethertype=0x0806, payload=noise.serialise()
        )
        capture.socket.send(frame.serialise())
    await asyncio.sleep(0.2)
    capture.close()
    assert judged == 0


async def test_an_overrun_is_cured_by_a_dump(bench: Bench, tmp_path: pathlib.Path) -> None:
    batch = tmp_path / "batch"
    count = 4000
    batch.write_text("".join(f"addr add 10.{n >> 8}.{n & 255}.1/32 dev lan0\n" for n in range(count)))
    dumps = 0
    original = bench.links._resynchronise

    def counting() -> None:
        nonlocal dumps
        dumps += 1
        original()

    bench.links._resynchronise = counting  # type: ignore[method-assign]
    # The loop stands still meanwhile, as a stalled process does, so the socket overflows.
    bench.pair.node.run("ip", "-batch", str(batch), timeout=40)
    held = lambda: sum(1 for address, _ in bench.tables[-1].links["lan0"].addresses if address.family == 4)  # noqa: E731
    await wait_until(lambda: held() == count, seconds=20)
    assert dumps >= 1, "the socket did overflow"


async def test_flapping_ends_in_the_right_state(bench: Bench) -> None:
    _need("arping")
    for _, state in zip(range(20), itertools.cycle(({V4: EVERYWHERE}, {})), strict=False):
        bench.announcer.update(state, [] if state else [V4])
        bench.pair.peer.ip("link", "set", "lan0", "down" if state else "up")
    bench.announcer.update({V4: EVERYWHERE})
    await bench.wait_served(V4, "lan0")
    answer = await _in_peer(bench, "arping", "-c", "1", "-w", "2", "-I", "lan0", str(V4))
    assert ethernet.format_mac(bench.mac()) in answer.lower()
    assert bench.warnings == []
