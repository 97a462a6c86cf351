"""Whom a change of the pools concerns: those who hold an address of a changed pool and those who wait, and only pools of the own namespace.

Nobody, where the pools go because the whole installation does.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

import pytest

from metallb_controller import controller, installation, reconcile
from metallb_core.allocation import converge
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
            stands=lambda: asyncio.sleep(0, True),
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
        status = (self.server.get("", "services", name, "default") or {}).get("status", {})
        whole = {**body, "spec": {"type": "LoadBalancer", "ports": ports, **families, **spec}, "status": status}
        self.server.put("", "services", whole)

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


@contextlib.asynccontextmanager
async def installed(world: World) -> AsyncIterator[None]:
    """A whole installation, in which `web` has an address of the pool `a`."""
    world.namespace()
    world.deployment()
    world.pool(HOME, "a", "192.0.2.0/28")
    world.service("web")
    async with world.controller(HOME, deployment=DEPLOYMENT):
        await world.wait(lambda: world.address("web") == "192.0.2.0")
        yield


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
    monkeypatch.setattr(converge, "POOL_SECONDS", 0.2)
    monkeypatch.setattr(reconcile, "LOOK_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(installation, "ASK_AGAIN_SECONDS", 0.01)
    async with installed(world):
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
    monkeypatch.setattr(converge, "POOL_SECONDS", 0.2)
    async with installed(world):
        world.pool(HOME, "b", "198.51.100.0/28")
        world.no_pool("a")
        await world.wait(lambda: world.address("web") == "198.51.100.0")
        world.no_pool("b")
        await world.wait(lambda: world.address("web") is None)


async def replaced(world: World) -> None:
    """As by `kubectl replace --force`: deleted, and there again a moment later."""
    world.no_pool("a")
    await asyncio.sleep(0.2)
    world.pool(HOME, "a", "192.0.2.0/28")


async def renamed(world: World) -> None:
    """The webhook refuses the new one while the old one is there."""
    world.no_pool("a")
    await asyncio.sleep(0.2)
    world.pool(HOME, "c", "192.0.2.0/28")


async def split(world: World) -> None:
    """A range moves from one pool to another: for a moment it is in none."""
    world.pool(HOME, "a", "192.0.2.0/29")
    await asyncio.sleep(0.2)
    world.pool(HOME, "c", "192.0.2.8/29")


@pytest.mark.parametrize("change", [replaced, renamed, split], ids=lambda one: one.__name__)
async def test_a_pool_that_is_replaced_takes_no_address(
    world: World, change: Callable[[World], Coroutine[None, None, None]]
) -> None:
    world.pool(HOME, "a", "192.0.2.0/28")
    world.pool(HOME, "b", "198.51.100.0/28")
    world.service("web", loadBalancerIP="192.0.2.9")
    async with world.controller(HOME):
        await world.wait(lambda: world.address("web") == "192.0.2.9")
        world.service("web")
        await change(world)
        world.service("later", loadBalancerIP="192.0.2.8")
        # Given out of the new pool, so the configuration with it is in force.
        await world.wait(lambda: world.address("later"))
        assert world.address("web") == "192.0.2.9"
        assert [each["reason"] for each in world.server.all("", "events")].count("ClearAssignment") == 0


async def test_a_controller_that_starts_before_all_pools_are_there_takes_no_address(world: World) -> None:
    """As where an installation is made anew by a tool that applies one object after the other."""
    world.pool(HOME, "a", "192.0.2.0/28")
    world.pool(HOME, "b", "198.51.100.0/28")
    world.service("web", loadBalancerIP="198.51.100.3")
    async with world.controller(HOME):
        await world.wait(lambda: world.address("web"))
    world.no_pool("b")
    async with world.controller(HOME):
        world.service("later")
        await world.wait(lambda: world.address("later"))
        await asyncio.sleep(0.2)
        world.pool(HOME, "b", "198.51.100.0/28")
        world.service("last", loadBalancerIP="198.51.100.4")
        await world.wait(lambda: world.address("last"))
        assert world.address("web") == "198.51.100.3"
    assert [each["reason"] for each in world.server.all("", "events")].count("ClearAssignment") == 0


@pytest.fixture
async def asked() -> AsyncIterator[
    tuple[fake_apiserver.FakeApiServer, fake_clocks.FakeClock, installation.Installation]
]:
    clock = fake_clocks.FakeClock()
    async with (
        fake_apiserver.FakeApiServer() as server,
        clients.Client(connection.plain(server.url), user_agent="test") as client,
    ):
        yield server, clock, installation.Installation(client, clock, HOME, DEPLOYMENT, ending=lambda: False)


Asked = tuple[fake_apiserver.FakeApiServer, fake_clocks.FakeClock, installation.Installation]


@pytest.mark.parametrize(("status", "expected"), [(403, True), (404, True), (401, True), (500, False), (0, False)])
async def test_who_is_still_there_after_all_was_run_in_another_way(asked: Asked, status: int, expected: bool) -> None:
    """Without a Deployment of that name, for as long as a removal can take. That it is being deleted, or no answer, is another thing."""
    server, clock, installed = asked
    if status:
        server.fail(status, times=1000, plural="deployments")
    else:
        server.put("apps", "deployments", {"metadata": {"name": DEPLOYMENT, "namespace": HOME, **DELETED}})
    assert not await installed.stands()
    await clock.advance(installation.GIVE_UP_SECONDS)
    assert await installed.stands() is expected


async def test_many_who_ask_at_once_are_one_request(asked: Asked) -> None:
    server, clock, installed = asked
    server.put("apps", "deployments", {"metadata": {"name": DEPLOYMENT, "namespace": HOME}})
    assert sorted(await asyncio.gather(*(installed.stands() for _ in range(5)))) == [False] * 4 + [True]
    assert await installed.stands()
    assert len(server.requests) == 1
    await clock.advance(installation.ASK_AGAIN_SECONDS)
    assert await installed.stands()
    assert len(server.requests) == 2


async def test_what_was_refused_long_ago_says_nothing(asked: Asked) -> None:
    server, clock, installed = asked
    server.fail(403, times=1, plural="deployments")
    assert not await installed.stands()
    await clock.advance(86400.0)
    server.fail(404, times=1, plural="deployments")
    assert not await installed.stands()
    server.put("apps", "deployments", {"metadata": {"name": DEPLOYMENT, "namespace": HOME}})
    await clock.advance(installation.ASK_AGAIN_SECONDS)
    assert await installed.stands()
    server.remove("apps", "deployments", DEPLOYMENT, HOME)
    await clock.advance(installation.GIVE_UP_SECONDS - 1)
    assert not await installed.stands(), "from when it was there, not from when it was not"
