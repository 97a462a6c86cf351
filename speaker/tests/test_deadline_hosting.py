"""The member inside the deadline process, with a member that only records what it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import msgspec
import pytest

from metallb_speaker.deadline import hosting, messages, process

pytestmark = pytest.mark.timeout(20)

WANTED = messages.StartMembership(
    name="n1", bind_address="127.0.0.1", advertise_address="", port=7946, profile="fast", override="", keys=(b"a" * 32,)
)


class FakeMember:
    """Records its calls. `refuse` makes that many starts fail."""

    refuse = 0

    def __init__(self, wanted: messages.StartMembership, said: list[str]) -> None:
        self.wanted = wanted
        self.said = said
        self.meta = b""
        self.join_errors: tuple[str, ...] = ("n3 is silent",)

    async def start(self) -> None:
        self.said.append(f"start {self.wanted.name}")
        if FakeMember.refuse > 0:
            FakeMember.refuse -= 1
            raise OSError("port in use")

    async def join(self, addresses: Iterable[str]) -> int:
        listed = list(addresses)
        self.said.append(f"join {','.join(listed)}")
        if listed == ["hang"]:
            await asyncio.Event().wait()
        return min(len(listed), 1)

    async def leave(self, timeout: float) -> bool:
        await asyncio.sleep(0)
        self.said.append("leave")
        return True

    async def stop(self) -> None:
        self.said.append("stop")

    def members(self) -> frozenset[str]:
        return frozenset({self.wanted.name})

    def metadata(self) -> dict[str, bytes]:
        return {self.wanted.name: self.meta}

    def set_metadata(self, meta: bytes) -> None:
        self.meta = meta

    def set_keys(self, *keys: bytes) -> None:
        if any(len(key) != 32 for key in keys):
            raise ValueError("bad length")
        self.said.append(f"keys {len(keys)}")


class Bench:
    def __init__(self) -> None:
        FakeMember.refuse = 0
        self.said: list[str] = []
        self.members: list[frozenset[str]] = []
        self.warnings: list[str] = []
        self.host = hosting.Host(
            lambda wanted, _: FakeMember(wanted, self.said), self.members.append, self.warnings.append
        )

    async def wait_said(self, *expected: str) -> None:
        await self.wait(lambda: self.said == list(expected))

    async def wait(self, condition: Callable[[], bool]) -> None:
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"{self.said} {self.warnings}")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.host.wait_left()


async def test_start_join_leave(bench: Bench) -> None:
    bench.host.join(("n2",))
    bench.host.start(WANTED)
    await bench.wait_said("start n1", "join n2")
    assert bench.members == [frozenset({"n1"})]
    bench.host.start(WANTED)
    bench.host.leave()
    await bench.wait_said("start n1", "join n2", "leave", "stop")
    await bench.host.wait_left()
    assert bench.warnings == []


async def test_other_keys_need_no_restart(bench: Bench) -> None:
    bench.host.start(WANTED)
    await bench.wait_said("start n1")
    bench.host.start(msgspec.structs.replace(WANTED, keys=(b"b" * 32, b"a" * 32)))
    bench.host.set_keys(())
    await bench.wait_said("start n1", "keys 2", "keys 0")
    bench.host.set_keys((b"short",))
    assert bench.warnings == ["cannot use the new keys of the membership: bad length"]


async def test_other_parameters_restart(bench: Bench) -> None:
    bench.host.start(WANTED)
    await bench.wait_said("start n1")
    bench.host.start(msgspec.structs.replace(WANTED, name="n9"))
    await bench.wait_said("start n1", "leave", "stop", "start n9")


async def test_a_failed_start_is_tried_again_and_said_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "_RETRY", 0.01)
    FakeMember.refuse = 3
    bench.host.start(WANTED)
    await bench.wait_said(*["start n1"] * 4)
    await bench.wait(lambda: bool(bench.members))
    assert bench.warnings == ["cannot start the membership: port in use"]


async def test_members_that_do_not_answer_are_named(bench: Bench) -> None:
    bench.host.start(WANTED)
    bench.host.join(("n2", "n3"))
    await bench.wait(lambda: bool(bench.warnings))
    assert bench.warnings == ["joined 1 of 2 members: n3 is silent"]


async def test_leaving_does_not_wait_for_joining(bench: Bench) -> None:
    bench.host.start(WANTED)
    bench.host.join(("hang",))
    await bench.wait_said("start n1", "join hang")
    async with asyncio.timeout(1):
        await bench.host.wait_left()
    assert bench.said[-2:] == ["leave", "stop"]


async def test_metadata_is_told_now_and_at_every_start(bench: Bench) -> None:
    bench.host.set_metadata(b"one")
    assert bench.host.metadata() == {}
    bench.host.start(WANTED)
    await bench.wait_said("start n1")
    assert bench.host.metadata() == {"n1": b"one"}
    bench.host.set_metadata(b"two")
    assert bench.host.metadata() == {"n1": b"two"}


async def test_nothing_to_leave() -> None:
    await Bench().host.wait_left()


@pytest.mark.parametrize(
    ("profile", "override"),
    [pytest.param("none", "", id="unknown profile"), pytest.param("fast", '{"x": 1}', id="unknown key")],
)
def test_the_real_member_refuses_bad_settings(profile: str, override: str) -> None:
    with pytest.raises(ValueError, match=r"none|x: unknown"):
        process.open_member(msgspec.structs.replace(WANTED, profile=profile, override=override), lambda _: None)
