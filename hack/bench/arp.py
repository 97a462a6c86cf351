"""How fast the deadline process answers ARP, and what it weighs.

- Two namespaces and a veth cable. A client asks by raw frames and takes the time until the answer, one question at a time.
- Three rows: the parent idle, the parent in a Python loop, and the parent decoding JSON, which holds an interpreter longest. The parent is the
  process that spawned the deadline process, as in a speaker.
- The parent and its process get root and CAP_NET_RAW alone, as in a speaker's container; `--privileged` lets the process take real-time
  priority too.
- The client takes CPU 0 at real-time priority, so that a busy machine delays the answer and not the clock. Needs root and setpriv.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time

from bench import limits, pair
from metallb_core.domain import addresses
from metallb_speaker.packets import arp, ethernet

STATION = bytes.fromhex("020000000099")
ADDRESS = addresses.Address.parse("192.0.2.10")
KINDS = {"idle": "parent idle", "loop": "parent in a Python loop", "json": "parent decoding JSON"}


async def _parent(kind: str, others: int) -> None:
    """The parent: spawns the process, announces, and keeps itself busy as told, for at most two minutes."""
    from metallb_speaker.deadline import client

    made = client.Client(on_warning=lambda text: print(text, file=sys.stderr))
    made.start()
    made.configure([addresses.Interval.parse("192.0.2.0/24"), addresses.Interval.parse("198.18.0.0/15")], [])
    made.announce(ADDRESS, None)
    first = addresses.Address.parse("198.18.0.1").value
    for number in range(others):
        made.announce(addresses.Address(addresses.Family.IPV4, first + number), None)
    await asyncio.sleep(1.0)
    print(made.pid, flush=True)
    document = json.dumps([{"name": f"service-{n}", "labels": {"a": "b" * 20}, "n": n} for n in range(20_000)])
    loop = asyncio.get_running_loop()
    end = loop.time() + 120
    closing = loop.run_in_executor(None, sys.stdin.read)  # the end of our input is the end of the run
    while not closing.done() and loop.time() < end:
        if kind == "idle":
            await asyncio.sleep(0.05)
        elif kind == "json":
            json.loads(document)
            await asyncio.sleep(0)
        else:
            until = time.perf_counter() + 0.05
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0)
    await made.wait_stopped(0)


def _ask(sock: socket.socket, question: bytes, wanted: bytes) -> float | None:
    """Seconds until the answer; None if there was none within a second."""
    began = time.perf_counter()
    sock.send(question)
    while time.perf_counter() - began < 1.0:
        try:
            frame = sock.recv(2048)
        except TimeoutError:
            return None
        if frame[:6] == STATION and frame[20:22] == b"\0\2" and frame[28:32] == wanted:
            return time.perf_counter() - began
    return None


def _prefer(policy: int) -> None:
    """Take a scheduling policy; nothing where that is not permitted."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(1 if policy == os.SCHED_RR else 0))


def _weight(pid: int) -> tuple[float, float]:
    """(RSS, PSS) in MB."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        text = rollup.read()
    found = [re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE) for key in ("Rss", "Pss")]
    return tuple(int(match[1]) / 1024 for match in found if match is not None)  # type: ignore[return-value]


def _measure(cabling: pair.Pair, kind: str, count: int, others: int, privileged: bool) -> None:
    command = [sys.executable, "-m", "bench.arp", "--parent", kind, "--others", str(others)]
    if not privileged:
        command = ["setpriv", "--bounding-set=-all,+net_raw", "--inh-caps=-all", "--no-new-privs", *command]
    with cabling.node.inside():
        parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        pid = int(parent.stdout.readline())
        time.sleep(6 if others else 1)  # the bursts are over
        request = arp.Packet(
            operation=arp.REQUEST,
            sender_mac=STATION,
            sender=addresses.Address.parse("192.0.2.1"),
            target_mac=ethernet.NO_MAC,
            target=ADDRESS,
        )
        question = ethernet.Frame(
            destination=ethernet.BROADCAST, source=STATION, ethertype=0x0806, payload=request.serialise()
        ).serialise()
        with cabling.peer.inside():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethernet.TYPE_ARP))
        sock.bind(("lan0", ethernet.TYPE_ARP))
        sock.settimeout(1.0)
        times: list[float] = []
        lost = 0
        _prefer(os.SCHED_RR)
        for _ in range(count):
            taken = _ask(sock, question, ADDRESS.packed())
            if taken is None:
                lost += 1
            else:
                times.append(taken * 1e6)
            time.sleep(0.001)
        _prefer(os.SCHED_OTHER)
        sock.close()
        rss, pss = _weight(pid)
        cuts = statistics.quantiles(times, n=100)
        print(
            f"ARP reply, {KINDS[kind]:<24} p50 {cuts[49]:7.0f} us   p99 {cuts[98]:7.0f} us   max {max(times):7.0f} us"
            f"   lost {lost} of {count}   RSS {rss:.1f} MB   PSS {pss:.1f} MB",
            flush=True,
        )
    finally:
        parent.stdin.close() if parent.stdin is not None else None
        with contextlib.suppress(subprocess.TimeoutExpired):
            parent.wait(10)
        parent.kill()
        parent.wait()


def main() -> None:
    """Print one line for each row."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.arp", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--count", type=limits.at_least(2), default=3000, help="questions for each row (default: %(default)s)"
    )
    parser.add_argument(
        "--others",
        type=limits.at_least(0),
        default=0,
        help="addresses announced besides the one asked for (default: %(default)s)",
    )
    parser.add_argument("--privileged", action="store_true", help="let the process take real-time priority")
    parser.add_argument("--parent", choices=sorted(KINDS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.parent:
        asyncio.run(_parent(options.parent, options.others))
        return
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cabling = pair.Pair("l2b")
    try:
        for kind in KINDS:
            _measure(cabling, kind, options.count, options.others, options.privileged)
    finally:
        cabling.close()


if __name__ == "__main__":
    main()
