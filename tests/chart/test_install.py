"""The chart and the manifest on a real API server: what Helm keeps and removes, what the roles allow, what Pod Security lets in.

No node runs here, so nothing starts: Helm doesn't wait, and hooks that run pods are left out.
"""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from generate import helm, manifests, output
from lab import apiserver, controlplane
from metallb_controller import controller
from metallb_core.api import crd

pytestmark = pytest.mark.apiserver

CHART = output.ROOT / "charts/metallb"
MANIFEST = output.ROOT / "config/manifests/metallb-native.yaml"
NAMESPACE = "metallb-system"
CONTROLLER = f"system:serviceaccount:{NAMESPACE}:metallb-controller"
SPEAKER = f"system:serviceaccount:{NAMESPACE}:metallb-speaker"
UPGRADE = f"system:serviceaccount:{NAMESPACE}:metallb-crds-upgrade"
Node = dict[str, Any]


@pytest.fixture
def empty() -> Iterator[apiserver.ApiServer]:
    with apiserver.ApiServer() as running:
        yield running


@pytest.fixture(scope="module")
def installed(helm_program: pathlib.Path) -> Iterator[apiserver.ApiServer]:
    """An API server with the chart's defaults, hooks included as plain objects so that their roles can be asked about."""
    identity = controlplane.Identity(user=UPGRADE, groups=("system:serviceaccounts", "system:authenticated"))
    with apiserver.ApiServer(identities={"upgrade": identity}) as running:
        helm_on(running, helm_program, "install", "metallb", CHART, "--create-namespace", "--no-hooks")
        rendered = helm.run(helm_program, ["template", "metallb", CHART, "--namespace", NAMESPACE])
        hooks = [
            d for d in yaml.safe_load_all(rendered) if d and d["metadata"].get("annotations", {}).get("helm.sh/hook")
        ]
        running.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(hooks))
        yield running


def helm_on(server: apiserver.ApiServer, program: pathlib.Path, *arguments: str | pathlib.Path) -> str:
    return helm.run(program, [*arguments, "--namespace", NAMESPACE, "--kubeconfig", server.kubeconfig])


def names(server: apiserver.ApiServer, plural: str) -> list[str]:
    found = server.kubectl("get", plural, "-n", NAMESPACE, "-o", "name", "--ignore-not-found")
    return [line.split("/", 1)[1] for line in found.splitlines()]


