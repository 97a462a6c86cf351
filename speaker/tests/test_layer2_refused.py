"""A link on which no socket can be opened: it is named, tried again, and takes nothing from the others."""

import asyncio
import random
import socket
from collections.abc import Callable, Iterator

import pytest

from metallb_core.domain import addresses
from metallb_speaker.layer2 import announcer, filtered, link

ADDRESS = addresses.Address.parse("192.0.2.1")
POOL = (addresses.Interval.parse("192.0.2.0/24"),)


def one(name: str, index: int) -> link.Link:
    """A link that serves IPv4."""
    return link.Link(
        name=name,
        index=index,
        mac=bytes((2, 0, 0, 0, 0, index)),
        up=True,
        carrier=True,
        arp=True,
        broadcast=True,
        has_link_local=False,
    )


TABLE = link.Table(revision=1, links={"eth0": one("eth0", 2), "eth1": one("eth1", 3)})


class Kernel:
    """Gives sockets whose other end nobody reads, except on the links in `refused`."""

    def __init__(self) -> None:
        self.refused = {"eth1"}
        self._others: list[socket.socket] = []

    def open_socket(self, name: str, _kind: int, _program: object) -> socket.socket:
        if name in self.refused:
            raise OSError(105, "No buffer space available")
        ours, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        self._others.append(other)
        return ours

    def close(self) -> None:
        for each in self._others:
            each.close()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made = Kernel()
    monkeypatch.setattr(filtered, "open_socket", made.open_socket)
    monkeypatch.setattr(announcer, "_RETRY", 0.01)
    yield made
    made.close()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a timer of the loop is waited for
            await asyncio.sleep(0.005)


async def test_a_link_that_cannot_be_opened_is_named_and_tried_again(kernel: Kernel) -> None:
    warnings: list[str] = []
    ours = announcer.Announcer(
        asyncio.get_running_loop(), random.Random(1), on_conflict=lambda _conflict: None, on_warning=warnings.append
    )
    try:
        ours.configure(POOL, ())
        ours.set_links(TABLE)
        ours.update({ADDRESS: None})
        assert ours.served == {ADDRESS: frozenset({"eth0"})}
        assert warnings == ["cannot answer on eth1: [Errno 105] No buffer space available"]
        kernel.refused.clear()
        await eventually(lambda: ours.served == {ADDRESS: frozenset({"eth0", "eth1"})})
    finally:
        ours.close()
