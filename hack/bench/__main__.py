"""`make bench`: every figure of docs/performance.md, one line each. `python -m bench NAME...` prints only these.

Close whatever else runs: the machine is measured as it is. Absolute figures depend on it; ratios between versions, taken in one run, do not.
"""

import subprocess
import sys

SUITES = {
    "allocation": ("bench.allocation",),
    "arp": ("bench.arp",),
    "bgp": ("bench.bgp",),
    "bgp_whole": ("bench.bgp_whole",),
    "controller": ("bench.controller",),
    "conditions": ("bench.conditions",),
    "speaker": ("bench.speaker",),
    "membership": ("bench.membership", "detect"),
    "bfd": ("bench.bfd",),
}


def main(names: list[str]) -> int:
    """Run the suites called `names`, or all; 1 if one of them failed."""
    unknown = set(names) - SUITES.keys()
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}", file=sys.stderr)
        return 2
    failed = False
    for name, module in SUITES.items():
        if not names or name in names:
            print(f"\n== {name}", flush=True)
            failed |= subprocess.run([sys.executable, "-m", *module], check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
