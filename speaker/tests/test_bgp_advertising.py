"""A node's BGP side: routes go to sessions that are new, BFD's word is weighed before a session falls, metrics are the documented ones."""

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Iterable, Mapping

import prometheus_client
import pytest

from metallb_core.announcement import bgp
from metallb_core.announcement import routes as books
from metallb_core.config import compiled
from metallb_core.domain import addresses, bfd, conditions, peers, reasons, routes, services
from metallb_core.testing import clock as clocks
from metallb_speaker.bfd import packets, settings
from metallb_speaker.bgp import advertising, fsm, gauges
from metallb_speaker.bgp.native import peering

WEB = services.ServiceKey("default", "web")
PREFIX = routes.Prefix.of(addresses.Address.parse("192.0.2.1"), 32)
OTHER = routes.Prefix.of(addresses.Address.parse("192.0.2.2"), 32)
LOST = reasons.Refusal(reasons.Reason.BGP_CONNECTION_LOST, "peer 'r1' is gone")


def peer(name: str, octet: int = 1, **changes: object) -> peers.Peer:
    made = peers.Peer(name=name, my_asn=1, peer_asn=2, address=addresses.Address.parse(f"192.0.2.{octet}"))
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def config(*known: peers.Peer) -> compiled.Config:
    profile = bfd.BFDProfile(name="fast")
    return dataclasses.replace(
        compiled.EMPTY, peers={each.name: each for each in known}, bfd_profiles={profile.name: profile}
    )


