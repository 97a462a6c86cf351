"""What the client and the informer rely on, against the fake API server and, marked `apiserver`, against a real one.

A fake that a real server does not agree with proves nothing, so both run the same tests; what only one of them can do is elsewhere.
"""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol

import pytest

from metallb_core.api import coordination, events, meta
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import connection, errors, informer, resources
from metallb_core.runtime import clock
from metallb_core.testing import fake_apiserver

DEADLINE = 60.0
Change = tuple[services.ServiceKey, bool, bool]


class Backend(Protocol):
    """A server under test."""

    def connection(self) -> connection.Connection: ...

    async def kill(self) -> None: ...

    async def start(self) -> None: ...


class Fake:
    """The one in memory."""

    def __init__(self) -> None:
        self.server = fake_apiserver.FakeApiServer(bookmark_seconds=0.5)

    def connection(self) -> connection.Connection:
        return connection.plain(self.server.url)

    async def kill(self) -> None:
        await self.server.stop()

    async def start(self) -> None:
        await self.server.start()


class Real:
    """etcd and kube-apiserver; starting and killing block, so they run on a thread."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def connection(self) -> connection.Connection:
        return connection.from_kubeconfig(self.server.kubeconfig)

    async def kill(self) -> None:
        await asyncio.to_thread(self.server.kill_apiserver)

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start_apiserver)


@pytest.fixture(scope="module")
def real_server() -> Iterator[Any]:
    from lab import apiserver

    with apiserver.ApiServer() as server:
        yield server


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.apiserver)])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    if request.param == "real":
        yield Real(request.getfixturevalue("real_server"))
        return
    fake = Fake()
    await fake.start()
    yield fake
    await fake.kill()


@pytest.fixture
async def client(backend: Backend) -> AsyncIterator[clients.Client]:
    async with clients.Client(backend.connection(), user_agent="metallb-test/0") as made:
        yield made


@pytest.fixture
async def namespace(client: clients.Client) -> str:
    """A namespace of the test's own."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    await client.create(resources.NAMESPACES, {"metadata": {"name": name}})
    return name


def service(name: str, **metadata: object) -> dict[str, Any]:
    """A Service as a user writes it."""
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}], "allocateLoadBalancerNodePorts": False}
    return {"metadata": {"name": name, **metadata}, "spec": spec}


class Watched:
    """A running informer on Services and what it reported."""

    def __init__(self, client: clients.Client, namespace: str, **options: Any) -> None:
        self.changes: list[Change] = []
        self.problems: list[str | None] = []
        self.informer = informer.Informer(
            client,
            resources.SERVICES,
            namespace=namespace,
            on_change=self._note,
            on_problem=self.problems.append,
            clock=clock.SystemClock(),
            random=random.Random(1),
            **options,
        )

    def _note(self, key: services.ServiceKey, old: services.Service | None, new: services.Service | None) -> None:
        self.changes.append((key, old is not None, new is not None))

    @property
    def names(self) -> set[str]:
        return {key.name for key in self.informer.store}


@contextlib.asynccontextmanager
async def watching(client: clients.Client, namespace: str, **options: Any) -> AsyncIterator[Watched]:
    watched = Watched(client, namespace, **options)
    task = asyncio.ensure_future(watched.informer.run())
    try:
        async with asyncio.timeout(DEADLINE):
            await watched.informer.wait_synced()
        yield watched
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until `condition`; a bound for a broken test, not a pace: real sockets have no fake clock."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - conditions here are about servers, which set no event
            await asyncio.sleep(0.01)


async def test_reads_back_what_it_creates(client: clients.Client, namespace: str) -> None:
    made = await client.create(resources.SERVICES, service("a", labels={"x": "y"}), namespace)
    read = await client.get(resources.SERVICES, "a", namespace)
    assert made.metadata.uid == read.metadata.uid != ""
    assert read.metadata.labels == {"x": "y"}
    untyped: dict[str, Any] = await client.get(resources.SERVICES, "a", namespace, type=dict)
    assert untyped["spec"]["ports"][0]["port"] == 80


