"""`kubectl metallb`: for now `check`, which judges files before they are applied.

    kubectl metallb check -f pools.yaml -f advertisements/     files, folders, or - for standard input

Exit status: 0 all good, 1 something is wrong, 2 the command line or a file cannot be read. `-o json` is for machines.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

from metallb_cli import check, documents
from metallb_core import version

SUFFIXES = (".yaml", ".yml", ".json")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubectl metallb", description="Tools for MetalLB.")
    parser.add_argument("--version", action="version", version=version.__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    judge = commands.add_parser("check", help="judge files of custom resources, without a cluster")
    judge.add_argument("-f", "--filename", action="append", required=True, help="a file, a folder, or -")
    judge.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser


def _files(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        path = pathlib.Path(name)
        if name == "-":
            yield "(standard input)", sys.stdin.read()
        elif path.is_dir():
            for each in sorted(found for found in path.rglob("*") if found.suffix in SUFFIXES):
                yield str(each), each.read_text()
        else:
            yield name, path.read_text()


def _print(seen: int, found: Sequence[check.Finding]) -> None:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    red, plain = ("\033[31m", "\033[0m") if colour else ("", "")
    for each in found:
        what = f'{each.kind} "{each.name}": ' if each.kind else ""
        field = f"{each.field}: " if each.field else ""
        print(f"{each.file}:{each.line}: {red}{what}{field}{plain}{each.detail}")
    objects = f"{seen} object{'' if seen == 1 else 's'}"
    print(f"{objects}, {len(found)} problem{'' if len(found) == 1 else 's'}" if found else f"{objects}, all good")


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point; the exit status."""
    values = _parser().parse_args(arguments)
    try:
        read = [each for name, text in _files(values.filename) for each in documents.read(name, text)]
    except (OSError, UnicodeDecodeError) as error:
        print(f"kubectl metallb: {error}", file=sys.stderr)
        return 2
    seen, found = check.check(read)
    if values.output == "json":
        print(json.dumps({"objects": seen, "problems": [dataclasses.asdict(each) for each in found]}, indent=2))
    else:
        _print(seen, found)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