def view(name: str = "r1", state: fsm.State = fsm.State.ESTABLISHED, **changes: object) -> peering.SessionView:
    made = peering.SessionView(
        name=name, remote="192.0.2.1:179", state=state, since=0.0, problem=None, announced=3, pending=1, received=0,
        withheld=0, updates_sent=5, updates_received=0, messages_sent=9, messages_received=9, established=1,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


class Sessions:
    """Sessions that do nothing, and remember what they were told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.views: dict[str, peering.SessionView] = {}
        self.known: set[tuple[str, routes.Prefix]] = set()

    def configure(self, wanted: Mapping[str, peering.Wanted]) -> None:
        self.said.append(f"configure {','.join(sorted(wanted))}")

    def replace(self, name: str, desired: Mapping[routes.Prefix, routes.Attributes]) -> None:
        self.said.append(f"replace {name} {len(desired)}")

    def bfd_down(self, name: str) -> None:
        self.said.append(f"down {name}")

    def bfd_up(self, name: str) -> None:
        self.said.append(f"up {name}")

    def session(self, name: str) -> peering.SessionView | None:
        return self.views.get(name)

    def sessions(self) -> dict[str, peering.SessionView]:
        return self.views

    def has(self, name: str, prefix: routes.Prefix) -> bool:
        return (name, prefix) in self.known

    async def run(self) -> None:
        await asyncio.Event().wait()

    def take(self) -> list[str]:
        taken, self.said = self.said, []
        return taken


class Side:
    """The BGP side of a node, with such sessions."""

    def __init__(self) -> None:
        self.clock = clocks.FakeClock()
        self.sessions = Sessions()
        self.book = books.Book()
        self.watched: list[tuple[str, ...]] = []
        self.changes: list[tuple[str, bool]] = []
        self.conditions = 0
        self.side = advertising.Advertising(
            clock=self.clock,
            random=random.Random(1),
            node="n1",
            namespace="metallb-system",
            book=self.book,
            watch=self._watch,
            on_session=lambda name, established: self.changes.append((name, established)),
            on_conditions=self._count,
        )
        self.side._peering = self.sessions  # type: ignore[assignment]

    def _watch(self, configs: Iterable[settings.Config]) -> None:
        self.watched.append(tuple(each.key for each in configs))

    def _count(self) -> None:
        self.conditions += 1

    def configure(self, *known: peers.Peer) -> list[str]:
        self.side.configure(config(*known), {}, {})
        return self.sessions.take()

    def path(self, state: packets.State | None, remote: packets.State | None = None) -> list[str]:
        self.side.paths_changed({"r1": settings.Status(state=state, remote_state=remote)})
        return self.sessions.take()


@pytest.fixture
async def node() -> AsyncIterator[Side]:
    made = Side()
    running = asyncio.ensure_future(made.side.run())
    await made.clock.settle()
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_only_a_new_session_is_told_everything(node: Side) -> None:
    node.book.update(
        WEB, (bgp.Route(PREFIX, bgp.Offer("ad")), bgp.Route(OTHER, bgp.Offer("b", peers=frozenset({"r2"}))))
    )
    assert node.configure(peer("r1")) == ["configure r1", "replace r1 1"]
    assert node.configure(peer("r1"), peer("r2", 2)) == ["configure r1,r2", "replace r2 2"]
    assert node.configure(peer("r1"), peer("r2", 2, hold_time=30.0)) == ["configure r1,r2", "replace r2 2"]
    assert node.configure(peer("r1")) == ["configure r1"]
    assert node.book.peers == ("r1",)


async def test_bfd_is_asked_for_only_when_it_changes(node: Side) -> None:
    node.configure(peer("r1"))
    assert node.watched == []
    node.configure(peer("r1", bfd_profile="fast"))
    node.configure(peer("r1", bfd_profile="fast"))
    assert node.watched == [("r1",)]
    node.configure(peer("r1"))
    assert node.watched == [("r1",), ()]


UP, DOWN, INIT, ADMIN = packets.State.UP, packets.State.DOWN, packets.State.INIT, packets.State.ADMIN_DOWN


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param([(None, None), (DOWN, None)], [], id="never-up"),
        pytest.param([(UP, UP), (DOWN, DOWN)], ["down r1"], id="lost"),
        pytest.param([(UP, UP), (DOWN, None), (INIT, DOWN), (UP, UP)], ["down r1", "up r1"], id="lost-and-back"),
        pytest.param([(UP, UP), (DOWN, ADMIN)], [], id="switched-off-by-the-router"),
        pytest.param([(UP, UP), (None, None), (DOWN, None)], [], id="nobody-watched-for-a-moment"),
        pytest.param([(UP, UP), (DOWN, None), (DOWN, ADMIN)], ["down r1", "up r1"], id="lost-then-switched-off"),
        pytest.param([(UP, UP), (DOWN, None), (None, None)], ["down r1", "up r1"], id="lost-then-nobody-watches"),
    ],
)
async def test_what_bfd_says(
    node: Side, states: list[tuple[packets.State | None, packets.State | None]], expected: list[str]
) -> None:
    node.configure(peer("r1", bfd_profile="fast"))
    said = [each for state in states for each in node.path(*state)]
    assert said == expected


async def test_a_router_whose_bfd_does_not_come_back_is_tried_without(node: Side) -> None:
    node.configure(peer("r1", bfd_profile="fast"))
    node.path(UP, UP)
    assert node.path(DOWN) == ["down r1"]
    await node.clock.advance(29.0)
    assert node.sessions.take() == []
    await node.clock.advance(2.0)
    assert node.sessions.take() == ["up r1"]
    assert node.path(UP, UP) == []
    assert node.path(DOWN) == ["down r1"]


async def test_a_router_that_is_found_on_its_interface_is_watched_there(node: Side) -> None:
    node.configure(peer("r1", address=None, interface="eth0", bfd_profile="fast"))
    assert node.watched == []
    found = addresses.Address.parse("fe80::1")
    node.sessions.views["r1"] = view(remote="eth0", router=found)
    node.side._state_changed("r1")
    assert node.watched == [("r1",)]
    [watched] = node.side._watched.values()
    assert (watched.peer, watched.interface, watched.multihop) == (found, "eth0", False)
    # It is still there when it cannot be heard.
    node.sessions.views["r1"] = view(state=fsm.State.IDLE, remote="eth0")
    node.configure(peer("r1", address=None, interface="eth0", bfd_profile="fast"))
    assert node.watched == [("r1",)]


async def test_a_peer_that_loses_its_profile_is_not_held_down(node: Side) -> None:
    node.configure(peer("r1", bfd_profile="fast"))
    node.path(UP, UP)
    node.path(DOWN)
    assert "up r1" in node.configure(peer("r1"))


async def test_news_of_a_session_are_told_once(node: Side) -> None:
    node.configure(peer("r1"))
    told = node.conditions
    for state, problem in (
        (fsm.State.CONNECT, None), (fsm.State.ESTABLISHED, None), (fsm.State.ESTABLISHED, None),
        (fsm.State.IDLE, LOST), (fsm.State.CONNECT, LOST), (fsm.State.ACTIVE, LOST),
    ):  # fmt: skip
        node.sessions.views["r1"] = view(state=state, problem=problem)
        node.side._state_changed("r1")
    assert node.changes == [("r1", True), ("r1", False)]
    assert node.conditions == told + 2


async def test_conditions(node: Side) -> None:
    node.configure(peer("r1"), peer("r2", 2), peer("r3", 3), peer("r4", 4, password_secret="s"))
    node.sessions.views = {
        "r1": view("r1"),
        "r2": view("r2", fsm.State.ACTIVE, problem=LOST),
        "r3": view("r3", fsm.State.CONNECT),
    }
    said = {each.type: (each.status, each.reason) for each in node.side.conditions()}
    assert said == {
        "peer.metallb.io/r1": (conditions.Status.TRUE, "Established"),
        "peer.metallb.io/r2": (conditions.Status.FALSE, "ConnectionLost"),
        "peer.metallb.io/r3": (conditions.Status.FALSE, "Connecting"),
        "peer.metallb.io/r4": (conditions.Status.FALSE, "PasswordUnavailable"),
    }
    [problem] = node.side.problems()
    assert str(problem).startswith('BGPPeer "r4": spec.passwordSecret: secret ref not found')


async def test_who_has_a_service_is_who_was_told(node: Side) -> None:
    node.configure(peer("r1"), peer("r2", 2))
    node.book.update(WEB, (bgp.Route(PREFIX, bgp.Offer("ad")),))
    assert node.side.told(WEB) == ()
    node.sessions.known = {("r2", PREFIX), ("r1", OTHER)}
    assert node.side.told(WEB) == ("r2",)


def samples(collectors: prometheus_client.CollectorRegistry) -> dict[tuple[str, str], float]:
    """Values by name and peer."""
    return {
        (sample.name, sample.labels["peer"]): sample.value
        for family in collectors.collect()
        for sample in family.samples
    }


def test_metrics_of_sessions() -> None:
    collectors = prometheus_client.CollectorRegistry()
    made = gauges.Sessions(collectors)
    assert samples(collectors) == {}
    views = [view(), view("twin", fsm.State.IDLE, updates_sent=2, announced=0), view("r2", remote="192.0.2.2:179")]
    made.read = lambda: views
    found = samples(collectors)
    assert found["metallb_bgp_session_up", "192.0.2.1:179"] == 0
    assert found["metallb_bgp_session_up", "192.0.2.2:179"] == 1
    assert found["metallb_bgp_updates_total", "192.0.2.1:179"] == 7
    assert found["metallb_bgp_announced_prefixes_total", "192.0.2.1:179"] == 3
    assert found["metallb_bgp_pending_prefixes_total", "192.0.2.1:179"] == 2
    made.read = list
    assert samples(collectors) == {}


def test_metrics_of_bfd() -> None:
    collectors = prometheus_client.CollectorRegistry()
    made = gauges.Sessions(collectors)
    address = addresses.Address.parse("192.0.2.1")
    made.watched([settings.Config(key="r1", peer=address)])
    made.paths({"r1": settings.Status(state=UP)})
    made.counted({"r1": settings.Counters(1, 2, 3, 4, 5, 6)})
    made.counted({"r1": settings.Counters(1, 0, 0, 0, 0, 0)})
    assert samples(collectors) == {
        ("metallb_bfd_session_up", "192.0.2.1"): 1,
        ("metallb_bfd_control_packet_input", "192.0.2.1"): 2,
        ("metallb_bfd_control_packet_output", "192.0.2.1"): 2,
        ("metallb_bfd_echo_packet_input", "192.0.2.1"): 3,
        ("metallb_bfd_echo_packet_output", "192.0.2.1"): 4,
        ("metallb_bfd_session_up_events", "192.0.2.1"): 5,
        ("metallb_bfd_session_down_events", "192.0.2.1"): 6,
    }
    made.watched([])
    assert samples(collectors) == {}
    made.watched([settings.Config(key="r1", peer=address)])
    assert samples(collectors)["metallb_bfd_session_up", "192.0.2.1"] == 0
