"""A server whose machine vanishes: no reset, no answer, packets just stop. Needs root and network namespaces."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from metallb_core.kube import client as clients
from metallb_core.kube import connection, errors, resources

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]
NAME = f"mlbkube{os.getpid()}"
PORT = 18080
SERVER = """
import asyncio
async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
    await writer.drain()
    await asyncio.sleep(100)
async def main():
    await asyncio.start_server(answer, "198.18.77.2", %d)
    print("ready", flush=True)
    await asyncio.sleep(100)
asyncio.run(main())
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


@pytest.fixture
def far_server() -> Iterator[None]:
    """A server that accepts watches and says nothing, behind a link of its own."""
    outside, inside = f"{NAME[-9:]}o", f"{NAME[-9:]}i"
    ip("netns", "add", NAME)
    try:
        ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", NAME)
        ip("address", "add", "198.18.77.1/30", "dev", outside)
        ip("link", "set", outside, "up")
        ip("-n", NAME, "address", "add", "198.18.77.2/30", "dev", inside)
        ip("-n", NAME, "link", "set", inside, "up")
        command = ["ip", "netns", "exec", NAME, sys.executable, "-c", SERVER % PORT]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == b"ready\n"
                yield
            finally:
                server.kill()
    finally:
        ip("netns", "delete", NAME)


async def test_a_machine_that_vanishes_is_noticed_within_half_a_minute(far_server: None) -> None:
    opened = asyncio.Event()
    to = connection.plain(f"http://198.18.77.2:{PORT}")
    async with clients.Client(to, user_agent="metallb-test/0") as client:
        watch = client.watch(resources.SERVICES, "1", timeout_seconds=300, on_open=opened.set)
        waiting = asyncio.ensure_future(anext(watch))
        async with asyncio.timeout(10):
            await opened.wait()
        # Reverse path filtering off or on, a blackhole route inside eats every answer.
        ip("-n", NAME, "route", "replace", "blackhole", "198.18.77.1/32")
        started = time.monotonic()
        with pytest.raises(errors.Unreachable):
            await waiting
        assert time.monotonic() - started < 40
