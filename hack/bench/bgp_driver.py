"""Runs a `bgp_speaker` process in a namespace, with what a speaker's container may do and no more: root and CAP_NET_RAW."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from bench import pair

CONFINED = ("setpriv", "--bounding-set=-all,+net_raw", "--inh-caps=-all", "--no-new-privs")


class Driver:
    """One such process. `state` and `problem` are the last it said of each peer."""

    def __init__(
        self, where: pair.Namespace, *, node: str = "node-a", restarting: bool = False, quiet: bool = False
    ) -> None:
        command = [*CONFINED, sys.executable, "-m", "bench.bgp_speaker", "--node", node]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
        with where.inside():
            self.process = subprocess.Popen(
                [*command, *(["--restarting"] if restarting else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if quiet else None,
                env=environment,
            )
        self.state: dict[str, str] = {}
        self.problem: dict[str, str | None] = {}
        self.history: list[dict[str, Any]] = []
        self._rest = b""
        self.wait(lambda: bool(self.history), "the process started")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def tell(self, **order: object) -> None:
        """One order, see `bgp_speaker`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def collect(self, seconds: float = 0.0) -> None:
        """Read what it says, waiting at most so long for the first of it."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while select.select([descriptor], [], [], seconds)[0]:
            seconds = 0.0
            data = os.read(descriptor, 1 << 16)
            if not data:
                raise ChildProcessError(f"the process ended; it said {self.history[-3:]}")
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                self.history.append(event)
                if "state" in event and "peer" in event:
                    self.state[event["peer"]] = event["state"]
                    self.problem[event["peer"]] = event["problem"]

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        """Read on until `condition` holds. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= end:
                raise TimeoutError(
                    f"{what}: not within {seconds:g} s; {self.state}, {self.problem}, {self.history[-5:]}"
                )
            self.collect(0.05)

    def wait_state(self, peer: str, state: str = "Established", seconds: float = 20.0) -> None:
        """Wait for a session to come to a state."""
        self.wait(lambda: self.state.get(peer) == state, f"{peer} {state}", seconds)

    def wait_problem(self, peer: str, code: str, seconds: float = 20.0, naming: str = "") -> None:
        """Wait until a session's problem has a reason code, and names something."""

        def there() -> bool:
            problem = self.problem.get(peer) or ""
            return f"[{code} " in problem and naming in problem

        self.wait(there, f"{peer} {code} {naming}", seconds)

    def show(self) -> Mapping[str, dict[str, Any]]:
        """All sessions as they are now, by peer."""
        before = len(self.history)
        self.tell(show=True, settle=True)
        self.wait(lambda: any("settled" in each for each in self.history[before:]), "an answer")
        return {each["show"]: each for each in self.history[before:] if "show" in each}

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self._reap()

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self._reap()

    def _reap(self) -> None:
        self.process.wait(10)
        for each in (self.process.stdin, self.process.stdout):
            if each is not None:
                each.close()
