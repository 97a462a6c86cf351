"""The informer's figures: list and watch of many Services of 3 KB, as a controller's store holds them.

    python -m bench.list_watch [--services 10000] [--runs 3]

On a real API server with etcd in memory, writers in a process of their own:

- list: from starting the informer until it has synced
- memory: what the resident size grew by, with all of them in the store
- watch: each Service is patched once by 16 writers, from the patch being sent to the change being seen; median and 99 in 100
- again: from the server being killed and started until the store is current, measured from when the server is ready

On a server that only repeats one recorded event, since a real one cannot write as fast as we read:

- events: microseconds for each event, read, decoded, converted, stored and reported
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time
from typing import Any

from bench import figures, limits
from lab import apiserver
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import connection, informer, resources
from metallb_core.runtime import clock as clocks
from metallb_core.runtime import heap

ROOT = pathlib.Path(__file__).parents[2]
NAMESPACE = "default"
WRITERS = 16
DEADLINE = 600.0
SENT = "metallb.io/sent-at"


def service(name: str, version: str = "") -> dict[str, Any]:
    """About 3 KB as the server sends it, managedFields included."""
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"00000000-0000-4000-8000-{abs(hash(name)) % 10**12:012d}",
            **({"resourceVersion": version} if version else {}),
            "labels": {f"app.kubernetes.io/part-{number}": f"value-of-label-{number}" for number in range(6)},
            "annotations": {"example.com/note": "x" * 1200, "metallb.io/address-pool": "production"},
        },
        "spec": {
            "type": "LoadBalancer",
            "allocateLoadBalancerNodePorts": False,
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}],
        },
    }


def resident_mebibytes() -> float:
    """What this process has in memory now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watched:
    """An informer on all Services and the delays it saw."""

    def __init__(self, client: clients.Client) -> None:
        self.delays: list[float] = []
        self.changes = 0
        self.informer = informer.Informer(
            client, resources.SERVICES, on_change=self._note, clock=clocks.SystemClock(), random=random.Random(1)
        )

    def _note(self, _key: services.ServiceKey, _old: services.Service | None, new: services.Service | None) -> None:
        self.changes += 1
        sent = new.annotations.get(SENT) if new is not None else None
        if sent:
            self.delays.append(time.time() - float(sent))

    async def wait_changes(self, count: int) -> None:
        """Wait until so many changes have been reported."""
        async with asyncio.timeout(DEADLINE):
            while self.changes < count:  # noqa: ASYNC110 - an event for each of thousands would be what is measured
                await asyncio.sleep(0.002)


async def write(kubeconfig: str, what: str, count: int) -> None:
    """The process that writes: `create` makes the Services, `patch` stamps each with the time, `delete` removes them."""
    waiting = iter(range(count))

    async def work(client: clients.Client) -> None:
        for number in waiting:
            name = f"s{number}"
            if what == "create":
                body = service(name)
                del body["metadata"]["uid"]
                await client.create(resources.SERVICES, body, NAMESPACE)
            elif what == "patch":
                stamp = {"metadata": {"annotations": {SENT: repr(time.time())}}}
                await client.merge_patch(resources.SERVICES, name, NAMESPACE, stamp, subresource="status")

    async with clients.Client(connection.from_kubeconfig(kubeconfig), user_agent="metallb-bench/0") as client:
        await asyncio.gather(*(work(client) for _ in range(WRITERS)))


def writer(server: apiserver.ApiServer, what: str, count: int) -> "subprocess.Popen[bytes]":
    """Start the process that writes."""
    command = [sys.executable, "-m", "bench.list_watch", "--write", what, "--services", str(count)]
    environ = os.environ | {"KUBECONFIG": str(server.kubeconfig)}
    return subprocess.Popen(command, cwd=ROOT / "hack", env=environ)


