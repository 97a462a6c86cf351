"""Flux itself, built from its sources, and the HelmRepository and HelmRelease of docs/gitops.md.

- Its source controller and its helm controller run as processes on this host; definitions are its own.
- The tests run in the order of the file, on one HelmRelease: installed, left alone, disturbed, edited, deleted, made again on what MetalLB left.
- A reconciliation is asked for, as `flux reconcile` does, and waited for. So the page's interval stays as it is, and no test sleeps through one.
"""

import itertools
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from demo import workload
from generate import helm
from lab import controlplane
from tools import build

ROOT = pathlib.Path(__file__).parents[2]
NAMESPACE = workload.CHART_NAMESPACE
FLUX = "flux-system"
RELEASE = "metallb"
SERVICE = "kept"
BY_HAND = workload.pool("by-hand", "192.168.99.0/24")
RECONCILIATIONS = 3
SETTLE_SECONDS = 10.0
"""How long the components run before anything is compared: what they write is written."""
REQUESTS = itertools.count(1)
Node = dict[str, Any]


@pytest.fixture(scope="module")
def flux(site: Any) -> Any:
    """The site with Flux running."""
    programs = build.ensure("flux")
    # A definition of its is too long for the annotation of a client-side apply.
    site.lab.kubectl("apply", "--server-side", "--filename", programs["helm-controller"].parent)
    site.lab.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    site.lab.kubectl("create", "namespace", FLUX)
    artifacts, *ports = controlplane.free_ports(5)
    metrics, health = (
        [f"--metrics-addr=127.0.0.1:{port}" for port in ports[:2]],
        [f"--health-addr=127.0.0.1:{port}" for port in ports[2:]],
    )
    storage = site.folder / "artifacts"
    storage.mkdir()
    site.start(
        "source-controller",
        [
            programs["source-controller"],
            metrics[0],
            health[0],
            f"--storage-path={storage}",
            f"--storage-addr=127.0.0.1:{artifacts}",
            f"--storage-adv-addr=127.0.0.1:{artifacts}",
        ],
        {"RUNTIME_NAMESPACE": FLUX},
    )
    site.start("helm-controller", [programs["helm-controller"], metrics[1], health[1]], {"RUNTIME_NAMESPACE": FLUX})
    return site


def release(site: Any) -> Node:
    found: Node = site.get("helmrelease", RELEASE, FLUX)
    return found


def conditions(found: Node) -> dict[str, tuple[str, str]]:
    """Of each condition, by type: its status and its reason."""
    return {each["type"]: (each["status"], each["reason"]) for each in found.get("status", {}).get("conditions", [])}


def ready(found: Node) -> bool:
    """Whether the controller is done with this very generation and says Ready."""
    state = conditions(found)
    seen = found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]
    return seen and state.get("Ready", ("", ""))[0] == "True" and "Reconciling" not in state


def wait_release(site: Any, what: str, seconds: float, look: Callable[[Node], object]) -> Node:
    """The HelmRelease once `look` is content with it. Fails with its own words."""
    try:
        site.wait_for(what, seconds, lambda: look(release(site)))
    except AssertionError as error:
        raise AssertionError(f"{error}\n{json.dumps(release(site).get('status'), indent=1)[-6000:]}") from None
    return release(site)


def reconcile(site: Any) -> Node:
    """Ask for a reconciliation, and wait until it is done."""
    wanted = f"request-{next(REQUESTS)}"
    request = f"reconcile.fluxcd.io/requestedAt={wanted}"
    site.lab.kubectl("annotate", "helmrelease", RELEASE, "--namespace", FLUX, request, "--overwrite")
    return wait_release(
        site, "reconciled", 120, lambda found: ready(found) and found["status"].get("lastHandledReconcileAt") == wanted
    )


def events(site: Any, *arguments: str) -> list[str]:
    """The reasons of the Events about Flux's own objects; further arguments go to `kubectl get`."""
    return [each["reason"] for each in site.items("events", *arguments, namespace=FLUX)]


def revisions(site: Any) -> list[str]:
    """What Helm keeps of the release: one Secret for each revision."""
    selector = f"--selector=owner=helm,name={RELEASE}"
    return [each["metadata"]["name"] for each in site.items("secrets", selector, namespace=NAMESPACE)]


@pytest.fixture(scope="module")
def installed(flux: Any, page: dict[str, Node]) -> Any:
    """The page's two objects, applied once, the release Ready, and a Service with an address."""
    repository = page["HelmRepository"]
    repository["spec"]["url"] = flux.url
    flux.apply(repository, page["HelmRelease"])
    wait_release(flux, "Ready", 180, ready)
    flux.wait_rollout()
    flux.apply(workload.service(SERVICE))
    flux.wait_for("the Service has an address", 60, lambda: flux.address(SERVICE))
    return flux


