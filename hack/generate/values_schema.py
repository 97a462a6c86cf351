"""Writes values.schema.json, by which Helm checks values before it renders anything.

    python -m generate.values_schema            write
    python -m generate.values_schema --check    fail when it is stale

Rules:
- The type of a key is that of its default; what a default cannot say (enumerations, bounds, what a list holds) is in `SPECIAL`.
- Unknown keys are refused wherever all keys are known, so that a typing error is an error and not a setting without effect.
- What MetalLB's chart accepts and this one has no use for is in `ACCEPTED`: a values file written for MetalLB passes.
- Specs of pools and advertisements are checked by the schema of their definitions.
"""

import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from generate import output, values
from metallb_core.api import crd

TARGET = output.ROOT / "charts/metallb/values.schema.json"
Schema = dict[str, Any]

ANY_OBJECT: Schema = {"type": "object"}
TEXT_MAP: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
COUNT: Schema = {"type": "integer", "minimum": 0}
LOG_LEVEL: Schema = {"type": "string", "enum": ["all", "debug", "info", "warn", "error", "none"]}
COMMAND: Schema = {"type": ["string", "array", "null"], "items": {"type": "string"}}
INTERVAL: Schema = {"type": ["string", "null"], "pattern": "^([0-9]+(y|w|d|h|m|s|ms))*$"}
STRATEGY: Schema = {"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]}
SECRETS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    },
}
THRESHOLDS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"percent": {"type": "integer", "minimum": 0, "maximum": 100}, "labels": TEXT_MAP},
        "required": ["percent"],
        "additionalProperties": False,
    },
}

# By the last name of the path; the whole path comes first.
SPECIAL: Mapping[str, Schema] = {
    "additionalLabels": TEXT_MAP,
    "affinity": ANY_OBJECT,
    "annotations": TEXT_MAP,
    "apiPort": PORT,
    "command": COMMAND,
    "extraAlerts": OBJECTS,
    "extraContainers": OBJECTS,
    "failureThreshold": COUNT,
    "imagePullSecrets": SECRETS,
    "initialDelaySeconds": COUNT,
    "interval": INTERVAL,
    "labels": TEXT_MAP,
    "logLevel": LOG_LEVEL,
    "metricRelabelings": OBJECTS,
    "metricsPort": PORT,
    "mlBindPort": PORT,
    "nodeSelector": TEXT_MAP,
    "periodSeconds": COUNT,
    "podAnnotations": TEXT_MAP,
    "port": PORT,
    "pullPolicy": {"type": ["string", "null"], "enum": ["Always", "IfNotPresent", "Never", None]},
    "relabelings": OBJECTS,
    "replicas": COUNT,
    "resources": ANY_OBJECT,
    "securityContext": ANY_OBJECT,
    "strategy": STRATEGY,
    "successThreshold": COUNT,
    "tag": {"type": ["string", "null"]},
    "terminationGracePeriodSeconds": COUNT,
    "thresholds": THRESHOLDS,
    "timeoutSeconds": COUNT,
    "tlsConfig": ANY_OBJECT,
    "tolerations": OBJECTS,
    "updateStrategy": STRATEGY,
    "controller.webhookMode": {"type": "string", "enum": ["enabled", "disabled", "onlywebhook"]},
    "crds.validationFailurePolicy": {"type": "string", "enum": ["Fail", "Ignore"]},
    "speaker.bgpDebounceTimeout": {"type": ["integer", "null"], "minimum": 1},
    "speaker.memberlist.profile": {"type": "string", "enum": ["fast", "lan", "wan"]},
    "tls.minVersion": {"type": "string", "enum": ["", "VersionTLS12", "VersionTLS13"]},
}
ACCEPTED: Mapping[str, Mapping[str, Schema]] = {
    "": {
        "global": {"type": "object", "description": "Shared with other charts; nothing here is read."},
        "frr-k8s": {
            "type": "object",
            "description": "Settings of a chart that this one does not bring; without effect.",
        },
        "configInline": {"description": "Refused when set: configuration is kept in custom resources."},
    },
    # Helm puts `global` into the values of every subchart.
    "crds": {"global": {"type": "object"}},
}
CONFIGURATION: Mapping[str, tuple[str, bool]] = {
    "ipAddressPools": ("IPAddressPool", True),
    "l2Advertisements": ("L2Advertisement", False),
}


def schema() -> Schema:
    """The whole schema, JSON Schema draft 7, which every Helm 3 understands."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the metallb chart",
        **_object("", values.read()),
    }


def _object(path: str, keys: Sequence[values.Key]) -> Schema:
    properties = {key.path.rsplit(".", 1)[-1]: _described(key) for key in keys}
    properties.update(ACCEPTED.get(path, {}))
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _described(key: values.Key) -> Schema:
    found = _value(key)
    return {"description": key.comment, **found} if key.comment else found


def _value(key: values.Key) -> Schema:
    if key.path in CONFIGURATION:
        return _resources(*CONFIGURATION[key.path])
    special = SPECIAL.get(key.path) or SPECIAL.get(key.path.rsplit(".", 1)[-1])
    if special is not None:
        return special
    match key.default:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case str():
            return {"type": "string"}
        case dict() if key.children:
            return _object(key.path, key.children)
    raise ValueError(f"{key.path}: the default {key.default!r} does not tell its type; add it to SPECIAL")


def _resources(kind_name: str, spec_required: bool) -> Schema:
    """A list of custom resources, their specs checked as the definition checks them, as far as JSON Schema can."""
    (kind,) = (kind for kind in crd.KINDS if kind.name == kind_name)
    definition = crd.definition(kind)
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253},
                "namespace": {"type": "string"},
                "labels": TEXT_MAP,
                "annotations": TEXT_MAP,
                "spec": _plain(spec),
            },
            "required": ["name", "spec"] if spec_required else ["name"],
            "additionalProperties": False,
        },
    }


def _plain(schema: Schema) -> Schema:
    """A structural schema as JSON Schema: without Kubernetes' extensions, formats and defaults, and closed to unknown fields."""
    found: Schema = {}
    for name, value in schema.items():
        if name.startswith("x-kubernetes-") or name in ("format", "default"):
            continue
        if name == "properties":
            found[name] = {field: _plain(inner) for field, inner in value.items()}
            found["additionalProperties"] = False
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
    sys.exit(output.run("generate.values_schema", files, owned))
