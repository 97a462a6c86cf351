"""Conditions and Events of Services, ConfigurationState and metrics of a whole controller, against the fake API server."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import prometheus_client
import pytest

from metallb_controller import controller
from metallb_controller.conditions import announcing
from metallb_core.domain import nodes
from metallb_core.kube import client as clients
from metallb_core.kube import connection, events, instruments
from metallb_core.runtime import clock, metrics
from metallb_core.testing import fake_apiserver

NAMESPACE = "metallb-system"
METALLB = "metallb.io"
DEADLINE = 20.0
STRANGER = {
    "type": "cloud.example/Ready",
    "status": "True",
    "reason": "Fine",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


class World:
    """A fake cluster with one node, and what was written to it."""

    def __init__(self, server: fake_apiserver.FakeApiServer) -> None:
        self.server = server
        self.registry = metrics.Registry(process=False)

    @contextlib.asynccontextmanager
    async def controller(self, identity: str = "one", **changes: Any) -> AsyncIterator[controller.Controller]:
        """A running controller, with metrics of its own."""
        system = clock.SystemClock()
        self.registry = metrics.Registry(process=False)
        shared = instruments.Instruments(self.registry)
        place = connection.plain(self.server.url)
        async with clients.Client(place, user_agent="test", on_request=shared.request) as client:
            one = controller.Controller(
                controller.Settings(namespace=NAMESPACE, identity=identity, **changes),
                client=client,
                clock=system,
                random=random.Random(1),
                recorder=events.EventRecorder(client, "metallb-controller", identity, system),
                shared_metrics=shared,
                collectors=self.registry.collectors,
            )
            tasks = [asyncio.ensure_future(part.run()) for part in one.parts()]
            try:
                yield one
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def put(self, plural: str, kind: str, name: str, spec: Any = None, **metadata: Any) -> None:
        self.server.put(
            METALLB,
            plural,
            {
                "apiVersion": "metallb.io/v1beta1",
                "kind": kind,
                "metadata": {"name": name, "namespace": NAMESPACE, **metadata},
                "spec": spec or {},
            },
        )

    def pool(self, *addresses: str, name: str = "pool") -> None:
        self.put("ipaddresspools", "IPAddressPool", name, {"addresses": list(addresses)})

    def advertisement(self, **spec: Any) -> None:
        self.put("l2advertisements", "L2Advertisement", "l2", spec)

    def node(self, name: str, *, taint: str = "", **labels: str) -> None:
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        if taint:
            body["spec"] = {"taints": [{"key": taint, "effect": "NoSchedule"}]}
        self.server.put("", "nodes", body)

    def speaker(self, node: str, usable: str | None = None, **flags: str) -> None:
        """A speaker runs on a node; `usable`: the interfaces that it names; `flags`: the settings that it tells of."""
        body: dict[str, Any] = {
            "apiVersion": "metallb.io/v1beta1",
            "kind": "ConfigurationState",
            "metadata": {
                "name": f"speaker-{node}",
                "namespace": NAMESPACE,
                "labels": {"metallb.io/component-type": "speaker", "metallb.io/node-name": node},
            },
        }
        told = {f"settings.metallb.io/{name}": ("Set", value) for name, value in flags.items()}
        if usable is not None:
            told["interfaces.metallb.io/usable"] = ("Usable", usable)
        if told:
            body["status"] = {
                "conditions": [
                    {"type": kind, "status": "True", "reason": reason, "message": message}
                    for kind, (reason, message) in told.items()
                ]
            }
        self.server.put(METALLB, "configurationstates", body)

    def announces(self, node: str, service: str = "web", plural: str = "servicel2statuses") -> None:
        labels = {
            "metallb.io/node": node,
            "metallb.io/service-name": service,
            "metallb.io/service-namespace": "default",
        }
        self.put(plural, "ServiceL2Status", f"{node}-{service}", labels=labels)

    def withdraws(self, node: str, service: str = "web") -> None:
        self.server.remove(METALLB, "servicel2statuses", f"{node}-{service}", NAMESPACE)

    def endpoint(self, node: str, service: str = "web", *, ready: bool = True) -> None:
        self.server.put(
            "discovery.k8s.io",
            "endpointslices",
            {
                "metadata": {
                    "name": f"{service}-1",
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": service},
                },
                "endpoints": [{"nodeName": node, "conditions": {"ready": ready}}],
            },
        )

    def service(self, name: str = "web", annotations: dict[str, str] | None = None, **spec: Any) -> None:
        found = self.server.get("", "services", name, "default")
        kept = ((found or {}).get("metadata", {}).get("annotations") or {}) if annotations is None else annotations
        self.server.put(
            "",
            "services",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": "default", "annotations": kept},
                "spec": {
                    "type": "LoadBalancer",
                    "clusterIPs": ["10.96.0.1"],
                    "ipFamilies": ["IPv4"],
                    "ports": [{"port": 80, "protocol": "TCP"}],
                    **spec,
                },
                "status": (found or {}).get("status", {"conditions": [STRANGER]}),
            },
        )

    def conditions(self, name: str = "web") -> dict[str, dict[str, str]]:
        found = (self.server.get("", "services", name, "default") or {}).get("status", {}).get("conditions") or []
        return {each["type"].removeprefix("metallb.io/"): each for each in found}

    def reason(self, kind: str, name: str = "web") -> str | None:
        found = self.conditions(name).get(kind)
        return found["reason"] if found else None

    def writes(self, name: str = "web") -> int:
        return sum(
            1
            for seen in self.server.requests
            if seen.verb == "PATCH" and seen.path.endswith(f"/services/{name}/status")
        )

    def told(self, name: str, reason: str) -> list[int]:
        """How often each Event with that reason was told of the object."""
        return [
            event.get("count", 1)
            for event in self.server.all("", "events")
            if event["involvedObject"]["name"] == name and event["reason"] == reason
        ]

    def state(self) -> dict[str, Any]:
        found = self.server.get(METALLB, "configurationstates", "controller", NAMESPACE)
        return (found or {}).get("status", {})  # type: ignore[no-any-return]

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.collectors.get_sample_value(name, labels)

    async def wait(self, look: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not look():  # noqa: ASYNC110 - what is looked at is a server's state
                await asyncio.sleep(0.01)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    for name, seconds in (
        ("SETTLE_SECONDS", 0.3),
        ("FIRST_SECONDS", 0.03),
        ("PENDING_SECONDS", 0.6),
        ("STREAMING_SECONDS", 0.2),
    ):
        monkeypatch.setattr(announcing, name, seconds)
    async with fake_apiserver.FakeApiServer(bookmark_seconds=0.5) as server:
        made = World(server)
        made.node("n1")
        made.speaker("n1")
        yield made


def ready(world: World) -> None:
    """A cluster in which one Service could be announced."""
    world.pool("192.0.2.0/28")
    world.advertisement()
    world.endpoint("n1")
    world.service()


async def test_address_and_condition_come_in_one_write(world: World) -> None:
    world.pool("192.0.2.0/28")
    world.service()
    async with world.controller():
        await world.wait(lambda: world.reason("Allocated"))
        assert world.writes() == 1
        found = world.conditions()
        assert (found["Allocated"]["status"], found["Allocated"]["reason"]) == ("True", "Allocated")
        assert found["Allocated"]["message"] == "192.0.2.0 from IPAddressPool pool"
        assert found["cloud.example/Ready"] == STRANGER, "conditions of other writers stay"


async def test_without_an_address_both_conditions_say_why_in_one_write(world: World) -> None:
    world.service()
    async with world.controller():
        await world.wait(lambda: world.reason("Allocated"))
        assert (world.reason("Allocated"), world.reason("Announced")) == ("NoPool", "NoAddress")
        assert "[A101 NoPool]" in world.conditions()["Allocated"]["message"]
        for _ in range(3):
            world.service()
            await asyncio.sleep(0.05)
        assert world.writes() == 1, "a resync writes nothing"
        assert world.told("web", "AllocationFailed") == [1]
        await world.wait(lambda: world.metric("metallb_services_not_announced", reason="NoAddress") == 1)
        failed = world.conditions()["Allocated"]["lastTransitionTime"]
        assert failed.endswith("Z")
        ready(world)
        await world.wait(lambda: world.reason("Allocated") == "Allocated")
        assert world.writes() == 2


async def test_announced_is_written_once_for_each_transition(world: World) -> None:
    ready(world)
    world.node("n2")
    world.speaker("n2")
    async with world.controller():
        await world.wait(lambda: world.reason("Allocated"))
        world.announces("n1")
        await world.wait(lambda: world.reason("Announced") == "Announced")
        assert world.conditions()["Announced"]["message"] == "announced from node n1 by layer 2"
        assert world.writes() == 2
        # The address changes hands; the old status goes before the new one comes.
        world.withdraws("n1")
        await asyncio.sleep(0.1)
        world.announces("n2")
        await world.wait(lambda: "n2" in world.conditions()["Announced"]["message"])
        # And the other way round.
        world.announces("n1")
        await asyncio.sleep(0.1)
        world.withdraws("n2")
        await world.wait(lambda: "n1" in world.conditions()["Announced"]["message"])
        await asyncio.sleep(0.5)
        assert world.writes() == 4
        assert world.conditions()["Announced"]["message"] == "announced from node n1 by layer 2"


async def test_a_bgp_status_counts_as_well(world: World) -> None:
    ready(world)
    async with world.controller():
        world.announces("n1", plural="servicebgpstatuses")
        await world.wait(lambda: world.reason("Announced") == "Announced")
        assert world.conditions()["Announced"]["message"] == "announced from node n1 by BGP"


async def test_why_nobody_announces_follows_the_cluster(world: World) -> None:
    """Each obstacle in turn; the reason is that which a speaker would give."""
    world.pool("192.0.2.0/28")
    world.service()
    async with world.controller():
        await world.wait(lambda: world.reason("Announced") == "NoReadyEndpoint")
        world.endpoint("n1")
        await world.wait(lambda: world.reason("Announced") == "NoAdvertisement")
        world.advertisement(interfaces=["eth1"])
        world.speaker("n1", "")
        await world.wait(lambda: world.reason("Announced") == "InterfaceMissing")
        assert "eth1 on node n1" in world.conditions()["Announced"]["message"]
        world.speaker("n1", "eth1")
        await world.wait(lambda: world.reason("Announced") == "AnnouncementPending")
        await world.wait(lambda: world.metric("metallb_services_not_announced", reason="AnnouncementPending") == 1)
        since = world.conditions()["Announced"]["lastTransitionTime"]
        world.announces("n1")
        await world.wait(lambda: world.reason("Announced") == "Announced")
        world.endpoint("n1", ready=False)
        world.withdraws("n1")
        await world.wait(lambda: world.reason("Announced") == "NoReadyEndpoint")
        assert world.conditions()["Announced"]["lastTransitionTime"] >= since
        world.server.remove(METALLB, "configurationstates", "speaker-n1", NAMESPACE)
        world.endpoint("n1")
        await world.wait(lambda: world.reason("Announced") == "NoEligibleNode")
        assert "no live speaker" in world.conditions()["Announced"]["message"]


async def test_flags_of_speakers_count(world: World) -> None:
    """Which nodes are left out is known to speakers alone, who say it."""
    world.pool("192.0.2.0/28")
    world.service()
    world.endpoint("n1")
    world.advertisement()
    world.node("n1", taint="example.com/leaving", **{nodes.EXCLUDE_LABEL: ""})
    async with world.controller():
        world.speaker("n1")
        await world.wait(lambda: world.reason("Announced") == "NodeExcludedByLabel")
        world.speaker("n1", ignoreExcludeLB="", drainTaint="example.com/leaving")
        await world.wait(lambda: world.reason("Announced") == "Draining")
        assert "node n1 carries the taint example.com/leaving" in world.conditions()["Announced"]["message"]
        world.speaker("n1", ignoreExcludeLB="")
        await world.wait(lambda: world.reason("Announced") == "AnnouncementPending")


async def test_a_message_alone_moves_no_date(world: World) -> None:
    ready(world)
    async with world.controller():
        world.announces("n1")
        await world.wait(lambda: world.reason("Announced") == "Announced")
        found = world.server.get("", "services", "web", "default")
        assert found is not None
        for each in found["status"]["conditions"]:
            each["lastTransitionTime"] = "2026-01-01T00:00:00Z"
        world.service()
        world.announces("n2")
        await world.wait(lambda: "n2" in world.conditions()["Announced"]["message"])
        assert world.conditions()["Announced"]["lastTransitionTime"] == "2026-01-01T00:00:00Z"


async def test_a_service_that_is_no_load_balancer_any_more_has_neither(world: World) -> None:
    ready(world)
    async with world.controller():
        world.announces("n1")
        await world.wait(lambda: world.reason("Announced"))
        world.service(type="ClusterIP")
        await world.wait(lambda: set(world.conditions()) == {"cloud.example/Ready"})


async def test_a_service_of_another_class_has_neither(world: World) -> None:
    ready(world)
    async with world.controller():
        await world.wait(lambda: world.reason("Allocated"))
        world.service(loadBalancerClass="example.com/other")
        await world.wait(lambda: set(world.conditions()) == {"cloud.example/Ready"})


async def test_a_new_leader_writes_nothing_that_stands(world: World) -> None:
    ready(world)
    world.announces("n1")
    async with world.controller("one"):
        await world.wait(lambda: world.reason("Announced") and world.state())
    before = world.writes(), world.state()
    async with world.controller("two"):
        world.service("dns")
        await world.wait(lambda: world.reason("Allocated", "dns"))
        await asyncio.sleep(0.8)
        assert (world.writes(), world.state()) == before


async def test_a_standby_writes_nothing(world: World) -> None:
    ready(world)
    async with world.controller("one"):
        await world.wait(lambda: world.state())
        async with world.controller("two"):
            world.announces("n1")
            await world.wait(lambda: world.reason("Announced"))
            await asyncio.sleep(0.5)
            assert world.writes() == 2


BAD = [
    pytest.param("ipaddresspools", "IPAddressPool", {"addresses": ["192.0.2.0/33"]}, id="IPAddressPool"),
    pytest.param(
        "l2advertisements",
        "L2Advertisement",
        {"nodeSelectors": [{"matchExpressions": [{"key": "a", "operator": "Sometimes"}]}]},
        id="L2Advertisement",
    ),
    pytest.param("bgpadvertisements", "BGPAdvertisement", {"communities": ["no-such-alias"]}, id="BGPAdvertisement"),
    pytest.param("bgppeers", "BGPPeer", {"myASN": 64512, "peerASN": 64513, "peerAddress": "nowhere"}, id="BGPPeer"),
    pytest.param("bfdprofiles", "BFDProfile", {"receiveInterval": -1}, id="BFDProfile"),
    pytest.param("communities", "Community", {"communities": [{"name": "a", "value": "x:y"}]}, id="Community"),
]


@pytest.mark.parametrize(("plural", "kind", "spec"), BAD)
async def test_an_object_of_any_kind_is_set_aside_by_itself(
    world: World, plural: str, kind: str, spec: dict[str, Any]
) -> None:
    """Told once on itself, in the ConfigurationState and in the metric; all of it ends when it is mended."""
    ready(world)
    async with world.controller():
        await world.wait(lambda: world.state().get("result") == "Valid")
        assert world.metric("metallb_k8s_client_config_loaded_bool") == 1
        world.put(plural, kind, "bad", spec)
        await world.wait(lambda: world.state().get("result") == "Invalid")
        await world.wait(lambda: world.told("bad", "InvalidConfiguration"))
        event = next(each for each in world.server.all("", "events") if each["involvedObject"]["name"] == "bad")
        version = "v1beta2" if kind == "BGPPeer" else "v1beta1"
        assert event["involvedObject"]["apiVersion"] == f"metallb.io/{version}"
        assert event["involvedObject"]["kind"] == kind
        assert world.metric("metallb_k8s_client_config_stale_bool") == 1
        condition = world.state()["conditions"][0]
        assert (condition["type"], condition["status"], condition["reason"]) == (
            "poolReconcilerValid",
            "False",
            "ConfigurationError",
        )
        assert condition["message"].startswith(f'configuration error: {kind} "bad": ')
        assert world.state()["errorSummary"] == condition["message"]
        world.service("dns")
        await world.wait(lambda: world.reason("Allocated", "dns") == "Allocated")
        world.put(plural, kind, "bad", spec)
        await asyncio.sleep(0.1)
        assert world.told("bad", "InvalidConfiguration") == [1]
        world.server.remove(METALLB, plural, "bad", NAMESPACE)
        await world.wait(lambda: world.state().get("result") == "Valid")
        assert world.state()["errorSummary"] == ""
        assert world.metric("metallb_k8s_client_config_stale_bool") == 0


async def test_from_good_to_bad_and_back_to_the_same_good_is_not_stale(world: World) -> None:
    world.pool("192.0.2.0/28")
    async with world.controller():
        await world.wait(lambda: world.metric("metallb_k8s_client_config_loaded_bool") == 1)
        world.pool("192.0.2.0/99")
        await world.wait(lambda: world.metric("metallb_k8s_client_config_stale_bool") == 1)
        world.pool("192.0.2.0/28")
        await world.wait(lambda: world.metric("metallb_k8s_client_config_stale_bool") == 0)


async def test_the_configuration_state_is_made_again(world: World) -> None:
    async with world.controller():
        await world.wait(lambda: world.state().get("result") == "Valid")
        world.server.remove(METALLB, "configurationstates", "controller", NAMESPACE)
        await world.wait(lambda: world.state().get("result") == "Valid")


async def test_a_kind_that_cannot_be_listed_makes_the_configuration_unknown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And keeps nobody without an address."""
    monkeypatch.setattr(controller, "UNKNOWN_SECONDS", 0.2)
    world.server.fail(404, times=6, verb="GET", plural="bgppeers")
    ready(world)
    async with world.controller() as one:
        await world.wait(lambda: world.state().get("result") == "Unknown")
        condition = world.state()["conditions"][0]
        assert (condition["status"], condition["reason"]) == ("Unknown", "UnknownError")
        assert "bgppeers" in condition["message"]
        # Nor does it keep the webhook, or the rollout.
        await one.configuration.wait_answered()
        assert one.failing() == {}
        await world.wait(lambda: world.reason("Allocated") == "Allocated")
        await world.wait(lambda: world.state().get("result") == "Valid")


