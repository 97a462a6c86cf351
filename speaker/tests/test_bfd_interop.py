"""Our sessions against FRR's bfdd and BIRD on real links: up, down as both see it, both families, multihop, echo, switching off."""

import asyncio
import contextlib
import dataclasses
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest

from bench import pair
from lab.routers import bird as birds
from lab.routers import frr, router
from metallb_core.domain import addresses
from metallb_speaker.bfd import packets, settings
from metallb_speaker.deadline import client

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(90),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"),
]
needs_frr = pytest.mark.skipif(not (frr.LIBRARY / "bfdd").exists(), reason="needs the package frr")
needs_bird = pytest.mark.skipif(shutil.which(birds.Router.program) is None, reason="needs the package bird2")

S = packets.State
OURS4, PEER4 = addresses.Address.parse("192.0.2.2"), addresses.Address.parse("192.0.2.1")
OURS6, PEER6 = addresses.Address.parse("2001:db8::2"), addresses.Address.parse("2001:db8::1")
OUR_LOOPBACK, PEER_LOOPBACK = addresses.Address.parse("198.51.100.1"), addresses.Address.parse("198.51.100.2")


@pytest.fixture
def cabling() -> Iterator[pair.Pair]:
    made = pair.Pair("bfdi")
    try:
        made.node.ip("addr", "add", f"{OURS4}/24", "dev", "lan0")
        made.node.ip("addr", "add", f"{OURS6}/64", "dev", "lan0", "nodad")
        made.node.ip("addr", "add", f"{OUR_LOOPBACK}/32", "dev", "lo")
        made.node.ip("route", "add", f"{PEER_LOOPBACK}/32", "via", str(PEER4))
        made.peer.ip("addr", "add", f"{PEER_LOOPBACK}/32", "dev", "lo")
        made.peer.ip("route", "add", f"{OUR_LOOPBACK}/32", "via", str(OURS4))
        with made.node.inside():
            yield made
    finally:
        made.close()


class Ours:
    def __init__(self) -> None:
        self.statuses: dict[str, settings.Status] = {}
        self.diagnostics: set[int] = set()
        self.counters = settings.Counters()
        self.warnings: list[str] = []
        self.client = client.Client(
            on_bfd=self._changed, on_bfd_counters=self._counted, on_warning=self.warnings.append, linger=0
        )
        self.client.configure([], [".*"])
        self.client.start()

    def _changed(self, statuses: Mapping[str, settings.Status]) -> None:
        self.statuses.update(statuses)
        self.diagnostics |= {status.diagnostic for status in statuses.values()}

    def _counted(self, counts: Mapping[str, settings.Counters]) -> None:
        for counted in counts.values():
            self.counters = self.counters.plus(counted)

    def up(self) -> bool:
        return bool(self.statuses) and all(status.up for status in self.statuses.values())

    def down(self) -> bool:
        return bool(self.statuses) and not any(status.up for status in self.statuses.values())


@pytest.fixture
async def ours(cabling: pair.Pair) -> AsyncIterator[Ours]:
    made = Ours()
    yield made
    await made.client.wait_stopped(0)


def config(peer: addresses.Address, **changes: object) -> settings.Config:
    found: dict[str, object] = {"key": str(peer), "peer": peer, "transmit_interval": 100, "receive_interval": 100}
    return settings.Config(**{**found, **changes})  # type: ignore[arg-type]


async def wait(condition: Callable[[], bool], seconds: float = 15.0) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process is the one to wait for
            await asyncio.sleep(0.02)
    return loop.time() - began


SESSIONS = [
    config(PEER4, local=OURS4, interface="lan0"),
    config(PEER6, local=OURS6),
    config(PEER_LOOPBACK, local=OUR_LOOPBACK, multihop=True),
]
NEAR = router.BFDSession(address=str(OURS4), local=str(PEER4), interface="lan0")
THEIRS = (
    NEAR,
    router.BFDSession(address=str(OURS6), local=str(PEER6), interface="lan0"),
    router.BFDSession(address=str(OUR_LOOPBACK), local=str(PEER_LOOPBACK), multihop=True),
)
PEER = f"peer {frr.bfd_peer(NEAR)}"


def cut(cabling: pair.Pair) -> None:
    """Lose every BFD packet in both directions, and nothing else."""
    cabling.peer.run("nft", "add table inet cut")
    for hook in ("input", "output"):
        cabling.peer.run("nft", f"add chain inet cut {hook} {{ type filter hook {hook} priority 0; }}")
        cabling.peer.run("nft", f"add rule inet cut {hook} udp dport {{3784, 4784}} drop")


def mend(cabling: pair.Pair) -> None:
    cabling.peer.run("nft", "delete table inet cut")


def settings_of(*sessions: router.BFDSession) -> router.Settings:
    return router.Settings(asn=64512, router_id="192.0.2.1", bfd_sessions=sessions)


@pytest.fixture
def bfdd(cabling: pair.Pair) -> Iterator[frr.Router]:
    with contextlib.closing(frr.Router(cabling.peer.name, settings_of(*THEIRS))) as made:
        made.start()
        yield made


@pytest.fixture
def bird(cabling: pair.Pair) -> Iterator[birds.Router]:
    with contextlib.closing(birds.Router(cabling.peer.name, settings_of(*THEIRS))) as made:
        made.start()
        yield made


