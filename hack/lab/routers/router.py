"""What the lab wants of a router, whichever program it is.

Rules:
- Everything that a router writes is in one folder, temporary unless it is given; its programs run inside one namespace (`nsenter --net=`) and
  are stopped by pid.
- A neighbour is told as a value; each router renders its own configuration from it. Routes from neighbours are all accepted, none is exported.
- What a router is asked is read from its own command line client, and comes back as values.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import processes

COMMAND_TIMEOUT_SECONDS = 20.0
READY_SECONDS = 40.0
POLL_SECONDS = 0.05
STOP_SECONDS = 5.0
IPV4, IPV6 = "ipv4", "ipv6"


class RouterError(Exception):
    """A router did not start, or did not answer. The message has its words."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """What a router is told of one neighbour. Times in seconds.

    - Exactly one of `address` and `interface` (unnumbered) is set. `local` is the router's own address where it needs to be told.
    - `asn` is the neighbour's; `ttl_hops` above 1 is multihop.
    - `passive`: wait for the neighbour to connect.
    """

    asn: int
    address: str = ""
    interface: str = ""
    local: str = ""
    families: tuple[str, ...] = (IPV4, IPV6)
    password: str = ""
    graceful_restart: bool = False
    extended_next_hop: bool = False
    bfd: bool = False
    bfd_interval_ms: int = 300
    hops: int = 1
    hold_time: int = 9
    passive: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BFDSession:
    """A path that is watched for nobody: from `local`, the router's own, to `address`. `interface` or `multihop`. FRR alone sends echo."""

    address: str
    local: str
    interface: str = ""
    multihop: bool = False
    interval_ms: int = 100
    multiplier: int = 3
    echo_ms: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A router: its AS, its router id, its neighbours, and whether it puts routes into the kernel (FRR and BIRD can).

    `bfd_sessions` are those beside its neighbours' (FRR and BIRD).
    """

    asn: int
    router_id: str
    neighbours: tuple[Neighbour, ...] = ()
    bfd_sessions: tuple[BFDSession, ...] = ()
    kernel: bool = False
    restart_time: int = 30


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path to a prefix. Communities as text, `65000:1` and `65000:1:2`; `stale`: kept for a neighbour that restarts. None: not said."""

    next_hops: tuple[str, ...]
    communities: frozenset[str] = frozenset()
    large_communities: frozenset[str] = frozenset()
    as_path: tuple[int, ...] = ()
    local_pref: int | None = None
    med: int | None = None
    stale: bool = False


class Router:
    """One router in a namespace. Subclasses say how it is started, asked and told."""

    name = ""
    program = ""
    """What has to be on the machine."""
    marks_stale = True
    """Whether it tells which routes it keeps for a neighbour that restarts."""

    def __init__(self, namespace: str, settings: Settings, directory: Path | None = None) -> None:
        self.namespace = namespace
        self.settings = settings
        self._processes: list[processes.Process] = []
        # A short path, as it holds sockets; open to all, since some routers give up root and write here afterwards.
        self.directory = directory or Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o777)

    # What each router does in its own way.

    def start(self) -> None:
        """Start it and wait until it answers."""
        raise NotImplementedError

    def established(self, neighbour: Neighbour) -> bool:
        """Whether the session with a neighbour is up."""
        raise NotImplementedError

    def routes(self, family: str = IPV4) -> dict[str, tuple[Route, ...]]:
        """All routes from neighbours: paths by prefix."""
        raise NotImplementedError

    def refresh(self, neighbour: Neighbour) -> None:
        """Ask a neighbour for its routes again (ROUTE-REFRESH)."""
        raise NotImplementedError

    def shutdown(self, neighbour: Neighbour) -> None:
        """End the session with a neighbour in good order, and do not take it up again."""
        raise NotImplementedError

    # What they have in common.

    def stop(self) -> None:
        """End it; started again, it begins from nothing."""
        self._end(STOP_SECONDS)

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self._end(0.0)

    def close(self) -> None:
        """End it at once and remove its folder."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, grace: float) -> None:
        for each in reversed(self._processes):
            each.stop(grace)
        self._processes.clear()

    def log(self) -> str:
        """The last lines that its programs wrote."""
        return "\n".join(f"== {each.name}\n{each.log_tail(40)}" for each in self._processes)

    def inside(self, *command: str | Path) -> list[str]:
        """A command line that runs inside the namespace."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *(str(each) for each in command)]

    def spawn(self, name: str, *command: str | Path) -> processes.Process:
        """Start one of its programs."""
        started = processes.start(f"{self.name}-{name}", self.inside(*command), self.directory / f"{name}.out")
        self._processes.append(started)
        return started

    def ask(self, *command: str | Path) -> str:
        """The output of its command line client. Raises RouterError."""
        try:
            done = subprocess.run(
                self.inside(*command), capture_output=True, text=True, timeout=COMMAND_TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RouterError(f"{self.name}: {' '.join(map(str, command))} did not end") from error
        if done.returncode != 0:
            raise RouterError(f"{self.name}: {' '.join(map(str, command))}: {done.stdout}{done.stderr}")
        return done.stdout

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
        """Wait until `condition` holds; answers that cannot be had count as no. Raises RouterError."""
        wait_until(condition, f"{self.name}: {what}", seconds, processes_=self._processes)

    def wait_answering(self, *command: str | Path) -> None:
        """Wait until its client gets an answer."""

        def answers() -> bool:
            self.ask(*command)
            return True

        self.wait(answers, "no answer")


def wait_until(
    condition: Callable[[], bool],
    what: str,
    seconds: float = READY_SECONDS,
    *,
    processes_: Sequence[processes.Process] = (),
) -> None:
    """Poll `condition`, which may raise RouterError for "not yet"; a program that ended ends the wait. Raises RouterError."""
    end = time.monotonic() + seconds
    last = ""
    while True:
        for each in processes_:
            if not each.alive():
                raise RouterError(f"{what}: {each.name} ended: {each.log_tail()}")
        try:
            if condition():
                return
            last = ""
        except RouterError as error:
            last = f" ({error})"
        if time.monotonic() >= end:
            raise RouterError(f"{what} within {seconds:g} s{last}")
        time.sleep(POLL_SECONDS)
