"""Helm, found and run.

Rules: a `helm` on PATH comes first, then the one that `tools/build.py` pins. Looking never builds; a test that needs Helm and finds none
says so and is left out. Helm's home is a scratch directory, so that repositories and plugins of the user never change what comes out.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from tools import build

TIMEOUT_SECONDS = 120.0
KUBE_VERSION = "1.34.0"
"""The version that templates are told about, instead of the one that Helm was built with."""


class HelmError(Exception):
    """Helm refused. The message is what it wrote."""


def find() -> pathlib.Path | None:
    """The program, or None when there is neither one on PATH nor one that was built."""
    on_path = shutil.which("helm")
    return pathlib.Path(on_path) if on_path else build.installed(build.TOOLS["helm"], "helm")


def require() -> pathlib.Path:
    """The program; built when it is missing. Raises build.BuildError."""
    return find() or build.program("helm")


def run(program: pathlib.Path, arguments: Sequence[str | pathlib.Path]) -> str:
    """Run Helm and return what it wrote to standard output. Raises HelmError with what it wrote to standard error."""
    with tempfile.TemporaryDirectory(prefix="metallb-helm-") as home:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HELM_")}
        environment |= {"HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home}
        result = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            env=environment,
        )
    if result.returncode != 0:
        raise HelmError((result.stderr or result.stdout).strip())
    return result.stdout
