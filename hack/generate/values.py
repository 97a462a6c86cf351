"""The chart's values as a tree: what values.schema.yaml says of every key, with its default from values.yaml.

Rules:
- The schema is the source of types and words; values.yaml of defaults. `differences` says where they disagree, key by key.
- References are resolved here, so nothing after this knows of them. What stands beside a reference comes before what it brings.
- An object with `properties` is a table of keys, and closed; any other value is a leaf, whatever it holds.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from generate import output

SCHEMA = output.ROOT / "charts/metallb/values.schema.yaml"
VALUES = output.ROOT / "charts/metallb/values.yaml"
EVERYTHING = output.ROOT / "tests/chart/values/everything-values.yaml"
"""Every key with a value, for the tests."""
REFERENCE = "#/definitions/"
COMPATIBILITY, GONE = "x-compatibility", "x-gone"

Node = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key. `schema` has no references; `default` is None where values.yaml has nothing; `compatible` marks a key without a default."""

    path: str
    description: str
    schema: Node
    default: object
    compatible: bool
    children: tuple["Key", ...]

    def walk(self) -> Iterator["Key"]:
        """The key and everything below it, in the order of the schema."""
        yield self
        for child in self.children:
            yield from child.walk()


def load(path: pathlib.Path) -> Node:
    """A YAML file that holds a mapping. Raises ValueError."""
    document = yaml.safe_load(path.read_text())
    if not isinstance(document, dict):
        raise ValueError(f"{path} does not hold a mapping")
    return document


def resolved() -> Node:
    """The schema with every reference replaced by what it names. Raises ValueError for one that names nothing."""
    document = load(SCHEMA)
    found = _resolve(document["properties"], document["definitions"])
    if not isinstance(found, dict):
        raise TypeError("properties are a mapping")
    return found


def _resolve(node: object, definitions: Node) -> object:
    match node:
        case dict():
            plain = {name: _resolve(value, definitions) for name, value in node.items() if name != "$ref"}
            if "$ref" not in node:
                return plain
            name = str(node["$ref"]).removeprefix(REFERENCE)
            if name not in definitions:
                raise ValueError(f"{SCHEMA.name}: {node['$ref']} names nothing")
            brought = _resolve(definitions[name], definitions)
            if not isinstance(brought, dict):
                raise TypeError(f"{REFERENCE}{name} is a mapping")
            return plain | {key: value for key, value in brought.items() if key not in plain}
        case list():
            return [_resolve(value, definitions) for value in node]
    return node


def read() -> tuple[Key, ...]:
    """The top-level keys, in the order of the schema."""
    return _keys(resolved(), load(VALUES), "")


def _keys(properties: Node, defaults: Node, prefix: str) -> tuple[Key, ...]:
    found = []
    for name, schema in properties.items():
        if GONE in schema:
            continue
        default = defaults.get(name)
        children: tuple[Key, ...] = ()
        if "properties" in schema:
            children = _keys(schema["properties"], default if isinstance(default, dict) else {}, f"{prefix}{name}.")
        found.append(
            Key(
                path=f"{prefix}{name}",
                description=str(schema.get("description", "")),
                schema=schema,
                default=default,
                compatible=bool(schema.get(COMPATIBILITY)),
                children=children,
            )
        )
    return tuple(found)


def differences(properties: Node, defaults: Mapping[str, Any], everything: Mapping[str, Any]) -> list[str]:
    """Keys that one of schema, values.yaml and the all-on file has and another has not, a sentence each."""
    return [
        *_missing(properties, defaults, "", VALUES.name, optional=True),
        *_missing(properties, everything, "", EVERYTHING.name, optional=False),
    ]


def _missing(properties: Node, given: Mapping[str, Any], prefix: str, name: str, *, optional: bool) -> Iterator[str]:
    """`optional`: an object may be left empty, and keys without a default may be absent."""
    for key, schema in properties.items():
        if key not in given:
            if GONE not in schema and not (optional and schema.get(COMPATIBILITY)):
                yield f"{prefix}{key} is in {SCHEMA.name} and not in {name}"
            continue
        value = given[key]
        if "properties" in schema and schema.get("additionalProperties") is None:
            if not isinstance(value, dict):
                yield f"{prefix}{key} is a mapping in {SCHEMA.name} and not in {name}"
            elif value or not optional:
                yield from _missing(schema["properties"], value, f"{prefix}{key}.", name, optional=optional)
    for key in given:
        if key not in properties:
            yield f"{prefix}{key} is in {name} and not in {SCHEMA.name}"
