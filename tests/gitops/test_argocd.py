"""Argo CD itself, built from its sources, and the Application of docs/gitops.md.

- Its application controller and its repository server run as processes on this host; definitions and settings are those of its own
  `core-install.yaml`. What its API server would make at its first start, the project `default` and a signing key, is made here.
- The tests run in the order of the file, on one Application: installed, left alone, edited, disturbed, deleted, and installed
  twice more, over definitions as MetalLB leaves them.
- Argo CD compares every ten seconds instead of every three minutes, so that what it would do by itself it does while a test looks.
"""

import base64
import copy
import json
import pathlib
import re
import secrets
import socket
import time
from typing import Any

import pytest
import yaml

from demo import workload
from lab import controlplane
from tools import build

ROOT = pathlib.Path(__file__).parents[2]
NAMESPACE = workload.CHART_NAMESPACE
ARGOCD = "argocd"
NAME = "metallb"
SERVICE = "kept"
COMPARE_SECONDS = 10
SETTLE_SECONDS = 25.0
"""Two comparisons by itself, with the components running and having written what they write."""
# The kinds of core-install.yaml that are not the workloads, which run on this host as the administrator instead.
SETTINGS = {"CustomResourceDefinition", "ConfigMap", "Secret"}
BY_HAND = workload.pool("by-hand", "192.168.99.0/24")
Node = dict[str, Any]


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def settings(programs: dict[str, pathlib.Path]) -> list[Node]:
    """The namespace's objects, as an installation of Argo CD makes them."""
    text = (programs["argocd"].parent / "core-install.yaml").read_text()
    documents = [each for each in yaml.safe_load_all(text) if each["kind"] in SETTINGS]
    for each in documents:
        if each["kind"] == "Secret":
            each["data"] = {"server.secretkey": base64.b64encode(secrets.token_bytes(32)).decode()}
    return documents