EVENTS = [
    pytest.param({}, {"metallb.io/address-pool": "none"}, "AllocationFailed", id="AllocationFailed"),
    pytest.param({"ipFamilyPolicy": "RequireDualStack"}, {}, "not enough clusterips", id="not-enough-clusterips"),
    pytest.param(
        {"ipFamilyPolicy": "PreferDualStack", "clusterIPs": ["10.96.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"]},
        {},
        "AdditionalAssignFailed",
        id="AdditionalAssignFailed",
    ),
    pytest.param({}, {}, "IPAllocated", id="IPAllocated"),
    pytest.param({}, {"metallb.universe.tf/address-pool": "pool"}, "deprecatedAnnotation", id="deprecatedAnnotation"),
    pytest.param({"clusterIPs": ["None"]}, {}, "noclusterIPsIPFamily", id="noclusterIPsIPFamily"),
]


@pytest.mark.parametrize(("spec", "annotations", "reason"), EVENTS)
async def test_an_event_is_told_once_over_resyncs(
    world: World, spec: dict[str, Any], annotations: dict[str, str], reason: str
) -> None:
    world.pool("192.0.2.0/28")
    world.service(annotations=annotations, **spec)
    async with world.controller():
        await world.wait(lambda: world.told("web", reason))
        for number in range(3):
            found = world.server.get("", "services", "web", "default")
            assert found is not None
            world.service(annotations=found["metadata"]["annotations"] | {"metallb.io/x": str(number)}, **spec)
            await asyncio.sleep(0.05)
        # A Service that is told last of all stands for all before it.
        world.service("last")
        await world.wait(lambda: world.told("last", "IPAllocated"))
        assert world.told("web", reason) == [1]