async def refusal(work: Awaitable[object]) -> errors.ApiError:
    with pytest.raises(errors.ApiError) as caught:
        await work
    return caught.value


async def test_says_what_was_refused(client: clients.Client, namespace: str) -> None:
    missing = await refusal(client.get(resources.SERVICES, "missing", namespace))
    assert missing.not_found
    assert "missing" in missing.message
    await client.create(resources.SERVICES, service("a"), namespace)
    twice = await refusal(client.create(resources.SERVICES, service("a"), namespace))
    assert twice.conflict
    assert twice.already_exists


async def test_lists_in_pages(client: clients.Client, namespace: str) -> None:
    for number in range(7):
        await client.create(resources.SERVICES, service(f"s{number}"), namespace)
    pages = [page async for page in client.list(resources.SERVICES, namespace, limit=3)]
    assert [len(page.items) for page in pages] == [3, 3, 1]
    assert len({page.resource_version for page in pages}) == 1
    assert {item.metadata.name for page in pages for item in page.items} == {f"s{number}" for number in range(7)}


async def test_an_empty_list_is_one_empty_page(client: clients.Client, namespace: str) -> None:
    pages = [page async for page in client.list(resources.SERVICES, namespace)]
    assert [page.items for page in pages] == [[]]
    assert int(pages[0].resource_version) > 0


async def test_lists_what_a_label_or_field_selects(client: clients.Client, namespace: str) -> None:
    await client.create(resources.SERVICES, service("a", labels={"app": "one"}), namespace)
    await client.create(resources.SERVICES, service("b", labels={"app": "two"}), namespace)
    by_label = [page async for page in client.list(resources.SERVICES, namespace, label_selector="app=two")]
    by_field = [page async for page in client.list(resources.SERVICES, namespace, field_selector="metadata.name=a")]
    assert [item.metadata.name for item in by_label[0].items] == ["b"]
    assert [item.metadata.name for item in by_field[0].items] == ["a"]


async def test_status_patch_sets_addresses_and_annotation_in_one(client: clients.Client, namespace: str) -> None:
    await client.create(resources.SERVICES, service("a"), namespace)
    body = {
        "metadata": {"annotations": {"metallb.io/ip-allocated-from-pool": "p"}},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    }
    patched = await client.merge_patch(resources.SERVICES, "a", namespace, body, subresource="status")
    assert [entry.ip for entry in patched.status.load_balancer.ingress or ()] == ["192.0.2.1"]
    assert patched.metadata.annotations == {"metallb.io/ip-allocated-from-pool": "p"}
    cleared = await client.merge_patch(
        resources.SERVICES, "a", namespace, {"status": {"loadBalancer": {"ingress": None}}}, subresource="status"
    )
    assert not cleared.status.load_balancer.ingress


async def test_a_patch_without_effect_makes_no_version(client: clients.Client, namespace: str) -> None:
    await client.create(resources.SERVICES, service("a", labels={"x": "y"}), namespace)
    before = await client.get(resources.SERVICES, "a", namespace)
    after = await client.merge_patch(resources.SERVICES, "a", namespace, {"metadata": {"labels": {"x": "y"}}})
    assert after.metadata.resource_version == before.metadata.resource_version


async def test_a_patch_with_an_old_version_conflicts(client: clients.Client, namespace: str) -> None:
    made = await client.create(resources.SERVICES, service("a"), namespace)
    await client.merge_patch(resources.SERVICES, "a", namespace, {"metadata": {"labels": {"x": "1"}}})
    stale = {"metadata": {"resourceVersion": made.metadata.resource_version, "labels": {"x": "2"}}}
    assert (await refusal(client.merge_patch(resources.SERVICES, "a", namespace, stale))).conflict


def condition(kind: str, message: str = "") -> dict[str, str]:
    """A condition as a patch writes it."""
    since = "2026-01-01T00:00:00Z"
    return {"type": kind, "status": "True", "reason": "Fine", "message": message, "lastTransitionTime": since}


