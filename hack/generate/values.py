"""The chart's values as a tree: default and comment of every key, read from values.yaml.

Rules: a comment directly above a key, at its indentation, explains it; a blank line between them makes it a remark about the file. YAML
comments are not part of the YAML model, so they are found by the line on which the parser saw the key.
"""

import dataclasses
import pathlib
from collections.abc import Iterator

import yaml

from generate import output

VALUES = output.ROOT / "charts/metallb/values.yaml"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key. `children` are those of a mapping that is not empty; `default` is the value as YAML reads it."""

    path: str
    comment: str
    default: object
    children: tuple["Key", ...]

    def walk(self) -> Iterator["Key"]:
        """The key and everything below it, in the order of the file."""
        yield self
        for child in self.children:
            yield from child.walk()


def read(path: pathlib.Path = VALUES) -> tuple[Key, ...]:
    """The top-level keys of a values file. Raises ValueError when it is not a mapping."""
    text = path.read_text()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{path} does not hold a mapping")
    return _keys(root, yaml.safe_load(text), text.splitlines(), "")


def _keys(node: yaml.MappingNode, defaults: dict[str, object], lines: list[str], prefix: str) -> tuple[Key, ...]:
    found = []
    for name_node, value_node in node.value:
        name = str(name_node.value)
        default = defaults[name]
        children: tuple[Key, ...] = ()
        if isinstance(value_node, yaml.MappingNode) and isinstance(default, dict):
            children = _keys(value_node, default, lines, f"{prefix}{name}.")
        comment = _comment_above(lines, name_node.start_mark.line, name_node.start_mark.column)
        found.append(Key(path=f"{prefix}{name}", comment=comment, default=default, children=children))
    return tuple(found)


def _comment_above(lines: list[str], line: int, column: int) -> str:
    texts: list[str] = []
    start = " " * column + "#"
    while line > 0 and lines[line - 1].startswith(start):
        line -= 1
        texts.insert(0, lines[line].strip().removeprefix("#").strip())
    return " ".join(texts)
