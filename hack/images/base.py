"""A base image made from Debian packages alone, for machines without a registry.

Rules: it holds what `python:slim` holds for us: the interpreter with its library, certificates, and what those need.
It is made once and kept in the cache, keyed by everything it is made from; `--fresh` makes it anew, since a package
list says nothing of security updates.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from pathlib import Path

SUITE = "bookworm"
PYTHON = "3.11"
PACKAGES = ("python3", "ca-certificates")
EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
# What the interpreter never opens, and what only an installation needs.
REMOVED = ("var/lib/apt/lists", "var/cache/apt", "var/log", "usr/lib/python3.11/test", "usr/lib/python3.11/lib2to3")
MAKE_SECONDS = 900.0


class BaseError(Exception):
    """The base could not be made. The message has the last words of the program that failed."""


def key() -> str:
    text = repr((SUITE, PYTHON, PACKAGES, EXCLUDED, REMOVED, platform.machine()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def ensure(cache: Path, *, fresh: bool = False) -> Path:
    """The root file system as a tar file in `cache`; made when it is missing."""
    target = cache / f"base-{SUITE}-{key()}.tar"
    if target.exists() and not fresh:
        return target
    cache.mkdir(parents=True, exist_ok=True)
    temporary = cache / f".{target.name}.{os.getpid()}.tar"
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=essential", f"--include={','.join(PACKAGES)}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
    command += ["--aptopt=Acquire::Languages none"]
    removed = " ".join(f'"$1"/{path}' for path in REMOVED)
    command += [f'--customize-hook=rm -rf {removed}; mkdir -p "$1"/var/log', SUITE, str(temporary)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False)
        if result.returncode != 0:
            raise BaseError(f"mmdebstrap: {result.stderr.strip()[-2000:]}")
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
