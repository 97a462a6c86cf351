"""`kubectl metallb`: for now `check`, which judges files before they are applied.

    kubectl metallb check -f pools.yaml -f advertisements/     files, folders, or - for standard input

Exit status: 0 all good, warnings or not; 1 something is wrong; 2 the command line or a file cannot be read. `-o json` is for machines.
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


class UnreadableError(Exception):
    """A file that cannot be read. The message is for the user."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubectl metallb", description="Tools for MetalLB.")
    parser.add_argument("--version", action="version", version=version.__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    judge = commands.add_parser(
        "check",
        help="judge files of custom resources, without a cluster",
        description="Judge files of custom resources, all of them together, without a cluster.",
        epilog="Exit status: 0 all good, warnings or not; 1 something is wrong; 2 a file cannot be read.",
    )
    judge.add_argument(
        "-f",
        "--filename",
        action="append",
        required=True,
        help="a file, a folder with all below it, or - for standard input; may be given several times",
    )
    judge.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for people, or for machines")
    return parser


def _files(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        path = pathlib.Path(name)
        if name == "-":
            yield "(standard input)", sys.stdin.read()
        elif path.is_dir():
            for each in sorted(found for found in path.rglob("*") if found.suffix in SUFFIXES):
                yield str(each), _text(each)
        else:
            yield name, _text(path)


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UnreadableError(f"{path}: not text in UTF-8") from None
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from None


def _print(report: check.Report) -> None:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    red, yellow, plain = ("\033[31m", "\033[33m", "\033[0m") if colour else ("", "", "")
    for listed, shade, word in ((report.problems, red, ""), (report.warnings, yellow, "warning: ")):
        for each in listed:
            what = f'{each.kind} "{each.name}": ' if each.kind else ""
            field = f"{each.field}: " if each.field else ""
            print(f"{each.file}:{each.line}: {shade}{word}{what}{field}{plain}{each.detail}")
    if not report.objects and not report.problems:
        print("no object of metallb.io in there")
        return
    found = [(report.problems, "problem"), (report.warnings, "warning")]
    told = [_counted(len(some), noun) for some, noun in found if some] or ["all good"]
    print(", ".join([_counted(report.objects, "object"), *told]))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point; the exit status."""
    values = _parser().parse_args(arguments)
    try:
        read = [each for name, text in _files(values.filename) for each in documents.read(name, text)]
    except UnreadableError as error:
        print(f"kubectl metallb: {error}", file=sys.stderr)
        return 2
    report = check.check(read)
    if values.output == "json":
        print(json.dumps(dataclasses.asdict(report), indent=2))
    else:
        _print(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
