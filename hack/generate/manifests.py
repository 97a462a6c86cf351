"""Writes config/manifests, for installing without Helm, from the chart: metallb-native.yaml, and one with monitors for the Prometheus operator.

    python -m generate.manifests            write
    python -m generate.manifests --check    fail when it is stale

Rules:
- The chart is the source; this only renders it, takes Helm's traces off and gives objects the names and labels of MetalLB's manifest, so
  that `kubectl apply` over a cluster installed from that one changes the objects instead of adding others. Selectors are immutable.
- No configuration is made, no hook is kept: applying the file again is the upgrade, of the definitions too.
- The output depends on the chart alone. Helm's version and the machine leave no trace in it.
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from generate import helm, output

CHART = output.ROOT / "charts/metallb"
FOLDER = output.ROOT / "config/manifests"
NAMESPACE = "metallb-system"
HEADER = """# Generated from charts/metallb by hack/generate/manifests.py; edit that, not this.
"""
SETTINGS = ("fullnameOverride=metallb", "speaker.secretName=memberlist", "prometheus.scrapeAnnotations=true")
# What MetalLB's manifest for the operator assumes: its Prometheus runs as prometheus-k8s in namespace monitoring.
MONITORED = (
    "prometheus.serviceMonitor.enabled=true",
    "prometheus.serviceMonitor.jobLabel=component",
    "prometheus.serviceMonitor.interval=30s",
    "prometheus.serviceAccount=prometheus-k8s",
    "prometheus.namespace=monitoring",
)
TARGETS: Mapping[pathlib.Path, tuple[str, ...]] = {
    FOLDER / "metallb-native.yaml": SETTINGS,
    FOLDER / "metallb-native-prometheus.yaml": SETTINGS + MONITORED,
}
NAMES: Mapping[str, str] = {
    "metallb-controller": "controller",
    "metallb-speaker": "speaker",
    "metallb-pod-lister": "pod-lister",
    "metallb:controller": f"{NAMESPACE}:controller",
    "metallb:speaker": f"{NAMESPACE}:speaker",
    "metallb:metrics-reader": f"{NAMESPACE}:metrics-reader",
    "metallb-prometheus": "prometheus-k8s",
    "metallb-controller-monitor": "controller-monitor",
    "metallb-controller-monitor-service": "controller-monitor-service",
    "metallb-speaker-monitor": "speaker-monitor",
    "metallb-speaker-monitor-service": "speaker-monitor-service",
    "app.kubernetes.io/name=metallb,app.kubernetes.io/component=speaker": "app=metallb,component=speaker",
}
HOOK = "helm.sh/hook"
ADMISSION = {f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("audit", "enforce", "warn")}

Node = dict[str, Any]


def objects(settings: Sequence[str]) -> list[Node]:
    """The objects of the manifest that the chart makes with these settings, in the order in which they can be applied."""
    arguments: list[str | pathlib.Path] = ["template", "metallb", CHART, "--namespace", NAMESPACE, "--include-crds"]
    arguments += ["--kube-version", helm.KUBE_VERSION]
    for setting in settings:
        arguments += ["--set", setting]
    rendered = yaml.safe_load_all(helm.run(helm.require(), arguments))
    namespace: Node = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": ADMISSION},
    }
    kept = [document for document in rendered if document and HOOK not in _annotations(document)]
    return [namespace, *(_plain(document) for document in kept)]


def _annotations(document: Node) -> Node:
    found = document["metadata"].get("annotations")
    return found if isinstance(found, dict) else {}


def _plain(document: Node) -> Node:
    """The object under its plain name; definitions are shared by all installations and stay as they are."""
    if document["kind"] == "CustomResourceDefinition":
        return document
    renamed = _renamed(document)
    if not isinstance(renamed, dict):
        raise TypeError("an object is a mapping")
    return renamed


def _renamed(node: object) -> object:
    match node:
        case dict():
            return _labels({key: _renamed(value) for key, value in node.items()})
        case list():
            return [_renamed(value) for value in node]
        case str():
            return NAMES.get(node, node)
    return node


def _labels(mapping: Node) -> Node:
    """Labels of Helm's kind as `app` and `component`; any other mapping as it is."""
    if "app.kubernetes.io/name" not in mapping:
        return mapping
    plain = {"app": "metallb"}
    if "app.kubernetes.io/component" in mapping:
        plain["component"] = mapping["app.kubernetes.io/component"]
    others = {k: v for k, v in mapping.items() if not k.startswith(("app.kubernetes.io/", "helm.sh/"))}
    return {**plain, **others}


class _Dumper(yaml.SafeDumper):
    """Without anchors, with text of several lines as a block."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_text)


def files() -> dict[pathlib.Path, str]:
    """Path and text of every manifest."""
    return {path: HEADER + _text(objects(settings)) for path, settings in TARGETS.items()}


def _text(documents: Sequence[Node]) -> str:
    return str(yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True))


def owned() -> Sequence[pathlib.Path]:
    """The manifests now."""
    return sorted(FOLDER.glob("*.yaml"))


if __name__ == "__main__":
    sys.exit(output.run("generate.manifests", __doc__, files, owned))
