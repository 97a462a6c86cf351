"""Install the Debian packages that the lab needs, and nothing that is there already.

Rules: what is installed is asked of dpkg in one call; with nothing missing no package tool runs; recommended packages
stay out; the package lists are fetched only when installing from the present ones fails; a daemon that comes with a
package (FRR, BIRD) is not started, because the lab starts its own, in namespaces.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

LIST = Path(__file__).resolve().parent / "packages.txt"
TIMEOUT_SECONDS = 900.0
# What Debian's maintainer scripts ask before they start a service; 101 forbids it.
POLICY = Path("/usr/sbin/policy-rc.d")


class PackageError(Exception):
    """Packages are missing and could not be installed."""


def wanted() -> list[str]:
    lines = (line.split("#")[0].strip() for line in LIST.read_text().splitlines())
    return [line for line in lines if line]


def missing() -> list[str]:
    """Packages of the list that are not installed."""
    try:
        result = subprocess.run(
            ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Package}\n", *wanted()],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise PackageError("the lab runs on Debian 12 (dpkg-query is not there)") from None
    present = {line[3:].strip() for line in result.stdout.splitlines() if line.startswith("ii")}
    return [package for package in wanted() if package not in present]


def _apt(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        ["apt-get", "-q", "-y", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """Forbid it meanwhile, unless the machine has a policy of its own already."""
    try:
        with POLICY.open("x") as policy:
            policy.write("#!/bin/sh\nexit 101\n")
    except FileExistsError:
        yield
        return
    try:
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink()


def ensure() -> list[str]:
    """Install what is missing; returns what was installed. Raises PackageError."""
    absent = missing()
    if not absent:
        return []
    print(f"installing {len(absent)} Debian packages: {' '.join(absent)}", flush=True)
    install = ["install", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *absent]
    with _no_service_starts():
        result = _apt(install)
        if result.returncode != 0:
            # A fresh machine has no package lists, or lists older than the archive.
            _apt(["update"])
            result = _apt(install)
    if result.returncode != 0:
        raise PackageError(f"apt-get install failed:\n{result.stderr.strip()[-2000:]}")
    return absent


if __name__ == "__main__":
    ensure()
