"""What a process may do for its own latency without asking for privileges.

- The collector: all that exists after start is frozen, so it is never walked again, and the rest is collected rarely. The hot path makes no
  cycles, so nothing grows meanwhile.
- The scheduler: the lowest real-time priority if permitted (CAP_SYS_NICE), else a better nice value if permitted, else nothing; the
  project's own manifests grant neither, and that is fine. Children of this process would not inherit it.
- Whoever burns the processor in the same container can stand back. The kernel divides a core between containers first, and inside one
  afterwards: a process that sleeps most of the time waits for its container's turn, and then for whoever is busy inside. On an overloaded
  node the longest waits were shorter with the other thread at the lowest priority (docs/performance.md). Lowering a priority needs no
  right; only raising one does.
- Memory is not locked: pages in steady use stay resident, and locking needs another capability.
"""

import contextlib
import gc
import os
import threading

_LOWEST = 19


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


def stand_back() -> None:
    """Give the calling thread, and what it starts from now on, the lowest priority; other threads of the process keep theirs."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
