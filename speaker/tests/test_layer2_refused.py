"""A link on which no socket can be opened: it is named, tried again, and takes nothing from the others."""

import asyncio
import random
import socket
from collections.abc import Callable, Iterator

import pytest

from metallb_core.domain import addresses, interfaces
from metallb_speaker import capability
from metallb_speaker.deadline import hosting, messages, process
from metallb_speaker.layer2 import announcer, filtered, link, links

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
        self.tries = 0
        self._others: list[socket.socket] = []

    def open_socket(self, name: str, _kind: int, _program: object) -> socket.socket:
        if name in self.refused:
            self.tries += 1
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
    refused: list[frozenset[str]] = []
    ours = announcer.Announcer(
        asyncio.get_running_loop(),
        random.Random(1),
        on_conflict=lambda _conflict: None,
        on_warning=warnings.append,
        on_refused=lambda: refused.append(ours.refused),
    )
    try:
        ours.configure(POOL, ())
        ours.set_links(TABLE)
        ours.update({ADDRESS: None})
        assert ours.served == {ADDRESS: frozenset({"eth0"})}
        assert warnings == ["cannot answer on eth1: [Errno 105] No buffer space available"]
        tries = kernel.tries
        await eventually(lambda: kernel.tries > tries + 1)
        assert len(warnings) == 1, "the same trouble is told once"
        kernel.refused.clear()
        await eventually(lambda: ours.served == {ADDRESS: frozenset({"eth0", "eth1"})})
        assert refused == [frozenset({"eth1"}), frozenset()]
    finally:
        ours.close()


class Parent:
    """The other end of the stream to a deadline process that runs here: the latest of what it was told, and what the members were."""

    def __init__(self, sock: socket.socket) -> None:
        self._reader = messages.ParentReader()
        self._socket = sock
        self.usable: interfaces.Usable | None = None

    def read(self) -> None:
        for message in self._reader.feed(self._socket.recv(1 << 16)):
            if isinstance(message, messages.Links):
                self.usable = messages.to_table(message).announcing()


async def test_parent_and_members_hear_of_a_link_that_cannot_answer_until_it_can(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    described: list[interfaces.Usable | None] = []
    monkeypatch.setattr(hosting.Host, "set_metadata", lambda _, meta: described.append(capability.decode(meta)))
    made: list[Callable[[link.Table], None]] = []
    monkeypatch.setattr(links.Links, "__init__", lambda _, on_change: made.append(on_change))
    monkeypatch.setattr(links.Links, "stop", lambda _: None)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop = asyncio.get_running_loop()
    parent = Parent(ours)
    loop.add_reader(ours, parent.read)
    deadline = process.Process(theirs, linger=0, refresh=0)
    try:
        made[0](TABLE)
        without = interfaces.Usable(ipv4=frozenset({"eth0"}))
        assert described[-1] == without
        await eventually(lambda: parent.usable == without)
        kernel.refused.clear()
        every = interfaces.Usable(ipv4=frozenset({"eth0", "eth1"}))
        await eventually(lambda: parent.usable == every)
        assert described[-1] == every
    finally:
        deadline.stop(0)
        await deadline.wait_finished()
        loop.remove_reader(ours)
        ours.close()
