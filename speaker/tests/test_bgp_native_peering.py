"""Sessions over real sockets on loopback: with routers of our own making, good ones and bad ones, beside each other."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from metallb_core.domain import addresses, communities, peers, routes
from metallb_core.runtime import clock
from metallb_core.testing import clock as fake_clock
from metallb_speaker.bgp import fsm, outputs, session
from metallb_speaker.bgp.native import interfaces, peering

OURS, THEIRS = 64513, 64512
LOCAL = addresses.Address.parse("127.0.0.1")
MARKER = b"\xff" * 16
KEEPALIVE = MARKER + b"\x00\x13\x04"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def prefix(number: int) -> routes.Prefix:
    return routes.Prefix(
        addresses.Address(addresses.Family.IPV4, addresses.Address.parse("198.18.0.0").value + number), 32
    )


def table(count: int) -> dict[routes.Prefix, routes.Attributes]:
    return {prefix(number): routes.PLAIN for number in range(count)}


def wanted(name: str, port: int, **fields: Any) -> peering.Wanted:
    made = peers.Peer(
        **{
            "name": name,
            "my_asn": OURS,
            "peer_asn": THEIRS,
            "address": LOCAL,
            "port": port,
            "connect_time": 1.0,
            **fields,
        }
    )
    return peering.Wanted(peer=made, bfd=bool(made.bfd_profile))


async def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Let the loop run until `condition` holds."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.002)  # the kernel's sockets are the other party, and have no event for a test
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds:g} s") from None


class Bench:
    """Our sessions, and what they say of themselves."""

    def __init__(self, time: clock.Clock) -> None:
        self.states: list[tuple[str, str]] = []
        self.advertised: list[str] = []
        self.peering = peering.Peering(
            clock=time,
            random=random.Random(1),
            node="node-a",
            on_state=self._state,
            on_advertised=self.advertised.append,
        )
        self.work = asyncio.create_task(self.peering.run())

    def _state(self, name: str) -> None:
        view = self.peering.session(name)
        if view is not None:
            self.states.append((name, view.state.label))

    def view(self, name: str) -> peering.SessionView:
        view = self.peering.session(name)
        assert view is not None
        return view

    async def wait_up(self, name: str) -> None:
        await wait_until(lambda: self.view(name).state is fsm.State.ESTABLISHED, f"{name} up")

    async def wait_problem(self, name: str, code: str) -> None:
        def has_it() -> bool:
            problem = self.view(name).problem
            return problem is not None and problem.reason.code == code

        await wait_until(has_it, f"{name} {code}; {self.view(name).problem}")


@pytest.fixture(autouse=True)
def address(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that can be a next hop: routers refuse 127.0.0.1 as one."""
    ours = addresses.Address.parse("192.0.2.2")
    made = outputs.Endpoints(local=ours, remote=LOCAL, router_id=ours)
    monkeypatch.setattr(interfaces, "endpoints", lambda **_: made)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench(clock.SystemClock())
    yield made
    await close(made)


async def close(bench: Bench) -> None:
    bench.work.cancel()
    await asyncio.gather(bench.work, return_exceptions=True)


@contextlib.asynccontextmanager
async def listening(handler: Handler, *, receive_bytes: int = 0) -> AsyncIterator[int]:
    """A server on loopback; its port."""
    writers: set[asyncio.StreamWriter] = set()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        # A cancelled handler ends in order: asyncio's streams would report it as a failure.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    bound = socket.create_server(("127.0.0.1", 0))
    if receive_bytes:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    server = await asyncio.start_server(serve, sock=bound, limit=4096)
    try:
        yield bound.getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


