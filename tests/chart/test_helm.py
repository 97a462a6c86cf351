"""The chart under Helm: it lints, renders for every values file, refuses what is wrong by its name, and passes its own suites."""

import pathlib
from typing import Any

import pytest
import yaml

from generate import helm, output

CHART = output.ROOT / "charts/metallb"
# Those in the chart's folder can be installed as they are; the others need objects that a bare cluster has not.
VALUES = sorted([*(CHART / "ci").glob("*-values.yaml"), *pathlib.Path(__file__).parent.glob("values/*-values.yaml")])
MANIFESTS = sorted((output.ROOT / "config/manifests").glob("*.yaml"))


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
        if document["metadata"]["name"] == "edge-lb-dashboard":
            assert document["metadata"]["namespace"] == "monitoring"
        elif document["kind"] not in ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"):
            assert document["metadata"]["namespace"] == "metallb-system", document["metadata"]["name"]


def test_values_of_metallb_change_nothing(render: Any) -> None:
    """Upstream's defaults are ours, but for one: writes are blocked without a webhook only when a values file says so."""
    (path,) = (path for path in VALUES if path.stem == "metallb-values")
    assert render("--values", path) == render("--set", "crds.validationFailurePolicy=Fail")


def test_without_definitions_none_are_installed(render: Any) -> None:
    kinds = {document["kind"] for document in render("--include-crds", "--set", "crds.enabled=false")}
    assert "CustomResourceDefinition" not in kinds
    assert "Job" not in kinds


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        pytest.param(
            "controler.replicas=2",
            ["/controler", "no such key; the keys here are", " controller,"],
            id="top-level-typo",
        ),
        pytest.param("fullNameOverride=x", ["/fullNameOverride", "no such key", " fullnameOverride,"], id="case"),
        pytest.param(
            "controller.image.tags=x",
            ["/controller/image/tags", "no such key; the keys here are repository, tag, pullPolicy"],
            id="nested-typo",
        ),
        pytest.param(
            "prometheus.speakerMetricsTLSSecret=a",
            ["/prometheus/speakerMetricsTLSSecret", "write tls.speakerMetricsTLSSecret"],
            id="moved",
        ),
        pytest.param("psp.create=false", ["/psp", "label the namespace instead"], id="gone"),
        pytest.param(
            "speaker.memberlist.config.ProbeIntervall=1s",
            ["ProbeIntervall", "no such key", "ProbeInterval,"],
            id="timing-typo",
        ),
        pytest.param(
            "speaker.memberlist.config.ProbeInterval=fast",
            ["/speaker/memberlist/config/ProbeInterval", "pattern"],
            id="timing",
        ),
        pytest.param(
            "bgpPeers[0].name=a,bgpPeers[0].spec.peerAsn=1",
            ["/bgpPeers/0/spec/peerAsn", "no such key", "peerASN"],
            id="peer-typo",
        ),
        pytest.param(
            "bgpPeers[0].name=a,bgpPeers[0].spec.myASN=many", ["/bgpPeers/0/spec/myASN", "want integer"], id="peer-type"
        ),
        pytest.param("controller.extraArgs[0]=loud", ["/controller/extraArgs/0"], id="flag-without-dashes"),
        pytest.param(
            "controller.podDisruptionBudget.maxUnavailable=some",
            ["/controller/podDisruptionBudget/maxUnavailable"],
            id="budget",
        ),
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
            "ipAddressPools[0].spec.adresses[0]=10.0.0.0/24",
            ["/ipAddressPools/0/spec/adresses", "the keys here are addresses,"],
            id="pool-typo",
        ),
        pytest.param(
            "l2Advertisements[0].spec.ipAddressPool=a",
            ["/l2Advertisements/0/spec/ipAddressPool", "the keys here are", "ipAddressPools"],
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


def test_every_template_has_a_suite() -> None:
    covered: set[str] = set()
    for path in (CHART / "tests").glob("*_test.yaml"):
        covered.update(yaml.safe_load(path.read_text())["templates"])
    assert {path.name for path in (CHART / "templates").iterdir() if path.suffix != ".tpl"} == covered


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


def test_common_labels_and_annotations_are_on_everything(render: Any) -> None:
    (path,) = (path for path in VALUES if path.stem == "everything-values")
    for document in render("--values", path):
        described = [document["metadata"]]
        if document["kind"] in ("Deployment", "DaemonSet", "Job"):
            described.append(document["spec"]["template"]["metadata"])
            assert "team" not in document["spec"].get("selector", {}).get("matchLabels", {})
        for metadata in described:
            assert metadata["labels"]["team"] == "edge", document["metadata"]["name"]
            assert metadata["annotations"]["example.com/owner"] == "edge", document["metadata"]["name"]


def test_everything_is_an_object_of_its_own_name(render: Any) -> None:
    """Two releases in one cluster meet only where MetalLB's own names are fixed."""
    fixed = {"metallb-excludel2", "metallb-memberlist-config", "metallb-webhook-cert", "metallb-webhook-service"}
    names = {
        document["metadata"]["name"] for document in render("--set", "fullnameOverride=other") if "kind" in document
    }
    assert {name for name in names if not name.startswith("other")} <= fixed


@pytest.mark.parametrize(
    ("name", "objects"),
    [
        pytest.param("metallb-native-prometheus", {
            ("Service", "controller-monitor-service"), ("Service", "speaker-monitor-service"), ("ServiceMonitor", "controller-monitor"),
            ("ServiceMonitor", "speaker-monitor"), ("Role", "prometheus-k8s"), ("RoleBinding", "prometheus-k8s"),
        }, id="prometheus"),
        pytest.param("metallb-native", set(), id="native"),
    ],
)  # fmt: skip
def test_manifests_differ_by_the_monitors_alone(name: str, objects: set[tuple[str, str]]) -> None:
    by_name = {
        path.stem: {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(path.read_text())}
        for path in MANIFESTS
    }
    plain, found = by_name["metallb-native"], by_name[name]
    reader = {(kind, "metallb-system:metrics-reader") for kind in ("ClusterRole", "ClusterRoleBinding")}
    assert set(found) - set(plain) - reader == objects
    assert {key: found[key] for key in plain} == plain
    for kind, each in objects:
        if kind == "ServiceMonitor":
            selected = found[kind, each]["spec"]["selector"]["matchLabels"]
            service = found["Service", f"{each}-service"]
            assert selected.items() <= service["metadata"]["labels"].items()
            assert found[kind, each]["spec"]["jobLabel"] in service["metadata"]["labels"]
            (endpoint,) = found[kind, each]["spec"]["endpoints"]
            assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifest_has_metallbs_names_and_no_trace_of_helm(path: pathlib.Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
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
