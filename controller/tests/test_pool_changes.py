"""Whom a change of the pools concerns: those who hold an address of a changed pool and those who wait, and only pools of the own namespace."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from metallb_controller import controller, reconcile
from metallb_core.api import v1beta1
from metallb_core.config import compiled
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import connection, events, instruments, store
from metallb_core.runtime import clock as clocks
from metallb_core.runtime import metrics
from metallb_core.testing import builders, fake_apiserver
from metallb_core.testing import clock as fake_clocks

DEADLINE = 20.0
HOME, TENANT, ELSEWHERE = "metallb-system", "tenant-system", "elsewhere"
CLASS = "example.com/tenant"

A = builders.pool_object("a", "192.0.2.0/28")
B = builders.pool_object("b", "198.51.100.0/28")
HOLDERS = (
    builders.service("in-a", holds="192.0.2.1", held_from="a"),
    builders.service("in-b", holds="198.51.100.1", held_from="b"),
    builders.service("in-none", holds="203.0.113.1", held_from="gone"),
)


class Bench:
    """A reconciler that leads over three Services with addresses; what it wants to look at again is in `requeued`."""

    def __init__(self) -> None:
        self.requeued: list[str] = []
        self.store: store.Store[services.ServiceKey, services.Service] = store.Store()
        self.reconciler = reconcile.Reconciler(
            client=None,  # type: ignore[arg-type]
            clock=fake_clocks.FakeClock(),
            recorder=None,  # type: ignore[arg-type]
            stored=self.store,
            load_balancer_class="",
            requeue=self._requeue,
            on_pools=lambda _names: None,
            on_latency=lambda _seconds: None,
        )
        self.reconciler.begin(configured(A, B))
        for service in HOLDERS:
            self.reconciler.observed(service.key, self.store.put(service.key, service), service)
        self.requeued.clear()

    def _requeue(self, keys: Iterable[services.ServiceKey]) -> None:
        self.requeued.extend(key.name for key in keys)


def configured(*pools: v1beta1.IPAddressPool) -> compiled.Config:
    return compiled.compile(compiled.Resources(pools=pools))


# What is in no pool is looked at with every change: the pool it was of may be the one that came.
CHANGES = [
    pytest.param((A, B), [], id="nothing"),
    pytest.param(
        (A, builders.pool_object("b", "198.51.100.0/28", labelled="team=red")), ["in-b", "in-none"], id="labels"
    ),
    pytest.param((A, builders.pool_object("b", "198.51.100.0/27")), ["in-b", "in-none"], id="larger"),
    pytest.param((A,), ["in-b", "in-none"], id="gone"),
    pytest.param((A, B, builders.pool_object("c", "203.0.113.0/28")), ["in-none"], id="another"),
    pytest.param((A, builders.pool_object("b", "198.51.100.0/33")), ["in-b", "in-none"], id="unreadable"),
]


@pytest.mark.parametrize(("pools", "expected"), CHANGES)
def test_a_change_of_pools_concerns_those_who_hold_of_it(
    pools: tuple[v1beta1.IPAddressPool, ...], expected: list[str]
) -> None:
    bench = Bench()
    bench.reconciler.configure(configured(*pools))
    assert sorted(bench.requeued) == expected


class World:
    """A fake cluster and controllers of several installations."""

    def __init__(self, server: fake_apiserver.FakeApiServer) -> None:
        self.server = server

    @contextlib.asynccontextmanager
    async def controller(self, namespace: str, **changes: Any) -> AsyncIterator[None]:
        system, registry = clocks.SystemClock(), metrics.Registry(process=False)
        async with clients.Client(connection.plain(self.server.url), user_agent="test") as client:
            one = controller.Controller(
                controller.Settings(namespace=namespace, identity=f"of-{namespace}", **changes),
                client=client,
                clock=system,
                random=random.Random(1),
                recorder=events.EventRecorder(client, "metallb-controller", "test", system),
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

    def pool(self, namespace: str, name: str, addresses: str) -> None:
        metadata = {"name": name, "namespace": namespace}
        body = {"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": metadata}
        self.server.put("metallb.io", "ipaddresspools", {**body, "spec": {"addresses": [addresses]}})

    def service(self, name: str, **spec: Any) -> None:
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}}
        ports = [{"port": 80, "protocol": "TCP"}]
        families = {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPv4"]}
        self.server.put("", "services", {**body, "spec": {"type": "LoadBalancer", "ports": ports, **families, **spec}})

    def address(self, name: str) -> str | None:
        status = (self.server.get("", "services", name, "default") or {}).get("status", {})
        ingress = (status.get("loadBalancer") or {}).get("ingress") or []
        return ingress[0]["ip"] if ingress else None

    async def wait(self, look: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not look():  # noqa: ASYNC110 - what is looked at is a server's state
                await asyncio.sleep(0.01)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with fake_apiserver.FakeApiServer(bookmark_seconds=0.5) as server:
        yield World(server)


async def test_pools_in_another_namespace_are_ignored(world: World) -> None:
    """Not even as an overlap."""
    world.pool(ELSEWHERE, "first-by-name", "192.0.2.0/24")
    world.pool(HOME, "own", "192.0.2.128/25")
    world.service("web")
    async with world.controller(HOME):
        await world.wait(lambda: world.address("web"))
    assert world.address("web") == "192.0.2.128"


async def test_two_installations_in_two_namespaces(world: World) -> None:
    """Each has its pools, its Lease, its ConfigurationState and the Services of its class."""
    world.pool(HOME, "pool", "192.0.2.0/28")
    world.pool(TENANT, "pool", "198.51.100.0/28")
    world.service("web")
    world.service("theirs", loadBalancerClass=CLASS)
    async with world.controller(HOME), world.controller(TENANT, load_balancer_class=CLASS):
        await world.wait(lambda: world.address("web") and world.address("theirs"))
        await world.wait(lambda: len(world.server.all("metallb.io", "configurationstates")) == 2)
    assert (world.address("web"), world.address("theirs")) == ("192.0.2.0", "198.51.100.0")
    holders = {
        lease["metadata"]["namespace"]: lease["metadata"]["name"]
        for lease in world.server.all("coordination.k8s.io", "leases")
    }
    assert holders == {HOME: controller.LEASE, TENANT: controller.LEASE}
