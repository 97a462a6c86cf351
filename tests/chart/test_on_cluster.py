"""The chart on a whole cluster: `ct install` of every values file, and what GitOps tools do with it, with the components running.

- One cluster of one node for the module. What a test installs it removes, but for the definitions.
- The values of the GitOps tests are those of the examples in docs/gitops.md, so that what is written there works as written.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from demo import bundle, pages, workload
from generate import helm, output
from lab import cluster
from tools import build

pytestmark = [
    pytest.mark.lab,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
]

CHART = output.ROOT / "charts/metallb"
CT = pathlib.Path(__file__).parent / "ct"
NAMESPACE = "metallb-system"
SETTLE_SECONDS = 10.0
"""How long the components run before anything is compared: their informers have synced, what they write is written."""
Node = dict[str, Any]


@pytest.fixture(scope="module")
def lab() -> Iterator[cluster.Cluster]:
    running = cluster.Cluster("chart")
    try:
        running.up(1, bundle.build().archives)
        yield running
    finally:
        running.down()


def wait_for(what: str, seconds: float, look: Callable[[], object]) -> None:
    give_up = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < give_up, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


def wait_rollout(lab: cluster.Cluster) -> None:
    for name in ("deployment/metallb-controller", "daemonset/metallb-speaker"):
        lab.kubectl("rollout", "status", name, "--namespace", NAMESPACE, "--timeout=150s")


def test_ct_installs_every_values_file(
    lab: cluster.Cluster, helm_program: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Each in a namespace of its own: pods become ready, `helm uninstall` works, and no webhook stays behind."""
    shutil.copytree(CHART, tmp_path / "metallb")
    shutil.copytree(CT, tmp_path, dirs_exist_ok=True)
    binaries = [build.program("ct").parent, helm_program.parent, build.program("kubernetes/kubectl").parent]
    path = os.pathsep.join([*map(str, binaries), str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    homes = {f"HELM_{name}_HOME": str(tmp_path / ".helm") for name in ("CACHE", "CONFIG", "DATA")}
    command = ["ct", "install", "--config", "ct.yaml", "--charts", "metallb", "--helm-extra-args", "--timeout 150s"]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, **homes, "PATH": path, "KUBECONFIG": str(lab.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=700,
        check=False,
    )
    said = result.stdout + result.stderr
    assert result.returncode == 0, said[-6000:]
    for values in (CHART / "ci").glob("*-values.yaml"):
        assert values.name in said
    wait_for("no webhook is registered", 120, lambda: "metallb" not in registered(lab))


def registered(lab: cluster.Cluster) -> str:
    return lab.kubectl("get", "validatingwebhookconfigurations", "--output=name", "--ignore-not-found")


def versions(lab: cluster.Cluster, documents: list[Node]) -> dict[str, tuple[str, int]]:
    """Of every object that was applied: its version and its generation. Fails when one is not there."""
    listed = {"apiVersion": "v1", "kind": "List", "items": documents}
    found = json.loads(lab.kubectl("get", "--filename=-", "--output=json", input=json.dumps(listed)))["items"]
    return {
        f"{each['kind']}/{each['metadata']['name']}": (
            each["metadata"]["resourceVersion"],
            each["metadata"].get("generation", 0),
        )
        for each in found
    }


@pytest.fixture
def service(lab: cluster.Cluster) -> Iterator[str]:
    """A Service for which the components write what they write."""
    lab.kubectl("apply", "--filename=-", input=json.dumps(workload.service("drift")))
    yield "drift"
    lab.kubectl("delete", "service", "drift", "--ignore-not-found")


def has_address(lab: cluster.Cluster, name: str) -> bool:
    return bool(lab.kubectl("get", "service", name, "--output=jsonpath={.status.loadBalancer.ingress[0].ip}"))


def differences(lab: cluster.Cluster, documents: list[Node], *arguments: str) -> str:
    """What `kubectl diff` says of them; nothing when nothing differs."""
    try:
        return lab.kubectl(
            "diff",
            "--filename=-",
            *arguments,
            input=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}),
        )
    except subprocess.CalledProcessError as error:
        return str(error.stdout) + str(error.stderr)