PROJECT = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "AppProject",
    "metadata": {"name": "default"},
    "spec": {
        "sourceRepos": ["*"],
        "destinations": [{"namespace": "*", "server": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    },
}


def in_argocd(site: Any, documents: list[Node]) -> None:
    """Apply to Argo CD's namespace, server-side: a definition of its is too long for the annotation of the other way."""
    site.lab.kubectl(
        "apply", "--server-side", "--namespace", ARGOCD, "--filename=-", input=yaml.safe_dump_all(documents)
    )


def established(site: Any) -> set[str]:
    """What the definitions say of being established; a definition that says nothing yet says so."""
    listed = json.loads(site.lab.kubectl("get", "customresourcedefinitions", "--output=json"))["items"]
    conditions = [each["status"].get("conditions") or [] for each in listed]
    return {next((one["status"] for one in each if one["type"] == "Established"), "nothing yet") for each in conditions}


@pytest.fixture(scope="module")
def argocd(site: Any) -> Any:
    """The site with Argo CD running."""
    programs = build.ensure("argocd")
    site.lab.kubectl("create", "namespace", ARGOCD)
    in_argocd(site, settings(programs))
    site.wait_for("its definitions are established", 30, lambda: established(site) == {"True"})
    in_argocd(site, [PROJECT])
    cache, repositories, repositories_metrics, metrics = controlplane.free_ports(4)
    home = site.folder / "argocd"
    home.mkdir()
    tools = [build.program("helm").parent, build.program("kubernetes/kubectl").parent]
    environment = {
        "PATH": ":".join([*map(str, tools), "/usr/sbin:/usr/bin:/sbin:/bin"]),
        "TMPDIR": str(home),
        # `https://kubernetes.default.svc` is the cluster of the kubeconfig, since nothing here runs in a pod.
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_ASK_PASS_SOCK": str(home / "ask-pass.sock"),
        "ARGOCD_TLS_DATA_PATH": str(home),
        "ARGOCD_SSH_DATA_PATH": str(home),
    }
    site.start("cache-server", [programs["cache-server"], f"127.0.0.1:{cache}"], {})
    site.wait_for("the cache listens", 20, lambda: listening(cache))
    site.start(
        "argocd-repo-server",
        [
            programs["argocd"],
            "--address=127.0.0.1",
            f"--port={repositories}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={repositories_metrics}",
            "--disable-tls",
            f"--redis=127.0.0.1:{cache}",
        ],
        {**environment, "ARGOCD_BINARY_NAME": "argocd-repo-server"},
    )
    site.wait_for("the repository server listens", 30, lambda: listening(repositories))
    site.start(
        "argocd-application-controller",
        [
            programs["argocd"],
            f"--namespace={ARGOCD}",
            f"--metrics-port={metrics}",
            f"--repo-server=127.0.0.1:{repositories}",
            "--repo-server-plaintext",
            f"--redis=127.0.0.1:{cache}",
            f"--app-resync={COMPARE_SECONDS}",
            "--app-resync-jitter=0",
            "--persist-resource-health",  # It tells in the Application's status which object is not healthy.
        ],
        {**environment, "ARGOCD_BINARY_NAME": "argocd-application-controller"},
    )
    site.wait_for("the application controller listens", 60, lambda: listening(metrics))
    return site


def application(site: Any) -> Node:
    found: Node = site.get("application", NAME, ARGOCD)
    return found


def settled(found: Node, history: int) -> bool:
    """Whether the Application is Synced and Healthy by the sync number `history`, and nothing is under way."""
    status = found.get("status", {})
    return (
        status.get("sync", {}).get("status") == "Synced"
        and status.get("health", {}).get("status") == "Healthy"
        and status.get("operationState", {}).get("phase") == "Succeeded"
        and len(status.get("history", [])) == history
        and "operation" not in found
    )


def wait_settled(site: Any, seconds: float, history: int) -> Node:
    """Fails with the Application's own words."""
    try:
        site.wait_for("Synced and Healthy", seconds, lambda: settled(application(site), history))
    except AssertionError as error:
        status = application(site).get("status", {})
        status["resources"] = [
            each
            for each in status.get("resources", [])
            if each.get("status") != "Synced" or each.get("health", {}).get("status", "Healthy") != "Healthy"
        ]
        status.get("operationState", {}).pop("syncResult", None)
        raise AssertionError(f"{error}\n{json.dumps(status, indent=1)[-8000:]}") from None
    return application(site)


def messages(site: Any, reason: str) -> list[str]:
    """What the Application's Events with this reason say."""
    selector = f"involvedObject.kind=Application,involvedObject.name={NAME}"
    events = site.items("events", "--field-selector", selector, namespace=ARGOCD)
    return [each["message"] for each in events if each["reason"] == reason]


def change_values(site: Any, values: Node) -> None:
    """Merge these values into those of the Application."""
    patch(site, {"spec": {"source": {"helm": {"valuesObject": values}}}})


def patch(site: Any, change: Node) -> None:
    command = ["patch", "application", NAME, "--namespace", ARGOCD, "--type=merge", "--patch", json.dumps(change)]
    site.lab.kubectl(*command)


def became_out_of_sync(site: Any) -> list[str]:
    """The Events that tell of a difference found after everything was in sync; the first comparison finds nothing installed."""
    return [each for each in messages(site, "ResourceUpdated") if re.search(r"sync status: Synced -> ", each)]


def generations(site: Any) -> dict[str, int]:
    """How often what the Application's objects ask for was changed, from 1, for the kinds that count it."""
    found = {}
    for each in application(site)["status"]["resources"]:
        kind = f"{each['kind']}.{each['version']}.{each['group']}" if each.get("group") else each["kind"]
        read = site.get(kind, each["name"], each.get("namespace", ""))
        if "generation" in read["metadata"]:
            found[f"{each['kind']}/{each['name']}"] = read["metadata"]["generation"]
    return found


def at(page: dict[str, Node], url: str) -> Node:
    """The page's Application, with the chart at `url`."""
    document = copy.deepcopy(page["Application"])
    document["spec"]["source"]["repoURL"] = url
    return document


def delete_with_resources(site: Any) -> None:
    patch(site, {"metadata": {"finalizers": ["resources-finalizer.argocd.argoproj.io"]}})
    site.lab.kubectl("delete", "application", NAME, "--namespace", ARGOCD, "--wait=false")
    site.wait_for(
        "the Application is gone",
        150,
        lambda: not site.lab.kubectl("get", "applications", "--namespace", ARGOCD, "--output=name"),
    )


@pytest.fixture(scope="module")
def installed(argocd: Any, page: dict[str, Node]) -> Any:
    """The page's Application, applied once, Synced and Healthy, and a Service with an address."""
    argocd.apply(at(page, argocd.url))
    wait_settled(argocd, 180, 1)
    argocd.wait_rollout()
    argocd.apply(workload.service(SERVICE))
    return argocd


def test_the_application_is_synced_and_healthy_by_its_first_sync(installed: Any) -> None:
    status = application(installed)["status"]
    assert len(status["history"]) == 1
    assert status["operationState"].get("retryCount", 0) == 0
    assert status["operationState"]["operation"]["initiatedBy"] == {"automated": True}
    # What else it did at once is a sync of what it had not yet seen arrive: it read its own objects before its watches told of them.
    told = messages(installed, "OperationCompleted")
    assert told.count("Sync operation to 0.1.0 succeeded") == 1
    assert set(told) <= {"Sync operation to 0.1.0 succeeded", "Partial sync operation to 0.1.0 succeeded"}
    assert {name: number for name, number in generations(installed).items() if number != 1} == {}
    assert [each for each in status["resources"] if each.get("status") != "Synced"] == []
    assert not status.get("conditions")
    kinds = {each["kind"] for each in status["resources"]}
    assert {"CustomResourceDefinition", "DaemonSet", "Deployment", "IPAddressPool", "L2Advertisement"} <= kinds
    assert installed.pools() == {"first-pool"}
    namespace = json.loads(installed.lab.kubectl("get", "namespace", NAMESPACE, "--output=json"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


def test_nothing_differs_once_the_components_have_written_what_they_write(installed: Any) -> None:
    installed.wait_for("the Service has an address", 60, lambda: installed.address(SERVICE))
    installed.wait_for("the webhook is registered", 60, lambda: "metallb-webhook-configuration" in installed.webhooks())
    before = application(installed)["status"]
    changes = generations(installed)
    time.sleep(SETTLE_SECONDS)
    installed.lab.kubectl(
        "annotate", "application", NAME, "--namespace", ARGOCD, "argocd.argoproj.io/refresh=hard", "--overwrite"
    )
    installed.wait_for(
        "the hard refresh is done",
        60,
        lambda: "argocd.argoproj.io/refresh" not in application(installed)["metadata"].get("annotations", {}),
    )
    after = wait_settled(installed, 30, 1)["status"]
    assert after["reconciledAt"] > before["reconciledAt"]
    assert after["history"] == before["history"]
    assert after["operationState"] == before["operationState"]
    assert [each for each in after["resources"] if each.get("status") != "Synced"] == []
    assert became_out_of_sync(installed) == []
    assert generations(installed) == changes


def pool(name: str, *addresses: str) -> Node:
    return {"name": name, "spec": {"addresses": list(addresses)}}


def test_an_edited_value_is_synced(installed: Any) -> None:
    pools = [pool("first-pool", "192.168.10.0/24", "192.168.11.0/24"), pool("second-pool", "192.168.12.0/24")]
    change_values(installed, {"ipAddressPools": pools})
    after = wait_settled(installed, 90, 2)["status"]
    assert after["operationState"].get("retryCount", 0) == 0
    assert installed.pools() == {"first-pool", "second-pool"}
    found = installed.get("ipaddresspool", "first-pool", NAMESPACE)
    assert found["spec"]["addresses"] == ["192.168.10.0/24", "192.168.11.0/24"]


def test_the_upgrade_job_runs_before_a_sync_and_does_no_harm(installed: Any) -> None:
    """A hook alone is no difference to Argo CD, so a pool changes with it."""
    change_values(installed, {"crds": {"upgrade": True}, "ipAddressPools": [pool("first-pool", "192.168.10.0/24")]})
    after = wait_settled(installed, 120, 3)["status"]
    assert after["operationState"].get("retryCount", 0) == 0
    # The Job is removed when it has succeeded; its Events tell of it.
    jobs = installed.items("events", "--field-selector", "involvedObject.kind=Job", namespace=NAMESPACE)
    assert "Completed" in {each["reason"] for each in jobs}
    assert [each["message"] for each in jobs if each["type"] != "Normal"] == []
    assert [each for each in after["resources"] if each.get("status") != "Synced"] == []
    assert installed.pools() == {"first-pool"}


def test_definitions_stay_when_the_values_leave_them_out(installed: Any) -> None:
    change_values(installed, {"crds": {"enabled": False}, "ipAddressPools": [pool("first-pool", "192.168.13.0/24")]})
    after = wait_settled(installed, 90, 4)["status"]
    assert "CustomResourceDefinition" not in {each["kind"] for each in after["resources"]}
    assert "ipaddresspools.metallb.io" in installed.lab.kubectl("get", "customresourcedefinitions", "--output=name")
    assert installed.pools() == {"first-pool"}


def test_what_somebody_else_changed_is_put_back(installed: Any) -> None:
    """And so a difference would have been seen above."""
    before = len(became_out_of_sync(installed))
    installed.lab.kubectl("scale", "deployment/metallb-controller", "--namespace", NAMESPACE, "--replicas=2")
    installed.wait_for("a difference is seen", 60, lambda: len(became_out_of_sync(installed)) > before)
    installed.wait_for(
        "one replica is asked for again",
        60,
        lambda: installed.get("deployment", "metallb-controller", NAMESPACE)["spec"]["replicas"] == 1,
    )


def test_deletion_with_resources_leaves_definitions_and_pools_made_by_hand(installed: Any) -> None:
    installed.apply(BY_HAND)
    definitions = installed.lab.kubectl("get", "customresourcedefinitions", "--output=name")
    delete_with_resources(installed)
    assert installed.lab.kubectl("get", "customresourcedefinitions", "--output=name") == definitions
    assert "ipaddresspools.metallb.io" in definitions
    assert installed.pools() == {"by-hand"}
    assert installed.items("deployments", namespace=NAMESPACE) == []
    assert installed.items("daemonsets", namespace=NAMESPACE) == []
    installed.wait_for("no webhook is registered", 30, lambda: "metallb" not in installed.webhooks())


def leave_definitions(site: Any, *how: str) -> None:
    """MetalLB's definitions, applied in one of the ways, and what its controller writes into one of them."""
    site.lab.kubectl("apply", *how, "--filename", ROOT / "tests/apiserver/metallb/definitions.yaml")
    authority = base64.b64encode(site.lab.ca_file.read_bytes()).decode()
    conversion = {"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": authority}}}}}
    command = ["patch", "crd", "bgppeers.metallb.io", "--type=merge", "--field-manager=MetalLB"]
    site.lab.kubectl(*command, "--patch", json.dumps(conversion))


