"""The whole controller against the fake API server: what is written, how often, and what happens when writing fails."""

import asyncio
import contextlib
import functools
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from metallb_controller import controller
from metallb_core.kube import client as clients
from metallb_core.kube import connection, events, instruments
from metallb_core.runtime import clock, metrics
from metallb_core.testing import fake_apiserver

NAMESPACE = "metallb-system"
METALLB = "metallb.io"
DEADLINE = 20.0
ANNOTATION = "metallb.io/ip-allocated-from-pool"


class World:
    """A fake cluster, and controllers that work on it."""

    def __init__(self, server: fake_apiserver.FakeApiServer) -> None:
        self.server = server

    @contextlib.asynccontextmanager
    async def parts(
        self, identity: str, **changes: Any
    ) -> AsyncIterator[tuple[controller.Controller, dict[str, "asyncio.Future[None]"]]]:
        """A running controller, and the tasks of its parts."""
        system = clock.SystemClock()
        registry = metrics.Registry(process=False)
        shared = instruments.Instruments(registry)
        place = connection.plain(self.server.url)
        async with clients.Client(place, user_agent="test", on_request=shared.request) as client:
            one = controller.Controller(
                controller.Settings(namespace=NAMESPACE, identity=identity, **changes),
                client=client,
                clock=system,
                random=random.Random(1),
                recorder=events.EventRecorder(client, "metallb-controller", identity, system),
                shared_metrics=shared,
                collectors=registry.collectors,
            )
            tasks = {part.name: asyncio.ensure_future(part.run()) for part in one.parts()}
            try:
                yield one, tasks
            finally:
                for task in tasks.values():
                    task.cancel()
                await asyncio.gather(*tasks.values(), return_exceptions=True)

    @contextlib.asynccontextmanager
    async def controller(self, identity: str = "one", **changes: Any) -> AsyncIterator[controller.Controller]:
        """A running controller."""
        async with self.parts(identity, **changes) as (one, _):
            yield one

    def pool(self, name: str, *addresses: str, **spec: Any) -> None:
        self.server.put(
            METALLB,
            "ipaddresspools",
            {
                "apiVersion": "metallb.io/v1beta1",
                "kind": "IPAddressPool",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"addresses": list(addresses), **spec},
            },
        )

    def service(self, name: str, annotations: dict[str, str] | None = None, **spec: Any) -> None:
        found = self.server.get("", "services", name, "default")
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}},
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": "10.96.0.1",
                "clusterIPs": ["10.96.0.1"],
                "ipFamilies": ["IPv4"],
                "ports": [{"port": 80, "protocol": "TCP"}],
                **spec,
            },
        }
        if found is not None:
            body["status"] = found.get("status", {})
        self.server.put("", "services", body)

    def address(self, name: str) -> str | None:
        found = self.server.get("", "services", name, "default")
        ingress = ((found or {}).get("status", {}).get("loadBalancer") or {}).get("ingress") or []
        return ingress[0]["ip"] if ingress else None

    def events(self, name: str, reason: str) -> list[dict[str, Any]]:
        return [
            event
            for event in self.server.all("", "events")
            if event["involvedObject"]["name"] == name and event["reason"] == reason
        ]

    def patches(self, plural: str = "services", name: str = "") -> int:
        return sum(1 for seen in self.server.requests if seen.verb == "PATCH" and f"/{plural}/{name}" in seen.path)

    def condition(self, name: str, kind: str) -> dict[str, str] | None:
        found = (self.server.get("", "services", name, "default") or {}).get("status", {}).get("conditions") or []
        return next((each for each in found if each["type"] == f"metallb.io/{kind}"), None)

    async def wait(self, look: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not look():  # noqa: ASYNC110 - what is looked at is a server's state
                await asyncio.sleep(0.01)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with fake_apiserver.FakeApiServer(bookmark_seconds=0.5) as server:
        yield World(server)


async def test_address_and_annotation_come_in_one_patch(world: World) -> None:
    world.pool("pool", "192.0.2.0/28")
    world.service("web")
    async with world.controller():
        await world.wait(lambda: world.address("web"))
        await world.wait(lambda: world.events("web", "IPAllocated"))
        found = world.server.get("", "services", "web", "default")
        assert found is not None
        assert world.address("web") == "192.0.2.0"
        assert found["metadata"]["annotations"][ANNOTATION] == "pool"
        assert world.patches() == 1


async def test_what_is_right_is_not_written_again(world: World) -> None:
    world.pool("pool", "192.0.2.0/28")
    world.service("web")
    async with world.controller():
        await world.wait(lambda: world.address("web"))
    written = world.patches()
    async with world.controller("two"):
        world.service("dns")
        await world.wait(lambda: world.address("dns"))
        await asyncio.sleep(0.2)
    assert world.patches() == written + 1
    assert world.address("web") == "192.0.2.0"


async def test_a_freed_address_goes_to_whoever_waits(world: World) -> None:
    world.pool("pool", "192.0.2.7/32")
    world.service("first")
    async with world.controller():
        await world.wait(lambda: world.address("first"))
        world.service("second")
        await world.wait(lambda: world.events("second", "AllocationFailed"))
        assert "in use" in world.events("second", "AllocationFailed")[0]["message"]
        world.server.remove("", "services", "first", "default")
        await world.wait(lambda: world.address("second") == "192.0.2.7")


async def test_a_bad_pool_is_told_and_disturbs_nothing(world: World) -> None:
    world.pool("good", "192.0.2.0/28")
    world.service("web")
    async with world.controller():
        await world.wait(lambda: world.address("web"))
        world.pool("overlapping", "192.0.2.8/29")
        await world.wait(lambda: world.events("overlapping", "InvalidConfiguration"))
        told = world.events("overlapping", "InvalidConfiguration")[0]["message"]
        assert "overlaps with already defined CIDR" in told
        assert "good" in told
        world.service("dns")
        await world.wait(lambda: world.address("dns"))
        assert world.address("web") == "192.0.2.0"


@pytest.mark.parametrize("status", [409, 429, 500, 503])
async def test_a_write_that_fails_is_tried_again_and_gives_one_address(world: World, status: int) -> None:
    world.pool("pool", "192.0.2.0/28")
    async with world.controller():
        world.server.fail(status, times=2, verb="PATCH", plural="services", retry_after=0 if status == 429 else None)
        world.service("web")
        world.service("dns")
        if status == 409:
            # A real conflict comes with news of the object; the fake's does not.
            await world.wait(lambda: world.patches() >= 2)
            world.service("web")
            world.service("dns")
        await world.wait(lambda: world.address("web") and world.address("dns"))
        assert {world.address("web"), world.address("dns")} == {"192.0.2.0", "192.0.2.1"}


async def test_a_conflict_tells_of_nothing_that_was_not_written(world: World) -> None:
    world.pool("pool", "192.0.2.0/28")
    async with world.controller():
        world.server.fail(409, times=1, verb="PATCH", plural="services")
        world.service("web")
        await world.wait(lambda: world.patches() >= 1)
        await asyncio.sleep(0.2)
        assert not world.events("web", "IPAllocated")


async def test_an_unreachable_server_loses_nothing(world: World) -> None:
    world.pool("pool", "192.0.2.0/28")
    world.service("web")
    async with world.controller():
        await world.wait(lambda: world.address("web"))
        await world.server.stop()
        await asyncio.sleep(0.1)
        await world.server.start()
        world.service("dns")
        await world.wait(lambda: world.address("dns"))
        assert (world.address("web"), world.address("dns")) == ("192.0.2.0", "192.0.2.1")


async def test_only_one_of_two_controllers_writes(world: World) -> None:
    world.pool("pool", "192.0.2.0/24")
    async with world.controller("one"), world.controller("two"):
        for number in range(20):
            world.service(f"s{number}")
        await world.wait(lambda: all(world.address(f"s{number}") for number in range(20)))
        await asyncio.sleep(0.2)
        assert world.patches() == 20
        assert len({world.address(f"s{number}") for number in range(20)}) == 20


async def test_another_load_balancer_class_is_left_alone(world: World) -> None:
    world.pool("pool", "192.0.2.0/28")
    world.service("foreign", loadBalancerClass="example.com/other")
    world.service("ours")
    async with world.controller():
        await world.wait(lambda: world.address("ours"))
        assert world.address("foreign") is None
    async with world.controller("classy", load_balancer_class="example.com/other"):
        await world.wait(lambda: world.address("foreign"))


async def test_a_wish_that_cannot_be_met_keeps_the_address_and_says_why_once(world: World) -> None:
    world.pool("pool", "192.0.2.0/28")
    world.service("web")
    async with world.controller():
        await world.wait(lambda: world.address("web"))
        world.service("web", {"metallb.io/loadBalancerIPs": "198.51.100.9", ANNOTATION: "pool"})
        await world.wait(lambda: world.events("web", "LoadBalancerFailed"))
        for _ in range(3):
            world.service(
                "web", {"metallb.io/loadBalancerIPs": "198.51.100.9", ANNOTATION: "pool", "metallb.io/x": "y"}
            )
            await asyncio.sleep(0.05)
        assert world.address("web") == "192.0.2.0"
        assert [event.get("count", 1) for event in world.events("web", "LoadBalancerFailed")] == [1]


async def test_pool_counters_follow(world: World) -> None:
    world.pool("pool", "192.0.2.0/30", "2001:db8::/64")
    world.service("web")

    def counters() -> dict[str, int]:
        found = world.server.get(METALLB, "ipaddresspools", "pool", NAMESPACE)
        return (found or {}).get("status", {})  # type: ignore[no-any-return]

    async with world.controller():
        await world.wait(lambda: counters().get("assignedIPv4") == 1)
    assert counters() == {
        "assignedIPv4": 1,
        "assignedIPv6": 0,
        "availableIPv4": 3,
        "availableIPv6": 2**63 - 1,
    }


async def test_the_membership_secret_is_made_once(world: World) -> None:
    world.server.put(
        "apps",
        "deployments",
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "controller", "namespace": NAMESPACE}},
    )
    changes = {"secret": "memberlist", "deployment": "controller"}
    async with world.controller("one", **changes):
        await world.wait(lambda: world.server.get("", "secrets", "memberlist", NAMESPACE))
    made = world.server.get("", "secrets", "memberlist", NAMESPACE)
    assert made is not None
    assert made["metadata"]["ownerReferences"][0]["name"] == "controller"
    async with world.controller("two", **changes):
        world.pool("pool", "192.0.2.0/28")
        world.service("web")
        await world.wait(lambda: world.address("web"))
    assert world.server.get("", "secrets", "memberlist", NAMESPACE) == made


