"""Whom a change of the pools concerns: those who hold an address of a changed pool and those who wait, and only pools of the own namespace.

Nobody, where the pools go because the whole installation does.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from metallb_controller import controller, installation, reconcile
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
DEPLOYMENT = "controller"
DELETED = {"deletionTimestamp": "2026-01-01T00:00:00Z"}

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

    def no_pool(self, name: str) -> None:
        self.server.remove("metallb.io", "ipaddresspools", name, HOME)

    def namespace(self, **metadata: str) -> None:
        self.server.put("", "namespaces", {"metadata": {"name": HOME, **metadata}})

    def deployment(self, **metadata: str) -> None:
        body = {"metadata": {"name": DEPLOYMENT, "namespace": HOME, **metadata}}
        self.server.put("apps", "deployments", body)

    def seen(self, verb: str, plural: str) -> int:
        return sum(1 for each in self.server.requests if each.verb == verb and f"/{plural}/" in each.path)

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


# Removal


def namespace_ends(world: World) -> None:
    world.namespace(**DELETED)


def deployment_goes(world: World) -> None:
    world.server.remove("apps", "deployments", DEPLOYMENT, HOME)


def deployment_is_going(world: World) -> None:
    world.deployment(**DELETED)


def rights_go(world: World) -> None:
    world.server.fail(403, times=1000, plural="deployments")


def account_goes(world: World) -> None:
    world.server.fail(401, times=1000, plural="deployments")


@pytest.mark.parametrize(
    "remove",
    [namespace_ends, deployment_goes, deployment_is_going, rights_go, account_goes],
    ids=lambda one: one.__name__,
)
async def test_a_removal_takes_no_address(
    world: World, remove: Callable[[World], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the last pool that goes, nor one that leaves another to take an address from. What is removed may come after the pools."""
    monkeypatch.setattr(controller, "SETTLE_SECONDS", 0.2)
    monkeypatch.setattr(installation, "ASK_AGAIN_SECONDS", 0.02)
    world.namespace()
    world.deployment()
    world.pool(HOME, "a", "192.0.2.0/28")
    world.service("web")
    async with world.controller(HOME, deployment=DEPLOYMENT):
        await world.wait(lambda: world.address("web") == "192.0.2.0")
        world.pool(HOME, "b", "198.51.100.0/28")
        world.service("other", loadBalancerIP="198.51.100.1")
        await world.wait(lambda: world.address("other"))
        written = world.seen("PATCH", "services")
        world.no_pool("a")
        remove(world)
        await asyncio.sleep(0.4)
        world.no_pool("b")
        await asyncio.sleep(0.4)
        assert (world.address("web"), world.address("other")) == ("192.0.2.0", "198.51.100.1")
        assert world.seen("PATCH", "services") == written


async def test_the_installation_stands_and_a_pool_goes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "SETTLE_SECONDS", 0.2)
    world.namespace()
    world.deployment()
    world.pool(HOME, "a", "192.0.2.0/28")
    world.service("web")
    async with world.controller(HOME, deployment=DEPLOYMENT):
        await world.wait(lambda: world.address("web") == "192.0.2.0")
        world.pool(HOME, "b", "198.51.100.0/28")
        world.no_pool("a")
        await world.wait(lambda: world.address("web") == "198.51.100.0")
        world.no_pool("b")
        await world.wait(lambda: world.address("web") is None)


async def test_a_pool_that_is_replaced_takes_no_address(world: World) -> None:
    """As by `kubectl replace --force`: deleted, and there again a moment later."""
    world.pool(HOME, "a", "192.0.2.0/28")
    world.pool(HOME, "b", "198.51.100.0/28")
    world.service("web")
    async with world.controller(HOME):
        await world.wait(lambda: world.address("web") == "192.0.2.0")
        written = world.seen("PATCH", "services/web")
        world.no_pool("a")
        await asyncio.sleep(0.2)
        world.pool(HOME, "a", "192.0.2.0/28")
        world.pool(HOME, "b", "198.51.100.0/27")
        world.service("later", loadBalancerIP="198.51.100.30")
        # Given out of the new form of `b`, so the configuration with both is in force.
        await world.wait(lambda: world.address("later"))
        assert world.address("web") == "192.0.2.0"
        assert world.seen("PATCH", "services/web") == written


async def test_who_is_still_there_after_all_was_run_in_another_way() -> None:
    """Without a Deployment of that name, for as long as a removal can take: then the pools are gone because somebody meant it."""
    clock = fake_clocks.FakeClock()
    async with (
        fake_apiserver.FakeApiServer() as server,
        clients.Client(connection.plain(server.url), user_agent="test") as client,
    ):
        asked = installation.Installation(client, clock, HOME, DEPLOYMENT, ending=lambda: False)
        waiting = asyncio.ensure_future(asked.wait_standing("a"))
        async with asyncio.timeout(DEADLINE):
            while not waiting.done():
                seen = len(server.requests)
                await clock.advance(installation.ASK_AGAIN_SECONDS)
                while not waiting.done() and len(server.requests) == seen:  # noqa: ASYNC110 - a server's state
                    await asyncio.sleep(0.01)
    assert clock.monotonic() - fake_clocks.FakeClock().monotonic() >= installation.GIVE_UP_SECONDS