async def test_addresses_of_no_clear_family_are_told(world: World) -> None:
    world.pool("192.0.2.0/28")
    world.service()
    found = world.server.get("", "services", "web", "default")
    assert found is not None
    found["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]}}
    world.service()
    async with world.controller():
        await world.wait(lambda: world.told("web", "nolbIPsIPFamily"))
        await world.wait(lambda: world.told("web", "ClearAssignment"))
        assert world.told("web", "nolbIPsIPFamily") == [1]


async def test_a_mistake_of_ours_is_told_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError("no such thing")

    world.pool("192.0.2.0/28")
    async with world.controller():
        await world.wait(lambda: world.state())
        monkeypatch.setattr("metallb_core.allocation.converge.converge", fail)
        world.service()
        await world.wait(lambda: world.told("web", "InternalError"))
        await asyncio.sleep(0.3)
        assert world.told("web", "InternalError") == [1]


# Name, type and labels of what the reference documents for a controller, and of this project's own.
SERIES = [
    pytest.param("metallb_k8s_client_updates_total", "counter", (), id="updates"),
    pytest.param("metallb_k8s_client_update_errors_total", "counter", (), id="update-errors"),
    pytest.param("metallb_k8s_client_config_loaded_bool", "gauge", (), id="loaded"),
    pytest.param("metallb_k8s_client_config_stale_bool", "gauge", (), id="stale"),
    pytest.param("metallb_allocator_addresses_total", "gauge", ("pool",), id="capacity"),
    pytest.param("metallb_allocator_ipv4_addresses_total", "gauge", ("pool",), id="capacity-4"),
    pytest.param("metallb_allocator_ipv6_addresses_total", "gauge", ("pool",), id="capacity-6"),
    pytest.param("metallb_allocator_addresses_in_use_total", "gauge", ("pool",), id="in-use"),
    pytest.param("metallb_allocator_ipv4_addresses_in_use_total", "gauge", ("pool",), id="in-use-4"),
    pytest.param("metallb_allocator_ipv6_addresses_in_use_total", "gauge", ("pool",), id="in-use-6"),
    pytest.param("metallb_allocator_services_allocated_total", "gauge", ("pool",), id="services"),
    pytest.param("metallb_allocator_allocation_seconds_count", "histogram", (), id="latency"),
    pytest.param("metallb_services_not_announced", "gauge", ("reason",), id="not-announced"),
    pytest.param("metallb_api_requests_total", "counter", ("verb", "resource", "code"), id="requests"),
]


async def scrape() -> str:
    async with fake_apiserver.FakeApiServer(bookmark_seconds=0.5) as server:
        world = World(server)
        world.pool("192.0.2.0/32")
        world.service()
        async with world.controller():
            await world.wait(lambda: world.reason("Allocated") == "Allocated")
            world.service("late")
            await world.wait(lambda: world.reason("Announced", "late") == "NoAddress")
            await world.wait(lambda: world.metric("metallb_services_not_announced", reason="NoAddress") == 1)
            return prometheus_client.generate_latest(world.registry.collectors).decode()


@pytest.fixture(scope="module")
def scraped() -> str:
    """What /metrics says of a controller that gave one address and refused another."""
    return asyncio.run(scrape())


@pytest.mark.parametrize(("name", "kind", "labels"), SERIES)
def test_series(scraped: str, name: str, kind: str, labels: tuple[str, ...]) -> None:
    lines = [line for line in scraped.splitlines() if line.split("{")[0].split(" ")[0] == name]
    assert lines, f"no series {name}"
    for line in lines:
        _, _, rest = line.rpartition("{") if "{" in line else ("", "", "")
        found = tuple(part.split("=")[0] for part in rest.split("}")[0].split(",") if part)
        assert sorted(found) == sorted(labels)
    family = name.removesuffix("_count") if kind == "histogram" else name
    assert f"# TYPE {family} {kind}" in scraped


def test_services_of_a_pool_are_counted(scraped: str) -> None:
    assert 'metallb_allocator_services_allocated_total{pool="pool"} 1.0' in scraped
    assert 'metallb_allocator_addresses_total{pool="pool"} 1.0' in scraped


def test_no_other_series_of_metallb(scraped: str) -> None:
    named = {str(each.values[0]) for each in SERIES}
    ours = {line.split("{")[0].split(" ")[0] for line in scraped.splitlines() if line.startswith("metallb_")}
    derived = {name for name in ours if name.startswith("metallb_allocator_allocation_seconds_")}
    created = {name for name in ours if name.endswith("_created")}
    assert ours - derived - created == named - {"metallb_allocator_allocation_seconds_count"}
