"""PURE. An object against the schema that the API server has for its kind: unknown fields, types, bounds.

Only what structural schemas of this project use is read; rules in CEL are not, since loading checks them too (`metallb_core.config`).
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]
Found = tuple[str, str]

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "number": (int, float),
}
# What belongs to every object, and what people have there by mistake: the fields of metadata.
_META: Final = frozenset({"name", "namespace", "labels", "annotations"})


def problems(value: Any, schema: Schema, path: str = "") -> Iterator[Found]:
    """Each problem as (path, sentence)."""
    if value is None:
        if path and not schema.get("nullable"):
            yield path, f"has no value; give it one of type {schema.get('type', 'object')}, or remove the line"
        return
    expected = str(schema.get("type", "object"))
    if not isinstance(value, _TYPES[expected]) or (isinstance(value, bool) and expected not in ("boolean",)):
        yield path, f"must be of type {expected}, and {value!r} is not{_instead(value, expected)}"
        return
    if isinstance(value, dict):
        yield from _object(value, schema, path)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield path, f"needs an entry{'' if schema['minItems'] == 1 else ' more'}"
        for position, each in enumerate(value):
            yield from problems(each, schema.get("items", {}), f"{path}[{position}]")
    else:
        yield from _bounds(value, schema, path)


def _object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[Found]:
    for name in schema.get("required", ()):
        if name not in value:
            yield path or name, f"field {name!r} is missing"
    properties = schema.get("properties")
    if properties is None:
        for name, each in value.items():
            yield from problems(each, schema.get("additionalProperties") or {"type": _type_of(each)}, f"{path}.{name}")
        return
    for name, each in value.items():
        below = f"{path}.{name}" if path else name
        if name in properties:
            yield from problems(each, properties[name], below)
        elif not path:
            yield below, _misplaced(name, properties)
        else:
            yield below, f"unknown field; {_similar(name, properties)}{path} takes {', '.join(sorted(properties))}"


def takes(schema: Schema, path: str) -> bool:
    """Whether the schema has a field at `path`, such as spec.addresses[0]."""
    for name in re.findall(r"[^.\[\]]+", path):
        inner = schema.get("items") if name.isdigit() else schema.get("properties", {}).get(name)
        if inner is None:
            return False
        schema = inner
    return True


def _instead(value: Any, expected: str) -> str:
    """What to write for a value that has the wrong type, as far as that can be known."""
    if expected == "array" and isinstance(value, str):
        return f'; write ["{value}"]'
    if expected in ("integer", "boolean") and isinstance(value, str):
        return "; leave out the quotes" if re.fullmatch(r"[0-9]+|true|false", value) else ""
    return ""


def _similar(name: str, known: Iterable[str]) -> str:
    folded = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.8)
    return f"did you mean {folded[close[0]]}? " if close else ""


def _misplaced(name: str, properties: Mapping[str, Any]) -> str:
    if name in _META:
        return "stands beside metadata; indent it, so that it is metadata." + name
    if name in properties.get("spec", {}).get("properties", {}):
        return "stands beside spec; indent it, so that it is spec." + name
    return f"unknown field; an object takes {', '.join(sorted(properties))}"


def _type_of(value: Any) -> str:
    for name, types in _TYPES.items():
        if isinstance(value, types) and isinstance(value, bool) == (name == "boolean"):
            return name
    return "object"


def _bounds(value: Any, schema: Schema, path: str) -> Iterator[Found]:
    if "enum" in schema and value not in schema["enum"]:
        yield path, f"{value!r} is not one of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield path, f"{value!r} is not of the form {schema['pattern']}"
        return
    if "minimum" in schema and value < schema["minimum"]:
        yield path, f"{value} is below the least, {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        yield path, f"{value} is above the most, {schema['maximum']}"
