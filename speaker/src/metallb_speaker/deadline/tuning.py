"""What a process may do for its own latency without asking for privileges.

- The collector: all that exists after start is frozen, so it is never walked again, and the rest is collected rarely. The hot path makes no
  cycles, so nothing grows meanwhile.
- The scheduler: the lowest real-time priority if permitted (CAP_SYS_NICE), else a better nice value if permitted, else nothing; the
  project's own manifests grant neither, and that is fine. Children of this process would not inherit it.
- Memory is not locked: pages in steady use stay resident, and locking needs another capability.
"""

import contextlib
import gc
import os


def settle_collector() -> None:
    """Freeze what exists and collect rarely from now on. Call once everything is imported and set up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def prefer_this_process() -> str:
    """Raise the scheduling priority as far as permitted. Returns what was obtained: "rr", "nice" or "normal"."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        return "rr"
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
        return "nice"
    return "normal"
