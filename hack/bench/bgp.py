"""How fast a route is at the router, and what sessions cost: a confined process with our sessions, BIRD as the router, a cable between them.

    python -m bench.bgp [--runs 3] [--changes 200] [--idle-seconds 30]

- start: from the process's start until the router has every route, of 2,000 and of 10,000, in one session
- change: one route among 1,000, from telling the process until the router has it, asked for through the router's control socket (which takes
  about 0.1 ms itself)
- memory: of the process with its interpreter and nothing else of a speaker (resident, and what of it is its own)
- idle: share of one CPU with four sessions of 1,000 routes and the default hold time of 90 s

Needs root, network namespaces, and BIRD.
"""

import argparse
import contextlib
import os
import re
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench import bgp_driver, bgp_speaker, figures, limits, pair
from lab.routers import bird, router

OURS, THEIRS = 64513, 64512
SIZES = (2_000, 10_000)
LIMIT_SECONDS = 60.0


class Control:
    """A standing connection to BIRD's control socket, so that asking costs next to nothing."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(path)
        self._read()

    def _read(self) -> str:
        text = ""
        # An answer ends with a line of a four-digit code and a blank; lines that go on have a dash there.
        while not re.search(r"^\d{4} .*\n\Z", text, re.MULTILINE):
            text += self._socket.recv(1 << 16).decode()
        return text

    def ask(self, command: str) -> str:
        """The answer, with its codes."""
        self._socket.sendall(command.encode() + b"\n")
        return self._read()

    def count(self) -> int:
        """Routes in the IPv4 table."""
        found = re.search(r"(\d+) of \d+ routes", self.ask("show route table master4 count"))
        return int(found[1]) if found else 0

    def has(self, prefix: str) -> bool:
        """Whether there is a route to exactly this prefix."""
        return "unicast" in self.ask(f"show route {prefix}")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def wait(condition: Callable[[], bool], what: str) -> None:
    """Ask without a pause until it holds."""
    end = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)


@contextlib.contextmanager
def cabled(peers: int) -> Iterator[tuple[pair.Pair, Control, dict[str, dict[str, Any]]]]:
    """A node with `peers` addresses, a router that knows them all, and the peers as the process is told them."""
    with contextlib.ExitStack() as closing:
        cabling = pair.Pair("bgb")
        closing.callback(cabling.close)
        # One router and an address of ours for each session: BIRD tells neighbours apart by their address.
        ours = ["192.0.2.2", *(f"192.0.2.{100 + number}" for number in range(peers - 1))]
        for address in ours:
            cabling.node.ip("addr", "add", f"{address}/24", "dev", "lan0")
        neighbours = tuple(
            router.Neighbour(asn=OURS, address=address, hold_time=90, families=(router.IPV4,)) for address in ours
        )
        made = bird.Router(cabling.peer.name, router.Settings(asn=THEIRS, router_id="192.0.2.1", neighbours=neighbours))
        closing.callback(made.close)
        made.start()
        control = Control(str(made.directory / "bird.ctl"))
        closing.callback(control.close)
        told = {
            f"tor{number}": {"my_asn": OURS, "peer_asn": THEIRS, "address": "192.0.2.1", "source_address": address}
            for number, address in enumerate(ours)
        }
        yield cabling, control, told


def weight(pid: int) -> tuple[float, float]:
    """(resident, proportional) MB."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        text = rollup.read()
    resident, proportional = (re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE) for key in ("Rss", "Pss"))
    assert resident is not None
    assert proportional is not None
    return int(resident[1]) / 1024, int(proportional[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(found: figures.Figures, size: int) -> None:
    """One start with `size` routes."""
    with cabled(1) as (cabling, control, told):
        began = time.monotonic()
        with bgp_driver.Driver(cabling.node, quiet=True) as process:
            up = time.monotonic()
            process.tell(configure=told, count=["tor0", size], complete=True)
            wait(lambda: control.count() >= size, f"{size} routes")
            done = time.monotonic()
            name = f"start-{size}"
            found.add(name, f"start with {size:,} routes until the router has them all", "s", done - began)
            found.add(f"{name}-bgp", "  of it from configuring the peer", "s", done - up)
            process.show()
            resident, proportional = weight(process.process.pid)
            found.add(f"memory-{size}", f"memory with {size:,} routes, resident", "MB", resident)
            found.add(f"own-{size}", f"memory with {size:,} routes, its own part", "MB", proportional)


def changes(count: int) -> None:
    """One route at a time, announced and withdrawn."""
    taken: dict[str, list[float]] = {"announced": [], "withdrawn": []}
    with cabled(1) as (cabling, control, told), bgp_driver.Driver(cabling.node, quiet=True) as process:
        process.tell(configure=told, count=["tor0", 1_000], complete=True)
        wait(lambda: control.count() >= 1_000, "1,000 routes")
        for number in range(count):
            prefix = str(bgp_speaker.host_route(5_000 + number))
            for what, attributes in (("announced", [None]), ("withdrawn", None)):
                began = time.monotonic()
                process.tell(change={"tor0": {prefix: attributes}})
                wait(lambda told=what == "announced", asked=prefix: control.has(asked) is told, prefix)  # type: ignore[misc]
                taken[what].append((time.monotonic() - began) * 1000)
                process.collect()
    for what, times in taken.items():
        cuts = statistics.quantiles(times, n=100)
        print(
            f"one route of 1,000 {what} until the router knows: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms,"
            f" max {max(times):.2f} ms ({len(times)} changes)",
            flush=True,
        )


def idle(seconds: float) -> None:
    """What four sessions cost that have nothing to do."""
    with cabled(4) as (cabling, control, told), bgp_driver.Driver(cabling.node, quiet=True) as process:
        process.tell(configure=told, complete=True)
        for name in told:
            process.tell(count=[name, 1_000])
            process.wait_state(name)
        wait(lambda: control.count() >= 4_000, "all routes of all sessions")
        resident, proportional = (process.show(), weight(process.process.pid))[1]
        before = cpu_seconds(process.process.pid)
        time.sleep(seconds)
        share = (cpu_seconds(process.process.pid) - before) / seconds * 100
        still_up = all(view["state"] == "Established" for view in process.show().values())
    print(
        f"four idle sessions of 1,000 routes: {share:.3f} % of one CPU over {seconds:g} s, resident {resident:.1f} MB,"
        f" its own part {proportional:.1f} MB{'' if still_up else ' (SESSIONS WERE LOST)'}",
        flush=True,
    )


def main() -> None:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bgp", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=limits.at_least(0), default=3, help="starts of each size (default: %(default)s)")
    parser.add_argument(
        "--changes", type=limits.at_least(1), default=200, help="routes announced and withdrawn (default: %(default)s)"
    )
    parser.add_argument(
        "--idle-seconds", type=float, default=30.0, help="how long idle sessions are watched (default: %(default)s)"
    )
    options = parser.parse_args()
    found = figures.Figures()
    for size in SIZES:
        for number in range(options.runs):
            figures.progress(f"start with {size:,} routes, run {number + 1} of {options.runs}")
            start(found, size)
    found.show()
    figures.progress("single changes")
    changes(options.changes)
    figures.progress(f"idle for {options.idle_seconds:g} s")
    idle(options.idle_seconds)


if __name__ == "__main__":
    main()
