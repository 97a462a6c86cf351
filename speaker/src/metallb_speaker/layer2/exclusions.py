"""Which links an administrator excluded (`/etc/metallb/excludel2.yaml`, key `announcedInterfacesToExclude`).

- The file is a mapping with a list of regular expressions; each may match anywhere in a link's name. A missing file or key excludes nothing.
- It is read without a YAML library, which no image of this project carries: as JSON first, else as the subset of YAML that such a file is
  written in, a key and a list of plain or quoted scalars, in block or flow form. Anything else is refused by name, never half understood.
"""

import json
import pathlib
import re
from collections.abc import Iterable

KEY = "announcedInterfacesToExclude"
PATH = pathlib.Path("/etc/metallb/excludel2.yaml")


class ExclusionError(ValueError):
    """The file, or a pattern in it, cannot be understood. The message names the line or the pattern."""


def compile_patterns(patterns: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """Compile each pattern. Raises ExclusionError."""
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            raise ExclusionError(f"{pattern!r} is not a regular expression: {error}") from None
    return tuple(compiled)


def _scalar(text: str, number: int) -> str:
    if text.startswith('"'):
        try:
            value = json.loads(re.split(r"\s+#", text)[0])
        except ValueError:
            value = None
        if not isinstance(value, str):
            raise ExclusionError(f"line {number}: {text!r} is not a quoted string")
        return value
    if text.startswith("'"):
        quoted = re.fullmatch(r"'((?:[^']|'')*)'\s*(?:#.*)?", text)
        if quoted is None:
            raise ExclusionError(f"line {number}: {text!r} is not a quoted string")
        return quoted[1].replace("''", "'")
    return re.split(r"\s+#", text)[0].strip()


def _flow(text: str, number: int) -> list[str]:
    if not text.endswith("]"):
        raise ExclusionError(f"line {number}: a list in brackets must end on its line")
    items = re.findall(r'\s*("(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\'|[^,"\'\s][^,]*?)\s*(?:,|$)', text[1:-1])
    return [_scalar(item, number) for item in items]


def parse(text: str) -> tuple[str, ...]:
    """The patterns that the file's text lists. Raises ExclusionError."""
    stripped = text.strip()
    if stripped.startswith("{"):
        try:
            document = json.loads(stripped)
        except ValueError as error:
            raise ExclusionError(f"neither JSON nor plain YAML: {error}") from None
        listed = document.get(KEY) or []
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise ExclusionError(f"{KEY} is not a list of strings")
        return tuple(listed)
    patterns: list[str] = []
    current: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#") or content in ("---", "..."):
            continue
        if content.startswith("- ") or content == "-":
            if current is None:
                raise ExclusionError(f"line {number}: a list item outside of a list")
            if current == KEY:
                patterns.append(_scalar(content[1:].strip(), number))
            continue
        key, colon, value = content.partition(":")
        if not colon or line[0].isspace():
            raise ExclusionError(
                f"line {number}: {content!r} is not understood; expected `{KEY}:` and a list of strings"
            )
        current, value = key.strip(" \"'"), value.strip()
        if value and not value.startswith("#") and current == KEY and value not in ("null", "~"):
            if not value.startswith("["):
                raise ExclusionError(f"line {number}: {KEY} is not a list")
            patterns += _flow(value, number)
    return tuple(patterns)


def load(path: pathlib.Path = PATH) -> tuple[str, ...]:
    """The patterns of the file; none if there is no file. Raises ExclusionError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise ExclusionError(f"{path} cannot be read: {error}") from None
    patterns = parse(text)
    compile_patterns(patterns)
    return patterns
