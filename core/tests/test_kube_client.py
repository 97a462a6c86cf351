"""The client's manners: what it repeats, how long it waits, what it tells."""

import asyncio
import datetime
import os
import pathlib
import random
import ssl
from collections.abc import AsyncIterator

import pytest

from metallb_core.kube import client as clients
from metallb_core.kube import connection, errors, resources
from metallb_core.runtime import clock, selfsigned
from metallb_core.testing import fake_apiserver

SERVICE = {"metadata": {"name": "a", "namespace": "default"}, "spec": {"type": "LoadBalancer"}}


class Hasty(clock.SystemClock):
    """Real time but for sleeping, which it only notes."""

    __slots__ = ("slept",)

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
async def server() -> AsyncIterator[fake_apiserver.FakeApiServer]:
    async with fake_apiserver.FakeApiServer() as made:
        made.put("", "services", SERVICE)
        yield made


@pytest.fixture
def hasty() -> Hasty:
    return Hasty()


@pytest.fixture
def heard() -> list[tuple[str, str, int]]:
    return []


@pytest.fixture
async def client(
    server: fake_apiserver.FakeApiServer, hasty: Hasty, heard: list[tuple[str, str, int]]
) -> AsyncIterator[clients.Client]:
    def hear(verb: str, resource: str, status: int, _seconds: float) -> None:
        heard.append((verb, resource, status))

    async with clients.Client(
        connection.plain(server.url),
        user_agent="metallb-test/0",
        on_request=hear,
        clock=hasty,
        random=random.Random(1),
        timeout=0.5,
    ) as made:
        yield made


async def _get(client: clients.Client) -> None:
    await client.get(resources.SERVICES, "a", "default")


async def _patch(client: clients.Client) -> None:
    await client.merge_patch(resources.SERVICES, "a", "default", {"metadata": {"labels": {"x": "y"}}})


async def _create(client: clients.Client) -> None:
    await client.create(resources.SERVICES, {"metadata": {"name": "b"}}, "default")


async def _delete(client: clients.Client) -> None:
    await client.delete(resources.SERVICES, "a", "default")


VERBS = {"get": _get, "patch": _patch, "create": _create, "delete": _delete}


@pytest.mark.parametrize(
    ("verb", "status", "tries"),
    [
        pytest.param("get", 429, 3, id="get-429"),
        pytest.param("patch", 429, 3, id="patch-429"),
        pytest.param("create", 429, 3, id="create-429-was-not-carried-out"),
        pytest.param("delete", 429, 3, id="delete-429"),
        pytest.param("get", 503, 3, id="get-503"),
        pytest.param("patch", 503, 3, id="patch-503"),
        pytest.param("create", 503, 1, id="create-503-may-have-been-carried-out"),
        pytest.param("get", 500, 1, id="get-500"),
        pytest.param("patch", 409, 1, id="patch-409"),
    ],
)
async def test_what_is_repeated(
    server: fake_apiserver.FakeApiServer, client: clients.Client, verb: str, status: int, tries: int
) -> None:
    server.fail(status, times=2)
    if tries == 1:
        with pytest.raises(errors.ApiError) as caught:
            await VERBS[verb](client)
        assert caught.value.status == status
    else:
        await VERBS[verb](client)
    assert len(server.requests) == tries


async def test_it_waits_as_long_as_the_server_asks_and_no_longer_than_reasonable(
    server: fake_apiserver.FakeApiServer, client: clients.Client, hasty: Hasty
) -> None:
    server.fail(429, retry_after=3)
    server.fail(429, retry_after=3600)
    await _get(client)
    assert 3.0 < hasty.slept[0] <= 3.1
    assert clients.LONGEST_RETRY_AFTER < hasty.slept[1] <= clients.LONGEST_RETRY_AFTER + 0.2


async def test_it_gives_up_after_a_few_times(server: fake_apiserver.FakeApiServer, client: clients.Client) -> None:
    server.fail(429, times=100, retry_after=1)
    with pytest.raises(errors.ApiError) as caught:
        await _get(client)
    assert caught.value.overloaded
    assert caught.value.retry_after == 1
    assert len(server.requests) == clients.ATTEMPTS


