"""Who may read the metrics of our pods, and what the pods counted and said while the tests before exercised them."""

import json
import re
from collections.abc import Iterator

import pytest

from demo import steps, workload
from lab import cluster

NAMESPACE = workload.CHART_NAMESPACE
PORT = 9120
OURS = "--selector=app.kubernetes.io/component in (controller,speaker)"
READER = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "e2e-metrics-reader"},
    "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}],
}
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "e2e-metrics-reader"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "e2e-metrics-reader"},
    "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}],
}


@pytest.fixture(scope="module")
def accounts(do: steps.Steps) -> Iterator[None]:
    """Service account `reader`, who may read metrics, and `nosy`, who may not."""
    for name in ("reader", "nosy"):
        do.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}})
    do.apply(READER, BINDING)
    yield
    do.lab.kubectl("delete", "clusterrole,clusterrolebinding", "e2e-metrics-reader")
    do.lab.kubectl("delete", "serviceaccount", "reader", "nosy")


def scrape(lab: cluster.Cluster, node: str, address: str, *arguments: str) -> tuple[int, str]:
    """Status and body of /metrics of the pod with this address, asked from a node. Status 0: no answer."""
    host = f"[{address}]" if ":" in address else address
    argv = ["curl", "--silent", "--insecure", "--max-time", "10", "--write-out", "\n%{http_code}", *arguments]
    body, _, code = lab.node_exec(node, [*argv, f"https://{host}:{PORT}/metrics"], check=False).stdout.rpartition("\n")
    return int(code), body


def pods(do: steps.Steps) -> dict[str, tuple[str, str]]:
    """Node and address of each of our pods that has one, by name."""
    return {
        pod["metadata"]["name"]: (pod["spec"]["nodeName"], pod["status"]["podIP"])
        for pod in do.items("pods", OURS, namespace=NAMESPACE)
        if "podIP" in pod["status"]
    }


def test_metrics_need_a_token_that_may(lab: cluster.Cluster, do: steps.Steps, accounts: None) -> None:
    tokens = {name: lab.kubectl("create", "token", name).strip() for name in ("reader", "nosy")}
    # A controller that a test before had beside it may still be ending, and the one that stays may just have been started again.
    steps.wait_for("four pods", 60, lambda: len(pods(do)) == 4)
    do.wait_rollout("metallb-controller", NAMESPACE)
    do.wait_rollout("metallb-speaker", NAMESPACE, "daemonset")
    found = pods(do)
    allowed = ("--header", f"Authorization: Bearer {tokens['reader']}")
    settled = ("metallb_k8s_client_config_loaded_bool 1.0", "metallb_k8s_client_config_stale_bool 0.0")
    for name, (node, address) in found.items():
        steps.wait_for(f"an answer of {name}", 30, lambda node=node, address=address: scrape(lab, node, address)[0])  # type: ignore[misc]
        assert scrape(lab, node, address)[0] == 401, name
        assert scrape(lab, node, address, "--header", "Authorization: Bearer nonsense")[0] == 401, name
        assert scrape(lab, node, address, "--header", f"Authorization: Bearer {tokens['nosy']}")[0] == 403, name
        assert scrape(lab, node, address, *allowed)[0] == 200, name
        # A mistake of the test before is forgotten when the news of its end has come.
        steps.wait_for(
            f"{settled} of {name}",
            10,
            lambda node=node, address=address: all(  # type: ignore[misc]
                line in scrape(lab, node, address, *allowed)[1] for line in settled
            ),
        )


def test_metrics_count_what_there_is(lab: cluster.Cluster, do: steps.Steps, accounts: None) -> None:
    token = lab.kubectl("create", "token", "reader").strip()
    address = do.addresses(workload.WEB)[0]
    owner = do.wait_owner(workload.WEB)
    do.fetch(address)

    def wait_line(name: str, pattern: str) -> None:
        node, where = pods(do)[name]
        header = f"Authorization: Bearer {token}"
        steps.wait_for(
            f"{pattern} in the metrics of {name}",
            30,
            lambda: re.search(pattern, scrape(lab, node, where, "--header", header)[1], re.MULTILINE) is not None,
        )

    for name, (node, _) in pods(do).items():
        wait_line(name, r'^metallb_api_requests_total\{.*code="200".*\} [1-9]')
        if "controller" in name:
            wait_line(name, r'^metallb_allocator_addresses_in_use_total\{.*pool="demo".*\} 4\.0$')
        elif node == owner:
            wait_line(name, rf'^metallb_speaker_announced\{{.*ip="{re.escape(address)}".*\}} 1\.0$')


def test_logs_hold_no_surprises(lab: cluster.Cluster, do: steps.Steps) -> None:
    """Every line is JSON, and none is about an exception."""
    for name in pods(do):
        for line in lab.kubectl("logs", name, "--namespace", NAMESPACE).splitlines():
            entry = json.loads(line)
            assert "Traceback" not in line, entry


def test_nobody_was_restarted_by_a_probe(do: steps.Steps) -> None:
    """Only what the tests killed was started again."""
    killed = [
        event["message"]
        for event in do.items("events", namespace=NAMESPACE)
        if event["reason"] == "Killing" and "failed liveness probe" in event.get("message", "")
    ]
    assert killed == []
