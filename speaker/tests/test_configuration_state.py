"""What a speaker says in its ConfigurationState, and the names of its metrics."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import prometheus_client
import pytest

from metallb_core.announcement import difference, layer2
from metallb_core.config import compiled
from metallb_core.domain import addresses, advertisements, conditions, interfaces, services
from metallb_core.kube import client as clients
from metallb_core.kube import configuration_state, connection, instruments, ownership
from metallb_core.runtime import clock, metrics
from metallb_core.testing import builders, fake_apiserver
from metallb_speaker import configuration, gauges, reconcile

NAMESPACE = "metallb-system"
DEADLINE = 20.0
ADDRESS = addresses.Address.parse("192.0.2.1")
KEY = services.ServiceKey("default", "web")


class Bench:
    """A speaker's word, running against a fake API server."""

    def __init__(self, server: fake_apiserver.FakeApiServer, state: configuration.State) -> None:
        self.server = server
        self.state = state

    def conditions(self) -> dict[str, dict[str, Any]]:
        found = self.server.get("metallb.io", "configurationstates", "speaker-n1", NAMESPACE) or {}
        return {each["type"]: each for each in found.get("status", {}).get("conditions") or ()}

    def writes(self) -> int:
        return sum(1 for seen in self.server.requests if seen.path.endswith("/speaker-n1/status"))

    async def wait(self, kind: str, status: str, message: str | None = None) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE):
            while True:
                found = self.conditions().get(kind)
                if found and found["status"] == status and message in (None, found["message"]):
                    return found
                await asyncio.sleep(0.01)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with (
        fake_apiserver.FakeApiServer(bookmark_seconds=0.5) as server,
        clients.Client(connection.plain(server.url), user_agent="test/0") as client,
    ):
        state = configuration.State(client, clock.SystemClock(), namespace=NAMESPACE, node="n1", owner=ownership.nobody)
        tasks = [asyncio.ensure_future(part.run()) for part in state.parts()]
        yield Bench(server, state)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def through(*names: str) -> compiled.Config:
    """A configuration that asks for these interfaces."""
    ad = advertisements.L2Advertisement(name="l2", pools=frozenset({"pool"}), interfaces=frozenset(names))
    return compiled.Config(l2=(ad,))


async def test_only_links_that_are_asked_for_are_named(bench: Bench) -> None:
    usable = "interfaces.metallb.io/usable"
    bench.state.links(interfaces.Usable.both("eth0", "eth1", "veth123"))
    bench.state.configured(through("eth1", "eth9"))
    await bench.wait("configReconcilerValid", "True")
    await bench.wait(usable, "True", "eth1")
    written = bench.writes()
    bench.state.links(interfaces.Usable.both("eth0", "eth1", "veth456"))
    bench.state.sessions([])
    bench.state.configured(compiled.EMPTY)
    await bench.wait(usable, "True", "")
    assert bench.writes() == written + 1, "a link of a pod is no news"
    bench.state.links(interfaces.NOTHING)
    assert (await bench.wait(usable, "False", ""))["reason"] == "NoUsableInterface"


USABLE = [
    pytest.param(interfaces.Usable.both("eth1", "eth2"), "Usable", "eth1,eth2", id="both-families"),
    pytest.param(
        interfaces.Usable(ipv4=frozenset({"eth1", "eth2"}), ipv6=frozenset({"eth2", ""})),
        "Usable",
        "eth1/IPv4,eth2",
        id="one-for-ipv4-alone",
    ),
    pytest.param(interfaces.Usable(ipv4=frozenset({"eth1"})), "UsableForIPv4", "eth1/IPv4", id="ipv6-is-off"),
    pytest.param(interfaces.Usable(ipv6=frozenset({"eth0"})), "UsableForIPv6", "", id="not-asked-for-by-name"),
    pytest.param(interfaces.NOTHING, "NoUsableInterface", "", id="none"),
]


@pytest.mark.parametrize(("usable", "reason", "message"), USABLE)
def test_usable_interfaces_are_told_by_family_and_read_back(
    usable: interfaces.Usable, reason: str, message: str
) -> None:
    asked_for = frozenset({"eth1", "eth2"})
    said = configuration_state.links(usable, asked_for)
    assert (said.reason, said.message) == (reason, message)
    read = configuration_state.usable_of(said)
    for family in addresses.Family:
        others = frozenset({""}) if usable.of(family) else frozenset()
        assert read.of(family) == (usable.of(family) & asked_for) | others


async def test_what_is_wrong_is_said_and_taken_back(bench: Bench) -> None:
    bad = builders.pool_object("bad", "192.0.2.0/99")
    bench.state.configured(compiled.compile(compiled.Resources(pools=(bad,))))
    said = await bench.wait("configReconcilerValid", "False")
    assert said["reason"] == "ConfigurationError"
    assert said["message"].startswith('configuration error: IPAddressPool "bad": spec.addresses[0]: ')
    bench.state.configured(compiled.EMPTY)
    await bench.wait("configReconcilerValid", "True", "")


