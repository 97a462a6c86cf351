"""Measures membership with real processes on loopback addresses, one line a figure.

    python -m bench.membership detect   a member dies: time until every survivor has dropped it
    python -m bench.membership stress   every core burning: members dropped that were alive (must be none)
    python -m bench.membership idle     memory and processor time of one member that has nothing to do

Every process that is started is stopped by its own id, and every wait is bounded.
"""

import argparse
import asyncio
import itertools
import json
import multiprocessing
import os
import selectors
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import limits

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "speaker" / "src"))

_PORT = 17946
_SETTLE_SECONDS = 20.0
_VERDICT_SECONDS = 30.0


async def _run_member(arguments: argparse.Namespace) -> None:
    from metallb_speaker.membership import encryption, settings, transport

    loop = asyncio.get_running_loop()

    def report(present: frozenset[str]) -> None:
        print(json.dumps({"at": loop.time(), "members": sorted(present)}), flush=True)

    key = encryption.key_from_secret(arguments.secret)
    member = transport.Membership(
        transport.Config(
            name=arguments.name,
            bind_address=arguments.bind,
            bind_port=_PORT,
            timings=settings.PROFILES[arguments.profile],
            keys=(key,) if key else (),
        ),
        report,
    )
    await member.start()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    next_join = loop.time()
    while not ended.is_set():
        # What the speaker does every minute, here every second: contact everybody again.
        if loop.time() >= next_join:
            next_join = loop.time() + 1.0
            if len(member.members()) < arguments.expect:
                await member.join(arguments.join)
        try:
            await asyncio.wait_for(ended.wait(), 1.0)
        except TimeoutError:
            continue
    counters = member.protocol_counters
    print(json.dumps({"counters": {name: getattr(counters, name) for name in counters.__slots__}}), flush=True)
    await member.stop()


