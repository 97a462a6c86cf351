"""What a lab changes on the machine itself, and how that is put back: a few kernel settings.

Rules: the values found first are kept on disk until the last lab is gone, and written back then. The kubelet insists
on the first group and would write it itself; the watch limits are too low for three nodes on some machines.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

KUBELET = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
AT_LEAST = {"fs/inotify/max_user_instances": 1024, "fs/inotify/max_user_watches": 524288}


def _path(key: str) -> Path:
    return Path("/proc/sys", key)


def adjust(record: Path) -> None:
    """Note the present values in `record` unless another lab did, then raise the watch limits."""
    if not record.exists():
        found = {key: int(_path(key).read_text()) for key in (*KUBELET, *AT_LEAST) if _path(key).exists()}
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(found))
    for key, wanted in AT_LEAST.items():
        with contextlib.suppress(OSError):
            if int(_path(key).read_text()) < wanted:
                _path(key).write_text(str(wanted))


def restore(record: Path) -> None:
    """Write back what `adjust` noted; without a record nothing happens."""
    try:
        found = json.loads(record.read_text())
    except (OSError, ValueError):
        return
    for key, value in found.items():
        with contextlib.suppress(OSError):
            _path(key).write_text(str(value))
    record.unlink(missing_ok=True)
