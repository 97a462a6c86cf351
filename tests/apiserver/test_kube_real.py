"""What only a real API server can confirm: that users see our Events, that an election survives a killed server, that reviews mean what we
think, and that a store of thousands is right after the server was killed under load."""

import asyncio
import contextlib
import json
import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from lab import apiserver, controlplane
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import connection, events, informer, leases, resources, reviews
from metallb_core.runtime import clock as clocks
from metallb_core.runtime import metrics

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]
DEADLINE = 60.0
CLOCK = clocks.SystemClock()


@pytest.fixture(scope="module")
def server() -> Iterator[apiserver.ApiServer]:
    identities = {
        "scraper": controlplane.Identity(user="scraper", groups=("monitoring",)),
        "nobody": controlplane.Identity(user="nobody-special"),
    }
    with apiserver.ApiServer(identities=identities) as made:
        made.kubectl("create", "clusterrole", "scrape", "--verb=get", "--non-resource-url=/metrics")
        made.kubectl("create", "clusterrolebinding", "scrape", "--clusterrole=scrape", "--group=monitoring")
        yield made


@pytest.fixture
async def client(server: apiserver.ApiServer) -> AsyncIterator[clients.Client]:
    async with clients.Client(connection.from_kubeconfig(server.kubeconfig), user_agent="metallb-test/0") as made:
        yield made


@pytest.fixture
async def namespace(client: clients.Client) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    await client.create(resources.NAMESPACES, {"metadata": {"name": name}})
    return name


def service(name: str) -> dict[str, Any]:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}], "allocateLoadBalancerNodePorts": False}
    return {"metadata": {"name": name}, "spec": spec}


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - conditions here are about servers, which set no event
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def background(*runs: Any) -> AsyncIterator[list["asyncio.Task[None]"]]:
    tasks = [asyncio.create_task(run) for run in runs]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_events_are_seen_in_kubectl_describe(
    server: apiserver.ApiServer, client: clients.Client, namespace: str
) -> None:
    made = await client.create(resources.SERVICES, service("web"), namespace)
    recorder = events.EventRecorder(client, "metallb-controller", "node-1", CLOCK)
    regarding = events.ObjectRef(
        api_version="v1", kind="Service", name="web", namespace=namespace, uid=made.metadata.uid
    )
    async with background(recorder.run()):
        for _ in range(3):
            recorder.emit(regarding, "Normal", "IPAllocated", 'Assigned IP ["192.0.2.1"]')
        recorder.emit(regarding, "Warning", "AllocationFailed", "no address of pool production is free")
        await recorder.wait_sent()
    described = await asyncio.to_thread(server.kubectl, "describe", "service", "web", "-n", namespace)
    lines = [" ".join(line.split()) for line in described.splitlines()]
    assert any(
        line.startswith("Normal IPAllocated") and "x3" in line and "metallb-controller" in line for line in lines
    )
    assert any(line.startswith("Warning AllocationFailed") and line.endswith("is free") for line in lines)
    assert recorder.dropped == 0
    stored = json.loads(await asyncio.to_thread(server.kubectl, "get", "events", "-n", namespace, "-o", "json"))
    assert len(stored["items"]) == 2


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("scraper", metrics.Verdict.ALLOWED), ("nobody", metrics.Verdict.FORBIDDEN), ("", metrics.Verdict.UNKNOWN_TOKEN)],
    ids=["scraper", "nobody", "unknown"],
)
async def test_reviews(
    server: apiserver.ApiServer, client: clients.Client, name: str, verdict: metrics.Verdict
) -> None:
    token = server.token_for(name) if name else "made-up"
    assert await reviews.Reviewer(client, CLOCK).review(token, "/metrics", "get") is verdict


class Candidate:
    """An elector with short durations."""

    def __init__(self, client: clients.Client, namespace: str, identity: str) -> None:
        self.working = False
        self.terms = 0
        self.elector = leases.LeaseElector(
            client,
            namespace,
            "controller",
            identity,
            CLOCK,
            random.Random(identity),
            self.work,
            lambda: None,
            duration=4.0,
            renew=2.5,
            retry=0.3,
        )

    async def work(self) -> None:
        self.working = True
        self.terms += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.working = False


async def test_an_election_survives_a_killed_server_with_one_leader_at_most(
    server: apiserver.ApiServer, client: clients.Client, namespace: str
) -> None:
    first, second = Candidate(client, namespace, "a"), Candidate(client, namespace, "b")
    both_at_once = False

    async def guard() -> None:
        nonlocal both_at_once
        while True:
            both_at_once |= first.working and second.working
            await asyncio.sleep(0.001)

    async with background(first.elector.run(), second.elector.run(), guard()) as tasks:
        await eventually(lambda: first.working or second.working)
        await asyncio.to_thread(server.kill_apiserver)
        await eventually(lambda: not first.working and not second.working)
        await asyncio.to_thread(server.start_apiserver)
        await eventually(lambda: first.working or second.working)
        leader, other, task = (first, second, tasks[0]) if first.working else (second, first, tasks[1])
        task.cancel()
        started = CLOCK.monotonic()
        await eventually(lambda: other.working)
        # Else it would be taken when its four seconds are over, and half a second less at the earliest.
        assert CLOCK.monotonic() - started < 3.0, "a Lease that is given back is taken at once"
        assert not leader.working
    assert not both_at_once
    lease = await client.get(resources.LEASES, "controller", namespace)
    assert lease.spec.holder_identity == ""


async def test_the_store_is_right_after_the_server_was_killed_under_load(
    server: apiserver.ApiServer, client: clients.Client, namespace: str
) -> None:
    """Writers go on through two kills; in the end the store equals a fresh list, and each object was reported in a possible order."""
    last: dict[services.ServiceKey, bool] = {}
    wrong: list[str] = []

    def note(key: services.ServiceKey, old: services.Service | None, new: services.Service | None) -> None:
        if last.get(key, False) != (old is not None):
            wrong.append(str(key))
        last[key] = new is not None

    watched = informer.Informer(
        client,
        resources.SERVICES,
        namespace=namespace,
        on_change=note,
        clock=CLOCK,
        random=random.Random(1),
        watch_seconds=(2.0, 4.0),
    )
    stopping = asyncio.Event()

    async def write(number: int) -> None:
        count = 0
        while not stopping.is_set():
            name = f"s{number}-{count}"
            count += 1
            with contextlib.suppress(Exception):
                await client.create(resources.SERVICES, service(name), namespace)
                await client.merge_patch(
                    resources.SERVICES,
                    name,
                    namespace,
                    {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}},
                    subresource="status",
                )
                if count % 3 == 0:
                    await client.delete(resources.SERVICES, name, namespace)
            await asyncio.sleep(0.01)

    async with background(watched.run()):
        writers = [asyncio.create_task(write(number)) for number in range(4)]
        for _ in range(2):
            await asyncio.sleep(1.5)
            await asyncio.to_thread(server.kill_apiserver)
            await asyncio.to_thread(server.start_apiserver)
        await asyncio.sleep(1.5)
        # On a busy machine the writers have had little time between the two kills.
        await eventually(lambda: sum(last.values()) > 30)
        stopping.set()
        await asyncio.gather(*writers)
        pages = [page async for page in client.list(resources.SERVICES, namespace)]
        truth = {
            services.ServiceKey(namespace, item.metadata.name): item.metadata.resource_version
            for page in pages
            for item in page.items
        }
        assert len(truth) > 20
        await eventually(lambda: {key: each.resource_version for key, each in watched.store.items()} == truth)
    assert not wrong
