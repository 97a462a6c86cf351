"""The manifests as a base of an overlay: the one on the page about GitOps, built by `kubectl kustomize`, which contacts no server."""

import pathlib
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from generate import output
from tools import build

MANIFESTS = output.ROOT / "config/manifests"
POOL = """apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: first-pool, namespace: metallb-system}
spec: {addresses: [192.168.10.0/24]}
"""
Node = dict[str, Any]
Objects = dict[tuple[str, str], Node]


def overlay() -> Node:
    text = (output.ROOT / "docs/gitops.md").read_text()
    blocks = [
        yaml.safe_load(block)
        for block in re.findall(r"^```yaml\n(.*?)^```", text.replace("---\n", "```\n```yaml\n"), re.M | re.S)
    ]
    (found,) = (block for block in blocks if block["kind"] == "Kustomization")
    assert isinstance(found, dict)
    return found


def built(folder: pathlib.Path) -> Objects:
    kubectl = build.installed(build.TOOLS["kubernetes"], "kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not built; hack/tools/build.py builds it")
    result = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(result.stdout)}


def loaded(path: pathlib.Path) -> Objects:
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(path.read_text())}


@pytest.mark.parametrize("name", ["metallb-native", "metallb-native-prometheus"])
def test_base_alone_changes_nothing(tmp_path: pathlib.Path, name: str) -> None:
    shutil.copy(MANIFESTS / f"{name}.yaml", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [f"{name}.yaml"]}))
    assert built(tmp_path) == loaded(MANIFESTS / f"{name}.yaml")


def test_overlay_of_the_page(tmp_path: pathlib.Path) -> None:
    shutil.copy(MANIFESTS / "metallb-native.yaml", tmp_path)
    (tmp_path / "pools.yaml").write_text(POOL)
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay()))
    found = built(tmp_path)
    assert found["Deployment", "controller"]["spec"]["replicas"] == 2
    for key in (("Deployment", "controller"), ("DaemonSet", "speaker")):
        (container,) = found[key]["spec"]["template"]["spec"]["containers"]
        assert container["image"].startswith(f"registry.example.com/metallb/{key[1]}:")
    assert found["IPAddressPool", "first-pool"]["spec"] == {"addresses": ["192.168.10.0/24"]}
    assert set(found) == {*loaded(MANIFESTS / "metallb-native.yaml"), ("IPAddressPool", "first-pool")}


def test_overlay_renames_by_label_and_namespace(tmp_path: pathlib.Path) -> None:
    """What overlays commonly do: a label on everything, selectors left alone."""
    shutil.copy(MANIFESTS / "metallb-native.yaml", tmp_path)
    settings = {"resources": ["metallb-native.yaml"], "labels": [{"pairs": {"team": "edge"}}]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(settings))
    found = built(tmp_path)
    assert {each["metadata"]["labels"]["team"] for each in found.values()} == {"edge"}
    assert found["DaemonSet", "speaker"]["spec"]["selector"]["matchLabels"] == {
        "app": "metallb",
        "component": "speaker",
    }
