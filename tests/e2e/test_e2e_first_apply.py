"""Everything at once, on a cluster that has never seen us: definitions, controllers, pools, advertisements and Services in one command, every
time.

- Two commands are tried ten times each: `helm install` with pools in the values, and `kubectl create` of a folder with the manifest, pools
  and Services. Between two runs everything goes, the definitions too.
- kubectl remembers a server's kinds on disk for hours, those that are gone too. Every run has a memory of its own, in which there is what
  any command leaves there: the kinds that the server had before.
- `kubectl apply` is not one of them, for a reason of its own: it looks all kinds up before it applies anything, so it cannot apply an
  object of a kind whose definition is in the same folder. It applies the rest and says so; the same command once more completes. That is
  tested too.
- Then the installation stays, for what only a whole cluster shows of the webhook: it is reached through its Service, and blocks writes in
  its absence only where that was asked for.
"""

import itertools
import json
import pathlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demo import bundle, steps, workload
from lab import cluster
from tools import build as tools

NAMESPACE = workload.CHART_NAMESPACE
ROOT = pathlib.Path(__file__).parents[2]
MANIFEST = ROOT / "config/manifests/metallb-native.yaml"
CHART = ROOT / "charts/metallb"
REGISTRATION = "metallb-webhook-configuration"
TIMES = 10
SERVICES = ("first", "second", "third")
# A Service nobody is behind gets its address all the same.
ADDRESS_SECONDS = 60.0


