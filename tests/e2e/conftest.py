"""One cluster, one installation by the documented path, shared by all end-to-end tests.

- The files run in the order of `ORDER`: what ends the installation comes last.
- After each test everything transient is removed, every node has its power and its cable, and the API server runs. Then what must hold after
  anything is checked: the two Services that live through the run have the addresses they were given, and no address belongs to two Services
  that do not share it.
- Figures (how long an address was silent, say) are printed at the end; the bounds in tests are generous, since the machine may be busy.
- METALLB_E2E_KEEP=1 leaves the cluster up and uses one that is up, to work on a single test.
"""

import itertools
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator

import pytest

from demo import bundle, repository, steps, workload
from lab import cluster
from tools import build as tools

ROOT = pathlib.Path(__file__).parents[2]
LAB = "e2e"
KEEP = bool(os.environ.get("METALLB_E2E_KEEP"))
ORDER = (
    "installation",
    "allocation",
    "layer2",
    "failover",
    "controller",
    "access",
    "bgp",
    "rights",
    "lifecycle",
    "previous",
    "first_apply",
)
FIGURES = pytest.StashKey[list[str]]()
Tell = Callable[[str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files of this folder, mark their tests, and leave others where they are."""
    here = pathlib.Path(__file__).parent
    ours = [item for item in items if item.path.parent == here]
    ours.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_e2e_")))
    for item in ours:
        item.add_marker(pytest.mark.lab)
        item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.timeout(600))
        item.add_marker(pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"))
    items[:] = [item for item in items if item.path.parent != here] + ours


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures."""
    lines = config.stash.get(FIGURES, [])
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Tell:
    """Keep a line for the end of the run."""
    return pytestconfig.stash.setdefault(FIGURES, []).append


@pytest.fixture(scope="session")
def lab(tell: Tell) -> Iterator[cluster.Cluster]:
    started = time.monotonic()
    built = bundle.build()
    running = cluster.Cluster(LAB)
    try:
        running.up(3, built.archives)
        tell(f"images and cluster: {time.monotonic() - started:.1f} s")
        yield running
    finally:
        if not KEEP:
            running.down()


@pytest.fixture(scope="session")
def chart_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A chart repository that holds this checkout's chart."""
    folder = tmp_path_factory.mktemp("charts")
    with repository.serving(tools.program("helm"), ROOT / "charts" / "metallb", folder) as url:
        yield url


def ranges(running: cluster.Cluster) -> tuple[str, str]:
    """The part of the LAN that the installation's own pool holds; the rest is for pools of the tests."""
    ipv4, ipv6 = running.plan.pool_ipv4, running.plan.pool_ipv6
    return f"{ipv4[0]}-{ipv4[63]}", f"{ipv6[0]}-{ipv6[0x7F]}"


@pytest.fixture(scope="session")
def values(lab: cluster.Cluster) -> str:
    """The values file of the installation."""
    return workload.values(workload.Plan(image_tag=bundle.chart_version(), pools=ranges(lab)))


@pytest.fixture(scope="session")
def do(
    lab: cluster.Cluster, chart_url: str, values: str, tell: Tell, tmp_path_factory: pytest.TempPathFactory
) -> steps.Steps:
    """The installed cluster, with a web page and a UDP echo behind dual-stack Services."""
    done = steps.Steps(lab, tools.program("helm"), tmp_path_factory.mktemp("helm"))
    if "metallb" in json.dumps(json.loads(done.helm("list", "--all-namespaces", "--output=json"))):
        done.helm("repo", "add", "metallb", chart_url)
    else:
        started = time.monotonic()
        done.install(chart_url, values)
        tell(f"helm install --wait, first time: {time.monotonic() - started:.1f} s")
    lab.kubectl("apply", "--filename", "-", input=workload.manifests())
    for name in (workload.WEB, workload.ECHO):
        done.wait_addresses(name, 2)
        done.wait_rollout(name)
    return done


@pytest.fixture(scope="session")
def standing(do: steps.Steps) -> dict[str, list[str]]:
    """The addresses of the Services that live through the whole run."""
    return {name: do.addresses(name) for name in (workload.WEB, workload.ECHO)}


def tidy(lab: cluster.Cluster) -> None:
    """Undo what a test did to the machines and the cluster."""
    for node in lab.nodes:
        lab.thaw_node(node)
    lab.start_apiserver()
    lab.wait_nodes_ready()
    selector = ",".join(f"{key}={value}" for key, value in workload.TRANSIENT.items())
    lab.kubectl("delete", "services,daemonsets", "--selector", selector)
    kinds = "ipaddresspools,l2advertisements,bgppeers,bgpadvertisements,bfdprofiles,communities,secrets"
    lab.kubectl("delete", kinds, "--namespace", workload.CHART_NAMESPACE, "--selector", selector)


def doubles(services: list[dict]) -> list[str]:  # type: ignore[type-arg]
    """Addresses of two Services that did not ask to share."""
    held = [
        (
            entry["ip"],
            item["metadata"]["name"],
            item["metadata"].get("annotations", {}).get("metallb.io/allow-shared-ip"),
        )
        for item in services
        for entry in item.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    ]
    return [
        f"{one[0]} belongs to {one[1]} and {other[1]}"
        for one, other in itertools.combinations(sorted(held, key=str), 2)
        if one[0] == other[0] and (one[2] is None or one[2] != other[2])
    ]


@pytest.fixture(autouse=True)
def undisturbed(request: pytest.FixtureRequest, lab: cluster.Cluster) -> Iterator[None]:
    """See the module."""
    if "do" not in request.fixturenames:
        yield
        return
    do: steps.Steps = request.getfixturevalue("do")
    before: dict[str, list[str]] = request.getfixturevalue("standing")
    try:
        yield
    finally:
        tidy(lab)
    found = do.items("services")
    assert doubles(found) == []
    for item in found:
        name = item["metadata"]["name"]
        if name in before:
            assert [entry["ip"] for entry in item["status"]["loadBalancer"]["ingress"]] == before[name]