async def test_a_strategic_patch_changes_conditions_one_by_one(client: clients.Client, namespace: str) -> None:
    made = await client.create(resources.SERVICES, service("a"), namespace)

    async def patch(status: dict[str, Any], **metadata: object) -> Any:
        body = {"metadata": metadata, "status": status}
        return await client.strategic_patch(resources.SERVICES, "a", namespace, body, subresource="status")

    await patch({"conditions": [condition("cloud.example/Ready")]})
    both = await patch(
        {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}, "conditions": [condition("metallb.io/Allocated", "one")]},
        annotations={"metallb.io/ip-allocated-from-pool": "p"},
    )
    assert {each.type: each.message for each in both.status.conditions or ()} == {
        "cloud.example/Ready": "",
        "metallb.io/Allocated": "one",
    }
    assert both.metadata.annotations == {"metallb.io/ip-allocated-from-pool": "p"}
    again = await patch({"conditions": [condition("metallb.io/Allocated", "one")]})
    assert again.metadata.resource_version == both.metadata.resource_version, "no effect, no version"
    # Addresses are no list with a key: they are replaced.
    moved = await patch(
        {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}]}, "conditions": [condition("metallb.io/Allocated", "two")]}
    )
    assert [entry.ip for entry in moved.status.load_balancer.ingress or ()] == ["192.0.2.2"]
    assert {each.message for each in moved.status.conditions or ()} == {"", "two"}
    gone = {"$patch": "delete", "type": "metallb.io/Allocated"}
    cleared = await patch(
        {"loadBalancer": {"ingress": None}, "conditions": [gone]},
        annotations={"metallb.io/ip-allocated-from-pool": None},
    )
    assert [each.type for each in cleared.status.conditions or ()] == ["cloud.example/Ready"]
    assert not cleared.status.load_balancer.ingress
    assert not cleared.metadata.annotations
    absent = await patch({"conditions": [gone]})
    assert absent.metadata.resource_version == cleared.metadata.resource_version, "taking out what is absent succeeds"
    stale = patch({"conditions": [condition("x")]}, resourceVersion=made.metadata.resource_version)
    assert (await refusal(stale)).conflict


async def test_apply_creates_and_then_owns_exactly_its_fields(client: clients.Client, namespace: str) -> None:
    manager = "metallb-test"
    lease = resources.LEASES
    await client.apply(lease, "a", namespace, {"metadata": {"labels": {"x": "1", "y": "1"}}}, field_manager=manager)
    await client.merge_patch(lease, "a", namespace, {"metadata": {"labels": {"stranger": "1"}}})
    after = await client.apply(lease, "a", namespace, {"metadata": {"labels": {"x": "2"}}}, field_manager=manager)
    assert after.metadata.labels == {"x": "2", "stranger": "1"}


async def test_delete_succeeds_on_what_is_absent_and_respects_uid(client: clients.Client, namespace: str) -> None:
    made = await client.create(resources.LEASES, coordination.Lease(metadata=meta.ObjectMeta(name="a")), namespace)
    assert (await refusal(client.delete(resources.LEASES, "a", namespace, uid=str(uuid.uuid4())))).conflict
    assert await client.delete(resources.LEASES, "a", namespace, uid=made.metadata.uid)
    assert not await client.delete(resources.LEASES, "a", namespace)


async def test_an_event_struct_is_accepted_as_it_is(client: clients.Client, namespace: str) -> None:
    event = events.Event(
        metadata=meta.ObjectMeta(name="a.1", namespace=namespace),
        involved_object=events.ObjectReference(api_version="v1", kind="Service", name="a", namespace=namespace),
        reason="IPAllocated",
        message="Assigned IP",
        first_timestamp="2026-01-01T00:00:00Z",
        last_timestamp="2026-01-01T00:00:00Z",
        count=1,
        type="Normal",
    )
    made = await client.create(resources.EVENTS, event, namespace)
    assert made.involved_object.name == "a"
    assert made.count == 1


