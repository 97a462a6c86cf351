"""Files that generators own.

Rules: a generator says what every file holds and which files there are; a file that is there and is not said is stale too. Checking
writes nothing, and a stale file is named with the command that puts it right.
"""

import argparse
import difflib
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIFFERENCE_LINES_AT_MOST = 20


def stale(wanted: Mapping[pathlib.Path, str], owned: Sequence[pathlib.Path]) -> list[str]:
    """What differs between the files and what they should hold, a line or a short difference each. `owned` are the files there now."""
    found: list[str] = []
    for path, text in wanted.items():
        if not path.exists():
            found.append(f"{path.relative_to(ROOT)} is missing")
            continue
        lines = list(
            difflib.unified_diff(
                path.read_text().splitlines(), text.splitlines(), "in the tree", "generated", n=1, lineterm=""
            )
        )
        if lines:
            found.append("\n".join([f"{path.relative_to(ROOT)} is stale:", *lines[:DIFFERENCE_LINES_AT_MOST]]))
    found.extend(f"{path.relative_to(ROOT)} is not generated any more" for path in owned if path not in wanted)
    return found


def write(wanted: Mapping[pathlib.Path, str], owned: Sequence[pathlib.Path]) -> None:
    """Write every file and delete the owned ones that are not wanted."""
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in owned:
        if path not in wanted:
            path.unlink()


def only_check(module: str, described: str | None, arguments: Sequence[str] | None = None) -> bool:
    """The command line of `module`, which its docstring describes: whether it has `--check`. Ends the program after `--help` or a mistake."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=described, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    return bool(parser.parse_args(arguments).check)


def settle(
    module: str,
    generate: Callable[[], Mapping[pathlib.Path, str]],
    owned: Callable[[], Sequence[pathlib.Path]],
    *,
    check: bool,
) -> int:
    """Write what the generator `module` says, or with `check` compare. Returns the exit status."""
    wanted = generate()
    if not check:
        write(wanted, owned())
        return 0
    complaints = stale(wanted, owned())
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    if complaints:
        print(f"run: PYTHONPATH=hack python -m {module}", file=sys.stderr)
    return 1 if complaints else 0


def run(
    module: str,
    described: str | None,
    generate: Callable[[], Mapping[pathlib.Path, str]],
    owned: Callable[[], Sequence[pathlib.Path]],
) -> int:
    """A generator as a program of its own. Returns the exit status."""
    return settle(module, generate, owned, check=only_check(module, described))
