"""Structural OpenAPI v3 schemas, read from wire structs.

Rules:
- The struct is the only source: a field without a default is required, `Meta` gives bounds and descriptions, a struct's docstring
  describes its object. What a struct cannot say (formats, defaults, CEL rules) is an addition, keyed by the field's path.
- A default is written only when an addition asks for it. The API server fills defaults in, so one for every Python default would make
  objects read back other than they were written.
- `T | None` means that the field may be left out. It is not `nullable`: no field has a use for null.
- `metadata` stays `type: object`; the API server knows its schema and refuses another.
- A label selector is one value: its map and its lists are atomic, as everywhere in Kubernetes.
- An addition whose path no field has is our bug and raises.
"""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect as shapes

from metallb_core.api import meta

Schema = dict[str, Any]
"""A JSON schema; JSON has no narrower type that mypy could hold."""

_EXTENSIONS: Mapping[type, Schema] = {
    meta.LabelSelector: {"x-kubernetes-map-type": "atomic"},
}
_SELECTOR_FIELDS: Mapping[tuple[type, str], Schema] = {
    (meta.LabelSelector, "matchLabels"): {"description": "Labels that must be there, each with this value."},
    (meta.LabelSelector, "matchExpressions"): {
        "description": "Requirements that must all hold, `matchLabels` included.",
        "x-kubernetes-list-type": "atomic",
    },
    (meta.LabelSelectorRequirement, "key"): {"description": "The label that the requirement is about."},
    (meta.LabelSelectorRequirement, "operator"): {
        "description": "How the label relates to the values.",
        "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
    },
    (meta.LabelSelectorRequirement, "values"): {
        "description": "The values; at least one for In and NotIn, none for Exists and DoesNotExist.",
        "x-kubernetes-list-type": "atomic",
    },
}
_DESCRIPTIONS: Mapping[type, str] = {
    meta.LabelSelector: "A label selector; an empty one matches everything.",
    meta.LabelSelectorRequirement: "One requirement on a label.",
}


def schema_of(root: type[msgspec.Struct], additions: Mapping[str, Schema]) -> Schema:
    """The schema of a top-level kind. `additions` maps a path (`spec.addresses[]`) to keys merged in there; one of a path that the struct
    lacks creates the property when its parent exists (`spec` of a kind that has only a status). Raises KeyError for any other path."""
    shape = shapes.type_info(root)
    if not isinstance(shape, shapes.StructType):
        raise TypeError(f"{root.__name__} is not a struct")
    body = _object(shape)
    properties: Schema = {
        "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
        "kind": {"type": "string", "description": "Kind of the object."},
        **body["properties"],
    }
    properties["metadata"] = {"type": "object"}
    required = [name for name in body.get("required", []) if name != "metadata"]
    schema: Schema = {"type": "object", "description": _description(root), "properties": properties}
    if required:
        schema["required"] = required
    for path, addition in additions.items():
        _at(schema, path).update(copy.deepcopy(addition))
    return schema


def _at(schema: Schema, path: str) -> Schema:
    """The schema at a dotted path; `[]` steps into a list's items. Raises KeyError when a step other than the last is missing."""
    names = path.split(".")
    for position, name in enumerate(names):
        bare = name.removesuffix("[]")
        if position == len(names) - 1 and name == bare:
            schema["properties"].setdefault(bare, {})
        schema = schema["properties"][bare]
        if name != bare:
            schema = schema["items"]
    return schema


def _object(shape: shapes.StructType) -> Schema:
    properties: Schema = {}
    for field in shape.fields:
        found = _value(field.type)
        # Copies, because what comes out is edited in place and written out without aliases.
        special = copy.deepcopy(_SELECTOR_FIELDS.get((shape.cls, field.encode_name), {}))
        properties[field.encode_name] = {**found, **special}
    schema: Schema = {"type": "object", "description": _description(shape.cls), "properties": properties}
    required = [field.encode_name for field in shape.fields if field.required]
    if required:
        schema["required"] = required
    return {**schema, **_EXTENSIONS.get(shape.cls, {})}


def _value(shape: shapes.Type) -> Schema:
    match shape:
        case shapes.Metadata():
            return {**_value(shape.type), **(shape.extra_json_schema or {})}
        case shapes.UnionType():
            (inner,) = (one for one in shape.types if not isinstance(one, shapes.NoneType))
            return _value(inner)
        case shapes.StructType():
            return _object(shape)
        case shapes.ListType():
            return {"type": "array", "items": _value(shape.item_type)}
        case shapes.DictType():
            return {"type": "object", "additionalProperties": _value(shape.value_type)}
        case shapes.BoolType():
            return {"type": "boolean"}
        case shapes.StrType():
            return {"type": "string"}
        case shapes.IntType():
            bounds = {"minimum": shape.ge, "maximum": shape.le}
            return {"type": "integer", **{name: value for name, value in bounds.items() if value is not None}}
    raise TypeError(f"{shape!r} has no structural schema")


def _description(struct: type) -> str:
    return _DESCRIPTIONS.get(struct) or inspect.cleandoc(struct.__doc__ or "")
