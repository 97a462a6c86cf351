"""Start programs, remember which ones, stop only those.

Rules:
- A process is named by its pid *and* its start time in clock ticks. A pid alone may have been given to a stranger
  since; no signal is ever sent to a pair that no longer matches.
- Output goes to a file, never to a pipe, so that a program outlives the one that started it.
- Stopping is bounded: SIGTERM, a grace, SIGKILL, and an error if even that did not end it.
- `os.posix_spawn` and not `subprocess.Popen`: the objects of the latter warn when they are dropped while the
  program runs on, which is the normal case here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

POLL_SECONDS = 0.02
KILL_GRACE_SECONDS = 10.0


_children: set[int] = set()
"""Pids of programs that this very process started and has not reaped."""


class ProcessError(Exception):
    """A program ended early, did not become ready, or could not be stopped."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A started program. `start_ticks` is field 22 of /proc/PID/stat: clock ticks since boot."""

    name: str
    pid: int
    start_ticks: int
    log: str

    def alive(self) -> bool:
        """Whether this very process still runs. A zombie of our own is reaped and counts as ended."""
        if _running_since(self.pid) == self.start_ticks:
            return True
        # Only what `start` made is reaped here: another child of this process has an owner that waits for its status.
        if self.pid in _children:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(self.pid, os.WNOHANG)[0] == self.pid:
                    _children.discard(self.pid)
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process is still this one; nothing happens otherwise."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait_ended(self, seconds: float) -> bool:
        """Wait at most `seconds` for the end; False when it still runs."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def stop(self, grace_seconds: float = 0.0) -> None:
        """End the process: SIGTERM and a grace when one is given, then SIGKILL. Ended already is success."""
        if grace_seconds > 0:
            self.signal(signal.SIGTERM)
            if self.wait_ended(grace_seconds):
                return
        self.signal(signal.SIGKILL)
        if not self.wait_ended(KILL_GRACE_SECONDS):
            raise ProcessError(f"{self.name} (pid {self.pid}) survived SIGKILL for {KILL_GRACE_SECONDS:.0f} s")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its output."""
        with contextlib.suppress(OSError):
            return "\n".join(Path(self.log).read_text(errors="replace").splitlines()[-lines:])
        return "(no log)"


def _running_since(pid: int) -> int | None:
    """Start time of a running process in ticks since boot; None when it ended or is a zombie.

    The first thread of a killed process is a zombie while others still run, and hold its ports; only the last one to go ends the process.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        threads = sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return None
    # The command, between parentheses, may itself hold spaces and parentheses: split after the last one.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" and threads <= 1 else int(fields[19])


def adopt(name: str, pid: int, log: Path) -> Process:
    """Describe a process that runs already. Raises ProcessError when it does not."""
    ticks = _running_since(pid)
    if ticks is None:
        raise ProcessError(f"{name}: pid {pid} does not run")
    return Process(name=name, pid=pid, start_ticks=ticks, log=str(log))


def start(
    name: str,
    argv: Sequence[str | Path],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    process_group: int | None = None,
) -> Process:
    """Start a program with its output appended to `log` and no input.

    It leads a session of its own, unless `process_group` says which group of this session it joins (0: a new one).
    """
    arguments = [str(argument) for argument in argv]
    log.parent.mkdir(parents=True, exist_ok=True)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    settings = dict(environment if environment is not None else os.environ)
    # A caller that ignores or blocks signals (a test runner, nohup) must not hand that on to servers.
    defaults = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE]
    if process_group is None:
        pid = os.posix_spawnp(
            arguments[0], arguments, settings, file_actions=actions, setsid=True, setsigmask=[], setsigdef=defaults
        )
    else:
        pid = os.posix_spawnp(
            arguments[0],
            arguments,
            settings,
            file_actions=actions,
            setpgroup=process_group,
            setsigmask=[],
            setsigdef=defaults,
        )
    _children.add(pid)
    ticks = _running_since(pid)
    # A program that ended at once is still our zombie here, so a missing start time means just that.
    return Process(name=name, pid=pid, start_ticks=-1 if ticks is None else ticks, log=str(log))


class Ledger:
    """The record of a lab's processes on disk: one JSON file each, written before anyone waits for the program."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def add(self, process: Process) -> Process:
        self.directory.mkdir(parents=True, exist_ok=True)
        temporary = self.directory / f".{process.name}.tmp"
        temporary.write_text(json.dumps(dataclasses.asdict(process)))
        temporary.rename(self.directory / f"{process.name}.json")
        return process

    def get(self, name: str) -> Process | None:
        """The recorded process of that name, running or not."""
        try:
            return Process(**json.loads((self.directory / f"{name}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def all(self) -> list[Process]:
        names = sorted(path.stem for path in self.directory.glob("*.json")) if self.directory.is_dir() else []
        return [process for name in names if (process := self.get(name)) is not None]

    def remove(self, name: str) -> None:
        (self.directory / f"{name}.json").unlink(missing_ok=True)
