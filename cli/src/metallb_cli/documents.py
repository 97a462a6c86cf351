"""YAML files as objects that remember where each field stands.

- A file that is not YAML has an error that names the field on the line where reading ended, as well as a tool can know it: that is where
  its user has to look.
- A list of objects (`kind: List`) is its objects.
- The value of a field is what Kubernetes' own reader makes of it (YAML 1.1: `on` and `yes` are booleans).
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

_KEY: Final = re.compile(r"^[\s-]*(?P<key>[A-Za-z][\w./-]*)\s*:")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One object. `lines`: the line of each field by its path, such as spec.addresses[0]; the whole object under the empty path."""

    file: str
    value: Any
    lines: Mapping[str, int]

    def line(self, path: str) -> int:
        """Where a field, or the nearest one around it that is there, begins."""
        while path not in self.lines:
            shorter = re.sub(r"(\.[^.\[\]]*|\[\d+\])$", "", path)
            path = shorter if shorter != path else ""
        return self.lines[path]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A file that is not YAML. `field`: the key on the line where reading ended, or empty."""

    file: str
    line: int
    field: str
    detail: str


def read(file: str, text: str) -> Iterator[Document | Unreadable]:
    """The documents of a file, up to the first that cannot be read."""
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            for each in _members(node):
                lines: dict[str, int] = {}
                _locate(each, "", lines)
                yield Document(file=file, value=_construct(each), lines=lines)
    except yaml.YAMLError as error:
        yield _unreadable(file, text, error)


def _members(node: yaml.Node) -> list[yaml.Node]:
    """The objects of a list as `kubectl get --output yaml` writes it; any other object by itself."""
    if isinstance(node, yaml.MappingNode):
        fields = {key.value: value for key, value in node.value}
        kind, items = fields.get("kind"), fields.get("items")
        if kind is not None and str(kind.value).endswith("List") and isinstance(items, yaml.SequenceNode):
            return list(items.value)
    return [node]


def _construct(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _locate(node: yaml.Node, path: str, lines: dict[str, int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = f"{path}.{key.value}" if path else str(key.value)
            lines[below] = key.start_mark.line + 1
            _locate(value, below, lines)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            _locate(value, f"{path}[{position}]", lines)


def _unreadable(file: str, text: str, error: yaml.YAMLError) -> Unreadable:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Unreadable(file=file, line=1, field="", detail=f"not YAML: {error}")
    rows = text.splitlines()
    row = rows[mark.line] if mark.line < len(rows) else ""
    found = _KEY.match(row)
    field = found["key"] if found else ""
    detail = f"not YAML: {getattr(error, 'problem', None) or 'unreadable'}"
    if "{{" in row:
        detail += (
            "; this is a template: check what it renders, as in `helm template CHART | kubectl metallb check -f -`"
        )
    elif field:
        detail += f"; is {field!r} indented as far as the other fields of its object?"
    return Unreadable(file=file, line=mark.line + 1, field=field, detail=detail)
