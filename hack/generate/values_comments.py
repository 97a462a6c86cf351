"""Writes the comments in the chart's values.yaml, which is what `helm show values` prints, from values.schema.yaml.

    python -m generate.values_comments            write
    python -m generate.values_comments --check    fail when they are stale

Rules: defaults, their order and their layout are the file's own and stay. A comment directly above a key is the generator's; one that a blank
line parts from what follows, such as the head of the file, is not. YAML has no comments in its model, so they go by the line on which the parser
saw the key.
"""

import pathlib
import sys
import textwrap
from collections.abc import Iterator, Sequence

import yaml

from generate import output, values

WIDTH = 140


def files() -> dict[pathlib.Path, str]:
    """Path and text of values.yaml."""
    described = {key.path: key.description for top in values.read() for key in top.walk()}
    text = values.VALUES.read_text()
    return {values.VALUES: commented(text, described)}


def commented(text: str, described: dict[str, str]) -> str:
    """A values file with the given words above its keys, and no others."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("values are a mapping")
    lines = text.splitlines()
    above = {line: (column, described.get(path, "")) for path, line, column in _places(root, "")}
    written: list[str] = []
    for number, line in enumerate(lines):
        if number in above:
            column, words = above[number]
            start = " " * column + "# "
            while written and written[-1].startswith(start):
                written.pop()
            if words:
                # A flag is one word, hyphens and all.
                written += textwrap.wrap(
                    words,
                    WIDTH,
                    initial_indent=start,
                    subsequent_indent=start,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
        written.append(line)
    return "\n".join(written) + "\n"


def _places(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, int, int]]:
    """Path, line and column of every key that stands at the beginning of a line."""
    for name, value in node.value:
        path = f"{prefix}{name.value}"
        yield path, name.start_mark.line, name.start_mark.column
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from _places(value, f"{path}.")


def owned() -> Sequence[pathlib.Path]:
    """The file."""
    return [values.VALUES]


if __name__ == "__main__":
    sys.exit(output.run("generate.values_comments", __doc__, files, owned))