async def test_a_session_has_a_condition_for_as_long_as_there_is_the_peer(bench: Bench) -> None:
    kind = "peer.metallb.io/tor"
    bench.state.configured(compiled.EMPTY)
    bench.state.sessions(
        [conditions.Condition(type=kind, status=conditions.Status.FALSE, reason="ConnectFailed", message="refused")]
    )
    await bench.wait(kind, "False", "refused")
    bench.state.sessions([])
    async with asyncio.timeout(DEADLINE):
        while kind in bench.conditions():  # noqa: ASYNC110 - what is looked at is a server's state
            await asyncio.sleep(0.01)
    assert bench.conditions()["configReconcilerValid"]["status"] == "True"


DRAIN, IGNORES = "settings.metallb.io/drainTaint", "settings.metallb.io/ignoreExcludeLB"
FLAGS = [
    pytest.param(False, "", {}, id="defaults"),
    pytest.param(True, "", {IGNORES: ("True", "")}, id="label-ignored"),
    pytest.param(False, "example.com/leaving", {DRAIN: ("True", "example.com/leaving")}, id="taint"),
    pytest.param(True, "a", {DRAIN: ("True", "a"), IGNORES: ("True", "")}, id="both"),
]


@pytest.mark.parametrize(("ignores", "taint", "expected"), FLAGS)
async def test_flags_that_leave_nodes_out_are_told(
    bench: Bench, ignores: bool, taint: str, expected: dict[str, tuple[str, str]]
) -> None:
    bench.state.started(ignores_exclude_label=True, drain_taint="of-the-speaker-before")
    await bench.wait(DRAIN, "True", "of-the-speaker-before")
    bench.state.started(ignores_exclude_label=ignores, drain_taint=taint)
    bench.state.configured(compiled.EMPTY)

    def told() -> dict[str, tuple[str, str]]:
        found = bench.conditions()
        return {kind: (found[kind]["status"], found[kind]["message"]) for kind in (DRAIN, IGNORES) if kind in found}

    async with asyncio.timeout(DEADLINE):
        while told() != expected:  # noqa: ASYNC110 - what is looked at is a server's state
            await asyncio.sleep(0.01)
    await bench.wait("configReconcilerValid", "True")


SERIES = [
    pytest.param("metallb_k8s_client_updates_total", "counter", (), id="updates"),
    pytest.param("metallb_k8s_client_update_errors_total", "counter", (), id="update-errors"),
    pytest.param("metallb_k8s_client_config_loaded_bool", "gauge", (), id="loaded"),
    pytest.param("metallb_k8s_client_config_stale_bool", "gauge", (), id="stale"),
    pytest.param("metallb_speaker_announced", "gauge", ("ip", "node", "protocol", "service"), id="announced"),
    # No counter of the client library's, since these names have no `_total`.
    pytest.param("metallb_layer2_requests_received", "untyped", ("ip",), id="requests"),
    pytest.param("metallb_layer2_responses_sent", "untyped", ("ip",), id="responses"),
    pytest.param("metallb_layer2_gratuitous_sent", "untyped", ("ip",), id="gratuitous"),
    pytest.param("metallb_speaker_owner_changes_total", "counter", (), id="owner-changes"),
    pytest.param("metallb_speaker_address_conflicts_total", "counter", ("ip",), id="conflicts"),
    pytest.param("metallb_api_requests_total", "counter", ("code", "resource", "verb"), id="api-requests"),
]


@pytest.fixture(scope="module")
def scraped() -> str:
    """What /metrics says of a speaker that announces one Service."""
    registry = metrics.Registry(process=False)
    shared = instruments.Instruments(registry)
    shared.request("list", "services", 200, 0.1)
    shared.configured(stale=False)
    own = gauges.Metrics(registry.collectors, "n1")
    own.announced(KEY, reconcile.Protocol.LAYER2, (), (ADDRESS,))
    held = difference.Announced()
    held.update(KEY, layer2.Announcement((ADDRESS,), frozenset()))
    own.packets({ADDRESS: (3, 2, 1)}, held)
    own.conflicts.labels(str(ADDRESS)).inc()
    return prometheus_client.generate_latest(registry.collectors).decode()


@pytest.mark.parametrize(("name", "kind", "labels"), SERIES)
def test_series_of_a_speaker(scraped: str, name: str, kind: str, labels: tuple[str, ...]) -> None:
    lines = [line for line in scraped.splitlines() if line.split("{")[0].split(" ")[0] == name]
    assert lines, f"no series {name}"
    for line in lines:
        inside = line.partition("{")[2].partition("}")[0]
        assert tuple(sorted(part.split("=")[0] for part in inside.split(",") if part)) == labels
    assert f"# TYPE {name} {kind}" in scraped


def test_values_of_an_announced_service(scraped: str) -> None:
    labels = 'ip="192.0.2.1",node="n1",protocol="layer2",service="default/web"'
    assert f"metallb_speaker_announced{{{labels}}} 1.0" in scraped
    assert 'metallb_layer2_requests_received{ip="192.0.2.1"} 3.0' in scraped
    assert 'metallb_layer2_gratuitous_sent{ip="192.0.2.1"} 1.0' in scraped