async def test_the_informer_follows_creation_change_and_deletion(client: clients.Client, namespace: str) -> None:
    await client.create(resources.SERVICES, service("before"), namespace)
    async with watching(client, namespace) as watched:
        assert watched.names == {"before"}
        await client.create(resources.SERVICES, service("a"), namespace)
        await eventually(lambda: "a" in watched.names)
        await client.merge_patch(resources.SERVICES, "a", namespace, {"metadata": {"labels": {"x": "1"}}})
        key = services.ServiceKey(namespace, "a")
        await eventually(lambda: (found := watched.informer.store.get(key)) is not None and found.labels == {"x": "1"})
        await client.delete(resources.SERVICES, "a", namespace)
        await eventually(lambda: "a" not in watched.names)
        shape = [(had, has) for changed, had, has in watched.changes if changed == key]
        assert shape == [(False, True), (True, True), (True, False)]
        assert watched.informer.lists == 1


async def test_an_object_that_leaves_the_selection_is_gone(client: clients.Client, namespace: str) -> None:
    await client.create(resources.SERVICES, service("a", labels={"app": "one"}), namespace)
    async with watching(client, namespace, label_selector="app=one") as watched:
        assert watched.names == {"a"}
        await client.merge_patch(resources.SERVICES, "a", namespace, {"metadata": {"labels": {"app": "two"}}})
        await eventually(lambda: not watched.names)


async def test_a_watch_that_ends_is_taken_up_where_it_stopped(client: clients.Client, namespace: str) -> None:
    async with watching(client, namespace, watch_seconds=(1.0, 1.0)) as watched:
        await eventually(lambda: watched.informer.watches >= 2)
        await client.create(resources.SERVICES, service("a"), namespace)
        await eventually(lambda: watched.names == {"a"})
        await eventually(lambda: watched.informer.watches >= 3)
        assert watched.informer.lists == 1
        assert [problem for problem in watched.problems if problem is not None] == []


async def test_a_version_that_is_too_old_is_gone(client: clients.Client, namespace: str, backend: Backend) -> None:
    old = (await client.create(resources.SERVICES, service("a"), namespace)).metadata.resource_version
    for number in range(3):
        await client.create(resources.SERVICES, service(f"s{number}"), namespace)
    if isinstance(backend, Fake):
        backend.server.compact()
    else:
        # A server's watch cache starts at what was stored when it started.
        await backend.kill()
        await backend.start()
    watch = client.watch(resources.SERVICES, old, namespace, timeout_seconds=5)
    error = await refusal(anext(watch))
    assert error.gone


async def test_the_informer_survives_a_killed_server(client: clients.Client, namespace: str, backend: Backend) -> None:
    for name in ("stays", "goes"):
        await client.create(resources.SERVICES, service(name), namespace)
    async with watching(client, namespace) as watched:
        await eventually(lambda: watched.informer.watches == 1)
        await backend.kill()
        await eventually(lambda: watched.informer.problem is not None)
        assert watched.names == {"stays", "goes"}, "a stale copy beats an empty one"
        await backend.start()
        async with asyncio.timeout(DEADLINE):
            await client.delete(resources.SERVICES, "goes", namespace)
            await client.create(resources.SERVICES, service("comes"), namespace)
        await eventually(lambda: watched.names == {"stays", "comes"})
        await eventually(lambda: watched.informer.problem is None)
        stays = [change for change in watched.changes if change[0].name == "stays"]
        assert stays == [(services.ServiceKey(namespace, "stays"), False, True)], "an unchanged object is not news"


async def test_the_informer_lists_again_when_its_version_is_gone(
    client: clients.Client, namespace: str, backend: Backend
) -> None:
    for name in ("stays", "goes"):
        await client.create(resources.SERVICES, service(name), namespace)
    async with (
        watching(client, namespace) as watched,
        clients.Client(backend.connection(), user_agent="other/0") as other,
    ):
        await eventually(lambda: watched.informer.watches == 1)
        # Nothing of the informer's runs while the world changes under it: its version is old when it looks again.
        if isinstance(backend, Fake):
            backend.server.freeze()
            backend.server.remove("", "services", "goes", namespace)
            backend.server.compact()
            backend.server.thaw()
            await backend.kill()
            await backend.start()
        else:
            await backend.kill()
            await backend.start()
            await other.delete(resources.SERVICES, "goes", namespace)
        await eventually(lambda: watched.names == {"stays"})
        assert (services.ServiceKey(namespace, "goes"), True, False) in watched.changes
