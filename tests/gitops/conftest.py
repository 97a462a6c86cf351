"""A cluster of one node, a chart repository on loopback, and a GitOps tool's own programs as processes of this host.

- What is applied is read from docs/gitops.md. The only change to it is where the chart is; the chart has the version that the page names.
- Each file has a cluster of its own, since each wants an empty one.
- The tools' programs are built when they are needed, which takes minutes: these tests are run by `make gitops` and by nothing else.
"""

import dataclasses
import json
import os
import pathlib
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from demo import bundle, pages, repository, workload
from lab import cluster, processes
from tools import build

ROOT = pathlib.Path(__file__).parents[2]
NAMESPACE = workload.CHART_NAMESPACE
Node = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    here = pathlib.Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            item.add_marker(pytest.mark.gitops)
            item.add_marker(pytest.mark.timeout(600))
            item.add_marker(pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The cluster, and what the tests ask of it. `url`: the chart repository."""

    lab: cluster.Cluster
    url: str
    folder: pathlib.Path
    running: list[processes.Process]

    def start(self, name: str, argv: Sequence[str | pathlib.Path], environment: Mapping[str, str]) -> None:
        """Start a program as the administrator of the cluster; it ends with the site."""
        settings = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "KUBECONFIG": str(self.lab.kubeconfig)}
        log = self.folder / f"{name}.log"
        self.running.append(processes.start(name, argv, log, environment={**settings, **environment}))

    def apply(self, *documents: Node) -> None:
        self.lab.kubectl("apply", "--filename=-", input=listed(documents))

    def get(self, kind: str, name: str, namespace: str) -> Node:
        found: Node = json.loads(self.lab.kubectl("get", kind, name, "--namespace", namespace, "--output=json"))
        return found

    def items(self, kind: str, *arguments: str, namespace: str) -> list[Node]:
        text = self.lab.kubectl("get", kind, "--namespace", namespace, "--output=json", *arguments)
        found: list[Node] = json.loads(text)["items"]
        return found

    def versions(self, documents: Sequence[Node]) -> dict[str, str]:
        """The resource versions of objects. Fails when one is not there."""
        found = json.loads(self.lab.kubectl("get", "--filename=-", "--output=json", input=listed(documents)))["items"]
        return {f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["resourceVersion"] for each in found}

    def pools(self) -> set[str]:
        return {each["metadata"]["name"] for each in self.items("ipaddresspools", namespace=NAMESPACE)}

    def address(self, service: str) -> str:
        """The address a Service has; empty when it has none."""
        return self.lab.kubectl("get", "service", service, "--output=jsonpath={.status.loadBalancer.ingress[0].ip}")

    def webhooks(self) -> str:
        return self.lab.kubectl("get", "validatingwebhookconfigurations", "--output=name", "--ignore-not-found")

    def wait_for(self, what: str, seconds: float, look: Callable[[], object]) -> None:
        """Wait until `look` gives something true. Fails with the ends of the programs' logs, and at once when one has ended."""
        give_up = time.monotonic() + seconds
        while not look():
            ended = [process.name for process in self.running if not process.alive()]
            if ended or time.monotonic() >= give_up:
                raise AssertionError(f"not within {seconds:.0f} s: {what}; ended: {ended}\n{self.logs()}")
            time.sleep(0.2)

    def leave_conversion(self, refusal: str) -> None:
        """See that BGPPeer as MetalLB leaves it was refused, and give the command that docs/migrate-from-metallb.md has for it."""
        assert '"bgppeers.metallb.io" is invalid' in refusal
        assert "spec.conversion.webhookClientConfig: Forbidden" in refusal
        text = (ROOT / "docs/migrate-from-metallb.md").read_text()
        (command,) = re.findall(r"^kubectl (patch crd bgppeers\.metallb\.io .*)", text, re.MULTILINE)
        self.lab.kubectl(*shlex.split(command))

    def wait_rollout(self) -> None:
        for name in ("deployment/metallb-controller", "daemonset/metallb-speaker"):
            self.lab.kubectl("rollout", "status", name, "--namespace", NAMESPACE, "--timeout=120s")

    def logs(self) -> str:
        return "\n".join(f"-- {process.name}\n{process.log_tail()}" for process in self.running)


def listed(documents: Sequence[Node]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})


@pytest.fixture(scope="module")
def page() -> dict[str, Node]:
    """The objects on the page, by kind: for a test to change where the chart is."""
    return pages.gitops()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("gitops")
    charts = folder / "charts"
    charts.mkdir()
    helm = build.program("helm")
    version = pages.gitops()["HelmRelease"]["spec"]["chart"]["spec"]["version"]
    repository.package(helm, ROOT / "charts/metallb", charts, version)
    running: list[processes.Process] = []
    lab = cluster.Cluster("gitops")
    try:
        lab.up(1, bundle.build().archives)
        with repository.packaged(helm, charts) as url:
            yield Site(lab=lab, url=url, folder=folder, running=running)
    finally:
        for process in running:
            process.stop(10)
        lab.down()
