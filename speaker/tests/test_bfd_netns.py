"""BFD on real links between two deadline processes, each with the one capability that it is given."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

import pytest

from bench import pair
from metallb_core.domain import addresses
from metallb_speaker.bfd import packets, settings
from metallb_speaker.deadline import client

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(90),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"),
]

S = packets.State
A4, B4 = addresses.Address.parse("192.0.2.2"), addresses.Address.parse("192.0.2.1")
A6, B6 = addresses.Address.parse("2001:db8::2"), addresses.Address.parse("2001:db8::1")
FAR_A, FAR_B = addresses.Address.parse("198.51.100.1"), addresses.Address.parse("198.51.100.2")


@pytest.fixture
def cabling() -> Iterator[pair.Pair]:
    """The node has A4 and A6, the peer B4 and B6; each has an address behind it that the other reaches by a route."""
    made = pair.Pair("bfdt")
    try:
        made.node.ip("addr", "add", f"{A4}/24", "dev", "lan0")
        made.node.ip("addr", "add", f"{A6}/64", "dev", "lan0", "nodad")
        made.node.ip("addr", "add", f"{FAR_A}/32", "dev", "lo")
        made.node.ip("route", "add", f"{FAR_B}/32", "via", str(B4))
        made.peer.ip("addr", "add", f"{FAR_B}/32", "dev", "lo")
        made.peer.ip("route", "add", f"{FAR_A}/32", "via", str(A4))
        with made.node.inside():
            yield made
    finally:
        made.close()


class End:
    """One speaker's side: its client, and what it was told."""

    def __init__(self, where: pair.Namespace, *sessions: settings.Config) -> None:
        self.statuses: dict[str, settings.Status] = {}
        self.changes: list[tuple[str, settings.Status]] = []
        self.counters: dict[str, settings.Counters] = {}
        self.warnings: list[str] = []
        self.client = client.Client(
            on_bfd=self._changed, on_bfd_counters=self._counted, on_warning=self.warnings.append, linger=0
        )
        self.client.configure([], [".*"])
        self.client.bfd(sessions)
        with where.inside():
            self.client.start()

    def _changed(self, statuses: Mapping[str, settings.Status]) -> None:
        self.statuses.update(statuses)
        self.changes += statuses.items()

    def _counted(self, counts: Mapping[str, settings.Counters]) -> None:
        for key, counted in counts.items():
            self.counters[key] = self.counters.get(key, settings.Counters()).plus(counted)

    def state(self, key: str = "k") -> packets.State | None:
        return self.statuses[key].state


