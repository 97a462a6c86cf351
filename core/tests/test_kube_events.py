"""What users read in `kubectl describe`: the recorder against the fake API server, on a fake clock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metallb_core.kube import client as clients
from metallb_core.kube import connection, events
from metallb_core.testing import clock as fake_clock
from metallb_core.testing import fake_apiserver

SERVICE = events.ObjectRef(
    api_version="v1", kind="Service", name="web", namespace="shop", uid="u1", resource_version="7"
)


@pytest.fixture
def clock() -> fake_clock.FakeClock:
    return fake_clock.FakeClock()


@pytest.fixture
async def server() -> AsyncIterator[fake_apiserver.FakeApiServer]:
    async with fake_apiserver.FakeApiServer() as made:
        yield made


@pytest.fixture
async def recorder(
    server: fake_apiserver.FakeApiServer, clock: fake_clock.FakeClock
) -> AsyncIterator[events.EventRecorder]:
    async with clients.Client(connection.plain(server.url), user_agent="metallb-test/0") as client:
        made = events.EventRecorder(client, "metallb-controller", "node-1", clock)
        task = asyncio.ensure_future(made.run())
        yield made
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def sent(recorder: events.EventRecorder, server: fake_apiserver.FakeApiServer) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        await recorder.wait_sent()
    return server.all("", "events")


async def test_the_fields_are_those_of_client_go(
    recorder: events.EventRecorder, server: fake_apiserver.FakeApiServer
) -> None:
    recorder.emit(SERVICE, "Normal", "IPAllocated", "Assigned IP 192.0.2.1")
    (event,) = await sent(recorder, server)
    metadata = event["metadata"]
    assert metadata["namespace"] == "shop"
    assert metadata["name"].startswith("web.")
    int(metadata["name"].removeprefix("web."), 16)
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Service",
        "name": "web",
        "namespace": "shop",
        "uid": "u1",
        "resourceVersion": "7",
    }
    assert event["source"] == {"component": "metallb-controller", "host": "node-1"}
    assert event["reportingComponent"] == "metallb-controller"
    assert (event["type"], event["reason"], event["message"]) == ("Normal", "IPAllocated", "Assigned IP 192.0.2.1")
    assert (event["firstTimestamp"], event["lastTimestamp"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
    assert event["count"] == 1


async def test_the_same_again_counts(
    recorder: events.EventRecorder, server: fake_apiserver.FakeApiServer, clock: fake_clock.FakeClock
) -> None:
    for version in ("7", "8", "9"):
        again = events.ObjectRef(
            api_version="v1", kind="Service", name="web", namespace="shop", uid="u1", resource_version=version
        )
        recorder.emit(again, "Warning", "AllocationFailed", "no address")
        (event,) = await sent(recorder, server)
        await clock.advance(300)
    assert event["count"] == 3
    assert event["firstTimestamp"] == "2026-01-01T00:00:00Z"
    assert event["lastTimestamp"] == "2026-01-01T00:10:00Z"


@pytest.mark.parametrize(
    ("seconds", "reason", "message"),
    [
        pytest.param(601.0, "AllocationFailed", "no address", id="later"),
        pytest.param(1.0, "AllocationFailed", "no pool", id="other-message"),
        pytest.param(1.0, "ClearAssignment", "no address", id="other-reason"),
    ],
)
async def test_something_else_is_another(
    recorder: events.EventRecorder,
    server: fake_apiserver.FakeApiServer,
    clock: fake_clock.FakeClock,
    seconds: float,
    reason: str,
    message: str,
) -> None:
    recorder.emit(SERVICE, "Warning", "AllocationFailed", "no address")
    await sent(recorder, server)
    await clock.advance(seconds)
    recorder.emit(SERVICE, "Warning", reason, message)
    assert [event["count"] for event in await sent(recorder, server)] == [1, 1]


async def test_one_that_expired_on_the_server_is_made_again(
    recorder: events.EventRecorder, server: fake_apiserver.FakeApiServer
) -> None:
    recorder.emit(SERVICE, "Normal", "nodeAssigned", "announcing")
    (first,) = await sent(recorder, server)
    server.remove("", "events", first["metadata"]["name"], "shop")
    recorder.emit(SERVICE, "Normal", "nodeAssigned", "announcing")
    (second,) = await sent(recorder, server)
    assert second["count"] == 1


async def test_one_object_cannot_fill_the_server(
    recorder: events.EventRecorder, server: fake_apiserver.FakeApiServer, clock: fake_clock.FakeClock
) -> None:
    for number in range(100):
        recorder.emit(SERVICE, "Normal", "Flap", f"number {number}")
    other = events.ObjectRef(api_version="v1", kind="Service", name="quiet", namespace="shop")
    recorder.emit(other, "Normal", "Flap", "its own budget")
    assert len(await sent(recorder, server)) == 26
    assert recorder.dropped == 75
    await clock.advance(301)
    recorder.emit(SERVICE, "Normal", "Flap", "one more")
    recorder.emit(SERVICE, "Normal", "Flap", "and no more")
    assert len(await sent(recorder, server)) == 27


async def test_emitting_never_waits_and_never_fails(
    recorder: events.EventRecorder, server: fake_apiserver.FakeApiServer
) -> None:
    server.fail(500, times=1)
    recorder.emit(SERVICE, "Normal", "A", "lost")
    recorder.emit(SERVICE, "Normal", "B", "sent")
    assert [event["reason"] for event in await sent(recorder, server)] == ["B"]
    for number in range(events.QUEUE + 10):
        recorder.emit(SERVICE, "Normal", "C", str(number))
    assert recorder.dropped >= 10
    await sent(recorder, server)


async def test_long_messages_are_cut_and_cluster_scoped_objects_have_a_place(
    recorder: events.EventRecorder, server: fake_apiserver.FakeApiServer
) -> None:
    node = events.ObjectRef(api_version="v1", kind="Node", name="n" * 253)
    recorder.emit(node, "Warning", "A", "x" * 5000)
    (event,) = await sent(recorder, server)
    assert len(event["message"]) == 1024
    assert event["metadata"]["namespace"] == "default"
    assert len(event["metadata"]["name"]) <= 253


async def test_a_name_that_is_taken_is_not_the_end(
    recorder: events.EventRecorder, server: fake_apiserver.FakeApiServer
) -> None:
    server.fail(409, verb="POST")
    recorder.emit(SERVICE, "Normal", "A", "x")
    # The fake says Conflict, not AlreadyExists: that one is not ours to solve.
    assert await sent(recorder, server) == []
    assert recorder.dropped == 1
