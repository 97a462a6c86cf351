"""Moves the fragments of changelog.d into CHANGELOG.md as the section of a release.

    python3 hack/changelog/build.py                      print the section that would be written
    python3 hack/changelog/build.py 0.1.0 2026-12-01     write it, and delete the fragments

- A fragment is `NAME.KIND.md`. Another name is an error that says so: a change must not get lost by a typing error.
- Kinds are in a fixed order, fragments by name, so that the same fragments always give the same section.
- Only the standard library is imported: this runs before any virtual environment exists.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("added", "changed", "fixed", "removed", "security")
MARK = "<!-- releases: newest first -->\n"
VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")


class FragmentError(Exception):
    """A fragment, a version or the changelog is not as it must be; the message says what."""


def fragments(folder: Path) -> dict[str, list[Path]]:
    """The fragments by kind. Raises FragmentError for a file of another name, and for an empty one."""
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted(folder.glob("*.md")):
        if path.name == "README.md":
            continue
        parts = path.name.split(".")
        if len(parts) != 3 or parts[1] not in KINDS:
            raise FragmentError(f"{path.name}: a fragment is called NAME.KIND.md, KIND one of {', '.join(KINDS)}")
        if not path.read_text().strip():
            raise FragmentError(f"{path.name} is empty")
        found[parts[1]].append(path)
    return found


def section(title: str, found: Mapping[str, Sequence[Path]]) -> str:
    """The section of a release."""
    parts = [f"## {title}"]
    for kind, paths in found.items():
        if paths:
            items = ["- " + path.read_text().strip().replace("\n", "\n  ") for path in paths]
            parts.append("\n".join([f"### {kind.capitalize()}", "", *items]))
    return "\n\n".join(parts) + "\n"


def release(root: Path, version: str, date: str) -> None:
    """Write the section and delete the fragments. Raises FragmentError, before anything is written."""
    if not VERSION.fullmatch(version):
        raise FragmentError(f"{version!r} is not a version; write it as 1.2.3")
    found = fragments(root / "changelog.d")
    log = root / "CHANGELOG.md"
    text = log.read_text()
    if MARK not in text:
        raise FragmentError(f"CHANGELOG.md has no line {MARK.strip()}")
    log.write_text(text.replace(MARK, f"{MARK}\n{section(f'{version} ({date})', found)}"))
    for paths in found.values():
        for path in paths:
            path.unlink()


def main(argv: Sequence[str] | None = None, *, program: str = "python3 hack/changelog/build.py") -> int:
    """The command line, called by the name of `program`."""
    parser = argparse.ArgumentParser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("version", metavar="VERSION", nargs="?", help="of the release, such as 0.1.0")
    parser.add_argument("date", metavar="DATE", nargs="?", help="of the release, such as 2026-12-01")
    options = parser.parse_args(argv)
    if options.version is not None:
        if not VERSION.fullmatch(options.version):
            parser.error(f"{options.version!r} is not a version; write it as 1.2.3")
        if not options.date:
            parser.error(f"a release has a date, too: {options.version} 2026-12-01")
        if not _is_date(options.date):
            parser.error(f"{options.date!r} is not a date; write it as 2026-12-01")
    try:
        if options.version is None:
            print(section("Unreleased", fragments(ROOT / "changelog.d")), end="")
        else:
            release(ROOT, options.version, options.date)
    except FragmentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _is_date(text: str) -> bool:
    try:
        # Other ways to write a date are read, too.
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
