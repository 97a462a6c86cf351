"""A node's own branch of the control groups: limits for the kubelet, a freezer for power cuts, a list for cleaning.

Rules:
- The path is `/metallb-lab/<lab>/<node>`, the same in every hierarchy, and is made before the node's first process.
- Below it `system` holds the node's daemons and `kube` is the kubelet's root: with one unified hierarchy a group with
  processes may not have controllers for its children.
- Two kubelets must not share a root: each would kill the other's pods as orphans.
- Version 1 (one mount for each controller) is what this was measured on; version 2 uses `cgroup.freeze` and
  `cgroup.subtree_control`, and has not been run.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from lab import processes

ROOT = "metallb-lab"
SYSTEM = "system"
KUBE = "kube"
FREEZE_SECONDS = 10.0
REMOVE_SECONDS = 10.0
POLL_SECONDS = 0.02


def _mounts() -> list[tuple[Path, str, set[str]]]:
    """(mount point, file system, super options) of every cgroup mount."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            found.append((Path(left.split()[4]), kind, set(options.split(","))))
    return found


def unified() -> bool:
    """Whether this machine uses version 2 for its controllers."""
    return all(kind == "cgroup2" for _, kind, _ in _mounts())


def _hierarchies() -> list[Path]:
    mounts = _mounts()
    # Beside version 1 a version 2 mount may exist for process tracking; the kubelet does not look at it.
    wanted = "cgroup2" if unified() else "cgroup"
    return [point for point, kind, _ in mounts if kind == wanted]


def relative(lab: str, node: str, part: str = "") -> str:
    """The path inside a hierarchy, as the kubelet's `cgroupRoot` wants it: `/metallb-lab/demo/node1/kube`."""
    return f"/{ROOT}/{lab}/{node}" + (f"/{part}" if part else "")


def create(lab: str, node: str) -> None:
    """Make the branch in every hierarchy, with processors and memory nodes filled in."""
    for hierarchy in _hierarchies():
        current = hierarchy
        for part in (ROOT, lab, node):
            _enable_controllers(current)
            current = current / part
            _make(current)
        _enable_controllers(current)
        for leaf in (SYSTEM, KUBE):
            _make(current / leaf)
        _enable_controllers(current / KUBE)


def _make(path: Path) -> None:
    path.mkdir(exist_ok=True)
    for key in ("cpuset.cpus", "cpuset.mems"):
        own = path / key
        # In version 1 a new group's sets are empty, and no process can join it.
        if own.exists() and not own.read_text().strip() and (path.parent / key).exists():
            value = (path.parent / key).read_text().strip()
            if value:
                own.write_text(value)


def _enable_controllers(path: Path) -> None:
    control = path / "cgroup.subtree_control"
    if unified() and control.exists():
        for controller in (path / "cgroup.controllers").read_text().split():
            # A controller may be refused (a real-time process in `cpu`); the kubelet names what it misses.
            with contextlib.suppress(OSError):
                control.write_text(f"+{controller}")


def join(lab: str, node: str) -> None:
    """Move the calling process, and so its future children, into the node's `system` group."""
    for hierarchy in _hierarchies():
        procs = hierarchy / relative(lab, node, SYSTEM).lstrip("/") / "cgroup.procs"
        procs.write_text(str(os.getpid()))


def nodes(lab: str) -> list[str]:
    """Nodes of a lab that have a branch, whether or not anything else of them is left."""
    found = {path.name for hierarchy in _hierarchies() for path in (hierarchy / ROOT / lab).glob("*") if path.is_dir()}
    return sorted(found)


def freeze(lab: str, node: str) -> None:
    """Stop every process of the node, pods included, where it stands, and wait until all have stopped."""
    _switch(lab, node, frozen=True)


def thaw(lab: str, node: str) -> None:
    """Let them go on. Thawed already, or absent, is success."""
    _switch(lab, node, frozen=False)


def _switch(lab: str, node: str, *, frozen: bool) -> None:
    for hierarchy in _hierarchies():
        group = hierarchy / relative(lab, node).lstrip("/")
        if (group / "freezer.state").exists():
            file, order, reached = group / "freezer.state", "FROZEN" if frozen else "THAWED", None
        elif (group / "cgroup.freeze").exists():
            file, order, reached = group / "cgroup.freeze", "1" if frozen else "0", group / "cgroup.events"
        else:
            continue
        file.write_text(order)
        deadline = time.monotonic() + FREEZE_SECONDS
        while not _has_reached(file, order, reached):
            if time.monotonic() >= deadline:
                raise processes.ProcessError(f"{group} is not {order} after {FREEZE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)


def _has_reached(file: Path, order: str, events: Path | None) -> bool:
    if events is None:
        return file.read_text().strip() == order
    return f"frozen {order}" in events.read_text()


def remove(lab: str) -> None:
    """Remove the lab's branch everywhere, deepest first. Waits a bounded time for the last processes to be gone."""
    deadline = time.monotonic() + REMOVE_SECONDS
    # All mounts, also a version 2 one beside version 1: the container runtime makes its groups there too.
    for hierarchy in (point for point, _, _ in _mounts()):
        top = hierarchy / ROOT / lab
        while top.exists():
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            if not top.exists():
                break
            if time.monotonic() >= deadline:
                raise processes.ProcessError(f"{top} still holds processes after {REMOVE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        # The last lab takes the shared parent with it.
        with contextlib.suppress(OSError):
            (hierarchy / ROOT).rmdir()
