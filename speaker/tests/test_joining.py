"""When a member starts, with which key, and which keys it is given later: by a fake clock and a real file."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator

from metallb_core.testing import clock as clocks
from metallb_speaker import joining, keyring
from metallb_speaker.membership import encryption

PHASE = keyring.PHASE_SECONDS
NEW = encryption.derive_key(b"new")


class Process:
    """Records the keys that the deadline process is given."""

    def __init__(self) -> None:
        self.keys: list[tuple[bytes, ...]] = []

    def set_keys(self, keys: tuple[bytes, ...]) -> None:
        self.keys.append(keys)


class Others:
    """Nobody else is there."""

    async def run(self) -> None:
        await asyncio.Event().wait()


class Bench:
    def __init__(self, folder: pathlib.Path | None) -> None:
        self.clock = clocks.FakeClock()
        self.process = Process()
        self.started: list[tuple[bytes, ...]] = []
        self.problems: list[str] = []
        self.joining = joining.Joining(
            clock=self.clock,
            process=self.process,  # type: ignore[arg-type]
            others=Others(),  # type: ignore[arg-type]
            key_folder=folder,
            start=self.started.append,
            on_problem=self.problems.append,
        )


@contextlib.asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[None]:
    task = asyncio.create_task(bench.joining.run())
    try:
        await bench.clock.settle()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_key_that_comes_after_an_empty_file_is_phased_in(tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secretkey"
    secret.write_bytes(b"")
    bench = Bench(tmp_path)
    async with running(bench):
        assert bench.started == [()]
        await bench.clock.advance(60)
        assert bench.process.keys == []
        secret.write_bytes(b"new")
        await bench.clock.advance(joining.KEY_CHECK_SECONDS)
        assert bench.process.keys == [(keyring.PLAIN, NEW)]
        await bench.clock.advance(PHASE)
        assert bench.process.keys[1:] == [(NEW, keyring.PLAIN)]
        await bench.clock.advance(PHASE)
        assert bench.process.keys[2:] == [(NEW,)]
        secret.write_bytes(b"")
        await bench.clock.advance(4 * PHASE)
        assert bench.process.keys[3:] == []


async def test_a_missing_file_is_waited_for_and_followed(tmp_path: pathlib.Path) -> None:
    bench = Bench(tmp_path)
    async with running(bench):
        await bench.clock.advance(60)
        assert bench.started == []
        assert "cannot read the membership key" in bench.problems[-1]
        (tmp_path / "secretkey").write_bytes(b"old")
        await bench.clock.advance(joining.KEY_RETRY_SECONDS)
        assert bench.started == [(encryption.derive_key(b"old"),)]
        (tmp_path / "secretkey").write_bytes(b"new")
        await bench.clock.advance(joining.KEY_CHECK_SECONDS)
        assert bench.process.keys == [(encryption.derive_key(b"old"), NEW)]


async def test_without_a_folder_there_is_nothing_to_follow() -> None:
    bench = Bench(None)
    async with running(bench):
        assert bench.started == [()]
        await bench.clock.advance(60)
        assert bench.process.keys == []
