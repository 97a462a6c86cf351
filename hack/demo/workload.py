"""What the demo deploys: a chart's values, a web page, and a UDP echo."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from demo import bundle
from images import build as images

CHART_NAMESPACE = "metallb-system"
WEB, ECHO = "web", "echo"
WEB_PORT, ECHO_PORT = 80, 7
# What the tests make beside the demo's objects carries this label, by which it is removed again.
TRANSIENT = {"demo.metallb.io/transient": "yes"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The names and addresses that differ between labs. `pools`: ranges of the lab's LAN kept free for load balancers."""

    image_tag: str
    pools: tuple[str, ...]
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further values at the top level."""


def values(plan: Plan) -> str:
    """The values file: images, and the configuration in the same release as what reads it."""
    image = {"tag": plan.image_tag, "pullPolicy": "Never"}
    document = {
        "controller": {"image": image},
        "speaker": {"image": image},
        "ipAddressPools": [{"name": "demo", "spec": {"addresses": list(plan.pools)}}],
        "l2Advertisements": [{"name": "demo", "spec": {"ipAddressPools": ["demo"]}}],
        **plan.more,
    }
    return json.dumps(document, indent=2) + "\n"  # JSON is YAML.


def _deployment(name: str, replicas: int, protocol: str) -> dict[str, object]:
    labels = {"app": name}
    container = {
        "name": name,
        "image": images.WEB_REFERENCE,
        "imagePullPolicy": "Never",
        "ports": [{"containerPort": bundle.PORT, "protocol": protocol}],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
            },
        },
    }


def _service(name: str, port: int, protocol: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer",
            "ipFamilyPolicy": "RequireDualStack",
            "ipFamilies": ["IPv4", "IPv6"],
            "selector": {"app": name},
            "ports": [{"port": port, "targetPort": bundle.PORT, "protocol": protocol}],
        },
    }


def manifests() -> str:
    """A web Deployment of two and a UDP echo of one, each behind a dual-stack Service of type LoadBalancer."""
    items = [
        _deployment(WEB, 2, "TCP"),
        _service(WEB, WEB_PORT, "TCP"),
        _deployment(ECHO, 1, "UDP"),
        _service(ECHO, ECHO_PORT, "UDP"),
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def service(
    name: str,
    *,
    app: str = WEB,
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A transient Service of type LoadBalancer in front of `app`; `spec` overrides fields of its spec."""
    port, protocol = (WEB_PORT, "TCP") if app == WEB else (ECHO_PORT, "UDP")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {**TRANSIENT, **(labels or {})}, "annotations": annotations or {}},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": app},
            "ports": [{"port": port, "targetPort": bundle.PORT, "protocol": protocol}],
            **spec,
        },
    }


def pool(name: str, *addresses: str, **spec: Any) -> dict[str, Any]:
    """A transient IPAddressPool."""
    return _configuration("IPAddressPool", name, {"addresses": list(addresses), **spec})


def advertisement(name: str, **spec: Any) -> dict[str, Any]:
    """A transient L2Advertisement."""
    return _configuration("L2Advertisement", name, spec)


def _configuration(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "metallb.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": CHART_NAMESPACE, "labels": TRANSIENT},
        "spec": spec,
    }
