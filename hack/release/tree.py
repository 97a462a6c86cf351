"""The tree of a release: this checkout's files with the version and the registry written in, in a folder of its own.

A release must not depend on what happens to lie around, so only what git knows or would take comes along, as it is now.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path


class ReleaseError(Exception):
    """The tree is not as a release expects it; the message says where."""


def _replace(path: Path, pattern: str, by: str) -> None:
    text, count = re.subn(pattern, by, path.read_text(), flags=re.MULTILINE)
    if not count:
        raise ReleaseError(f"{path} has nothing like {pattern}")
    path.write_text(text)


def set_version(root: Path, version: str, registry: str) -> None:
    """Write version and registry into the sources of the wheels and of the chart. Raises ReleaseError."""
    _replace(root / "core/src/metallb_core/version.py", r'^__version__ = ".*"$', f'__version__ = "{version}"')
    chart = root / "charts/metallb"
    _replace(chart / "Chart.yaml", r"^version: .*$", f"version: {version}")
    _replace(chart / "Chart.yaml", r"^appVersion: .*$", f"appVersion: v{version}")
    _replace(chart / "values.yaml", r"^( +repository: )quay\.io/metallb/", rf"\g<1>{registry}/")


def copy(root: Path, target: Path) -> None:
    """Make `target` a copy of `root` without what git ignores; changes not yet committed are included. What was there goes."""
    shutil.rmtree(target, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)
