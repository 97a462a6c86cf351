"""Members on real sockets of the loopback, both address families; ports are the kernel's choice."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from metallb_speaker.membership import encryption, envelope, messages, settings, streams, transport

_SECONDS = 5.0
_QUICK = settings.parse_override('{"TCPTimeout": "300ms"}')

Start = Callable[..., Awaitable[transport.Membership]]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    started: list[transport.Membership] = []

    async def start_one(name: str, address: str = "127.0.0.1", **options: object) -> transport.Membership:
        config = transport.Config(name=name, bind_address=address, bind_port=0, **options)  # type: ignore[arg-type]
        member = transport.Membership(config, lambda present: None)
        started.append(member)
        await member.start()
        return member

    yield start_one
    for member in started:
        await member.stop()


async def _wait_until(condition: Callable[[], bool]) -> None:
    """Wait for the condition, which looks at what the event loop brought."""
    deadline = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("127.0.0.1", id="IPv4"),
        pytest.param("::1", id="IPv6", marks=pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 loopback here")),
    ],
)
async def test_members_join_and_leave(start: Start, address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    first, second, third = [await start(name, address) for name in ("a", "b", "c")]
    assert await first.join([f"{host}:{second.port}", f"{host}:{third.port}"]) == 2
    await _wait_until(lambda: all(len(member.members()) == 3 for member in (first, second, third)))
    assert await third.leave(1.0)
    await _wait_until(lambda: first.members() == second.members() == {"a", "b"})
    assert first.protocol_counters.departures == 1


async def test_a_member_that_is_stopped_is_dropped(start: Start) -> None:
    first, second = await start("a"), await start("b")
    assert await first.join([f"127.0.0.1:{second.port}"]) == 1
    await second.stop()
    await second.stop()
    await _wait_until(lambda: first.members() == {"a"})
    assert first.suspects() == frozenset()


async def test_keys_may_change_while_running(start: Start) -> None:
    old, new = b"o" * 32, b"n" * 32
    first, second = await start("a", keys=(old,)), await start("b", keys=(old,))
    for keys in ((old, new), (new, old), (new,)):
        for member in (first, second):
            member.set_keys(*keys)
        assert await first.join([f"127.0.0.1:{second.port}"]) == 1
    second.set_keys(old)
    assert await first.join([f"127.0.0.1:{second.port}"]) == 0
    with pytest.raises(ValueError):
        second.set_keys(b"short")


@pytest.mark.slow
async def test_plain_text_becomes_encryption_while_running(start: Start) -> None:
    plain, new = encryption.PLAIN, b"n" * 32
    first, second = await start("a"), await start("b")
    assert await first.join([f"127.0.0.1:{second.port}"]) == 1
    for ours, theirs in [
        ((plain, new), (plain,)),
        ((plain, new), (plain, new)),
        ((new, plain), (plain, new)),
        ((new, plain), (new, plain)),
        ((new,), (new, plain)),
        ((new,), (new,)),
    ]:
        first.set_keys(*ours)
        second.set_keys(*theirs)
        probes = first.protocol_counters.probes
        await _wait_until(lambda probes=probes: first.protocol_counters.probes > probes + 2)  # type: ignore[misc]
        assert await first.join([f"127.0.0.1:{second.port}"]) == 1
    assert first.protocol_counters.malformed == second.protocol_counters.malformed == 0
    assert first.protocol_counters.probes_failed == second.protocol_counters.probes_failed == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "ready",
    [
        pytest.param(2, id="all-accept-it"),
        pytest.param(1, id="one-has-not-seen-it-yet"),
    ],
)
async def test_who_starts_in_the_middle_of_a_change_is_a_member_like_any_other(start: Start, ready: int) -> None:
    old, new = b"o" * 32, b"n" * 32
    first, second = running = [await start(name, keys=(old,)) for name in ("a", "b")]
    assert await first.join([f"127.0.0.1:{second.port}"]) == 1
    for member in running[:ready]:
        member.set_keys(old, new)
    late = await start("c", keys=(new,))
    assert await late.join([f"127.0.0.1:{member.port}" for member in running]) == ready
    everyone = (*running, late)
    await _wait_until(lambda: all(len(member.members()) == 3 for member in everyone))
    probes = late.protocol_counters.probes
    await _wait_until(lambda: late.protocol_counters.probes > probes + 10)
    assert [len(member.members()) for member in everyone] == [3, 3, 3]
    assert sum(member.protocol_counters.deaths for member in everyone) == 0
    for keys in ((new, old), (new,)):
        for member in running:
            member.set_keys(*keys)
    assert await first.join([f"127.0.0.1:{late.port}"]) == 1


async def test_a_member_of_the_secret_of_metallb(start: Start) -> None:
    key = encryption.key_from_secret("abc")
    assert key is not None
    first, second = await start("a", keys=(key,)), await start("b", keys=(key,))
    assert await first.join([f"127.0.0.1:{second.port}"]) == 1


async def test_joining_says_why_it_failed_and_passes_over_ourselves(start: Start) -> None:
    member = await start("a", timings=_QUICK)
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        assert await member.join([f"127.0.0.1:{member.port}", f"127.0.0.1:{port}", "127.0.0.1:port"]) == 0
    assert len(member.join_errors) == 2
    assert any("Connection refused" in error for error in member.join_errors)


async def test_a_peer_that_accepts_and_says_nothing_is_given_up(start: Start) -> None:
    member = await start("a", timings=_QUICK)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert await member.join([f"127.0.0.1:{silent.getsockname()[1]}"]) == 0
    assert "Timeout" in member.join_errors[0]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes((messages.Kind.SUSPECT, 0x80)), id="no message for a stream"),
        pytest.param(b"\xff" * 100, id="garbage"),
        pytest.param(messages.serialise(messages.PushPullHeader(nodes=5)), id="cut short"),
    ],
)
async def test_a_stream_of_garbage_ends_and_hurts_nobody(start: Start, said: bytes) -> None:
    member = await start("a", timings=_QUICK)
    reader, writer = await asyncio.open_connection("127.0.0.1", member.port)
    writer.write(said)
    async with asyncio.timeout(_SECONDS):
        answer = await reader.read()
    writer.close()
    if answer:
        assert isinstance(streams.StreamReader(envelope.Envelope(), accepted=False).feed(answer), messages.Error)
    await _wait_until(lambda: member.counters.streams_failed == 1)
    assert member.members() == {"a"}


async def test_a_ping_over_tcp_is_answered_if_it_is_for_us(start: Start) -> None:
    member = await start("a", timings=_QUICK)
    for name, answered in (("a", True), ("b", False)):
        reader, writer = await asyncio.open_connection("127.0.0.1", member.port)
        writer.write(messages.serialise(messages.Ping(sequence=9, node=name)))
        async with asyncio.timeout(_SECONDS):
            answer = await reader.read()
        writer.close()
        assert answer == (messages.serialise(messages.Ack(sequence=9)) if answered else b"")


async def test_packets_of_garbage_are_counted(start: Start) -> None:
    member = await start("a")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(20):
            sender.sendto(b"\xff garbage", ("127.0.0.1", member.port))
    await _wait_until(lambda: member.protocol_counters.malformed == 20)
    assert member.members() == {"a"}


async def test_a_message_to_an_address_of_the_other_family_is_lost_not_fatal(start: Start) -> None:
    member = await start("a")
    foreign = messages.Alive(
        incarnation=1, node="six", address=bytes(15) + b"\1", port=9, versions=bytes((1, 5, 2, 0, 0, 0))
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(messages.serialise(foreign), ("127.0.0.1", member.port))
    await _wait_until(lambda: member.counters.send_errors > 0)
    await _wait_until(lambda: member.members() == {"a"})


async def test_a_busy_port_and_a_wildcard_are_refused_by_name(start: Start) -> None:
    member = await start("a")
    busy = transport.Membership(
        transport.Config(name="b", bind_address="127.0.0.1", bind_port=member.port), lambda present: None
    )
    with pytest.raises(OSError, match="in use"):
        await busy.start()
    await busy.stop()
    with pytest.raises(ValueError, match="advertise"):
        await start("c", "0.0.0.0")
    wildcard = await start("d", "0.0.0.0", advertise_address="127.0.0.1")
    assert wildcard.members() == {"d"}
    assert await wildcard.join([f"127.0.0.1:{member.port}"]) == 1


async def test_changes_are_told_once(start: Start) -> None:
    told: list[frozenset[str]] = []
    first = transport.Membership(
        transport.Config(name="a", bind_address="127.0.0.1", bind_port=0), lambda present: told.append(present)
    )
    await first.start()
    second = await start("b")
    await first.join([f"127.0.0.1:{second.port}"])
    await second.leave(1.0)
    await _wait_until(lambda: first.members() == {"a"})
    await first.stop()
    assert told == [{"a"}, {"a", "b"}, {"a"}]


async def test_a_callback_that_raises_does_not_stop_the_member(start: Start) -> None:
    def raise_always(present: frozenset[str]) -> None:
        raise RuntimeError(f"told of {sorted(present)}")

    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(str(context.get("exception"))))
    first = transport.Membership(transport.Config(name="a", bind_address="127.0.0.1", bind_port=0), raise_always)
    with pytest.raises(RuntimeError):
        await first.start()
    second = await start("b")
    assert await second.join([f"127.0.0.1:{first.port}"]) == 1
    await _wait_until(lambda: bool(told))
    await asyncio.sleep(1.0)
    assert first.members() == second.members() == {"a", "b"}
    await first.stop()


@pytest.mark.parametrize(
    "options",
    [pytest.param({"meta": bytes(513)}, id="metadata"), pytest.param({"keys": (b"short",)}, id="key")],
)
async def test_our_misuse_raises_and_leaves_no_socket_behind(start: Start, options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        await start("a", **options)
