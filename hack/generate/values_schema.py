"""Writes values.schema.json, by which Helm checks values before it renders anything, from values.schema.yaml.

    python -m generate.values_schema            write
    python -m generate.values_schema --check    fail when it is stale

Rules:
- An object with known keys takes no others, so that a typing error is an error and not a setting without effect. An unknown key is not forbidden
  outright but required to have one impossible value, a sentence: Helm prints what is required, and so tells which keys there are.
  (`propertyNames` would tell them too, but Helm 3.22 prints it with the path of another object.)
- Specs of custom resources are checked by the schema of their definitions, as far as JSON Schema can.
- JSON Schema draft 7, which every Helm 3 understands.
"""

import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from generate import output, values
from metallb_core.api import crd

TARGET = output.ROOT / "charts/metallb/values.schema.json"
Schema = dict[str, Any]

TEXT_MAP: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
RESOURCES, SPEC = "x-resources", "x-spec"


def schema() -> Schema:
    """The whole schema."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the metallb chart",
        **_closed({"properties": values.resolved()}),
    }


def _closed(node: Schema) -> Schema:
    """A node of the source as plain JSON Schema."""
    if values.GONE in node:
        return {"const": f"no such key any more: {node[values.GONE]}"}
    if RESOURCES in node:
        return {"description": node["description"], **_resources(node[RESOURCES], node[SPEC] == "required")}
    found = {name: value for name, value in node.items() if not name.startswith("x-")}
    if isinstance(found.get("items"), dict):
        found["items"] = _closed(found["items"])
    if isinstance(found.get("additionalProperties"), dict):
        found["additionalProperties"] = _closed(found["additionalProperties"])
    if "properties" in found:
        found["properties"] = {name: _closed(inner) for name, inner in found["properties"].items()}
        found.setdefault("type", "object")
        if "additionalProperties" not in found:
            known = [name for name, inner in node["properties"].items() if values.GONE not in inner]
            found |= _only(known)
    return found


def _only(known: Sequence[str]) -> Schema:
    return {"additionalProperties": {"const": f"no such key; the keys here are {', '.join(known)}"}}


def _resources(kind_name: str, spec_required: bool) -> Schema:
    """A list of custom resources, their specs checked as the version that is stored checks them."""
    (kind,) = (kind for kind in crd.KINDS if kind.name == kind_name)
    (stored,) = (version for version in crd.definition(kind)["spec"]["versions"] if version["storage"])
    properties = {
        "name": {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253},
        "namespace": {"type": "string"},
        "labels": TEXT_MAP,
        "annotations": TEXT_MAP,
        "spec": _plain(stored["schema"]["openAPIV3Schema"]["properties"]["spec"]),
    }
    required = ["name", "spec"] if spec_required else ["name"]
    item = {"type": "object", "properties": properties, "required": required, **_only(list(properties))}
    return {"type": "array", "items": item}


def _plain(schema: Schema) -> Schema:
    """A structural schema as JSON Schema: without Kubernetes' extensions, formats and defaults, and closed to unknown fields."""
    found: Schema = {}
    for name, value in schema.items():
        if name.startswith("x-kubernetes-") or name in ("format", "default"):
            continue
        if name == "properties":
            found[name] = {field: _plain(inner) for field, inner in value.items()}
            found |= _only(list(value))
        elif name in ("items", "additionalProperties"):
            found[name] = _plain(value)
        else:
            found[name] = value
    return found


def files() -> dict[pathlib.Path, str]:
    """Path and text of the schema."""
    return {TARGET: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"}


def owned() -> Sequence[pathlib.Path]:
    """The schema, when it is there."""
    return [TARGET] if TARGET.exists() else []


if __name__ == "__main__":
    sys.exit(output.run("generate.values_schema", __doc__, files, owned))
