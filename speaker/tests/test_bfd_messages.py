"""BFD on the stream between the two processes, and what the client makes of it."""

from collections.abc import Mapping
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from metallb_core.domain import addresses
from metallb_speaker.bfd import packets, settings
from metallb_speaker.deadline import client, messages

S = packets.State
PEER = addresses.Address.parse("192.0.2.1")
PEER6 = addresses.Address.parse("fe80::1")

found_addresses = strategies.one_of(
    strategies.integers(0, 2**32 - 1).map(lambda value: addresses.Address(addresses.Family.IPV4, value)),
    strategies.integers(0, 2**128 - 1).map(lambda value: addresses.Address(addresses.Family.IPV6, value)),
)
configs = strategies.builds(
    settings.Config,
    key=strategies.text(max_size=20),
    peer=found_addresses,
    local=strategies.none() | found_addresses,
    interface=strategies.text(max_size=15),
    vrf=strategies.text(max_size=15),
    multihop=strategies.booleans(),
    transmit_interval=strategies.integers(10, 60_000),
    receive_interval=strategies.integers(10, 60_000),
    multiplier=strategies.integers(2, 255),
    echo=strategies.booleans(),
    echo_interval=strategies.integers(10, 60_000),
    passive=strategies.booleans(),
    minimum_ttl=strategies.integers(1, 254),
)


@hypothesis.given(strategies.lists(configs, max_size=3), strategies.integers(0, 2**31))
def test_sessions_survive_the_way(wanted: list[settings.Config], revision: int) -> None:
    message = messages.ConfigureBfd(revision=revision, sessions=tuple(messages.from_bfd(each) for each in wanted))
    (read,) = messages.ChildReader().feed(messages.encode(message))
    assert isinstance(read, messages.ConfigureBfd)
    assert read.revision == revision
    assert [messages.to_bfd(each) for each in read.sessions] == wanted


def test_states_and_counters_survive_the_way() -> None:
    statuses = {
        "a": settings.Status(state=S.UP, remote_state=S.UP),
        "b": settings.Status(state=S.DOWN, diagnostic=31, remote_state=S.ADMIN_DOWN),
    }
    counters = messages.BfdCounters(entries=(("a", 1, 2, 3, 4, 5, 6),))
    data = messages.encode(messages.from_statuses(7, statuses)) + messages.encode(counters)
    states, counted = messages.ParentReader().feed(data)
    assert isinstance(states, messages.BfdStates)
    assert (states.revision, messages.to_statuses(states)) == (7, statuses)
    assert counted == counters


class Bench:
    """A client that was never started: what it says goes nowhere, what it hears is given to it."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, settings.Status]] = []
        self.counted: list[Mapping[str, settings.Counters]] = []
        self.client = client.Client(on_bfd=self.told.append, on_bfd_counters=self.counted.append)

    def hear(self, revision: int, **states: packets.State) -> None:
        statuses = {key: settings.Status(state=state, remote_state=state) for key, state in states.items()}
        self.client._take(messages.from_statuses(revision, statuses))

    def heard(self) -> list[Mapping[str, settings.Status]]:
        found = list(self.told)
        self.told.clear()
        return found


def config(key: str, peer: addresses.Address = PEER, **changes: Any) -> settings.Config:
    return settings.Config(**{"key": key, "peer": peer, **changes})


UP = settings.Status(state=S.UP, remote_state=S.UP)


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.client.bfd([config("a"), config("b", PEER6)])
    assert made.heard() == [{"a": settings.UNKNOWN, "b": settings.UNKNOWN}]
    made.hear(1, a=S.UP, b=S.UP)
    assert made.heard() == [{"a": UP, "b": UP}]
    return made


def test_the_same_again_is_no_news(bench: Bench) -> None:
    bench.hear(1, a=S.UP)
    bench.client.bfd([config("a"), config("b", PEER6)])
    assert bench.heard() == []
    assert bench.client.bfd_status("a") == UP


def test_a_session_that_is_not_wanted_is_not_told_of(bench: Bench) -> None:
    bench.client.bfd([config("a")])
    bench.hear(2, a=S.DOWN, b=S.DOWN)
    assert [set(each) for each in bench.heard()] == [{"a"}]
    assert bench.client.bfd_status("b") == settings.UNKNOWN


def test_other_timers_keep_what_is_known(bench: Bench) -> None:
    bench.client.bfd([config("a", multiplier=5), config("b", PEER6)])
    assert bench.heard() == []


def test_another_peer_under_the_same_key_is_unknown(bench: Bench) -> None:
    bench.client.bfd([config("a", PEER6), config("b", PEER6, interface="eth0")])
    assert bench.heard() == [{"a": settings.UNKNOWN, "b": settings.UNKNOWN}]
    bench.hear(1, a=S.UP)
    assert bench.heard() == [], "said before the process knew of the change, of the former session"
    bench.hear(2, a=S.DOWN)
    assert [each["a"].state for each in bench.heard()] == [S.DOWN]


def test_a_dead_process_says_nothing_about_the_path(bench: Bench) -> None:
    bench.client._loop = FakeLoop()  # type: ignore[assignment]
    bench.client._ended()
    assert bench.heard() == [{"a": settings.UNKNOWN, "b": settings.UNKNOWN}]
    assert not bench.client.bfd_status("a").up
    assert not bench.client.bfd_status("a").failed


class FakeLoop:
    """Enough of a loop for a client without a process."""


def test_of_two_with_one_key_the_first_counts() -> None:
    made = Bench()
    made.client.bfd([config("a", multiplier=2), config("a", multiplier=3)])
    assert made.client._bfd_configuration().sessions[0].multiplier == 2


def test_counters_of_strangers_are_dropped(bench: Bench) -> None:
    bench.client._take(messages.BfdCounters(entries=(("a", 1, 2, 3, 4, 5, 6), ("gone", 1, 1, 1, 1, 1, 1))))
    assert bench.counted == [{"a": settings.Counters(1, 2, 3, 4, 5, 6)}]


@pytest.mark.parametrize(
    ("status", "up", "failed"),
    [
        pytest.param(settings.UNKNOWN, False, False, id="unknown"),
        pytest.param(UP, True, False, id="up"),
        pytest.param(settings.Status(state=S.DOWN, remote_state=S.UP), False, True, id="the peer is silent"),
        pytest.param(settings.Status(state=S.INIT, remote_state=S.DOWN), False, True, id="coming up"),
        pytest.param(settings.Status(state=S.DOWN, remote_state=S.ADMIN_DOWN), False, False, id="the peer is off"),
        pytest.param(settings.Status(state=S.ADMIN_DOWN, remote_state=S.UP), False, False, id="this end is off"),
    ],
)
def test_what_a_status_means(status: settings.Status, up: bool, failed: bool) -> None:
    assert (status.up, status.failed) == (up, failed)