def test_the_release_is_ready_the_first_time(installed: Any) -> None:
    found = release(installed)
    assert conditions(found)["Ready"] == ("True", "InstallSucceeded")
    assert [each["version"] for each in found["status"]["history"]] == [1]
    assert found["status"].get("installFailures", 0) == found["status"].get("failures", 0) == 0
    assert events(installed, "--field-selector=type=Warning") == []
    assert revisions(installed) == ["sh.helm.release.v1.metallb.v1"]
    assert installed.pools() == {"first-pool"}
    assert installed.address(SERVICE).startswith("192.168.10.")


def manifest(site: Any) -> list[Node]:
    """The objects of the release, as Helm keeps them."""
    home = ["--namespace", NAMESPACE, "--kubeconfig", site.lab.kubeconfig]
    text = helm.run(build.program("helm"), ["get", "manifest", RELEASE, *home])
    return [each for each in yaml.safe_load_all(text) if each]


def test_no_drift_once_the_components_have_written_what_they_write(installed: Any) -> None:
    installed.wait_for("the webhook is registered", 60, lambda: "metallb-webhook-configuration" in installed.webhooks())
    time.sleep(SETTLE_SECONDS)
    objects = manifest(installed)
    kinds = {each["kind"] for each in objects}
    assert {"DaemonSet", "Deployment", "IPAddressPool", "L2Advertisement", "Secret"} <= kinds
    before = installed.versions(objects)
    for _ in range(RECONCILIATIONS):
        assert conditions(reconcile(installed))["Drifted"] == ("False", "NoDriftDetected")
    assert installed.versions(objects) == before
    assert "DriftDetected" not in events(installed)
    assert revisions(installed) == ["sh.helm.release.v1.metallb.v1"]


def test_what_somebody_else_changed_is_put_back(installed: Any) -> None:
    """And so a drift would have been seen above."""
    installed.lab.kubectl("scale", "deployment/metallb-controller", "--namespace", NAMESPACE, "--replicas=2")
    reconcile(installed)
    assert {"DriftDetected", "DriftCorrected"} <= set(events(installed))
    assert installed.get("deployment", "metallb-controller", NAMESPACE)["spec"]["replicas"] == 1
    assert revisions(installed) == ["sh.helm.release.v1.metallb.v1"]


def test_an_edited_value_is_an_upgrade(installed: Any) -> None:
    address = installed.address(SERVICE)
    values = release(installed)["spec"]["values"]
    values["ipAddressPools"].append({"name": "second-pool", "spec": {"addresses": ["192.168.12.0/24"]}})
    values["speaker"] = {"logLevel": "debug"}
    patch = json.dumps({"spec": {"values": values}})
    installed.lab.kubectl("patch", "helmrelease", RELEASE, "--namespace", FLUX, "--type=merge", "--patch", patch)
    found = wait_release(installed, "upgraded", 180, ready)
    assert conditions(found)["Ready"] == ("True", "UpgradeSucceeded")
    assert [each["version"] for each in found["status"]["history"]] == [2, 1]
    assert found["status"].get("upgradeFailures", 0) == found["status"].get("failures", 0) == 0
    assert installed.pools() == {"first-pool", "second-pool"}
    installed.wait_rollout()
    containers = installed.get("daemonset", "metallb-speaker", NAMESPACE)["spec"]["template"]["spec"]["containers"]
    assert "--log-level=debug" in containers[0]["args"]
    assert installed.address(SERVICE) == address
    assert conditions(reconcile(installed))["Drifted"] == ("False", "NoDriftDetected")


def test_deletion_leaves_definitions_and_pools_made_by_hand(installed: Any) -> None:
    installed.apply(BY_HAND)
    definitions = installed.lab.kubectl("get", "customresourcedefinitions", "--output=name")
    installed.lab.kubectl("delete", "helmrelease", RELEASE, "--namespace", FLUX, "--timeout=150s")
    assert installed.lab.kubectl("get", "customresourcedefinitions", "--output=name") == definitions
    assert "ipaddresspools.metallb.io" in definitions
    assert installed.pools() == {"by-hand"}
    assert revisions(installed) == []
    assert installed.items("deployments", namespace=NAMESPACE) == []
    assert installed.items("daemonsets", namespace=NAMESPACE) == []
    assert installed.items("helmcharts", namespace=FLUX) == []
    installed.wait_for("no webhook is registered", 30, lambda: "metallb" not in installed.webhooks())


def test_a_definition_that_metallb_left_is_refused_until_its_conversion_is_ended(
    installed: Any, page: dict[str, Node]
) -> None:
    """By the command of the page about migration, after which nothing else is needed."""
    installed.lab.kubectl("apply", "--filename", ROOT / "tests/apiserver/metallb/definitions.yaml")
    installed.apply(page["HelmRelease"])
    found = wait_release(
        installed, "refused", 60, lambda found: conditions(found).get("Ready") == ("False", "InstallFailed")
    )
    (message,) = [each["message"] for each in found["status"]["conditions"] if each["type"] == "Ready"]
    installed.leave_conversion(message)
    wait_release(installed, "Ready", 180, ready)
    assert installed.pools() == {"first-pool", "by-hand"}