def test_life_of_an_installation(
    empty: apiserver.ApiServer, helm_program: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """One command installs definitions and pools; an upgrade changes pools; removal takes the release's pools, never a definition."""
    values = tmp_path / "values.yaml"
    pools: list[Node] = [
        {"name": "first-pool", "spec": {"addresses": ["192.168.10.0/24", "fc00:f853:0ccd:e799::/124"]}}
    ]
    values.write_text(json.dumps({"ipAddressPools": pools, "l2Advertisements": [{"name": "all-pools"}]}))
    notes = helm_on(empty, helm_program, "install", "metallb", CHART, "--create-namespace", "-f", values)
    assert "pod-security.kubernetes.io/enforce=privileged" in notes
    assert names(empty, "ipaddresspools") == ["first-pool"]
    assert names(empty, "l2advertisements") == ["all-pools"]

    own = {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": "own", "namespace": NAMESPACE},
    }
    empty.kubectl("create", "-f", "-", input=json.dumps(own | {"spec": {"addresses": ["10.0.0.0/30"]}}))
    pools[0]["spec"]["autoAssign"] = False
    values.write_text(json.dumps({"ipAddressPools": pools}))
    helm_on(empty, helm_program, "upgrade", "metallb", CHART, "-f", values, "--no-hooks")
    assert names(empty, "l2advertisements") == []
    assert (
        json.loads(empty.kubectl("get", "ipaddresspool", "first-pool", "-n", NAMESPACE, "-o", "json"))["spec"][
            "autoAssign"
        ]
        is False
    )

    helm_on(empty, helm_program, "upgrade", "metallb", CHART, "--set", "crds.enabled=false", "--no-hooks")
    assert names(empty, "ipaddresspools") == ["own"], "switching the definitions off deleted a user's pool"
    helm_on(empty, helm_program, "uninstall", "metallb")
    assert names(empty, "ipaddresspools") == ["own"]
    for kind in crd.KINDS:
        empty.kubectl("get", "crd", kind.definition_name)


def test_a_pool_leaves_the_values_without_leaving_the_cluster(
    empty: apiserver.ApiServer, helm_program: pathlib.Path
) -> None:
    """By the command of `docs/install.md`; the pool is nobody's then but the user's."""
    pools = json.dumps([{"name": name, "spec": {"addresses": [f"10.0.{at}.0/30"]}} for at, name in enumerate("ab")])
    values = ("--set-json", f"ipAddressPools={pools}")
    helm_on(empty, helm_program, "install", "metallb", CHART, "--create-namespace", *values)
    (command,) = (
        line.strip()
        for line in (output.ROOT / "docs/install.md").read_text().splitlines()
        if "helm.sh/resource-policy=keep" in line
    )
    program, *arguments = command.replace("first-pool", "a").split()
    assert program == "kubectl"
    empty.kubectl(*arguments)
    helm_on(empty, helm_program, "upgrade", "metallb", CHART, "--no-hooks", "--reset-values")
    assert names(empty, "ipaddresspools") == ["a"]
    helm_on(empty, helm_program, "uninstall", "metallb")
    assert names(empty, "ipaddresspools") == ["a"]


def test_peer_with_a_mistake_stops_the_installation(empty: apiserver.ApiServer, helm_program: pathlib.Path) -> None:
    """One that no template looks for: the definition's own rules see it."""
    setting = "bgpPeers[0].name=a,bgpPeers[0].spec.myASN=64512,bgpPeers[0].spec.holdTime=1s"
    with pytest.raises(helm.HelmError) as caught:
        helm_on(empty, helm_program, "install", "metallb", CHART, "--create-namespace", "--set", setting)
    assert "spec.holdTime" in str(caught.value)


def test_upgrade_from_a_chart_that_has_definitions_as_templates(
    empty: apiserver.ApiServer, helm_program: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Helm would delete them, and all their objects, with the release that listed them; the upgrade marks them first."""
    old = tmp_path / "metallb"
    (old / "templates").mkdir(parents=True)
    (old / "Chart.yaml").write_text("{apiVersion: v2, name: metallb, version: 0.1.0}")
    (old / "values.yaml").write_text("{}")
    listed = crd.definitions()
    older = json.loads(
        json.dumps(listed[0]).replace("ipaddresspool", "addresspool").replace("IPAddressPool", "AddressPool")
    )
    for definition in (*listed, older):
        del definition["metadata"]["annotations"]
        (old / "templates" / f"{definition['spec']['names']['plural']}.yaml").write_text(json.dumps(definition))
    helm_on(empty, helm_program, "install", "metallb", old, "--create-namespace")
    own = {"apiVersion": "metallb.io/v1beta1", "metadata": {"name": "own", "namespace": NAMESPACE}}
    for node in (
        own | {"kind": "IPAddressPool", "spec": {"addresses": ["10.0.0.0/30"]}},
        own | {"kind": "AddressPool", "spec": {"addresses": ["10.0.0.4/30"]}},
    ):
        empty.kubectl("apply", "-f", "-", input=json.dumps(node))

    # What the hook's Job does.
    for definition in crd.definitions():
        empty.kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager",
            crd.FIELD_MANAGER,
            "-f",
            "-",
            input=json.dumps(definition),
        )
    empty.kubectl("patch", "crd", "addresspools.metallb.io", "--type=merge", "-p", json.dumps(crd.protection()))
    helm_on(empty, helm_program, "upgrade", "metallb", CHART, "--no-hooks")
    assert names(empty, "ipaddresspools") == ["own"]
    assert names(empty, "addresspools.metallb.io") == ["own"]
    empty.kubectl("delete", "crd", "addresspools.metallb.io")


VALUES = sorted([*(CHART / "ci").glob("*-values.yaml"), *pathlib.Path(__file__).parent.glob("values/*-values.yaml")])


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem.removesuffix("-values"))
def test_every_object_is_one_that_the_api_server_takes(
    installed: apiserver.ApiServer, helm_program: pathlib.Path, path: pathlib.Path
) -> None:
    """No unknown or duplicate field anywhere. Objects of the Prometheus operator are left out, whose definitions are not here."""
    command: list[str | pathlib.Path] = ["template", "tried", CHART, "--namespace", NAMESPACE, "--values", path]
    rendered = [each for each in yaml.safe_load_all(helm.run(helm_program, command)) if each]
    known = [each for each in rendered if each["apiVersion"] != "monitoring.coreos.com/v1"]
    for each in known:
        if each["metadata"].get("namespace") == "monitoring":
            each["metadata"]["namespace"] = NAMESPACE
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": known})
    said = installed.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-", input=listed
    )
    assert len(said.splitlines()) == len(known)


def test_manifest_applies_again_without_a_change(empty: apiserver.ApiServer) -> None:
    empty.kubectl("apply", "--validate=strict", "-f", MANIFEST)
    # kubectl sends an empty patch for every Deployment with a strategy, so what counts is that nothing got a new version.
    kinds = "deployments,daemonsets,roles,rolebindings,clusterroles,clusterrolebindings,serviceaccounts,configmaps,crds"
    columns = "-o=custom-columns=KIND:.kind,NAME:.metadata.name,VERSION:.metadata.resourceVersion"
    before = empty.kubectl("get", kinds, "-A", columns)
    empty.kubectl("apply", "--validate=strict", "-f", MANIFEST)
    assert empty.kubectl("get", kinds, "-A", columns) == before
    labels = json.loads(empty.kubectl("get", "namespace", NAMESPACE, "-o", "json"))["metadata"]["labels"]
    assert manifests.ADMISSION.items() <= labels.items()


# What each account may do: "verb resource[/subresource][.group] [name]", in the release namespace unless it ends in "everywhere".
MAY: tuple[tuple[str, str, bool], ...] = (
    (CONTROLLER, "list services everywhere", True),
    (CONTROLLER, "watch namespaces everywhere", True),
    (CONTROLLER, "watch nodes everywhere", True),
    (CONTROLLER, "patch nodes everywhere", False),
    (CONTROLLER, "watch endpointslices.discovery.k8s.io everywhere", True),
    (CONTROLLER, "patch services/status everywhere", True),
    (CONTROLLER, "update services/status everywhere", False),
    (CONTROLLER, "create events everywhere", True),
    (CONTROLLER, "create tokenreviews.authentication.k8s.io everywhere", True),
    (CONTROLLER, "create subjectaccessreviews.authorization.k8s.io everywhere", True),
    (CONTROLLER, "watch ipaddresspools.metallb.io", True),
    (CONTROLLER, "patch ipaddresspools/status.metallb.io", True),
    (CONTROLLER, "watch l2advertisements.metallb.io", True),
    (CONTROLLER, "watch servicel2statuses.metallb.io", True),
    (CONTROLLER, "watch servicebgpstatuses.metallb.io", True),
    (CONTROLLER, "create configurationstates.metallb.io", True),
    (CONTROLLER, "patch configurationstates/status.metallb.io", True),
    (CONTROLLER, "delete configurationstates.metallb.io", False),
    (CONTROLLER, "watch bgppeers.metallb.io", True),
    (CONTROLLER, "get secrets metallb-memberlist", True),
    (CONTROLLER, "create secrets", True),
    (CONTROLLER, "get deployments.apps metallb-controller", True),
    (CONTROLLER, "create leases.coordination.k8s.io", True),
    (CONTROLLER, f"patch leases.coordination.k8s.io {controller.LEASE}", True),
    (CONTROLLER, "patch leases.coordination.k8s.io other", False),
    (CONTROLLER, f"delete leases.coordination.k8s.io {controller.LEASE}", False),
    (CONTROLLER, "list pods", False),
    (CONTROLLER, "patch services everywhere", False),
    (CONTROLLER, "list secrets", False),
    (CONTROLLER, "get secrets other", False),
    (CONTROLLER, "get secrets everywhere", False),
    (CONTROLLER, "update secrets metallb-memberlist", False),
    (CONTROLLER, "delete secrets metallb-memberlist", False),
    (CONTROLLER, "patch deployments.apps metallb-controller", False),
    (CONTROLLER, "patch ipaddresspools.metallb.io", False),
    (CONTROLLER, "watch ipaddresspools.metallb.io everywhere", False),
    (CONTROLLER, "patch servicel2statuses.metallb.io", False),
    (CONTROLLER, "patch customresourcedefinitions.apiextensions.k8s.io everywhere", False),
    (SPEAKER, "list services everywhere", True),
    (SPEAKER, "watch nodes everywhere", True),
    (SPEAKER, "watch namespaces everywhere", False),
    (SPEAKER, "watch endpointslices.discovery.k8s.io everywhere", True),
    (SPEAKER, "create events everywhere", True),
    (SPEAKER, "create tokenreviews.authentication.k8s.io everywhere", True),
    (SPEAKER, "watch ipaddresspools.metallb.io", True),
    (SPEAKER, "watch l2advertisements.metallb.io", True),
    (SPEAKER, "create servicel2statuses.metallb.io", True),
    (SPEAKER, "patch servicel2statuses/status.metallb.io", True),
    (SPEAKER, "delete servicel2statuses.metallb.io", True),
    (SPEAKER, "create configurationstates.metallb.io", True),
    (SPEAKER, "patch configurationstates/status.metallb.io", True),
    (SPEAKER, "list pods", True),
    (SPEAKER, "watch pods", True),
    (SPEAKER, "get pods", False),
    (SPEAKER, "patch services/status everywhere", False),
    (SPEAKER, "list secrets", True),
    (SPEAKER, "list secrets everywhere", False),
    (SPEAKER, "get secrets metallb-memberlist", False),
    (SPEAKER, "list pods everywhere", False),
    (SPEAKER, "patch ipaddresspools/status.metallb.io", False),
    (SPEAKER, "create leases.coordination.k8s.io", False),
    (SPEAKER, "patch nodes everywhere", False),
    (UPGRADE, "create customresourcedefinitions.apiextensions.k8s.io ipaddresspools.metallb.io everywhere", True),
    (UPGRADE, "patch customresourcedefinitions.apiextensions.k8s.io bgppeers.metallb.io everywhere", True),
    (UPGRADE, "delete customresourcedefinitions.apiextensions.k8s.io ipaddresspools.metallb.io everywhere", False),
    (UPGRADE, "patch customresourcedefinitions.apiextensions.k8s.io other.example.com everywhere", False),
    (UPGRADE, "list services everywhere", False),
)


@pytest.fixture(scope="module")
def answers(installed: apiserver.ApiServer) -> dict[tuple[str, str], bool]:
    """What the API server says to every row, asked at once."""
    reviews = []
    for user, action, _ in MAY:
        words = action.split()
        everywhere = words[-1] == "everywhere"
        verb, resource, *name = words[:-1] if everywhere else words
        plural, _, rest = resource.partition("/")
        subresource, _, group = rest.partition(".") if rest else ("", "", "")
        if not rest:
            plural, _, group = resource.partition(".")
        attributes = {
            "verb": verb,
            "resource": plural,
            "subresource": subresource,
            "group": group,
            "name": "".join(name),
        }
        attributes["namespace"] = "" if everywhere else NAMESPACE
        reviews.append(
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {"user": user, "resourceAttributes": attributes},
            }
        )
    text = installed.kubectl(
        "create", "-f", "-", "-o", "jsonpath={.status.allowed};", input="\n---\n".join(json.dumps(r) for r in reviews)
    )
    found = text.strip(";").split(";")
    return {(user, action): word == "true" for (user, action, _), word in zip(MAY, found, strict=True)}


@pytest.mark.parametrize(
    ("user", "action", "allowed"), [pytest.param(*row, id=f"{row[0].rsplit(':', 1)[1]} {row[1]}") for row in MAY]
)
def test_account_may(answers: dict[tuple[str, str], bool], user: str, action: str, allowed: bool) -> None:
    assert answers[user, action] is allowed


def test_upgrade_job_brings_the_definitions_up_to_date(installed: apiserver.ApiServer) -> None:
    """Its command with its account's rights: changes one, makes one that is missing, protects one that is not ours, deletes none."""
    installed.kubectl("delete", "crd", "servicel2statuses.metallb.io")
    installed.kubectl(
        "patch", "crd", "ipaddresspools.metallb.io", "--type=json", "-p",
        json.dumps([{"op": "replace", "path": "/spec/versions/0/additionalPrinterColumns", "value": []}]),
    )  # fmt: skip
    foreign = (
        json.dumps(crd.definitions()[0]).replace("ipaddresspool", "addresspool").replace("IPAddressPool", "AddressPool")
    )
    installed.kubectl("create", "-f", "-", input=foreign.replace("helm.sh/resource-policy", "example.com/other"))
    # As MetalLB's chart leaves it: a webhook of a Service that is gone, and its authority put in by another hand.
    service = {"namespace": NAMESPACE, "name": "gone", "path": "/convert"}
    webhook = {"conversionReviewVersions": ["v1beta1", "v1beta2"], "clientConfig": {"service": service}}
    installed.kubectl(
        "patch", "crd", "bgppeers.metallb.io", "--type=merge", "--field-manager=MetalLB", "-p",
        json.dumps({"spec": {"conversion": {"strategy": "Webhook", "webhook": webhook}}}),
    )  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-m", "metallb_controller.crds", "apply"],
        env={**os.environ, "KUBECONFIG": str(installed.kubeconfig_for("upgrade"))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for definition in crd.definitions():
        found = json.loads(installed.kubectl("get", "crd", definition["metadata"]["name"], "-o", "json"))
        assert found["spec"]["versions"] == definition["spec"]["versions"]
    assert installed.kubectl("get", "crd", "bgppeers.metallb.io", "-o", "jsonpath={.spec.conversion}") == (
        '{"strategy":"None"}'
    )
    kept = json.loads(installed.kubectl("get", "crd", "addresspools.metallb.io", "-o", "json"))
    assert kept["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize(
    ("kind", "level", "allowed"),
    [
        ("Deployment", "restricted", True),
        ("Job", "restricted", True),
        ("DaemonSet", "privileged", True),
        ("DaemonSet", "baseline", False),
    ],
)
def test_pod_security(
    installed: apiserver.ApiServer, helm_program: pathlib.Path, kind: str, level: str, allowed: bool
) -> None:
    rendered = yaml.safe_load_all(helm.run(helm_program, ["template", "metallb", CHART]))
    (workload,) = (document for document in rendered if document and document["kind"] == kind)
    namespace = f"level-{level}"
    labels = {"pod-security.kubernetes.io/enforce": level}
    installed.kubectl(
        "apply",
        "-f",
        "-",
        input=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}),
    )
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "tried", "namespace": namespace},
        "spec": workload["spec"]["template"]["spec"],
    }
    command = ("create", "--dry-run=server", "-f", "-")
    if allowed:
        assert "created" in installed.kubectl(*command, input=json.dumps(pod))
    else:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            installed.kubectl(*command, input=json.dumps(pod))
        assert "violates PodSecurity" in caught.value.stderr
        assert "hostNetwork" in caught.value.stderr
