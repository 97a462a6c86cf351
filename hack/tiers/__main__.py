"""Run the tiers, cheapest first, and print a table of what ran, for how long, and how it ended.

    python -m tiers                            all of them
    python -m tiers lint "model and fuzz"      only these

- A failing tier does not stop the others: one run shows all there is to mend. The exit code is that of the whole.
- A tier that cannot run (it needs root, say) is reported as skipped, with what it lacks; nothing is left out silently.
"""

import argparse
import dataclasses
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence

PYTEST = (sys.executable, "-m", "pytest", "-q")
FAST = "not netns and not apiserver and not lab and not gitops and not slow"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One tier: commands run in order, all of them must succeed."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    needs_root: bool = False


TIERS = (
    Tier(name="lint", commands=(("make", "--no-print-directory", "lint"),)),
    Tier(name="types", commands=(("make", "--no-print-directory", "types"),)),
    Tier(name="imports", commands=(("make", "--no-print-directory", "imports"),)),
    Tier(name="set-up", commands=(("make", "--no-print-directory", "packages", "tools"),), needs_root=True),
    Tier(name="chart", commands=(("make", "--no-print-directory", "chart"),)),
    Tier(name="generated", commands=(("make", "--no-print-directory", "generated"),)),
    # Those of the chart are part of its tier.
    Tier(name="unit", commands=((*PYTEST, "-n", "2", "-m", FAST, "--ignore=tests/chart"),)),
    Tier(name="model and fuzz", commands=((*PYTEST, "-m", "slow and not netns and not apiserver and not lab"),)),
    Tier(name="packets", commands=((*PYTEST, "-m", "netns and not lab"),), needs_root=True),
    Tier(name="api server", commands=((*PYTEST, "-m", "apiserver and not lab"),), needs_root=True),
    Tier(name="end to end", commands=((*PYTEST, "-m", "lab"),), needs_root=True),
)


def run(tier: Tier) -> str:
    """`passed`, `failed`, or `skipped: why`."""
    if tier.needs_root and os.geteuid() != 0:
        return "skipped: needs root"
    for command in tier.commands:
        if subprocess.run(command, check=False).returncode:
            return "failed"
    return "passed"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tiers that are named, or all."""
    # As a shell takes them: some names are several words.
    there = ", ".join(shlex.quote(tier.name) for tier in TIERS)
    parser = argparse.ArgumentParser(
        prog="python -m tiers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="TIER", help=f"{there}; all of them when left out")
    names = parser.parse_args(argv).names
    unknown = sorted(set(names) - {tier.name for tier in TIERS})
    if unknown:
        parser.error(f"no such tier: {', '.join(unknown)}; there are {there}")
    rows = []
    for tier in TIERS:
        if names and tier.name not in names:
            continue
        print(f"\n== {tier.name}", flush=True)
        started = time.monotonic()
        outcome = run(tier)
        rows.append((tier.name, f"{time.monotonic() - started:.0f} s", outcome))
    print("\n  tier              time  outcome")
    for name, took, outcome in rows:
        print(f"  {name:<14} {took:>7}  {outcome}")
    return any(outcome == "failed" for _, _, outcome in rows)


if __name__ == "__main__":
    raise SystemExit(main())
