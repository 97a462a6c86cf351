"""The informer among faults that only the fake server can produce. What a real server does too is in the contract."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import connection, informer, resources
from metallb_core.runtime import clock
from metallb_core.testing import fake_apiserver

DEADLINE = 20.0
Pair = tuple[services.Service | None, services.Service | None]


def body(name: str, **metadata: object) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns", **metadata}, "spec": {"type": "LoadBalancer"}}


def key(name: str) -> services.ServiceKey:
    return services.ServiceKey("ns", name)


class Fixture:
    """A server, an informer on it, and what it reported."""

    def __init__(self, server: fake_apiserver.FakeApiServer, client: clients.Client, **options: Any) -> None:
        self.server = server
        self.changes: list[tuple[str, Pair]] = []
        self.complaints: list[tuple[str, str]] = []
        self.problems: list[str | None] = []
        self.informer = informer.Informer(
            client,
            resources.SERVICES,
            on_change=lambda key, old, new: self.changes.append((key.name, (old, new))),
            on_invalid=lambda key, message: self.complaints.append((key.name, message)),
            on_problem=self.problems.append,
            clock=clock.SystemClock(),
            random=random.Random(7),
            **options,
        )

    @property
    def names(self) -> list[str]:
        return sorted(each.name for each in self.informer.store)


@contextlib.asynccontextmanager
async def running(server: fake_apiserver.FakeApiServer, **options: Any) -> AsyncIterator[Fixture]:
    async with clients.Client(connection.plain(server.url), user_agent="metallb-test/0") as client:
        fixture = Fixture(server, client, **options)
        task = asyncio.ensure_future(fixture.informer.run())
        try:
            yield fixture
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[fake_apiserver.FakeApiServer]:
    async with fake_apiserver.FakeApiServer() as made:
        yield made


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - conditions here are about sockets, which set no event
            await asyncio.sleep(0.005)


async def test_a_server_that_ends_watches_at_once_is_not_hammered(server: fake_apiserver.FakeApiServer) -> None:
    server.events_before_close = 0
    async with running(server) as fixture:
        await asyncio.sleep(1.0)
        assert 3 <= fixture.informer.watches <= 8
        assert fixture.informer.lists == 1
        server.events_before_close = None
        server.put("", "services", body("a"))
        await eventually(lambda: fixture.names == ["a"])


async def test_one_event_and_then_the_end_loses_nothing(server: fake_apiserver.FakeApiServer) -> None:
    server.events_before_close = 1
    async with running(server) as fixture:
        await fixture.informer.wait_synced()
        for number in range(5):
            server.put("", "services", body(f"s{number}"))
        await eventually(lambda: len(fixture.names) == 5)
        assert fixture.informer.lists == 1
        assert len(fixture.changes) == 5


async def test_a_silent_watch_is_given_up(server: fake_apiserver.FakeApiServer) -> None:
    async with running(server, silence=0.2) as fixture:
        await eventually(lambda: fixture.informer.watches == 1)
        server.freeze()
        server.put("", "services", body("a"))
        await eventually(lambda: fixture.informer.problem is not None)
        server.thaw()
        await eventually(lambda: fixture.names == ["a"])


async def test_bookmarks_keep_a_quiet_watch_alive_and_move_its_version() -> None:
    async with fake_apiserver.FakeApiServer(bookmark_seconds=0.1) as server, running(server, silence=0.5) as fixture:
        await eventually(lambda: fixture.informer.watches == 1)
        server.put("", "nodes", {"metadata": {"name": "other-kind"}})
        await asyncio.sleep(0.7)
        assert fixture.informer.watches == 1
        # What is older than the bookmark is forgotten, and the informer does not mind.
        server.compact()
        server.close_watches()
        await eventually(lambda: fixture.informer.watches == 2)
        server.put("", "services", body("a"))
        await eventually(lambda: fixture.names == ["a"])
        assert fixture.informer.lists == 1


async def test_gone_lists_again_and_reports_what_vanished(server: fake_apiserver.FakeApiServer) -> None:
    for name in ("stays", "goes", "changes"):
        server.put("", "services", body(name))
    async with running(server) as fixture:
        await eventually(lambda: fixture.informer.watches == 1)
        fixture.changes.clear()
        await server.stop()
        server.remove("", "services", "goes", "ns")
        server.put("", "services", body("changes", labels={"x": "y"}))
        server.put("", "services", body("comes"))
        server.compact()
        await server.start()
        await eventually(lambda: fixture.names == ["changes", "comes", "stays"])
        shapes = {name: (old is not None, new is not None) for name, (old, new) in fixture.changes}
        assert shapes == {"goes": (True, False), "changes": (True, True), "comes": (False, True)}
        assert fixture.informer.lists == 2


async def test_a_list_that_loses_its_place_is_asked_for_whole(server: fake_apiserver.FakeApiServer) -> None:
    for number in range(6):
        server.put("", "services", body(f"s{number}"))
    pages = 0

    def forget(request: fake_apiserver.Seen) -> None:
        nonlocal pages
        if request.verb == "GET":
            pages += 1
            if pages == 2:
                server.put("", "nodes", {"metadata": {"name": "n"}})
                server.compact()

    server.on_request = forget
    async with running(server, page=2) as fixture:
        await eventually(lambda: fixture.informer.synced)
        assert len(fixture.names) == 6
        assert [request.query.get("limit") for request in server.requests if request.verb == "GET"][-1] is None


async def test_an_object_made_again_under_its_name_is_both(server: fake_apiserver.FakeApiServer) -> None:
    server.put("", "services", body("a", uid="one"))
    async with running(server) as fixture:
        await eventually(lambda: fixture.informer.watches == 1)
        fixture.changes.clear()
        await server.stop()
        server.remove("", "services", "a", "ns")
        server.put("", "services", body("a", uid="two"))
        server.compact()
        await server.start()
        await eventually(lambda: len(fixture.changes) == 2)
        (_, (old, gone)), (_, (nothing, new)) = fixture.changes
        assert old is not None
        assert new is not None
        assert (old.uid, gone, nothing, new.uid) == ("one", None, None, "two")


BAD = {"spec": {"type": 7}}
ODD = {"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Sideways"}}


ODD_METADATA = {"metadata": {"name": "odd", "namespace": "ns", "labels": {"x": 1}}}


@pytest.mark.parametrize(
    ("odd", "complaint"),
    [
        pytest.param(BAD, "spec.type", id="wire"),
        pytest.param(ODD, "Sideways", id="domain"),
        pytest.param(ODD_METADATA, "metadata.labels", id="metadata"),
    ],
)
async def test_an_odd_object_is_set_aside_and_the_rest_goes_on(
    server: fake_apiserver.FakeApiServer, odd: dict[str, Any], complaint: str
) -> None:
    server.put("", "services", body("good"))
    server.put("", "services", body("odd") | odd)
    async with running(server) as fixture:
        await fixture.informer.wait_synced()
        assert fixture.names == ["good"]
        assert [name for name, _ in fixture.complaints] == ["odd"]
        assert complaint in fixture.complaints[0][1]
        assert set(fixture.informer.invalid) == {key("odd")}
        # Another write that changes nothing about it is not worth another word.
        server.put("", "services", body("odd", generation=2) | odd)
        server.put("", "services", body("good", labels={"x": "y"}))
        await eventually(lambda: (held := fixture.informer.store.get(key("good"))) is not None and held.labels != {})
        assert len(fixture.complaints) == 1
        server.put("", "services", body("odd"))
        await eventually(lambda: fixture.names == ["good", "odd"])
        assert not fixture.informer.invalid


async def test_a_good_object_that_turns_odd_keeps_its_last_good_form(server: fake_apiserver.FakeApiServer) -> None:
    server.put("", "services", body("a"))
    async with running(server) as fixture:
        await eventually(lambda: fixture.informer.watches == 1)
        server.put("", "services", body("a") | BAD)
        await eventually(lambda: bool(fixture.complaints))
        assert fixture.names == ["a"]
        # A list that shows it odd again does not take it away either.
        server.compact()
        server.put("", "services", body("b"))
        await server.stop()
        server.compact()
        await server.start()
        await eventually(lambda: fixture.informer.lists == 2 and fixture.names == ["a", "b"])
        server.remove("", "services", "a", "ns")
        await eventually(lambda: fixture.names == ["b"])
        assert not fixture.informer.invalid


async def test_a_kind_that_goes_away_and_comes_back(server: fake_apiserver.FakeApiServer) -> None:
    server.put("", "services", body("a"))
    async with running(server) as fixture:
        await eventually(lambda: fixture.informer.watches == 1)
        server.fail(404, times=2, plural="services")
        server.close_watches()
        await eventually(lambda: fixture.informer.problem is not None)
        assert fixture.names == ["a"]
        await eventually(lambda: fixture.informer.lists >= 2 and fixture.informer.problem is None)


@pytest.mark.parametrize(
    ("status", "refused", "absent"),
    [
        pytest.param(404, True, True, id="no-such-kind"),
        pytest.param(403, True, False, id="not-allowed"),
        pytest.param(500, False, False, id="trouble"),
    ],
)
async def test_a_kind_that_was_never_there(
    server: fake_apiserver.FakeApiServer, status: int, refused: bool, absent: bool
) -> None:
    server.fail(status, times=3, plural="services")
    async with running(server) as fixture:
        await eventually(lambda: fixture.informer.problem is not None)
        assert (fixture.informer.refused, fixture.informer.absent) == (refused, absent)
        await fixture.informer.wait_answered()
        assert fixture.informer.synced is not refused
        await fixture.informer.wait_synced()
        assert not fixture.informer.refused


async def test_a_watch_that_is_refused_again_and_again_is_given_a_new_place(
    server: fake_apiserver.FakeApiServer,
) -> None:
    server.fail(500, times=3, verb="WATCH")
    async with running(server) as fixture:
        await eventually(lambda: fixture.informer.lists == 2)
        server.put("", "services", body("a"))
        await eventually(lambda: fixture.names == ["a"])
        assert fixture.informer.watches == 4


async def test_an_overloaded_server_is_not_asked_for_more(server: fake_apiserver.FakeApiServer) -> None:
    server.fail(429, times=4, verb="WATCH")
    async with running(server) as fixture:
        await eventually(lambda: fixture.informer.watches == 5)
        assert fixture.informer.lists == 1


async def test_a_refusal_says_why_the_copy_may_be_stale(server: fake_apiserver.FakeApiServer) -> None:
    server.fail(403, times=3, verb="GET")
    async with running(server) as fixture:
        await eventually(lambda: fixture.informer.problem is not None)
        assert "services" in (fixture.informer.problem or "")
        assert not fixture.informer.synced
        await eventually(lambda: fixture.informer.synced and fixture.informer.problem is None)
        assert fixture.problems[-1] is None


async def test_a_slow_server_is_waited_for(server: fake_apiserver.FakeApiServer) -> None:
    server.slowness = 0.2
    server.put("", "services", body("a"))
    async with running(server) as fixture:
        await eventually(lambda: fixture.names == ["a"])
        assert fixture.informer.lists == 1


async def test_a_large_object_fits(server: fake_apiserver.FakeApiServer) -> None:
    async with running(server) as fixture:
        await eventually(lambda: fixture.informer.watches == 1)
        large = {"metallb.io/note": "x" * 1_400_000}
        server.put("", "services", body("large", annotations=large))
        await eventually(lambda: fixture.names == ["large"])
        assert fixture.informer.watches == 1


async def test_an_error_of_ours_is_not_hidden(server: fake_apiserver.FakeApiServer) -> None:
    server.put("", "services", body("a"))

    def broken(*_change: object) -> None:
        raise ZeroDivisionError

    async with clients.Client(connection.plain(server.url), user_agent="metallb-test/0") as client:
        made = informer.Informer(client, resources.SERVICES, on_change=broken, clock=clock.SystemClock())
        with pytest.raises(ZeroDivisionError):
            await made.run()
