"""Conditions of Services and the ConfigurationState of a controller on a real API server: what kubectl and other writers see."""

import asyncio
import contextlib
import json
import pathlib
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from lab import apiserver
from metallb_controller import controller
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import connection, events, instruments, resources
from metallb_core.runtime import clock, metrics

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]
ROOT = pathlib.Path(__file__).parents[2]
NAMESPACE = "metallb-system"
DEADLINE = 60.0
STRANGER = {
    "type": "cloud.example/Ready",
    "status": "True",
    "reason": "Fine",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


@pytest.fixture(scope="module")
def server() -> Iterator[apiserver.ApiServer]:
    with apiserver.ApiServer() as made:
        made.kubectl("apply", "--filename", ROOT / "charts/metallb/charts/crds/crds")
        made.kubectl("create", "namespace", NAMESPACE)
        made.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield made


@pytest.fixture
async def client(server: apiserver.ApiServer) -> AsyncIterator[clients.Client]:
    async with clients.Client(connection.from_kubeconfig(server.kubeconfig), user_agent="test/0") as made:
        yield made


@contextlib.asynccontextmanager
async def running(client: clients.Client) -> AsyncIterator[None]:
    """A controller of ours that leads."""
    system, registry = clock.SystemClock(), metrics.Registry(process=False)
    one = controller.Controller(
        controller.Settings(namespace=NAMESPACE, identity="one"),
        client=client,
        clock=system,
        random=random.Random(1),
        recorder=events.EventRecorder(client, "metallb-controller", "one", system),
        shared_metrics=instruments.Instruments(registry),
        collectors=registry.collectors,
    )
    tasks = [asyncio.ensure_future(part.run()) for part in one.parts()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def found(client: clients.Client, name: str) -> dict[str, dict[str, str]]:
    """The conditions of a Service by type."""
    read: dict[str, Any] = await client.get(resources.SERVICES, name, "default", type=dict)
    return {each["type"].removeprefix("metallb.io/"): each for each in read["status"].get("conditions") or ()}


async def eventually(client: clients.Client, name: str, condition: Callable[[dict[str, dict[str, str]]], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition(await found(client, name)):  # noqa: ASYNC110 - what is looked at is a server's state
            await asyncio.sleep(0.05)


async def test_the_life_of_a_service(server: apiserver.ApiServer, client: clients.Client) -> None:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}], "allocateLoadBalancerNodePorts": False}
    await client.create(resources.SERVICES, {"metadata": {"name": "web"}, "spec": spec}, "default")
    await client.strategic_patch(
        resources.SERVICES, "web", "default", {"status": {"conditions": [STRANGER]}}, subresource="status"
    )
    async with running(client):
        await eventually(client, "web", lambda held: {"Allocated", "Announced"} <= held.keys())
        held = await found(client, "web")
        assert (held["Allocated"]["reason"], held["Announced"]["reason"]) == ("NoPool", "NoAddress")
        pool = {"metadata": {"name": "pool"}, "spec": {"addresses": ["192.0.2.0/24"]}}
        await client.create(resources.IP_ADDRESS_POOLS, pool, NAMESPACE)
        await asyncio.to_thread(
            server.kubectl, "wait", "service/web", "--for=condition=metallb.io/Allocated", "--timeout=30s"
        )
        await eventually(client, "web", lambda held: held["Announced"]["reason"] == "NoReadyEndpoint")
        key = services.ServiceKey("default", "web")
        labels = {
            "metallb.io/node": "n1",
            "metallb.io/service-name": key.name,
            "metallb.io/service-namespace": key.namespace,
        }
        await client.create(resources.SERVICE_L2_STATUSES, {"metadata": {"name": "l2-1", "labels": labels}}, NAMESPACE)
        await asyncio.to_thread(
            server.kubectl, "wait", "service/web", "--for=condition=metallb.io/Announced", "--timeout=30s"
        )
        held = await found(client, "web")
        assert held["Announced"]["message"] == "announced from node n1 by layer 2"
        assert held["cloud.example/Ready"] == STRANGER
        await client.merge_patch(resources.SERVICES, "web", "default", {"spec": {"type": "ClusterIP"}})
        await eventually(client, "web", lambda held: set(held) == {"cloud.example/Ready"})
        state = json.loads(
            await asyncio.to_thread(
                server.kubectl, "get", "configurationstate", "controller", "--namespace", NAMESPACE, "-o", "json"
            )
        )
        assert state["metadata"]["labels"] == {"metallb.io/component-type": "controller"}
        assert state["status"]["result"] == "Valid"
        assert [each["type"] for each in state["status"]["conditions"]] == ["poolReconcilerValid"]
