"""BFD on a busy machine: sessions that went down though the path was whole, which must be none.

- Two namespaces and a cable. One end is a deadline process with the one capability of a speaker's container, and its parent, which decodes JSON
  without a pause, as a reconciler does at its worst; the other is FRR's bfdd, or a second deadline process (`--peer own`).
- A Python loop burns each core beside them, all at the same priority. The speaker's processes, the peer and each loop have a session of their
  own: the kernel shares the processor between sessions (autogroups) as it does between containers, so that a loop stands for another pod.
- This program itself takes real-time priority and tells how late it was woken: what stalls it, stalls the machine.
- Every setting is a session of its own, all at once. A packet capture at the other end, with the kernel's times, says how close it was: the
  longest pause between two packets, beside the detection time that it must not reach.
- Needs root, and the package frr. Everything is stopped by its process id, and every wait is bounded.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import multiprocessing.pool
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from bench import limits, pair
from lab.routers import frr, router
from metallb_core.domain import addresses
from metallb_speaker.bfd import settings

ONLY_NET_RAW = ("setpriv", "--bounding-set=-all,+net_raw", "--inh-caps=-all", "--no-new-privs")
_UP_SECONDS = 30.0
_NAP = 0.05
_IPV4_UDP = b"\x08\x00\x45"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One session: interval in milliseconds, multiplier, and the addresses of both ends."""

    interval: int
    multiplier: int
    ours: str
    theirs: str

    def __str__(self) -> str:
        return f"{self.interval} ms x {self.multiplier}"

    def config(self, peer: str) -> settings.Config:
        """The session as one end wants it."""
        return settings.Config(
            key=str(self),
            peer=addresses.Address.parse(peer),
            transmit_interval=self.interval,
            receive_interval=self.interval,
            multiplier=self.multiplier,
        )


def _read(text: str) -> list[Setting]:
    found = []
    for number, each in enumerate(text.split(",")):
        interval, multiplier = each.split("x")
        found.append(
            Setting(
                interval=int(interval),
                multiplier=int(multiplier),
                ours=f"198.18.{number}.1",
                theirs=f"198.18.{number}.2",
            )
        )
    return found


async def _end(chosen: Sequence[Setting], side: str, seconds: float, busy: bool, equal: bool) -> None:
    """One end: says `up` when all sessions are, then each change of a state, and counters at the end of its input."""
    from metallb_speaker.deadline import client

    loop = asyncio.get_running_loop()
    known: dict[str, settings.Status] = {}
    downs: dict[str, int] = {}
    up = asyncio.Event()

    def changed(statuses: Mapping[str, settings.Status]) -> None:
        for key, status in statuses.items():
            # The other end's farewell at the end of the run is no failure; the end of our own process would be one.
            if key in known and known[key].up and (status.failed or status.state is None):
                downs[key] = downs.get(key, 0) + 1
                print(json.dumps({"down": key, "status": str(status)}), flush=True)
        known.update(statuses)
        if all(status.up for status in known.values()):
            up.set()

    made = client.Client(
        on_bfd=changed, on_warning=lambda text: print(text, file=sys.stderr), linger=0, stand_back=not equal
    )
    made.configure([], [".*"])
    made.bfd([each.config(each.theirs if side == "ours" else each.ours) for each in chosen])
    made.start()
    async with asyncio.timeout(_UP_SECONDS):
        await up.wait()
    await asyncio.sleep(2.0)  # the polls are through
    print(json.dumps({"up": made.pid}), flush=True)
    document = json.dumps([{"name": f"service-{n}", "labels": {"a": "b" * 20}, "n": n} for n in range(20_000)])
    closing = loop.run_in_executor(None, sys.stdin.read)  # the end of our input is the end of the run
    end = loop.time() + seconds + 120
    while not closing.done() and loop.time() < end:
        if busy:
            json.loads(document)
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(0.1)
    print(json.dumps({"downs": downs}), flush=True)
    await made.wait_stopped(0)


