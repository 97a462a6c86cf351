"""The first process of a node: makes the node's namespaces, then starts its daemons and reaps what they leave.

Run as `python3 -m lab.nodeinit SPECIFICATION`, a JSON file written from `Specification`.

Rules:
- A node is one process tree with namespaces of its own for processes, mounts, network, IPC and host name. Killing
  this process makes the kernel kill daemons, shims and containers with it, and their mounts go when the last of
  them has: taking a node down needs no list of what runs on it.
- /run, /var/lib and /var/log are the node's own. Daemons use their usual paths, and hostPath volumes of two nodes
  do not meet. /sys stays the host's, because the control groups are mounted below it.
- The process is entered in the lab's ledger before it does anything that would need cleaning.
- The daemons start in order: the first one is the container runtime, and the others wait for its socket and for the
  gate, a file that `up` makes when the API server serves. A daemon that ends is started again, a bounded number of
  times, as an init system would.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from lab import cgroups, processes

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

WAIT_SECONDS = 300.0
POLL_SECONDS = 0.05
RESTARTS = 50
RESTART_DELAY_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A program of the node; `log` is a path as the node sees it."""

    name: str
    argv: list[str]
    log: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Specification:
    """Everything a node's first process must know. `binds` are (source on the host, target in the node), in order."""

    lab: str
    node: str
    namespace: str
    ledger: str
    log: str
    binds: list[tuple[str, str]]
    sysctls: list[tuple[str, str]]
    runtime_socket: str
    gate: str
    daemons: list[Daemon]


def load(path: Path) -> Specification:
    document = json.loads(path.read_text())
    document["daemons"] = [Daemon(**daemon) for daemon in document["daemons"]]
    return Specification(**document)


def _call(function: str, *arguments: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def main(specification: Specification) -> int:
    """Fork the node's first process, record it, let it go on; returns at once in the parent."""
    cgroups.join(specification.lab, specification.node)
    with Path(specification.namespace).open() as namespace:
        _call("setns", namespace.fileno(), CLONE_NEWNET)
    _call("unshare", CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        # The parent ends without writing when it could not record us; then nobody may know of this process.
        if os.read(reader, 1) != b"+":
            os._exit(1)
        os.close(reader)
        os.setsid()
        try:
            _run(specification)
        except BaseException as error:
            print(f"{specification.node}: {error!r}", flush=True)
            os._exit(1)
    os.close(reader)
    node = processes.adopt(specification.node, pid, Path(specification.log))
    processes.Ledger(Path(specification.ledger)).add(node)
    os.write(writer, b"+")
    return 0


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, timeout=WAIT_SECONDS)


def _run(specification: Specification) -> None:
    # First private, so that nothing below reaches the host; then shared again, because a volume with mount
    # propagation asks for that inside the node.
    _mount("--make-rprivate", "/")
    for source, target in specification.binds:
        if Path(source).is_dir():
            Path(target).mkdir(parents=True, exist_ok=True)
        if Path(target).exists():
            _mount("--rbind", source, target)
    _mount("-t", "proc", "proc", "/proc")
    _mount("--make-rshared", "/")
    socket.sethostname(specification.node)
    for key, value in specification.sysctls:
        Path("/proc/sys", key).write_text(value)
    runtime, *others = specification.daemons
    running = {_start(runtime).pid: runtime}
    for path in (specification.runtime_socket, specification.gate):
        _wait_exists(Path(path))
    for daemon in others:
        running[_start(daemon).pid] = daemon
    _reap(running)


def _start(daemon: Daemon) -> processes.Process:
    return processes.start(daemon.name, daemon.argv, Path(daemon.log))


def _wait_exists(path: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not path.exists():
        if time.monotonic() >= deadline:
            raise processes.ProcessError(f"{path} did not appear within {WAIT_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def _reap(running: dict[int, Daemon]) -> None:
    """Wait for children for as long as the node lives; orphans of containers end up here too."""
    restarts = 0
    while running:
        pid, status = os.waitpid(-1, 0)
        daemon = running.pop(pid, None)
        if daemon is None:
            continue
        print(f"{daemon.name} ended with {os.waitstatus_to_exitcode(status)}", flush=True)
        restarts += 1
        if restarts > RESTARTS:
            raise processes.ProcessError(f"more than {RESTARTS} restarts")
        time.sleep(RESTART_DELAY_SECONDS)
        running[_start(daemon).pid] = daemon


if __name__ == "__main__":
    sys.exit(main(load(Path(sys.argv[1]))))