class _Cluster:
    """Member processes, node0 at 127.0.0.10 and on, and what they say."""

    def __init__(self, size: int, profile: str, secret: str) -> None:
        self.size = size
        self._options = ["--profile", profile, "--secret", secret]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.views: dict[str, list[tuple[float, frozenset[str]]]] = {}
        self.counters: dict[str, dict[str, int]] = {}
        self._selector = selectors.DefaultSelector()
        self._rest: dict[str, bytes] = {}
        for index in range(size):
            self.start(index)

    def start(self, index: int) -> None:
        name = f"node{index}"
        addresses = ",".join(f"127.0.0.{10 + other}" for other in range(self.size))
        process = subprocess.Popen(
            [
                *(sys.executable, __file__, "member", "--name", name, "--bind", f"127.0.0.{10 + index}"),
                *("--join", addresses, "--expect", str(self.size), *self._options),
            ],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        self.processes[name] = process
        self.views[name] = []
        self._rest[name] = b""
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, name)

    def end(self, name: str, signal_number: int) -> None:
        """Send the signal, and once the process is gone read what it said last."""
        process = self.processes.pop(name)
        assert process.stdout is not None
        process.send_signal(signal_number)
        process.wait(timeout=10)
        self._read(name, process.stdout.read() or b"")
        self._selector.unregister(process.stdout)
        process.stdout.close()

    def listen(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            self._read(key.data, os.read(key.fd, 1 << 16))

    def _read(self, name: str, data: bytes) -> None:
        *lines, self._rest[name] = (self._rest[name] + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "members" in said:
                self.views[name].append((said["at"], frozenset(said["members"])))
            else:
                self.counters[name] = said["counters"]

    def wait_complete(self) -> None:
        """Wait until everybody sees everybody. TimeoutError if that takes too long."""
        everybody = frozenset(self.processes)
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not all(views and views[-1][1] == everybody for views in map(self.views.__getitem__, everybody)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no complete cluster: { {name: self.views[name][-1:] for name in everybody} }")
            self.listen(0.2)

    def close(self) -> None:
        for name in tuple(self.processes):
            self.processes[name].send_signal(signal.SIGCONT)
            self.end(name, signal.SIGTERM)


def _figure(name: str, values: list[float], unit: str) -> None:
    print(
        f"{name}: min {min(values):.3f} median {statistics.median(values):.3f} max {max(values):.3f} {unit},"
        f" n={len(values)}",
        flush=True,
    )


def _burn() -> None:
    while True:
        sum(range(10_000))


def _start_burners(count: int) -> list[multiprocessing.Process]:
    burners = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(count)]
    for burner in burners:
        burner.start()
    return burners


def _stop_burners(burners: list[multiprocessing.Process]) -> None:
    for burner in burners:
        burner.kill()
        burner.join()


def detect(arguments: argparse.Namespace) -> None:
    """Kill or freeze one member after the other."""
    cluster = _Cluster(arguments.size, arguments.profile, arguments.secret)
    burners = _start_burners(arguments.burners)
    first: list[float] = []
    last: list[float] = []
    try:
        cluster.wait_complete()
        for round_number in range(arguments.rounds):
            # Not in step with the probes.
            quiet_until = time.monotonic() + 1.0 + (round_number * 0.37) % 1
            while time.monotonic() < quiet_until:
                cluster.listen(0.05)
            index = round_number % arguments.size
            victim = f"node{index}"
            killed_at = time.monotonic()
            if arguments.freeze:
                cluster.processes[victim].send_signal(signal.SIGSTOP)
                views = cluster.views
            else:
                cluster.processes[victim].kill()
                views = cluster.views
            survivors = [name for name in cluster.processes if name != victim]
            dropped: dict[str, float] = {}
            while len(dropped) < len(survivors):
                if time.monotonic() > killed_at + _VERDICT_SECONDS:
                    print(f"round {round_number}: {sorted(set(survivors) - set(dropped))} did not drop {victim}")
                    break
                cluster.listen(0.1)
                for name in survivors:
                    if name not in dropped:
                        gone = [at for at, present in views[name] if at > killed_at and victim not in present]
                        if gone:
                            dropped[name] = gone[0]
            if dropped:
                first.append(min(dropped.values()) - killed_at)
                last.append(max(dropped.values()) - killed_at)
            cluster.end(victim, signal.SIGKILL)
            cluster.start(index)
            cluster.wait_complete()
    finally:
        _stop_burners(burners)
        cluster.close()
    how = "frozen" if arguments.freeze else "killed"
    _figure(f"{how} member of {arguments.size}, {arguments.profile}, first survivor drops it", first, "s")
    _figure(f"{how} member of {arguments.size}, {arguments.profile}, every survivor dropped it", last, "s")


def stress(arguments: argparse.Namespace) -> None:
    """Burn every core and look for verdicts."""
    cluster = _Cluster(arguments.size, arguments.profile, arguments.secret)
    burners: list[multiprocessing.Process] = []
    try:
        cluster.wait_complete()
        burners = _start_burners(arguments.burners or os.cpu_count() or 1)
        began = time.monotonic()
        while time.monotonic() < began + arguments.seconds:
            cluster.listen(0.5)
        drops = sum(
            len(before - after)
            for views in cluster.views.values()
            for (_, before), (at, after) in itertools.pairwise(views)
            if at > began
        )
    finally:
        _stop_burners(burners)
        cluster.close()
    totals = {
        key: sum(counters[key] for counters in cluster.counters.values())
        for key in ("probes", "probes_failed", "suspicions", "refutations", "tcp_only_answers", "stalls")
    }
    print(f"false verdicts in {arguments.seconds:.0f} s with {len(burners)} burners: {drops} ({totals})", flush=True)


def idle(arguments: argparse.Namespace) -> None:
    """Look at one member of a quiet cluster."""
    cluster = _Cluster(arguments.size, arguments.profile, arguments.secret)
    try:
        cluster.wait_complete()
        process = cluster.processes["node0"]
        before = _processor_seconds(process.pid)
        began = time.monotonic()
        while time.monotonic() < began + arguments.seconds:
            cluster.listen(0.5)
        share = (_processor_seconds(process.pid) - before) / (time.monotonic() - began)
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    finally:
        cluster.close()
    print(f"idle member of {arguments.size}: {resident / 1024:.1f} MB resident, {share:.2%} of one core", flush=True)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.membership", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", metavar="{detect,stress,idle}", choices=("detect", "stress", "idle", "member"))
    parser.add_argument("--size", type=limits.at_least(1), default=5, help="members (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=limits.at_least(1), default=20, help="deaths to measure (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="how long to burn, or to watch (default: %(default)s)"
    )
    parser.add_argument(
        "--burners",
        type=limits.at_least(0),
        default=0,
        help="busy processes; stress: one for each core unless given (default: %(default)s)",
    )
    parser.add_argument("--freeze", action="store_true", help="stop the victim instead of killing it: silent, TCP open")
    parser.add_argument(
        "--profile", default="fast", choices=("fast", "lan", "wan"), help="timings (default: %(default)s)"
    )
    parser.add_argument("--secret", default="", help="secret text; empty means plaintext")
    parser.add_argument("--name", default="", help=argparse.SUPPRESS)
    parser.add_argument("--bind", default="", help=argparse.SUPPRESS)
    parser.add_argument("--join", default="", type=lambda text: text.split(","), help=argparse.SUPPRESS)
    parser.add_argument("--expect", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what == "member":
        asyncio.run(_run_member(arguments))
    else:
        {"detect": detect, "stress": stress, "idle": idle}[arguments.what](arguments)


if __name__ == "__main__":
    main()