async def wait(condition: Callable[[], bool], seconds: float = 15.0) -> float:
    """Wait until another process made it so; how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process is the one to wait for
            await asyncio.sleep(0.005)
    return loop.time() - began


class Ends:
    """Starts ends, and stops them all afterwards."""

    def __init__(self) -> None:
        self.started: list[End] = []

    def start(self, where: pair.Namespace, *sessions: settings.Config) -> End:
        made = End(where, *sessions)
        self.started.append(made)
        return made


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    made = Ends()
    yield made
    await asyncio.gather(*(each.client.wait_stopped(0) for each in made.started))


def config(peer: addresses.Address, key: str = "k", **changes: object) -> settings.Config:
    return settings.Config(**{"key": key, "peer": peer, "transmit_interval": 100, "receive_interval": 100, **changes})  # type: ignore[arg-type]


CASES = [
    pytest.param(config(B4), config(A4), id="IPv4"),
    pytest.param(config(B6), config(A6), id="IPv6"),
    pytest.param(config(B4, local=A4, interface="lan0"), config(A4, local=B4), id="IPv4 with source and link"),
    pytest.param(
        config(FAR_B, local=FAR_A, multihop=True), config(FAR_A, local=FAR_B, multihop=True), id="IPv4 multihop"
    ),
    pytest.param(config(B6, multihop=True), config(A6, multihop=True), id="IPv6 multihop"),
    pytest.param(config(B4, passive=True), config(A4), id="passive"),
]


@pytest.mark.parametrize(("ours", "theirs"), CASES)
async def test_up_and_down_on_both_sides(
    cabling: pair.Pair, ends: Ends, ours: settings.Config, theirs: settings.Config
) -> None:
    a, b = ends.start(cabling.node, ours), ends.start(cabling.peer, theirs)
    await wait(lambda: a.state() is b.state() is S.UP)
    cabling.peer.ip("link", "set", "lan0", "down")
    took = await wait(lambda: a.state() is not S.UP and b.state() is not S.UP)
    assert took < 1.5, "three packets at 100 ms, on a busy machine"
    assert a.statuses["k"].diagnostic == packets.Diagnostic.DETECTION_TIME_EXPIRED
    cabling.peer.ip("link", "set", "lan0", "up")
    with contextlib.suppress(RuntimeError):  # the address went with the link; only IPv6 does that
        cabling.peer.ip("addr", "add", f"{B6}/64", "dev", "lan0", "nodad")
    with contextlib.suppress(RuntimeError):
        cabling.peer.ip("route", "add", f"{FAR_A}/32", "via", str(A4))
    await wait(lambda: a.state() is b.state() is S.UP)
    await wait(lambda: a.counters["k"].session_up_events == 2)
    assert a.counters["k"].session_down_events == 1
    assert a.counters["k"].control_packet_input > 0
    assert a.counters["k"].control_packet_output > 0


async def test_a_link_local_peer(cabling: pair.Pair, ends: Ends) -> None:
    def link_local(where: pair.Namespace) -> addresses.Address:
        shown = where.ip("-6", "-o", "addr", "show", "dev", "lan0", "scope", "link")
        return addresses.Address.parse(shown.split()[3].partition("/")[0])

    a = ends.start(cabling.node, config(link_local(cabling.peer), interface="lan0"))
    b = ends.start(cabling.peer, config(link_local(cabling.node), interface="lan0"))
    await wait(lambda: a.state() is b.state() is S.UP)


async def test_sessions_bound_to_a_device_beside_one_that_is_not(cabling: pair.Pair, ends: Ends) -> None:
    """A VRF is a device to bind to; here it is a plain link, as every kernel has it."""
    cabling.cable("lan1")
    for where, last in ((cabling.node, 2), (cabling.peer, 1)):
        where.ip("addr", "add", f"203.0.113.{last}/24", "dev", "lan1")
        where.ip("addr", "add", f"2001:db8:1::{last}/64", "dev", "lan1", "nodad")
    four = addresses.Address.parse("203.0.113.1"), addresses.Address.parse("203.0.113.2")
    six = addresses.Address.parse("2001:db8:1::1"), addresses.Address.parse("2001:db8:1::2")
    a = ends.start(
        cabling.node, config(B4, "out"), config(four[0], "in", vrf="lan1"), config(six[0], "in6", vrf="lan1")
    )
    b = ends.start(
        cabling.peer, config(four[1], "in", vrf="lan1"), config(A4, "out"), config(six[1], "in6", vrf="lan1")
    )
    await wait(lambda: all(end.state(key) is S.UP for end in (a, b) for key in ("out", "in", "in6")))
    a.client.bfd([config(four[0], "in", vrf="lan1")])
    a.client.bfd([config(four[0], "in", vrf="lan1"), config(B4, "out")])
    await wait(lambda: a.state("in") is a.state("out") is S.UP)
    assert a.warnings == b.warnings == []


async def test_a_link_that_goes_and_comes_back(cabling: pair.Pair, ends: Ends) -> None:
    def cable() -> None:
        cabling.cable("lan1")
        for where, last in ((cabling.node, 2), (cabling.peer, 1)):
            where.ip("addr", "add", f"203.0.113.{last}/24", "dev", "lan1")
            where.ip("addr", "add", f"2001:db8:1::{last}/64", "dev", "lan1", "nodad")

    cable()
    four = addresses.Address.parse("203.0.113.1"), addresses.Address.parse("203.0.113.2")
    six = addresses.Address.parse("2001:db8:1::1"), addresses.Address.parse("2001:db8:1::2")
    # One bound to the link, one to it as to a VRF, which is the name of a device too.
    a = ends.start(cabling.node, config(four[0], local=four[1], interface="lan1"), config(six[0], "six", vrf="lan1"))
    b = ends.start(cabling.peer, config(four[1]), config(six[1], "six"))
    await wait(lambda: all(end.state(key) is S.UP for end in (a, b) for key in ("k", "six")))
    cabling.node.ip("link", "del", "lan1")
    await wait(lambda: a.state() is not S.UP and a.state("six") is not S.UP)
    await wait(lambda: len(a.warnings) >= 2)
    cable()
    await wait(lambda: all(end.state(key) is S.UP for end in (a, b) for key in ("k", "six")))
    assert len(a.warnings) < 12, f"each trouble is told once: {a.warnings}"


async def test_the_same_addresses_inside_and_outside_of_a_vrf(cabling: pair.Pair, ends: Ends) -> None:
    cabling.cable("lan1")
    for where, last in ((cabling.node, 2), (cabling.peer, 1)):
        try:
            where.ip("link", "add", "red", "type", "vrf", "table", "10")
        except RuntimeError as error:
            pytest.skip(f"this kernel has no VRF: {error}")
        where.ip("link", "set", "red", "up")
        where.ip("link", "set", "lan1", "master", "red", "up")
        where.ip("addr", "add", f"192.0.2.{last}/24", "dev", "lan1")
    a = ends.start(cabling.node, config(B4, "out"), config(B4, "in", vrf="red"))
    b = ends.start(cabling.peer, config(A4, "out"), config(A4, "in", vrf="red"))
    await wait(lambda: all(end.state(key) is S.UP for end in (a, b) for key in ("out", "in")))
    cabling.peer.ip("link", "set", "lan1", "down")
    await wait(lambda: a.state("in") is not S.UP)
    assert a.state("out") is S.UP, "the same addresses, another world"


def set_hops(where: pair.Namespace, hops: int) -> None:
    """Have everything that leaves the namespace for BFD's ports carry this many hops."""
    where.run("nft", "add table inet t")
    where.run("nft", "add chain inet t c { type filter hook output priority 0; }")
    where.run("nft", f"add rule inet t c udp dport {{3784, 4784}} ip ttl set {hops}")


