"""The lab itself: it comes up, carries pods and Services, loses a node's power, and leaves nothing behind.

Rules: one lab for the module, under a name of its own; every wait is a bounded poll; what a test changes it changes
back, except the last one, which takes the lab down and looks for remains.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from images import build as images_build
from lab import cgroups, cluster, namespaces, plan

pytestmark = [
    pytest.mark.lab,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
]

NAME = "smoke"
WAIT_SECONDS = 90.0

MANIFEST = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: host}
spec:
  selector: {matchLabels: {app: host}}
  template:
    metadata: {labels: {app: host}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: %(image)s
        env: [{name: PORT, value: "18080"}]
        securityContext: {readOnlyRootFilesystem: true}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: %(image)s
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        readinessProbe: {httpGet: {path: /name, port: 8080}, periodSeconds: 1}
        securityContext: {readOnlyRootFilesystem: true}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
""" % {"image": images_build.WEB_REFERENCE}  # noqa: UP031 - the manifest is full of braces


@pytest.fixture(scope="module")
def lab() -> Iterator[cluster.Cluster]:
    images_build.build_image("web", images_build.WEB_REFERENCE)
    running = cluster.Cluster(NAME)
    try:
        running.up(3, [images_build.archive("web")])
        running.kubectl("apply", "--filename=-", input=MANIFEST)
        yield running
    finally:
        running.down()


def wait_true(what: str, probe: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


def ping(lab: cluster.Cluster, address: str) -> bool:
    return lab.client_exec(["ping", "-c", "1", "-W", "1", address], check=False).returncode == 0


def test_three_nodes_are_ready(lab: cluster.Cluster) -> None:
    items = json.loads(lab.kubectl("get", "nodes", "--output=json"))["items"]
    ready = {
        item["metadata"]["name"]
        for item in items
        if {"type": "Ready", "status": "True"}.items()
        <= next(c for c in item["status"]["conditions"] if c["type"] == "Ready").items()
    }
    assert ready == {"node1", "node2", "node3"}


def test_host_network_pods_are_on_the_lan(lab: cluster.Cluster) -> None:
    lab.kubectl("rollout", "status", "daemonset/host", "--timeout=90s")
    for name in lab.nodes:
        for address in lab.node_addresses(name):
            host = f"[{address}]" if ":" in address else address
            fetch = ["python3", "-c", f"import urllib.request as u; u.urlopen('http://{host}:18080/name', timeout=5)"]
            wait_true(f"{host} answers", lambda fetch=fetch: lab.client_exec(fetch, check=False).returncode == 0)  # type: ignore[misc]


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_cluster_address_answers_inside_a_pod(lab: cluster.Cluster, family: int) -> None:
    lab.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    service = json.loads(lab.kubectl("get", "service", "web", "--output=json"))
    address = next(a for a in service["spec"]["clusterIPs"] if ipaddress.ip_address(a).version == family)
    host = f"[{address}]" if family == 6 else address
    program = f"import urllib.request as u; print(u.urlopen('http://{host}/name', timeout=3).read().decode())"
    nodes: set[str] = set()

    def ask() -> bool:
        try:
            said = lab.kubectl("exec", "deployment/web", "--", "python3", "-c", program).split()
        except subprocess.CalledProcessError:
            # A pod that is ready is not yet a pod that every node's kube-proxy knows.
            return False
        nodes.add(said[1])
        return len(nodes) > 1

    wait_true("pods of two nodes answer behind one address", ask)


def test_a_node_without_power_is_silent_and_comes_back(lab: cluster.Cluster) -> None:
    address = lab.node_addresses("node3")[0]
    assert ping(lab, address)
    lab.freeze_node("node3")
    try:
        assert not ping(lab, address)
    finally:
        lab.thaw_node("node3")
    wait_true("node3 answers again", lambda: ping(lab, address), 10.0)


def test_the_api_server_keeps_its_data_over_a_restart(lab: cluster.Cluster) -> None:
    before = lab.kubectl("get", "service", "web", "--output=jsonpath={.metadata.uid}")
    lab.restart_apiserver()
    assert lab.kubectl("get", "service", "web", "--output=jsonpath={.metadata.uid}") == before


def test_up_on_a_running_lab_changes_nothing(lab: cluster.Cluster) -> None:
    before = lab.ledger.all()
    lab.up(3)
    assert lab.ledger.all() == before


def test_down_leaves_nothing(lab: cluster.Cluster) -> None:
    link = namespaces.host_link(NAME)
    lab.freeze_node("node2")  # a frozen node must not hinder it
    lab.down()
    assert namespaces.existing(NAME) == []
    assert not Path("/sys/class/net", link).exists()
    assert not [path for path in (lab.state, lab.memory, cluster.DISK / NAME) if path.exists()]
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{cgroups.ROOT}/{NAME}"))
    assert f"metallb-lab/{NAME}" not in Path("/proc/self/mountinfo").read_text()
    assert f"metallb-lab/{NAME}/" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    lab.down()


@pytest.mark.parametrize("name", ["", "Lab", "a-b", "ninechars", "1a"], ids=str)
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        plan.Plan(name=name, index=0)
