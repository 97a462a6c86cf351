"""What runs on the project's machines runs on anyone's: every step of a workflow is a target of the Makefile.

Excepted are steps that set up the machine or speak with the host of the repository; each is listed here with its reason.
"""

import pathlib
import re
from typing import Any

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
MAKE = re.compile(r"make [a-z][a-z-]*( [A-Z]+=(\S+|\".*\"))*")
EXCEPTED = {
    r"apt-get update && apt-get install .*": "a bare container has neither make nor git, which fetches the sources",
    r"echo \"\$TOKEN\" \| docker login .*": "credentials of the registry exist on the host's machines alone",
    r"git config user\.(name|email) .*": "who commits to the branch of the pages",
    r"gh release create .*": "a release on the page of the repository's host, out of what targets have made",
}
# Programs that are built need Go, and the tests that need no root build helm at least.
GO = {"chart", "check", "generated", "gitops", "manifests", "release-chart", "release-dry-run", "release-pages", "test"}
HISTORY = {"check", "release-pages", "test"}
"""Targets that read the history: tests make the previous version out of it, and the pages are a branch."""
Node = dict[str, Any]
JOBS = [
    pytest.param(job, id=f"{path.stem}-{name}")
    for path in WORKFLOWS
    for name, job in yaml.safe_load(path.read_text())["jobs"].items()
]


def commands(job: Node) -> list[str]:
    return [line.strip() for step in job["steps"] for line in step.get("run", "").splitlines()]


def targets(job: Node) -> set[str]:
    return {line.split()[1] for line in commands(job) if line.startswith("make ")}


def uses(job: Node, action: str) -> Node | None:
    """What a job gives to an action; None if it does not use it."""
    found = [step for step in job["steps"] if step.get("uses", "").startswith(f"{action}@")]
    return found[0].get("with", {}) if found else None


@pytest.mark.parametrize("job", JOBS)
def test_every_step_is_a_target(job: Node) -> None:
    for command in commands(job):
        excepted = any(re.fullmatch(pattern, command) for pattern in EXCEPTED)
        assert MAKE.fullmatch(command) or excepted, f"`{command}` is no target of the Makefile"


def test_every_exception_is_used() -> None:
    said = [command for job in JOBS for command in commands(job.values[0])]  # type: ignore[arg-type]
    for pattern in EXCEPTED:
        assert any(re.fullmatch(pattern, command) for command in said), pattern


@pytest.mark.parametrize("job", JOBS)
def test_what_a_target_needs_is_there(job: Node) -> None:
    if targets(job) & GO:
        assert uses(job, "actions/setup-go") is not None
    if targets(job) & HISTORY:
        assert (uses(job, "actions/checkout") or {}).get("fetch-depth") == 0, "a shallow clone has no previous version"


def test_all_checks_run() -> None:
    run = {target for job in JOBS for target in targets(job.values[0])}  # type: ignore[arg-type]
    assert run >= {"check", "chart", "test"}


def test_the_workflow_of_the_chart_starts_when_what_it_reads_changes() -> None:
    """`on` is a word for true in YAML 1.1."""
    document = yaml.safe_load((ROOT / ".github/workflows/chart.yaml").read_text())
    for paths in (each["paths"] for each in document[True].values()):
        for path in paths:
            assert list(ROOT.glob(path)), f"nothing is called {path}"
