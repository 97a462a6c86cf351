"""chart-testing (`ct`), for real: it lints the chart with yamllint and yamale, and installs it once for every values file in its folder.

It works on a copy: `ct` builds dependencies, and so writes into the chart's folder.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from generate import output
from tools import build

CHART = output.ROOT / "charts/metallb"
SETTINGS = pathlib.Path(__file__).parent / "ct"
TIMEOUT_SECONDS = 300.0


@pytest.fixture(scope="session")
def ct_program() -> pathlib.Path:
    found = build.installed(build.TOOLS["ct"], "ct")
    if found is None:
        pytest.skip("ct is not built; hack/tools/build.py builds it")
    return found


@pytest.fixture
def copied(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with the chart and ct's settings, the chart without what git does not know."""
    shutil.copytree(CHART, tmp_path / "metallb", ignore=shutil.ignore_patterns("__snapshot__"))
    shutil.copytree(SETTINGS, tmp_path, dirs_exist_ok=True)
    return tmp_path


def run_ct(
    program: pathlib.Path, helm_program: pathlib.Path, folder: pathlib.Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`ct` with the tools of this checkout first on its path; Helm's home is in the folder."""
    path = os.pathsep.join([str(helm_program.parent), str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    homes = {f"HELM_{name}_HOME": str(folder / ".helm") for name in ("CACHE", "CONFIG", "DATA")}
    return subprocess.run(
        [program, *arguments, "--config", "ct.yaml", "--charts", "metallb"],
        cwd=folder,
        env={**os.environ, **homes, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


@pytest.mark.slow
def test_lint(ct_program: pathlib.Path, helm_program: pathlib.Path, copied: pathlib.Path) -> None:
    result = run_ct(ct_program, helm_program, copied, "lint")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "warning" not in result.stdout
    for values in (CHART / "ci").glob("*-values.yaml"):
        assert f"ci/{values.name}" in result.stdout


@pytest.mark.slow
def test_lint_finds_mistakes(ct_program: pathlib.Path, helm_program: pathlib.Path, copied: pathlib.Path) -> None:
    values = copied / "metallb/ci/mistaken-values.yaml"
    values.write_text("controler: {replicas: 2}\n")
    result = run_ct(ct_program, helm_program, copied, "lint")
    assert result.returncode != 0
    assert "no such key" in result.stdout + result.stderr
    values.unlink()
    chart = copied / "metallb/Chart.yaml"
    chart.write_text(chart.read_text() + "maintaners: []\n")
    result = run_ct(ct_program, helm_program, copied, "lint")
    assert result.returncode != 0
    assert "maintaners" in result.stdout + result.stderr