def apply(lab: cluster.Cluster, documents: list[Node], *arguments: str) -> str:
    return lab.kubectl(
        "apply", "--filename=-", *arguments, input=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    )


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(("--server-side", "--field-manager=argocd-controller"), id="server-side"),
        pytest.param((), id="client-side"),
    ],
)
def test_argo_cd_sees_no_drift(
    lab: cluster.Cluster,
    helm_program: pathlib.Path,
    tmp_path: pathlib.Path,
    service: str,
    mode: tuple[str, ...],
) -> None:
    application = pages.gitops()["Application"]["spec"]
    settings = application["source"]["helm"]
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(settings["valuesObject"]))
    command: list[str | pathlib.Path] = [
        "template",
        settings["releaseName"],
        CHART,
        "--include-crds",
        "--values",
        values,
    ]
    command += ["--namespace", application["destination"]["namespace"]]
    text = helm.run(helm_program, command)
    assert helm.run(helm_program, command) == text, "rendering twice gives two texts"
    documents = [each for each in yaml.safe_load_all(text) if each]
    assert not [each for each in documents if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    labels = application["syncPolicy"]["managedNamespaceMetadata"]["labels"]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    definitions = [each for each in documents if each["kind"] == "CustomResourceDefinition"]
    others = [each for each in documents if each["kind"] != "CustomResourceDefinition"]
    try:
        # One pass in the order of kinds, nothing tried a second time.
        apply(lab, [namespace, *definitions], *mode)
        lab.kubectl(
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            *(f"crd/{each['metadata']['name']}" for each in definitions),
        )
        apply(lab, others, *mode)
        wait_rollout(lab)
        wait_for("the Service has an address", 60, lambda: has_address(lab, service))
        wait_for("the webhook is registered", 60, lambda: "metallb-webhook-configuration" in registered(lab))
        time.sleep(SETTLE_SECONDS)
        # Status is written by Deployments and the like all the time; the generation counts changes of what is applied.
        before = {name: generation for name, (_, generation) in versions(lab, documents).items()}
        apply(lab, documents, *mode)
        assert {name: generation for name, (_, generation) in versions(lab, documents).items()} == before
        assert differences(lab, documents, *mode) == ""
        # And a change by somebody else would have been seen.
        lab.kubectl("scale", "deployment/metallb-controller", "--namespace", NAMESPACE, "--replicas=2")
        assert "replicas: 2" in differences(lab, documents, *mode, *(["--force-conflicts"] if mode else []))
    finally:
        lab.kubectl(
            "delete",
            "--filename=-",
            "--ignore-not-found",
            "--wait=true",
            "--timeout=150s",
            input=yaml.safe_dump_all([*others, namespace]),
        )
        wait_for("the webhook is gone", 120, lambda: "metallb" not in registered(lab))


def test_helm_sees_no_drift(
    lab: cluster.Cluster, helm_program: pathlib.Path, tmp_path: pathlib.Path, service: str
) -> None:
    """An installation by Helm, whose manifest is applied server-side without writing, as Flux looks for drift."""
    release = pages.gitops()["HelmRelease"]["spec"]
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(release["values"]))
    common: list[str | pathlib.Path] = ["--namespace", release["targetNamespace"], "--kubeconfig", lab.kubeconfig]
    try:
        helm.run(
            helm_program,
            [
                "install",
                release["releaseName"],
                CHART,
                "--create-namespace",
                "--values",
                values,
                "--wait",
                "--timeout",
                "110s",
                *common,
            ],
        )
        wait_for("the Service has an address", 60, lambda: has_address(lab, service))
        wait_for("the webhook is registered", 60, lambda: "metallb-webhook-configuration" in registered(lab))
        time.sleep(SETTLE_SECONDS)
        manifest = helm.run(helm_program, ["get", "manifest", release["releaseName"], *common])
        documents = [each for each in yaml.safe_load_all(manifest) if each]
        mode = ("--server-side", "--force-conflicts", "--field-manager=helm-controller")
        # Managed fields are what a dry run with a manager of its own must change, and Flux leaves them out.
        assert differences(lab, documents, *mode, "--show-managed-fields=false") == ""
        helm.run(
            helm_program,
            ["upgrade", release["releaseName"], CHART, "--values", values, "--wait", "--timeout", "110s", *common],
        )
        again = helm.run(helm_program, ["get", "manifest", release["releaseName"], *common])
        assert again == manifest
    finally:
        helm.run(
            helm_program,
            ["uninstall", release["releaseName"], "--ignore-not-found", "--wait", "--timeout", "110s", *common],
        )
        wait_for("the webhook is gone", 120, lambda: "metallb" not in registered(lab))