async def test_packets_of_a_router_further_away_are_not_taken(cabling: pair.Pair, ends: Ends) -> None:
    set_hops(cabling.peer, 253)
    a = ends.start(
        cabling.node,
        config(B4, "single"),
        config(FAR_B, "strict", local=FAR_A, multihop=True),
        config(B4, "lenient", multihop=True, minimum_ttl=253),
    )
    ends.start(
        cabling.peer,
        config(A4, "single"),
        config(FAR_A, "strict", local=FAR_B, multihop=True),
        config(A4, "lenient", multihop=True),
    )
    await wait(lambda: a.state("lenient") is S.UP)
    await asyncio.sleep(2.2)  # two slow packets of each
    assert a.state("single") is S.DOWN
    assert a.state("strict") is S.DOWN


async def test_changes_while_up_and_switching_off(cabling: pair.Pair, ends: Ends) -> None:
    a, b = ends.start(cabling.node, config(B4)), ends.start(cabling.peer, config(A4))
    await wait(lambda: a.state() is b.state() is S.UP)
    a.client.bfd([config(B4, transmit_interval=400, receive_interval=50, multiplier=5)])
    await asyncio.sleep(1.5)
    assert (a.state(), b.state()) == (S.UP, S.UP)
    a.client.bfd([])
    await wait(lambda: b.state() is not S.UP, 0.5)
    assert b.statuses["k"].remote_state is S.ADMIN_DOWN
    assert not b.statuses["k"].failed
    a.client.bfd([config(B4)])
    assert a.state() is None
    await wait(lambda: a.state() is b.state() is S.UP)
    await a.client.wait_stopped(0)
    await wait(lambda: b.state() is not S.UP, 0.5)
    assert b.statuses["k"].remote_state is S.ADMIN_DOWN


async def test_a_killed_process_means_unknown_and_its_successor_is_told_everything(
    cabling: pair.Pair, ends: Ends
) -> None:
    a, b = ends.start(cabling.node, config(B4)), ends.start(cabling.peer, config(A4))
    await wait(lambda: a.state() is b.state() is S.UP)
    pid = a.client.pid
    assert pid is not None
    a.changes.clear()
    os.kill(pid, signal.SIGKILL)
    await wait(lambda: bool(a.changes))
    assert a.changes == [("k", settings.UNKNOWN)]
    assert not a.statuses["k"].failed
    await wait(lambda: a.state() is b.state() is S.UP)


