"""Every figure of docs/performance.md, one line each, as `make bench` prints them.

    python -m bench                   all of them
    python -m bench controller arp    only these; `python -m bench.controller --help` says what one of them takes

Close whatever else runs: the machine is measured as it is. Absolute figures depend on it; ratios between versions, taken in one run, do not.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suites that are named, or all; 1 if one of them failed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)}; all of them when left out")
    names = parser.parse_args(argv).names
    unknown = sorted(set(names) - SUITES.keys())
    if unknown:
        parser.error(f"no such suite: {', '.join(unknown)}; there are {', '.join(SUITES)}")
    failed = False
    for name, module in SUITES.items():
        if not names or name in names:
            print(f"\n== {name}", flush=True)
            failed |= subprocess.run([sys.executable, "-m", *module], check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