@needs_frr
async def test_bfdd_up_cut_and_up_again(cabling: pair.Pair, ours: Ours, bfdd: frr.Router) -> None:
    ours.client.bfd(SESSIONS)
    await wait(lambda: ours.up() and all(peer["status"] == "up" for peer in bfdd.bfd_peers()))
    assert len(bfdd.bfd_peers()) == 3
    await asyncio.sleep(0.5)
    for peer in bfdd.bfd_peers():
        assert peer["remote-transmit-interval"] == 100, "the poll was taken"
        assert peer["remote-detect-multiplier"] == 3
    cut(cabling)
    assert await wait(ours.down) < 1.5
    await wait(lambda: all(peer["status"] == "down" for peer in bfdd.bfd_peers()), 3)
    mend(cabling)
    await wait(lambda: ours.up() and all(peer["status"] == "up" for peer in bfdd.bfd_peers()))


@needs_bird
async def test_bird_up_cut_and_up_again(cabling: pair.Pair, ours: Ours, bird: birds.Router) -> None:
    # BIRD sends multihop packets with the system's 64 hops, as it may (RFC 5883 says nothing of them); a profile has to allow for that.
    *near, far = SESSIONS
    ours.client.bfd(SESSIONS)
    await wait(lambda: all(each.key in ours.statuses and ours.statuses[each.key].up for each in near))
    await asyncio.sleep(2.2)  # two slow packets
    assert [each.key for each in SESSIONS if ours.statuses[each.key].up] == [each.key for each in near]
    ours.client.bfd([*near, dataclasses.replace(far, minimum_ttl=64)])
    await wait(lambda: ours.up() and list(bird.bfd_states().values()) == ["Up"] * 3)
    cut(cabling)
    assert await wait(ours.down) < 1.5
    await wait(lambda: "Up" not in bird.bfd_states().values(), 3)
    mend(cabling)
    await wait(lambda: ours.up() and list(bird.bfd_states().values()) == ["Up"] * 3)


@needs_frr
async def test_bfdd_is_told_of_our_going(ours: Ours, bfdd: frr.Router) -> None:
    ours.client.bfd(SESSIONS)
    await wait(lambda: ours.up() and all(peer["status"] == "up" for peer in bfdd.bfd_peers()))
    await ours.client.wait_stopped(0)
    assert {peer["status"] for peer in bfdd.bfd_peers()} == {"down"}
    assert {peer["diagnostic"] for peer in bfdd.bfd_peers()} == {"neighbor signaled session down"}
    assert {peer["remote-diagnostic"] for peer in bfdd.bfd_peers()} == {"administratively down"}


@needs_frr
async def test_bfdd_switches_the_session_off(ours: Ours, bfdd: frr.Router) -> None:
    ours.client.bfd(SESSIONS)
    await wait(ours.up)
    bfdd.command("configure terminal", "bfd", PEER, "shutdown")
    key = str(PEER4)
    await wait(lambda: not ours.statuses[key].up)
    assert ours.statuses[key].remote_state is S.ADMIN_DOWN
    assert not ours.statuses[key].failed
    bfdd.command("configure terminal", "bfd", PEER, "no shutdown")
    await wait(ours.up)


@needs_frr
async def test_bfdd_takes_new_timers_without_losing_the_session(ours: Ours, bfdd: frr.Router) -> None:
    ours.client.bfd(SESSIONS)
    await wait(ours.up)
    ours.client.bfd([config(PEER4, local=OURS4, interface="lan0", transmit_interval=400, multiplier=5), *SESSIONS[1:]])
    line = f"show bfd {PEER} json"
    await wait(lambda: bfdd.json(line)["remote-transmit-interval"] == 400)
    await asyncio.sleep(1.5)
    assert ours.up()
    assert ours.counters.session_down_events == 0
    assert bfdd.json(line)["remote-detect-multiplier"] == 5


@needs_frr
@pytest.mark.parametrize(
    ("peer", "mine"), [(PEER4, OURS4), (PEER6, OURS6)], ids=["IPv4, forwarded", "IPv6, sent back by the daemon"]
)
async def test_bfdd_sends_echo_to_us(
    cabling: pair.Pair, ours: Ours, peer: addresses.Address, mine: addresses.Address
) -> None:
    cabling.node.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    echoing = router.BFDSession(address=str(mine), local=str(peer), interface="lan0", echo_ms=100)
    with contextlib.closing(frr.Router(cabling.peer.name, settings_of(echoing))) as made:
        made.start()
        ours.client.bfd([config(peer, local=mine, interface="lan0", echo_interval=100)])
        await wait(ours.up)

        def returned() -> int:
            return int(made.bfd_counters()[0]["echo-packet-input"])

        await wait(lambda: returned() > 10)
        assert ours.up()
        assert ours.counters.session_down_events == 0


@needs_frr
async def test_our_echo_through_bfdds_host(cabling: pair.Pair, ours: Ours, bfdd: frr.Router) -> None:
    cabling.peer.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    ours.client.bfd([config(PEER4, local=OURS4, interface="lan0", echo=True)])
    await wait(lambda: ours.counters.echo_packet_input > 20)
    assert ours.up()


@needs_bird
async def test_bird_wants_no_echo_and_gets_none(ours: Ours, bird: birds.Router) -> None:
    ours.client.bfd([config(PEER4, local=OURS4, interface="lan0", echo=True)])
    await wait(lambda: ours.up() and ours.counters.control_packet_input > 20)
    assert ours.counters.echo_packet_output == 0