class _Process:
    """An end as a process of its own, in a namespace."""

    def __init__(self, where: pair.Namespace, side: str, arguments: argparse.Namespace, *, busy: bool) -> None:
        options = ["--side", side, "--seconds", str(arguments.seconds), "--settings", arguments.settings]
        options += ["--equal"] if arguments.equal else []
        self._process = subprocess.Popen(
            [
                *("nsenter", f"--net=/run/netns/{where.name}", *ONLY_NET_RAW),
                *(sys.executable, "-m", "bench.bfd", *options, *(["--busy"] if busy else [])),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if "up" not in line:
            self.close()
            raise RuntimeError(f"the sessions of {side} do not come up: {line!r}")
        self.child: int = json.loads(line)["up"]

    def finish(self) -> dict[str, int]:
        """How many times each session went down."""
        output, _ = self._process.communicate(timeout=60)
        said = [json.loads(line) for line in output.splitlines()]
        for each in said:
            if "down" in each:
                print(f"down: {each}", flush=True)
        downs: dict[str, int] = next(each["downs"] for each in said if "downs" in each)
        return downs

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _processor_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _sort(frames: Sequence[tuple[float, bytes]], times: dict[bytes, list[float]]) -> None:
    """Add the moments of BFD packets to `times`, by IPv4 source."""
    for moment, frame in frames:
        if frame[12:15] == _IPV4_UDP and frame[23] == 17 and frame[36:38] == b"\x0e\xc8":
            times.setdefault(frame[26:30], []).append(moment)


def _pause(times: Mapping[bytes, list[float]], address: str, since: float) -> str:
    moments = [moment for moment in times.get(addresses.Address.parse(address).packed(), []) if moment >= since]
    gaps = sorted((later - earlier) * 1000 for earlier, later in itertools.pairwise(moments))
    if not gaps:
        return "no packets"
    late = gaps[min(len(gaps) - 1, int(len(gaps) * 0.999))]
    return f"median {statistics.median(gaps):.0f}, 999 in 1,000 {late:.0f}, longest {gaps[-1]:.0f} ms"


def _bfdd_downs(bfdd: frr.Router) -> dict[str, int]:
    return {each["peer"]: int(each["session-down"]) for each in bfdd.bfd_counters()}


def measure(arguments: argparse.Namespace) -> int:
    """Hold the sessions under load; the number of false downs."""
    chosen = _read(arguments.settings)
    cabling = pair.Pair("bfdb")
    with contextlib.ExitStack() as stack:
        stack.callback(cabling.close)
        for each in chosen:
            cabling.node.ip("addr", "add", f"{each.ours}/24", "dev", "lan0")
            cabling.peer.ip("addr", "add", f"{each.theirs}/24", "dev", "lan0")
        bfdd: frr.Router | None = None
        if arguments.peer == "frr":
            watched = tuple(
                router.BFDSession(
                    address=each.ours, local=each.theirs, interval_ms=each.interval, multiplier=each.multiplier
                )
                for each in chosen
            )
            bfdd = frr.Router(
                cabling.peer.name, router.Settings(asn=64512, router_id="192.0.2.1", bfd_sessions=watched)
            )
            stack.callback(bfdd.close)
            bfdd.start()
            ours = _Process(cabling.node, "ours", arguments, busy=True)
            stack.callback(ours.close)
            theirs = None
        else:
            # Each waits for the other to be up, so they are started together.
            starting = multiprocessing.pool.ThreadPool(1)
            stack.callback(starting.terminate)
            other = starting.apply_async(_Process, (cabling.peer, "theirs", arguments), {"busy": False})
            ours = _Process(cabling.node, "ours", arguments, busy=True)
            stack.callback(ours.close)
            theirs = other.get(timeout=_UP_SECONDS + 10)
            stack.callback(theirs.close)
        capture = pair.Capture(cabling.peer, "lan0")
        stack.callback(capture.close)
        for _ in range(arguments.burners):
            # Executed afresh: a fork would keep the other end's input open.
            burner = subprocess.Popen(
                [sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL, start_new_session=True
            )
            stack.callback(burner.wait)
            stack.callback(burner.kill)
        before = _bfdd_downs(bfdd) if bfdd is not None else {}
        spent = _processor_seconds(ours.child)
        times: dict[bytes, list[float]] = {}
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        began, since = time.monotonic(), time.time()
        stall = 0.0
        while (asleep := time.monotonic()) < began + arguments.seconds:
            time.sleep(_NAP)
            stall = max(stall, time.monotonic() - asleep - _NAP)
            _sort(capture.frames(), times)
        lasted = time.monotonic() - began
        share = (_processor_seconds(ours.child) - spent) / lasted
        at_theirs = theirs.finish() if theirs is not None else {}
        if bfdd is not None:
            after = _bfdd_downs(bfdd)
            at_theirs = {str(each): after[each.ours] - before[each.ours] for each in chosen}
        at_ours = ours.finish()
        total = 0
        for each in chosen:
            here, there = at_ours.get(str(each), 0), at_theirs.get(str(each), 0)
            total += here + there
            print(
                f"{each}, {lasted:.0f} s, {arguments.burners} burners, peer {arguments.peer}: false downs here {here},"
                f" there {there}; between our packets {_pause(times, each.ours, since)}, between the peer's"
                f" {_pause(times, each.theirs, since)}, detection time {each.interval * each.multiplier} ms",
                flush=True,
            )
        print(f"deadline process with {len(chosen)} sessions: {share:.2%} of one core", flush=True)
        print(
            f"the machine itself: longest pause {stall * 1000:.0f} ms, load average {os.getloadavg()[1]:.1f}",
            flush=True,
        )
    return total


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bfd", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to watch (default: %(default)s)")
    parser.add_argument(
        "--settings",
        default="300x3,100x3",
        help="interval in ms x multiplier, separated by commas (default: %(default)s)",
    )
    parser.add_argument("--peer", default="frr", choices=("frr", "own"), help="the other end (default: %(default)s)")
    parser.add_argument(
        "--burners",
        type=limits.at_least(0),
        default=os.cpu_count() or 1,
        help="busy processes (default: one for each core)",
    )
    parser.add_argument("--equal", action="store_true", help="the parent does not stand back for its deadline process")
    parser.add_argument("--side", default="", help=argparse.SUPPRESS)
    parser.add_argument("--busy", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        _read(arguments.settings)
    except ValueError:
        parser.error(f"argument --settings: {arguments.settings!r} is not written as 300x3,100x3 is")
    if arguments.side:
        asyncio.run(_end(_read(arguments.settings), arguments.side, arguments.seconds, arguments.busy, arguments.equal))
        return
    raise SystemExit(1 if measure(arguments) else 0)


if __name__ == "__main__":
    main()