def conversion_of_peers(site: Any) -> Node:
    found: Node = json.loads(site.lab.kubectl("get", "crd", "bgppeers.metallb.io", "--output=json"))
    return found["spec"]["conversion"]


def test_a_definition_that_argo_cd_brought_for_metallb_is_refused_until_its_conversion_is_ended(
    argocd: Any, page: dict[str, Node]
) -> None:
    """By the command of the page about migration; the sync that was refused is tried again by itself."""
    leave_definitions(argocd, "--server-side", "--force-conflicts", "--field-manager=argocd-controller")
    argocd.apply(at(page, argocd.url))
    argocd.wait_for(
        "refused", 90, lambda: application(argocd).get("status", {}).get("operationState", {}).get("retryCount")
    )
    results = application(argocd)["status"]["operationState"]["syncResult"]["resources"]
    (message,) = [each["message"] for each in results if each["status"] == "SyncFailed"]
    argocd.leave_conversion(message)
    wait_settled(argocd, 150, 1)
    assert conversion_of_peers(argocd) == {"strategy": "None"}
    assert "first-pool" in argocd.pools()
    delete_with_resources(argocd)


def test_a_definition_that_kubectl_brought_for_metallb_is_taken_over(argocd: Any, page: dict[str, Node]) -> None:
    """Argo CD first applies it as kubectl did, which takes away what kubectl had brought, and only then server-side."""
    leave_definitions(argocd)
    argocd.apply(at(page, argocd.url))
    after = wait_settled(argocd, 150, 1)
    assert after["status"]["operationState"].get("retryCount", 0) == 0
    assert conversion_of_peers(argocd) == {"strategy": "None"}
