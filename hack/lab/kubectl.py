"""Run kubectl against one cluster. An error carries what kubectl said, because that is all a reader has."""

from __future__ import annotations

import subprocess
from pathlib import Path

TIMEOUT_SECONDS = 180.0


def run(binary: Path, kubeconfig: Path, *arguments: str | Path, input: str | None = None) -> str:  # noqa: A002
    """The command's output; `input` is its standard input. Raises CalledProcessError with stderr as a note."""
    result = subprocess.run(
        [binary, f"--kubeconfig={kubeconfig}", *arguments],
        input=input,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        error = subprocess.CalledProcessError(result.returncode, result.args, result.stdout, result.stderr)
        error.add_note(result.stderr.strip())
        raise error
    return result.stdout
