"""Who owns what a pod writes: told by the manifest, or asked for until the API server answers."""

from collections.abc import AsyncIterator

import pytest

from metallb_core.api import meta
from metallb_core.kube import client as clients
from metallb_core.kube import connection, errors, ownership
from metallb_core.runtime import log
from metallb_core.testing import clock as clocks
from metallb_core.testing import fake_apiserver

NAMESPACE = "metallb-system"


class Bench:
    """A pod that wants to know who it is."""

    def __init__(self, server: fake_apiserver.FakeApiServer, client: clients.Client) -> None:
        self.server = server
        self.client = client
        self.clock = clocks.FakeClock()

    def pod(self, *, name: str = "speaker-x", uid: str = "") -> ownership.Pod:
        return ownership.Pod(self.client, self.clock, namespace=NAMESPACE, name=name, uid=uid, logger=log.get("test"))

    def exists(self) -> str:
        """The pod is there; its UID."""
        metadata = {"name": "speaker-x", "namespace": NAMESPACE}
        made = self.server.put("", "pods", {"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
        return str(made["metadata"]["uid"])


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with (
        fake_apiserver.FakeApiServer() as server,
        clients.Client(connection.plain(server.url), user_agent="test/0") as client,
    ):
        yield Bench(server, client)


def owner(uid: str) -> meta.OwnerReference:
    return meta.OwnerReference(api_version="v1", kind="Pod", name="speaker-x", uid=uid)


TOLD = [
    pytest.param("speaker-x", "uid-1", owner("uid-1"), id="all-of-it"),
    pytest.param("", "uid-1", None, id="no-name"),
    pytest.param("", "", None, id="nothing"),
]


@pytest.mark.parametrize(("name", "uid", "expected"), TOLD)
async def test_what_the_manifest_says_is_taken(
    bench: Bench, name: str, uid: str, expected: meta.OwnerReference | None
) -> None:
    assert await bench.pod(name=name, uid=uid)() == expected
    assert not bench.server.requests


async def test_without_it_the_api_server_is_asked_once(bench: Bench) -> None:
    expected, pod = owner(bench.exists()), bench.pod()
    assert [await pod() for _ in range(3)] == [expected] * 3
    assert len(bench.server.requests) == 1


async def test_while_the_api_server_does_not_say_nothing_is_written(bench: Bench) -> None:
    expected, pod = owner(bench.exists()), bench.pod()
    bench.server.fail(500, plural="pods")
    with pytest.raises(errors.ApiError):
        await pod()
    assert await pod() == expected


async def test_while_nobody_answers_nothing_is_written() -> None:
    async with clients.Client(connection.plain("http://127.0.0.1:9"), user_agent="test/0") as client:
        pod = ownership.Pod(
            client, clocks.FakeClock(), namespace=NAMESPACE, name="speaker-x", uid="", logger=log.get("test")
        )
        with pytest.raises(errors.Unreachable):
            await pod()


@pytest.mark.parametrize("status", [403, 404], ids=["no-right", "no-such-pod"])
async def test_a_pod_that_cannot_be_read_owns_nothing_for_a_minute(bench: Bench, status: int) -> None:
    expected, pod = owner(bench.exists()), bench.pod()
    bench.server.fail(status, plural="pods")
    assert [await pod(), await pod()] == [None, None]
    assert len(bench.server.requests) == 1
    await bench.clock.advance(ownership.ASK_AGAIN_SECONDS)
    assert await pod() == expected


async def test_nobody() -> None:
    owner_of_what_stays: ownership.Owner = ownership.nobody
    assert await owner_of_what_stays() is None