class Own:
    """A router made of our own session, which waits to be connected to."""

    def __init__(self, asn: int = THEIRS, *, pausing: bool = False, **fields: Any) -> None:
        peer = peers.Peer(name="node", my_asn=asn, peer_asn=OURS, address=LOCAL, **fields)
        self.session = session.Session(peer, random.Random(2))
        self.accepted = 0
        self.seen: list[bytes] = []
        self.going = asyncio.Event()
        if not pausing:
            self.going.set()
        self._time = clock.SystemClock()
        self._writers: dict[int, asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        now = self._time.monotonic()
        self.session.start(now)
        for each in self.session.take(now):
            if isinstance(each, outputs.Connect):
                self.session.connect_failed(each.connection, "waits to be connected to", now)
        self.session.bfd_up(now)  # out of the delay after an earlier failure
        for each in self.session.take(now):
            if isinstance(each, outputs.Connect):
                self.session.connect_failed(each.connection, "waits to be connected to", now)
        number = self.session.incoming(
            outputs.Endpoints(local=LOCAL, remote=LOCAL, router_id=addresses.Address.parse("192.0.2.1")), now
        )
        if number is None:
            return
        self._writers[number] = writer
        while True:
            self.drain()
            data = await reader.read(4096)
            now = self._time.monotonic()
            if not data:
                self.session.closed(number, "closed", now)
                self.drain()
                return
            self.session.receive(number, data, now)
            self.drain()
            if self.session.state is fsm.State.ESTABLISHED:
                await self.going.wait()

    def drain(self) -> None:
        for each in self.session.take(self._time.monotonic()):
            if isinstance(each, outputs.Send):
                self._writers[each.connection].write(each.data)
            elif isinstance(each, outputs.Close) and each.connection in self._writers:
                self._writers.pop(each.connection).close()

    @property
    def received(self) -> int:
        return self.session.counters.prefixes_received


async def test_routes_go_and_come_back(bench: Bench) -> None:
    router = Own()
    async with listening(router.serve) as port:
        bench.peering.configure({"tor": wanted("tor", port)})
        bench.peering.replace("tor", table(3))
        bench.peering.initial_complete()
        await bench.wait_up("tor")
        await wait_until(lambda: router.received == 3, "three routes")
        assert bench.view("tor").announced == 3
        assert bench.peering.has("tor", prefix(2))
        assert not bench.peering.has("tor", prefix(3))
        bench.peering.change("tor", {prefix(2): None, prefix(3): routes.PLAIN})
        await wait_until(lambda: router.session.counters.withdrawals_received == 1, "one withdrawal")
        await wait_until(lambda: router.received == 4, "one more route")
        assert not bench.peering.has("tor", prefix(2))
        assert bench.advertised
        assert set(bench.advertised) == {"tor"}
        assert bench.states[0] == ("tor", "Connect")
        assert bench.states[-1] == ("tor", "Established")
        assert bench.view("tor").problem is None
        assert bench.view("tor").established == 1


async def test_only_what_changed_restarts(bench: Bench) -> None:
    one, two = Own(), Own()
    async with listening(one.serve) as first, listening(two.serve) as second:
        bench.peering.configure({"one": wanted("one", first), "two": wanted("two", second)})
        bench.peering.replace("one", table(2))
        bench.peering.replace("two", table(2))
        await bench.wait_up("one")
        await bench.wait_up("two")
        bench.peering.configure({"one": wanted("one", first), "two": wanted("two", second, hold_time=30.0)})
        await wait_until(lambda: two.accepted == 2, "the changed one connects again")
        await wait_until(lambda: two.received == 4, "with its routes")
        bench.peering.configure({"two": wanted("two", second, hold_time=30.0)})
        await wait_until(lambda: one.session.problem is not None, "the removed one ends")
        assert "de-configured" in str(one.session.problem).lower()
        assert one.accepted == 1
        assert two.accepted == 2
        assert set(bench.peering.sessions()) == {"two"}
        assert bench.peering.session("one") is None


async def _closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(random.Random(3).randbytes(5000))
    await reader.read()


async def _wrong_length(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(MARKER + b"\xff\xff\x01")
    await reader.read()


async def _says_no(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(MARKER + b"\x00\x15\x03\x06\x05")
    await reader.read()


async def _says_no_and_resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(MARKER + b"\x00\x15\x03\x06\x05")
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _open_message(asn: int, hold: int = 90) -> bytes:
    body = bytes((4,)) + asn.to_bytes(2, "big") + hold.to_bytes(2, "big") + bytes((192, 0, 2, 9, 0))
    return MARKER + (19 + len(body)).to_bytes(2, "big") + b"\x01" + body


async def _wrong_as(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_open_message(64999))
    await reader.read()


async def _bad_hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_open_message(THEIRS, hold=1))
    await reader.read()


async def _resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(_open_message(THEIRS) + KEEPALIVE)
    await reader.read(40)
    writer.transport.abort()


async def _broken_update(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_open_message(THEIRS) + KEEPALIVE + MARKER + b"\x00\x17\x02\xff\xff\xff\xff")
    await reader.read()


BAD: dict[str, tuple[Handler, str]] = {
    "closes": (_closes, "B311"),
    "garbage": (_garbage, "B309"),
    "wrong length": (_wrong_length, "B309"),
    "says no": (_says_no, "B308"),
    "says no and resets": (_says_no_and_resets, "B308"),
    "wrong AS": (_wrong_as, "B302"),
    "hold time of one second": (_bad_hold, "B309"),
    "resets": (_resets, "B311"),
    "broken UPDATE": (_broken_update, "B309"),
}


@pytest.mark.parametrize(("handler", "code"), BAD.values(), ids=BAD.keys())
async def test_a_bad_peer_is_told_of_and_disturbs_nobody(bench: Bench, handler: Handler, code: str) -> None:
    router = Own()
    async with listening(router.serve) as good, listening(handler) as bad:
        bench.peering.configure({"good": wanted("good", good), "bad": wanted("bad", bad)})
        bench.peering.replace("good", table(2))
        bench.peering.replace("bad", table(2))
        await bench.wait_up("good")
        await bench.wait_problem("bad", code)
        problem = str(bench.view("bad").problem)
        assert "'bad'" in problem
        assert f"127.0.0.1:{bad}" in problem
        bench.peering.change("good", {prefix(9): routes.PLAIN})
        await wait_until(lambda: router.received == 3, "the good one goes on")
        assert router.accepted == 1


async def test_a_router_that_knows_no_capabilities(bench: Bench) -> None:
    parameters: list[int] = []
    told = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(19)
        body = await reader.readexactly(int.from_bytes(head[16:18], "big") - 19)
        parameters.append(body[9])
        if parameters[-1]:
            writer.write(MARKER + b"\x00\x15\x03\x02\x04")
            return
        writer.write(_open_message(THEIRS) + KEEPALIVE)
        while head := await reader.readexactly(19):
            body = await reader.readexactly(int.from_bytes(head[16:18], "big") - 19)
            if head[18] == 2 and prefix(0).address.packed() in body:
                told.set()

    async with listening(handler) as port:
        bench.peering.configure({"old": wanted("old", port)})
        bench.peering.replace("old", table(1))
        await bench.wait_up("old")
        await asyncio.wait_for(told.wait(), 10)
        assert parameters[0] > 0
        assert parameters[1:] == [0]
        # Another object, another try.
        bench.peering.configure({"old": wanted("old", port, hold_time=30.0)})
        await wait_until(lambda: len(parameters) > 2, "another attempt")
        assert parameters[2] > 0
        await bench.wait_up("old")


async def test_nobody_listens(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    bench.peering.configure({"tor": wanted("tor", port)})
    await bench.wait_problem("tor", "B301")
    assert "refused" in str(bench.view("tor").problem)
    router = Own()
    bound = socket.create_server(("127.0.0.1", port))
    server = await asyncio.start_server(router.serve, sock=bound)
    try:
        await bench.wait_up("tor")
    finally:
        server.close()
        bench.peering.configure({})
        await wait_until(lambda: router.session.state is fsm.State.IDLE, "the end")


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port whose queue is full, so that the kernel answers nothing."""
    with contextlib.ExitStack() as closing:
        bound = closing.enter_context(socket.socket())
        bound.bind(("127.0.0.1", 0))
        bound.listen(0)
        for _ in range(4):
            filler = closing.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(bound.getsockname())
        yield bound.getsockname()[1]


@pytest.mark.parametrize(("password", "code"), [("", "B301"), ("s3cret", "B303")], ids=["plain", "password"])
async def test_a_peer_that_does_not_answer(password: str, code: str) -> None:
    time = fake_clock.FakeClock()
    bench = Bench(time)
    with black_hole() as port:
        bench.peering.configure({"tor": wanted("tor", port, connect_time=None, password=password)})
        await time.advance(9.9)
        problem = bench.view("tor").problem
        assert problem is not None
        assert problem.reason.code == code
        assert "did not answer" in problem.detail
        assert "s3cret" not in str(problem)
        await close(bench)


async def test_a_peer_that_hangs_in_the_middle_of_a_message() -> None:
    time = fake_clock.FakeClock()
    bench = Bench(time)
    reached = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_open_message(THEIRS, hold=9)[:25])
        await reader.read(1)
        reached.set()
        await reader.read()

    async with listening(hang) as port:
        bench.peering.configure({"tor": wanted("tor", port)})
        async with asyncio.timeout(5):
            await reached.wait()
        await time.advance(31)
        problem = bench.view("tor").problem
        assert problem is not None
        assert problem.reason.code == "B301"
        assert "no OPEN" in problem.detail
        await close(bench)


async def test_a_peer_that_floods_leaves_time_for_others(bench: Bench) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(_open_message(THEIRS) + KEEPALIVE)
        while True:
            writer.write(KEEPALIVE * 5000)
            await writer.drain()
            sent += 1
            await asyncio.sleep(0)

    router = Own()
    loop = asyncio.get_running_loop()
    async with listening(router.serve) as good, listening(flood) as bad:
        bench.peering.configure({"good": wanted("good", good), "bad": wanted("bad", bad)})
        await bench.wait_up("good")
        await bench.wait_up("bad")
        await wait_until(lambda: sent > 20, "the flood is on")
        slowest = 0.0
        for number in range(20):
            began = loop.time()
            bench.peering.change("good", {prefix(number): routes.PLAIN})
            await wait_until(lambda count=number + 1: router.received == count, "one route")  # type: ignore[misc]
            slowest = max(slowest, loop.time() - began)
        assert slowest < 2.0
        assert bench.view("bad").state is fsm.State.ESTABLISHED


@pytest.mark.slow
async def test_what_a_slow_peer_has_not_taken_can_still_change(bench: Bench) -> None:
    router = Own(pausing=True)
    count = 20_000
    marks = frozenset(communities.Standard(OURS, number) for number in range(40))
    async with listening(router.serve, receive_bytes=4096) as port:
        bench.peering.configure({"tor": wanted("tor", port)})
        # Each with attributes of its own, so that each takes an UPDATE.
        many = {prefix(each): routes.Attributes(local_pref=each, communities=marks) for each in range(count)}
        bench.peering.replace("tor", many)
        await bench.wait_up("tor")
        before = -1
        while bench.view("tor").pending != before:
            before = bench.view("tor").pending
            await asyncio.sleep(0.1)  # the kernel's buffers fill; no event says that they are full
        assert before > 1000
        waiting = prefix(count - 1)
        bench.peering.change("tor", {waiting: None})
        router.going.set()
        await wait_until(lambda: bench.view("tor").pending == 0, "everything is told", 30)
        await wait_until(lambda: router.received == count - 1, "everything has come", 30)
        assert router.session.counters.withdrawals_received == 0


async def test_a_failure_of_our_own_ends_one_session_and_begins_it_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = Own(), Own()
    async with listening(good.serve) as first, listening(bad.serve) as second:
        bench.peering.configure({"good": wanted("good", first), "bad": wanted("bad", second)})
        bench.peering.replace("good", table(1))
        bench.peering.replace("bad", table(2))
        bench.peering.initial_complete()
        await bench.wait_up("good")
        await bench.wait_up("bad")
        await wait_until(lambda: bad.received == 2, "its routes")
        original = session.Session.change

        def change(self: session.Session, *arguments: Any) -> None:
            if self.peer.name == "bad":
                raise ZeroDivisionError
            original(self, *arguments)

        monkeypatch.setattr(session.Session, "change", change)
        bench.peering.change("bad", {prefix(8): routes.PLAIN})
        await wait_until(lambda: bench.view("bad").state is fsm.State.IDLE, "it fails")
        monkeypatch.setattr(session.Session, "change", original)
        bench.peering.change("good", {prefix(9): routes.PLAIN})
        await wait_until(lambda: good.received == 2, "the other one goes on")
        await wait_until(lambda: bad.received == 5, "it has its routes again, and what it failed over")
        assert good.accepted == 1


async def test_a_listener_that_fails_harms_no_session() -> None:
    def fail(name: str) -> None:
        raise ZeroDivisionError(name)

    made = peering.Peering(
        clock=clock.SystemClock(), random=random.Random(1), node="node-a", on_state=fail, on_advertised=fail
    )
    work = asyncio.create_task(made.run())
    router = Own()
    async with listening(router.serve) as port:
        made.configure({"tor": wanted("tor", port)})
        made.replace("tor", table(3))
        await wait_until(lambda: router.received == 3, "its routes")
        assert router.accepted == 1
        await made.wait_stopped()
        await work


async def test_going_away_politely(bench: Bench) -> None:
    router = Own()
    async with listening(router.serve) as port:
        bench.peering.configure({"tor": wanted("tor", port)})
        bench.peering.replace("tor", table(3))
        await bench.wait_up("tor")
        await wait_until(lambda: router.received == 3, "its routes")
        await bench.peering.wait_stopped(0.2, "maintenance of the rack")
        await wait_until(bench.work.done, "the end of the part")
        await wait_until(lambda: router.session.problem is not None, "the goodbye")
        assert router.session.counters.withdrawals_received == 3
        assert router.received == 6, "each route once more, with the warning"
        assert "maintenance of the rack" in str(router.session.problem)
        bench.peering.configure({"late": wanted("late", port)})
        assert not bench.peering.session("late")


async def test_leaving_for_a_restart_says_nothing(bench: Bench) -> None:
    router = Own(graceful_restart=True)
    async with listening(router.serve) as port:
        bench.peering.configure({"tor": wanted("tor", port, graceful_restart=True)})
        bench.peering.replace("tor", table(3))
        await bench.wait_up("tor")
        await wait_until(lambda: router.received == 3, "its routes")
        await bench.peering.wait_stopped(5.0)
        await wait_until(lambda: router.session.state is not fsm.State.ESTABLISHED, "the end")
        assert router.session.counters.notifications_received == 0
        assert router.session.counters.withdrawals_received == 0


async def test_bfd_holds_a_session_down_until_it_has_the_path_again(bench: Bench) -> None:
    router, other = Own(), Own()
    async with listening(router.serve) as port, listening(other.serve) as second:
        bench.peering.configure({"tor": wanted("tor", port, bfd_profile="fast"), "other": wanted("other", second)})
        await bench.wait_up("tor")
        await bench.wait_up("other")
        bench.peering.bfd_down("tor")
        bench.peering.bfd_down("other")  # is not watched
        bench.peering.bfd_down("nobody")
        await bench.wait_problem("tor", "B307")
        bench.peering.bfd_up("tor")
        await bench.wait_up("tor")
        assert other.accepted == 1
        assert bench.view("tor").established == 2


async def test_routes_for_a_peer_that_is_not_there_are_nobodys(bench: Bench) -> None:
    bench.peering.change("tor", {prefix(1): routes.PLAIN})
    bench.peering.replace("tor", table(1))
    assert bench.peering.sessions() == {}
    assert not bench.peering.has("tor", prefix(1))
    await bench.peering.wait_stopped(5.0)