async def measure_real(server: apiserver.ApiServer, count: int, found: figures.Figures) -> None:
    """One run against the real server, which has the Services already."""
    to = connection.from_kubeconfig(server.kubeconfig)
    before = resident_mebibytes()
    async with clients.Client(to, user_agent="metallb-bench/0") as client:
        watched = Watched(client)
        started = time.monotonic()
        task = asyncio.create_task(watched.informer.run())
        try:
            async with asyncio.timeout(DEADLINE):
                await watched.informer.wait_synced()
            found.add("list", f"list: {count} Services, start to synced", "s", time.monotonic() - started)
            heap.freeze()
            found.add("memory", "memory: growth with all of them stored", "MB", resident_mebibytes() - before)
            # What the list showed was stamped by the run before.
            watched.delays.clear()
            base = watched.changes
            patching = writer(server, "patch", count)
            await watched.wait_changes(base + count)
            await asyncio.to_thread(patching.wait, DEADLINE)
            delays = sorted(watched.delays)
            found.add("watch50", "watch: patch sent to change seen, median", "ms", statistics.median(delays) * 1000)
            found.add("watch99", "watch: the same, 99 in 100", "ms", delays[len(delays) * 99 // 100] * 1000)
            lists = watched.informer.lists
            await asyncio.to_thread(server.kill_apiserver)
            await asyncio.to_thread(server.start_apiserver)
            started = time.monotonic()
            name = f"after-{time.time_ns()}"
            await client.create(resources.SERVICES, service(name) | {"metadata": {"name": name}}, NAMESPACE)
            key = services.ServiceKey(NAMESPACE, name)
            async with asyncio.timeout(DEADLINE):
                while watched.informer.store.get(key) is None:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.002)
            described = "again: server killed and ready again, until the store is current"
            found.add("again", described, "s", time.monotonic() - started)
            figures.progress(f"lists after the restart: {watched.informer.lists - lists}")
            await client.delete(resources.SERVICES, name, NAMESPACE)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def repeat(count: int) -> None:
    """The process that plays a server with nothing in its list and `count` changes of 3 KB in its watch."""
    lines = []
    for number in range(count):
        body = service(f"s{number % 1000}", str(number + 2))
        lines.append(json.dumps({"type": "MODIFIED", "object": body}).encode() + b"\n")
    blob = b"".join(lines)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"watch=1" not in head:
                body = b'{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[]}'
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                continue
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(blob), 2**16):
                piece = blob[start : start + 2**16]
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with asyncio.timeout(DEADLINE):
        await asyncio.to_thread(sys.stdin.read)


async def measure_events(count: int, found: figures.Figures) -> None:
    """One run against the server that repeats."""
    command = [sys.executable, "-m", "bench.list_watch", "--repeat", "--services", str(count)]
    pipe = subprocess.PIPE
    player = await asyncio.to_thread(subprocess.Popen, command, cwd=ROOT / "hack", stdin=pipe, stdout=pipe)
    try:
        assert player.stdout is not None
        port = int(await asyncio.to_thread(player.stdout.readline))
        async with clients.Client(connection.plain(f"http://127.0.0.1:{port}"), user_agent="metallb-bench/0") as client:
            watched = Watched(client)
            task = asyncio.create_task(watched.informer.run())
            await watched.wait_changes(1)
            base, started, used = watched.changes, time.monotonic(), time.process_time()
            await watched.wait_changes(count)
            events = count - base
            found.add("events", "events: read to reported, each", "us", (time.monotonic() - started) / events * 1e6)
            found.add("cpu", "events: of which our processor time", "us", (time.process_time() - used) / events * 1e6)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        player.kill()
        player.wait()
        for stream in (player.stdin, player.stdout):
            if stream is not None:
                stream.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.list_watch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--services", type=limits.at_least(1), default=10_000, help="Services (default: %(default)s)")
    parser.add_argument("--runs", type=limits.at_least(1), default=3, help="runs (default: %(default)s)")
    parser.add_argument("--write", choices=("create", "patch"), help=argparse.SUPPRESS)
    parser.add_argument("--repeat", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        asyncio.run(write(os.environ["KUBECONFIG"], arguments.write, arguments.services))
        return
    if arguments.repeat:
        asyncio.run(repeat(arguments.services))
        return
    found = figures.Figures()
    # Ten thousand Services with two families would fill a smaller range.
    with apiserver.ApiServer() as server:
        started = time.monotonic()
        if writer(server, "create", arguments.services).wait(DEADLINE):
            raise SystemExit("the Services could not be created")
        figures.progress(f"created in {time.monotonic() - started:.1f} s")
        for run in range(arguments.runs):
            figures.progress(f"run {run + 1} of {arguments.runs}")
            asyncio.run(measure_real(server, arguments.services, found))
    for _ in range(arguments.runs):
        asyncio.run(measure_events(arguments.services, found))
    found.show()


if __name__ == "__main__":
    main()