@pytest.mark.slow
async def test_a_new_leader_with_a_stale_copy_decides_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service that was made and given its address while the standby's watch stood still is absent from its copy, and counts all the same."""
    monkeypatch.setattr(controller, "CATCH_UP_SECONDS", 0.3)
    world.pool("pool", "192.0.2.0/28")
    world.service("first")
    async with contextlib.AsyncExitStack() as leading:
        await leading.enter_async_context(world.controller("one"))
        await world.wait(lambda: world.address("first"))
        async with world.parts("two") as (standby, tasks):
            await world.wait(lambda: not standby.failing())
            tasks["watch services"].cancel()
            world.service("second")
            await world.wait(lambda: world.address("second"))
            await leading.aclose()
            async with asyncio.timeout(DEADLINE):
                with pytest.raises(controller.StaleCopyError):
                    await tasks["leading"]


async def test_the_lease_has_the_name_of_the_deployment(world: World) -> None:
    """The roles allow that one only, and two installations in one namespace do not elect one of both."""
    world.pool("pool", "192.0.2.0/28")
    async with world.controller("one", deployment="controller"):
        world.service("web")
        await world.wait(lambda: world.address("web"))
    assert world.server.get("coordination.k8s.io", "leases", "controller", NAMESPACE)


async def test_addresses_outlive_an_installation_whose_pools_come_later(world: World) -> None:
    """Each keeps its own, whichever pool comes first, and a newcomer gets none of them."""
    world.pool("a", "192.0.2.0/30")
    world.pool("b", "192.0.2.4/30")
    world.service("first", {"metallb.io/address-pool": "b"})
    world.service("second", {"metallb.io/address-pool": "a"})
    async with world.controller("one"):
        await world.wait(lambda: world.address("first") and world.address("second"))
    for name in ("a", "b"):
        world.server.remove(METALLB, "ipaddresspools", name, NAMESPACE)
    for name in ("first", "second"):
        world.service(name)  # The wish is gone: nothing but the status tells of the address.
    written = [world.patches(name=name) for name in ("first", "second")]
    async with world.controller("two"):
        world.service("newcomer")
        await world.wait(lambda: world.events("newcomer", "AllocationFailed"))
        assert [world.patches(name=name) for name in ("first", "second")] == written
        world.pool("a", "192.0.2.0/30")
        await asyncio.sleep(0.1)
        world.pool("b", "192.0.2.4/30")
        await world.wait(lambda: world.address("newcomer"))
    assert [world.address(name) for name in ("first", "second", "newcomer")] == ["192.0.2.4", "192.0.2.0", "192.0.2.1"]


async def test_what_failed_in_an_outage_is_tried_again_when_it_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.controller() as one:
        await world.wait(lambda: not one.failing())
        retried: list[object] = []
        for queue in (one._queue, one._pool_status.queue, one._announcing.queue):
            monkeypatch.setattr(queue, "retry_failed", functools.partial(retried.append, queue))
        await world.server.stop()
        await world.wait(lambda: one._services.problem)
        assert retried == []
        await world.server.start()
        await world.wait(lambda: one._services.problem is None)
    assert retried == [one._queue, one._pool_status.queue, one._announcing.queue]