@pytest.fixture(scope="module")
def bare(lab: cluster.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[steps.Steps]:
    """The cluster without us."""
    done = steps.Steps(lab, tools.program("helm"), tmp_path_factory.mktemp("bare"))
    others = "--field-selector=metadata.name!=kubernetes"
    lab.kubectl("delete", "services,deployments,daemonsets", others, "--namespace", "default", "--wait=false")
    remove(done)
    yield done
    remove(done)


@pytest.fixture(scope="module")
def folder(lab: cluster.Cluster, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What a user keeps in one folder, in the order of its names."""
    made = tmp_path_factory.mktemp("everything")
    shutil.copy(MANIFEST, made / "10-metallb.yaml")
    write(made / "20-pools.yaml", configuration(lab))
    write(made / "30-services.yaml", services())
    return made


def write(file: pathlib.Path, objects: list[dict[str, object]]) -> None:
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def span(lab: cluster.Cluster) -> str:
    return f"{lab.plan.pool_ipv4[0]}-{lab.plan.pool_ipv4[31]}"


def configuration(lab: cluster.Cluster) -> list[dict[str, object]]:
    return [workload.pool("first-pool", span(lab)), workload.advertisement("first", ipAddressPools=["first-pool"])]


def services() -> list[dict[str, object]]:
    return [workload.service(name) for name in SERVICES]


def remove(do: steps.Steps) -> None:
    """Take everything away that either way of installing brought, definitions included, and wait until it is gone."""
    kubectl = do.lab.kubectl
    kubectl("delete", "services", "--selector=demo.metallb.io/transient=yes", "--ignore-not-found", "--wait=false")
    if "metallb" in do.helm("list", "--all-namespaces", "--short"):
        do.helm("uninstall", "metallb", "--namespace", NAMESPACE)
    kubectl("delete", "--filename", MANIFEST, "--ignore-not-found", "--wait=false")
    kubectl("delete", "pods", "--all", "--namespace", NAMESPACE, "--grace-period=0", "--force")
    # The webhook's registration is owned by the controller's ClusterRole, so nobody has to remember it.
    steps.wait_for("nothing of ours is left", 150, lambda: not do.left())


def registration(do: steps.Steps) -> str:
    return do.lab.kubectl("get", "validatingwebhookconfigurations", REGISTRATION, "--ignore-not-found", "--output=name")


def install(do: steps.Steps, *settings: str) -> None:
    image = f"image.tag={bundle.chart_version()},controller.image.pullPolicy=Never,speaker.image.pullPolicy=Never"
    pools = json.dumps([{"name": "first-pool", "spec": {"addresses": [span(do.lab)]}}])
    advertisements = json.dumps([{"name": "first", "spec": {"ipAddressPools": ["first-pool"]}}])
    do.helm(
        "upgrade", "--install", "metallb", CHART, "--namespace", NAMESPACE, "--create-namespace",
        "--set", f"controller.{image},speaker.image.tag={bundle.chart_version()}",
        "--set-json", f"ipAddressPools={pools}", "--set-json", f"l2Advertisements={advertisements}", *settings,
    )  # fmt: skip


def wait_all_addresses(do: steps.Steps) -> list[str]:
    found = [do.wait_addresses(name, 1, ADDRESS_SECONDS)[0] for name in SERVICES]
    assert len(set(found)) == len(SERVICES)
    return found


def repeat(do: steps.Steps, tell: Callable[[str], None], what: str, once: Callable[[], None]) -> None:
    """Run `once` on a cluster without us, `TIMES` times; the first failure is one too many."""
    took = []
    for number in range(TIMES):
        assert not do.left()
        started = time.monotonic()
        try:
            once()
            wait_all_addresses(do)
        except (steps.StepError, subprocess.CalledProcessError) as error:
            raise AssertionError(f"{what}: run {number + 1} of {TIMES} failed") from error
        took.append(time.monotonic() - started)
        remove(do)
    tell(f"{what}: {TIMES} of {TIMES} first time; until all have addresses {min(took):.1f} to {max(took):.1f} s")


@pytest.mark.timeout(1200)
def test_helm_install_with_pools_in_values(bare: steps.Steps, tell: Callable[[str], None]) -> None:
    def once() -> None:
        bare.apply(*services())
        install(bare)

    repeat(bare, tell, "helm install with pools", once)


@pytest.mark.timeout(1200)
def test_kubectl_create_of_one_folder(
    bare: steps.Steps, folder: pathlib.Path, tmp_path: pathlib.Path, tell: Callable[[str], None]
) -> None:
    memories = itertools.count()

    def once() -> None:
        memory = f"--cache-dir={tmp_path / str(next(memories))}"
        bare.lab.kubectl("get", "nodes", memory)
        bare.lab.kubectl("create", "--save-config", "--filename", folder, memory)

    repeat(bare, tell, "kubectl create of one folder", once)


def test_kubectl_apply_needs_its_definitions_first(
    bare: steps.Steps, folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The first run applies all that kubectl can look up, the second what is left; nothing else fails."""
    memory = f"--cache-dir={tmp_path}"
    bare.lab.kubectl("get", "nodes", memory)
    try:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            bare.lab.kubectl("apply", "--filename", folder, memory)
        complaints = [line for line in caught.value.stderr.splitlines() if "ensure CRDs" not in line]
        assert len(complaints) == 2
        assert all("no matches for kind" in line for line in complaints)
        bare.lab.kubectl("apply", "--filename", folder, memory)
        wait_all_addresses(bare)
    finally:
        remove(bare)


def refusal(do: steps.Steps, item: dict[str, object]) -> str:
    """What kubectl says to who writes `item`; empty if it was stored."""
    try:
        do.apply(item)
    except subprocess.CalledProcessError as error:
        return str(error.stderr)
    return ""


def refused(do: steps.Steps, item: dict[str, Any], why: str) -> bool:
    """Whether an object is refused with these words. One that is stored is taken away again: to write it once more would change nothing."""
    if why in refusal(do, item):
        return True
    kind, metadata = item["kind"], item["metadata"]
    do.lab.kubectl("delete", kind, metadata["name"], "--namespace", metadata["namespace"], "--ignore-not-found")
    return False


def test_the_webhook_through_its_service(bare: steps.Steps) -> None:
    """Reached by the API server as a Service is; `Ignore` stores a bad pool when nobody answers, and it harms nobody."""
    bare.apply(*services())
    install(bare, "--wait", "--timeout=3m")
    before = wait_all_addresses(bare)
    overlapping = workload.pool("overlapping", str(bare.lab.plan.pool_ipv4[0]) + "/32")
    steps.wait_for("a refusal", 60, lambda: refused(bare, overlapping, "overlaps with already defined CIDR"))
    bare.lab.kubectl("scale", "deployment/metallb-controller", "--namespace", NAMESPACE, "--replicas=0")
    steps.wait_for("no controller runs", 60, lambda: not controllers(bare))
    assert refusal(bare, overlapping) == ""
    bare.lab.kubectl("scale", "deployment/metallb-controller", "--namespace", NAMESPACE, "--replicas=1")
    bare.wait_rollout("metallb-controller", NAMESPACE)
    bare.apply(workload.service("fourth"))
    bare.wait_addresses("fourth", 1)
    assert wait_all_addresses(bare) == before
    bare.wait_event("IPAddressPool", "overlapping", "InvalidConfiguration", namespace=NAMESPACE)


def controllers(do: steps.Steps) -> list[dict[str, object]]:
    return do.items("pods", "--selector=app.kubernetes.io/component=controller", namespace=NAMESPACE)


def policies(do: steps.Steps) -> set[str]:
    found = json.loads(do.lab.kubectl("get", "validatingwebhookconfigurations", REGISTRATION, "--output=json"))
    return {entry["failurePolicy"] for entry in found["webhooks"]}


def test_writes_are_blocked_only_where_that_was_chosen(bare: steps.Steps) -> None:
    """Under `Fail` no write is refused while one controller replaces another, and every write is while none runs."""
    bare.lab.kubectl("delete", "ipaddresspool", "overlapping", "--namespace", NAMESPACE, "--ignore-not-found")
    assert policies(bare) == {"Ignore"}
    install(bare, "--set", "crds.validationFailurePolicy=Fail", "--wait", "--timeout=3m")
    steps.wait_for("the policy is Fail", 60, lambda: policies(bare) == {"Fail"})
    good = workload.pool("written", str(bare.lab.plan.pool_ipv4[40]) + "/32")
    bare.lab.kubectl("rollout", "restart", "deployment/metallb-controller", "--namespace", NAMESPACE)
    refused = []
    stop = time.monotonic() + 20
    while time.monotonic() < stop:
        good["metadata"]["labels"] = {**workload.TRANSIENT, "turn": str(time.monotonic_ns())}
        refused.append(refusal(bare, good))
    assert [text for text in refused if text] == []
    bare.lab.kubectl("scale", "deployment/metallb-controller", "--namespace", NAMESPACE, "--replicas=0")
    steps.wait_for("no controller runs", 60, lambda: not controllers(bare))
    good["metadata"]["labels"] = {**workload.TRANSIENT, "turn": "last"}
    assert "failed calling webhook" in refusal(bare, good)
    bare.lab.kubectl("scale", "deployment/metallb-controller", "--namespace", NAMESPACE, "--replicas=1")
    steps.wait_for("writes are taken again", 60, lambda: not refusal(bare, good))


def test_disabled_leaves_nothing_behind(bare: steps.Steps) -> None:
    install(bare, "--set", "controller.webhookMode=disabled", "--wait", "--timeout=3m")
    steps.wait_for("the registration is gone", 60, lambda: not registration(bare))
    steps.pause(3)
    assert not registration(bare)
    assert refusal(bare, workload.pool("overlapping", str(bare.lab.plan.pool_ipv4[0]) + "/32")) == ""
