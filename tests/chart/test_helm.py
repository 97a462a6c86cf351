"""The chart under Helm: it lints, renders for every values file, refuses what is wrong by its name, and passes its own suites."""

import pathlib
import subprocess
from typing import Any

import pytest
import yaml

from generate import helm, output

CHART = output.ROOT / "charts/metallb"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
MANIFEST = output.ROOT / "config/manifests/metallb-native.yaml"


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem.removesuffix("-values"))
def test_lint(helm_program: pathlib.Path, path: pathlib.Path) -> None:
    report = helm.run(helm_program, ["lint", "--strict", CHART, "--values", path])
    assert "0 chart(s) failed" in report


@pytest.mark.parametrize("version", ["1.19.0", "1.25.0", "1.34.0"])
@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem.removesuffix("-values"))
def test_template(render: Any, path: pathlib.Path, version: str) -> None:
    documents = render("--values", path, "--kube-version", version, "--include-crds")
    names = [(d["apiVersion"], d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents]
    assert len(names) == len(set(names)), "an object is rendered twice"
    assert {("apps/v1", "Deployment"), ("apps/v1", "DaemonSet")} <= {(name[0], name[1]) for name in names}
    for document in documents:
        if document["kind"] not in ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"):
            assert document["metadata"]["namespace"] == "metallb-system", document["metadata"]["name"]


def test_values_of_metallb_change_nothing(render: Any) -> None:
    """Upstream's defaults are ours."""
    (path,) = (path for path in VALUES if path.stem == "metallb-values")
    assert render("--values", path) == render()


def test_without_definitions_none_are_installed(render: Any) -> None:
    kinds = {document["kind"] for document in render("--include-crds", "--set", "crds.enabled=false")}
    assert "CustomResourceDefinition" not in kinds
    assert "Job" not in kinds


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        pytest.param("controler.replicas=2", ["controler"], id="top-level-typo"),
        pytest.param("fullNameOverride=x", ["fullNameOverride"], id="case"),
        pytest.param("controller.image.tags=x", ["/controller/image", "tags"], id="nested-typo"),
        pytest.param("speaker.logLevel=loud", ["/speaker/logLevel", "warn"], id="enumeration"),
        pytest.param("prometheus.metricsPort=0", ["/prometheus/metricsPort"], id="port"),
        pytest.param("controller.replicas=two", ["/controller/replicas"], id="type"),
        pytest.param("speaker.nodeSelector.lan=true", ["/speaker/nodeSelector/lan"], id="label-that-is-no-text"),
        pytest.param("crds.validationFailurePolicy=Maybe", ["/crds/validationFailurePolicy"], id="failure-policy"),
        pytest.param("ipAddressPools[0].name=a", ["/ipAddressPools/0", "spec"], id="pool-without-spec"),
        pytest.param(
            "ipAddressPools[0].spec.addresses[0]=10.0.0.0/24", ["/ipAddressPools/0", "name"], id="pool-without-name"
        ),
        pytest.param(
            "ipAddressPools[0].spec.adresses[0]=10.0.0.0/24", ["/ipAddressPools/0/spec", "adresses"], id="pool-typo"
        ),
        pytest.param(
            "l2Advertisements[0].spec.ipAddressPool=a",
            ["/l2Advertisements/0/spec", "ipAddressPool"],
            id="advertisement-typo",
        ),
        pytest.param("frrk8s.enabled=true", ["frrk8s.enabled", "set frrk8s.enabled to false"], id="frrk8s"),
    ],
)
def test_mistake_is_refused_by_its_name(render: Any, setting: str, named: list[str]) -> None:
    with pytest.raises(helm.HelmError) as caught:
        render("--set", setting)
    # Older Helms write paths with dots and without indices' slashes, the same names in the same order.
    message = str(caught.value)
    for name in named:
        assert name in message or name.strip("/").replace("/", ".") in message


def test_suites() -> None:
    program = helm.find_unittest()
    if program is None:
        pytest.skip("helm-unittest is not built; hack/tools/build.py builds it")
    result = subprocess.run([program, "--strict", CHART], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout


def test_every_template_has_a_suite() -> None:
    covered: set[str] = set()
    for path in (CHART / "tests").glob("*_test.yaml"):
        covered.update(yaml.safe_load(path.read_text())["templates"])
    assert {path.name for path in (CHART / "templates").iterdir() if path.name != "_helpers.tpl"} == covered


def test_no_volume_is_mounted_that_is_not_there(render: Any) -> None:
    for path in VALUES:
        for document in render("--values", path):
            if document["kind"] in ("Deployment", "DaemonSet", "Job"):
                pod = document["spec"]["template"]["spec"]
                volumes = {volume["name"] for volume in pod["volumes"]}
                mounts = {
                    mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", [])
                }
                assert mounts == volumes


def test_manifest_has_metallbs_names_and_no_trace_of_helm() -> None:
    documents = list(yaml.safe_load_all(MANIFEST.read_text()))
    names = {(document["kind"], document["metadata"]["name"]) for document in documents}
    assert {("Namespace", "metallb-system"), ("Deployment", "controller"), ("DaemonSet", "speaker")} <= names
    assert {
        ("ServiceAccount", "controller"),
        ("ServiceAccount", "speaker"),
        ("ConfigMap", "metallb-excludel2"),
    } <= names
    assert not {kind for kind, _ in names} & {"IPAddressPool", "L2Advertisement", "Job"}
    for document in documents:
        if document["kind"] in ("Deployment", "DaemonSet"):
            labels = {"app": "metallb", "component": document["metadata"]["name"]}
            assert document["spec"]["selector"]["matchLabels"] == labels
            assert document["spec"]["template"]["metadata"]["labels"] == labels
            assert document["spec"]["template"]["spec"]["serviceAccountName"] == document["metadata"]["name"]
        if document["kind"] != "CustomResourceDefinition":
            assert "helm" not in yaml.safe_dump(document).lower()