async def test_no_answer_is_repeated_for_reading_only(
    server: fake_apiserver.FakeApiServer, client: clients.Client, heard: list[tuple[str, str, int]]
) -> None:
    await server.stop()
    with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1"):
        await _get(client)
    assert heard == [("get", "services", 0), ("get", "services", 0)]
    heard.clear()
    with pytest.raises(errors.Unreachable):
        await _patch(client)
    assert heard == [("patch", "services", 0)]


async def test_a_server_that_never_answers_is_unreachable(
    server: fake_apiserver.FakeApiServer, client: clients.Client
) -> None:
    server.freeze()
    with pytest.raises(errors.Unreachable):
        await _patch(client)
    server.thaw()


async def test_a_rejected_token_is_read_again(
    server: fake_apiserver.FakeApiServer, hasty: Hasty, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    to = connection.Connection(
        server=server.url, ssl_context=lambda: None, credentials=connection.TokenFile(path), namespace=None
    )
    async with clients.Client(to, user_agent="metallb-test/0", clock=hasty) as client:
        await _get(client)
        server.fail(401)
        path.write_text("two")
        await _get(client)
        server.fail(401, times=2)
        with pytest.raises(errors.ApiError) as caught:
            await _get(client)
        assert caught.value.status == 401
    sent = [headers["Authorization"] for headers in server.headers]
    assert sent == ["Bearer one", "Bearer two", "Bearer two", "Bearer two", "Bearer two"]


async def test_it_says_who_it_is_and_what_it_takes(
    server: fake_apiserver.FakeApiServer, client: clients.Client, heard: list[tuple[str, str, int]]
) -> None:
    await _get(client)
    assert [page async for page in client.list(resources.IP_ADDRESS_POOLS)]
    assert server.headers[0]["User-Agent"] == "metallb-test/0"
    assert server.headers[1]["Accept-Encoding"] == "gzip"
    assert heard == [("get", "services", 200), ("list", "ipaddresspools.metallb.io", 200)]


async def test_a_compressed_list_is_read(server: fake_apiserver.FakeApiServer, client: clients.Client) -> None:
    for number in range(300):
        server.put("", "services", {"metadata": {"name": f"s{number}", "namespace": "default"}})
    pages = [page async for page in client.list(resources.SERVICES)]
    assert sum(len(page.items) for page in pages) == 301


async def test_what_is_no_api_server_is_unreachable(
    server: fake_apiserver.FakeApiServer, client: clients.Client
) -> None:
    server.answers["services"] = lambda _body: {"metadata": "odd"}
    with pytest.raises(errors.Unreachable, match="no Service"):
        await _create(client)


async def test_a_closed_client_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await _get(clients.Client(connection.plain("http://127.0.0.1:1"), user_agent="x"))


async def test_an_object_without_its_namespace_is_our_mistake(client: clients.Client) -> None:
    with pytest.raises(ValueError, match="needs a namespace"):
        await client.get(resources.SERVICES, "a")
    with pytest.raises(ValueError, match="not namespaced"):
        await client.get(resources.NODES, "a", "default")


async def test_nothing_stays_open_behind_a_client_whose_server_never_says_goodbye(tmp_path: pathlib.Path) -> None:
    """Half an answer over TLS, then silence: a graceful end of TLS would wait half a minute for the server's part of it."""
    path = tmp_path / "both.pem"
    path.write_bytes(selfsigned.make(("localhost",), datetime.datetime.now(datetime.UTC)))
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(path)
    connected: list[asyncio.StreamWriter] = []

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        writer.transport.pause_reading()  # type: ignore[attr-defined]

    def trusting() -> ssl.SSLContext:
        made = ssl.create_default_context()
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made

    server = await asyncio.start_server(half, "127.0.0.1", 0, ssl=served)
    port = server.sockets[0].getsockname()[1]
    place = connection.Connection(
        server=f"https://127.0.0.1:{port}", ssl_context=trusting, credentials=connection.NoToken()
    )
    before = set(os.listdir("/proc/self/fd"))
    async with clients.Client(place, user_agent="metallb-test/0", timeout=0.2) as client:
        with pytest.raises(errors.Unreachable):
            await client.merge_patch(resources.SERVICES, "a", "default", {})
    # One is left: the server's own end.
    assert len(set(os.listdir("/proc/self/fd")) - before) == 1
    connected[0].transport.abort()
    server.close()
    await server.wait_closed()
