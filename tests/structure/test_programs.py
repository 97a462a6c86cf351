"""The programs of hack, as a developer meets them: each says what it is, by the name it is run by, and refuses what it does not know.

They run in this process, as `python` runs them: thirty interpreters, one after the other, would take ten times as long.
"""

import pathlib
import runpy
import sys
import warnings

import pytest

from changelog import build as changelog

HACK = pathlib.Path(__file__).parents[2] / "hack"
PROGRAMS = (
    "python -m bench",
    "python -m bench.allocation",
    "python -m bench.arp",
    "python -m bench.bfd",
    "python -m bench.bgp",
    "python -m bench.bgp_speaker",
    "python -m bench.bgp_whole",
    "python -m bench.conditions",
    "python -m bench.controller",
    "python -m bench.list_watch",
    "python -m bench.membership",
    "python -m bench.speaker",
    "python hack/bench/sweep.py",
    "python -m changelog",
    "python3 hack/changelog/build.py",
    "python -m demo",
    "python -m demo.flows",
    "python hack/demo/probe.py",
    "python -m generate",
    "python -m generate.crds",
    "python -m generate.manifests",
    "python -m generate.values_comments",
    "python -m generate.values_doc",
    "python -m generate.values_schema",
    "python -m images",
    "python -m lab",
    "python -m release",
    "python -m tiers",
    "python3 hack/tools/build.py",
    "python hack/tools/memberlist/capture.py",
)
WITHOUT = {
    "images/build.py": "`python -m images` runs it",
    "images/web/web.py": "what the web image runs",
    "lab/nodeinit.py": "what the lab starts a node with",
    "lab/packages.py": "`make packages` runs it",
}
"""Files that can be run and have no command line of their own."""
WRONG = {
    "python -m bench arp nope": ("no such suite: nope;", "allocation, arp, bgp,"),
    "python -m bench --nope": ("--nope",),
    "python -m bench.allocation --runs 0": ("--runs", "'0'", "1 or more"),
    "python -m bench.allocation --runs many": ("--runs", "'many'", "1 or more"),
    "python -m bench.bfd --settings 300": ("--settings", "'300'", "300x3,100x3"),
    "python -m bench.membership nope": ("'nope'", "'detect', 'stress', 'idle'"),
    "python -m demo nope": ("nope", "--keep"),
    "python -m generate --nope": ("--nope", "--check"),
    "python -m generate.crds nope": ("nope", "--check"),
    "python -m images nope": ("no such image: nope;", "controller, speaker, web"),
    "python -m release nope 0.1.0 --registry r": ("'nope'", "'version', 'images'"),
    "python -m release chart first --registry r": ("'first'", "1.2.3"),
    "python -m release pages 0.1.0 --registry r": ("--url",),
    "python -m tiers unit nope": ("no such tier: nope;", "lint, types,", "'model and fuzz'"),
    "python -m tiers --nope": ("--nope",),
    "python -m tiers model and fuzz": ("no such tier: and, fuzz, model;", "'model and fuzz'"),
    "python3 hack/tools/build.py nope": ("nope: no such tool;", "kubernetes, etcd,"),
    "python3 hack/tools/build.py etcd/nope": ("etcd/nope: no such program;", "etcd has etcd"),
    "python hack/tools/memberlist/capture.py nope": ("no such program: nope;", "build.py"),
}
RELEASES = {
    "0.1.0": ("a date", "0.1.0 2026-12-01"),
    "first 2026-12-01": ("'first'", "1.2.3"),
    "0.1.0 20261201": ("'20261201'", "2026-12-01"),
    "0.1.0 tomorrow": ("'tomorrow'", "2026-12-01"),
    "0.1.0 2026-12-01 nope": ("nope",),
}


def status(monkeypatch: pytest.MonkeyPatch, command: str) -> object:
    """The status that a command ends with, run here."""
    _, first, *rest = command.split()
    module = rest.pop(0) if first == "-m" else ""
    monkeypatch.setattr(sys, "argv", [module or first, *rest])
    # Some add to it.
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as ended:
        run(first, module)
    return ended.value.code


def run(path: str, module: str) -> None:
    """Run a module as `python -m` does, or a file."""
    if not module:
        runpy.run_path(str(HACK.parent / path), run_name="__main__")
        return
    with warnings.catch_warnings():
        # That a module was imported before it is run is news to runpy, and no harm to a command line.
        warnings.filterwarnings("ignore", message=".*found in sys.modules", category=RuntimeWarning)
        runpy.run_module(module, run_name="__main__", alter_sys=True)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_says_what_a_program_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: str
) -> None:
    assert status(monkeypatch, f"{program} --help") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {program} ")
    _, described, *_ = said.split("\n\n")
    assert not described.startswith(("options:", "positional arguments:")), "it does not say what it does"


@pytest.mark.parametrize(("command", "told"), WRONG.items(), ids=WRONG)
def test_a_wrong_argument_is_named_with_what_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, told: tuple[str, ...]
) -> None:
    assert status(monkeypatch, command) == 2
    said = capsys.readouterr()
    assert not said.out
    assert [each for each in told if each not in said.err] == [], said.err


@pytest.mark.parametrize(("given", "told"), RELEASES.items(), ids=RELEASES)
def test_a_release_that_has_no_place_in_the_changelog_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: pathlib.Path,
    given: str,
    told: tuple[str, ...],
) -> None:
    # Nowhere near the fragments: what is not refused deletes them.
    monkeypatch.setattr(changelog, "ROOT", tmp_path)
    with pytest.raises(SystemExit) as ended:
        changelog.main(given.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert [each for each in told if each not in said] == [], said


def test_no_program_is_missing_here() -> None:
    there = {
        str(path.relative_to(HACK))
        for path in HACK.rglob("*.py")
        if "\nif __name__ ==" in path.read_text() and str(path.relative_to(HACK)) not in WITHOUT
    }
    assert there == {_file(program) for program in PROGRAMS}


def _file(program: str) -> str:
    name = program.split()[-1]
    if name.endswith(".py"):
        return name.removeprefix("hack/")
    path = name.replace(".", "/")
    return f"{path}/__main__.py" if (HACK / path).is_dir() else f"{path}.py"