async def test_another_daemon_on_the_port_is_told(cabling: pair.Pair, ends: Ends) -> None:
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("", settings.SINGLE_HOP_PORT))
    a, b = ends.start(cabling.node, config(B4)), ends.start(cabling.peer, config(A4))
    await wait(lambda: bool(a.warnings))
    assert "UDP port 3784" in a.warnings[0]
    assert a.state() is S.DOWN
    taken.close()
    await wait(lambda: a.state() is b.state() is S.UP)
    assert len(a.warnings) == 1, "told once"


def forward(where: pair.Namespace) -> None:
    where.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


@pytest.mark.parametrize(("ours", "theirs"), [(B4, A4), (B6, A6)], ids=["IPv4", "IPv6"])
async def test_echo_through_the_peers_forwarding_plane(
    cabling: pair.Pair, ends: Ends, ours: addresses.Address, theirs: addresses.Address
) -> None:
    forward(cabling.peer)
    a = ends.start(cabling.node, config(ours, echo=True, echo_interval=100))
    b = ends.start(cabling.peer, config(theirs, echo_interval=100))
    await wait(lambda: a.counters.get("k", settings.Counters()).echo_packet_input > 10)
    assert a.state() is b.state() is S.UP
    # Forwarding stops, and with it the echo; control packets still pass.
    cabling.peer.run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
    await wait(lambda: any(status.diagnostic == packets.Diagnostic.ECHO_FAILED for _, status in a.changes))
    await wait(lambda: a.state() is b.state() is S.UP)
    ups = len(a.changes)
    await asyncio.sleep(2.0)
    assert len(a.changes) == ups, "an echo that does not come back any more is no failure twice"


async def test_no_echo_where_the_peer_does_not_forward(cabling: pair.Pair, ends: Ends) -> None:
    a, b = ends.start(cabling.node, config(B4, echo=True)), ends.start(cabling.peer, config(A4))
    await wait(lambda: a.state() is b.state() is S.UP)
    await wait(lambda: a.counters.get("k", settings.Counters()).control_packet_input > 10)
    assert a.counters["k"].echo_packet_output == 0


# What a container gets whose securityContext drops ALL and adds NET_RAW, run as root.
ONLY_NET_RAW = ("setpriv", "--bounding-set=-all,+net_raw", "--inh-caps=-all", "--no-new-privs")
PROGRAM = """
import asyncio, sys
from metallb_core.domain import addresses
from metallb_speaker.bfd import settings
from metallb_speaker.deadline import client
async def run():
    up = asyncio.Event()
    def changed(statuses):
        print(statuses, flush=True)
        if all(status.up for status in made_sessions_known(statuses)):
            up.set()
    known = {}
    def made_sessions_known(statuses):
        known.update(statuses)
        return known.values()
    made = client.Client(on_bfd=changed, on_warning=lambda text: print("warning:", text, flush=True), linger=0)
    made.configure([], [".*"])
    made.bfd([
        settings.Config(key="vrf", peer=addresses.Address.parse("192.0.2.1"), interface="lan0", echo=True),
        settings.Config(key="six", peer=addresses.Address.parse("2001:db8::1"), multihop=True),
    ])
    made.start()
    async with asyncio.timeout(20):
        await up.wait()
    await asyncio.sleep(1)
    await made.wait_stopped(0)
asyncio.run(run())
"""


async def test_one_capability_is_enough(
    cabling: pair.Pair, ends: Ends, run_program: Callable[..., Awaitable[tuple[int | None, str]]]
) -> None:
    forward(cabling.peer)
    b = ends.start(cabling.peer, config(A4, "vrf", echo_interval=50), config(A6, "six", multihop=True))
    status, output = await run_program(PROGRAM, *ONLY_NET_RAW)
    assert status == 0, output
    assert "warning" not in output
    assert b.statuses["vrf"].remote_state is S.ADMIN_DOWN
