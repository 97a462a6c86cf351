"""From the version before this one to this one and back, by the commands of `docs/install.md`, with traffic all the while.

- The previous version comes out of the history (`release.previous`): its own images, chart and definitions. Without the history there is
  nothing to upgrade from, and the tests say so.
- It is installed into a cluster without us and without our definitions, from a repository that does not have this version yet. Then this
  version is published there.
- The Services of the run live through all of it. What is asked: the same addresses, an answer to every request but for the moment of a
  hand-over, and nothing of the other version left.
"""

import json
import pathlib
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from demo import bundle, pages, repository, steps, workload
from lab import cluster
from metallb_core.api import crd
from release import previous
from tools import build as tools

NAMESPACE = workload.CHART_NAMESPACE
ROOT = pathlib.Path(__file__).parents[2]
CHART = ROOT / "charts/metallb"
MANIFEST = ROOT / "config/manifests/metallb-native.yaml"
HANDOVER_SECONDS = 0.5
"""What a hand-over of a speaker that is stopped may cost, as in the tests of failover."""
PROBE_SECONDS = 400.0
REQUESTS_A_SECOND = 50
# Pods are asked soon and often whether they are ready: three nodes, three times, would else wait for most of the time.
PROMPT = {"initialDelaySeconds": 1, "periodSeconds": 1}
DEFINITION = "ipaddresspools.metallb.io"
FIELD = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/avoidBuggyIPs"
Tell = Callable[[str], None]


@pytest.fixture(scope="module")
def user(
    lab: cluster.Cluster, do: steps.Steps, values: str, tell: Tell, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[steps.Steps]:
    """A user of the previous version; helm's repository has this version too."""
    try:
        built = previous.build()
    except previous.MissingError as error:
        pytest.skip(str(error))
    helm, folder = tools.program("helm"), tmp_path_factory.mktemp("repository")
    for archive in built.archives:
        lab.load_image(archive)
    remove_everything(do)
    repository.package(helm, built.chart, folder, previous.CHART_VERSION)
    with repository.packaged(helm, folder) as url:
        found = steps.Steps(lab, helm, tmp_path_factory.mktemp("previous"))
        document = prompt(values)
        for component in ("controller", "speaker"):
            document[component]["image"]["tag"] = previous.TAG
        found.install(url, json.dumps(document))
        tell(f"previous version: {built.name}, with {len(definitions(do))} definitions")
        repository.package(helm, CHART, folder)
        repository.index(helm, folder, url)
        yield found


def prompt(values: str) -> dict[str, Any]:
    """The values of the installation, with `PROMPT`."""
    document: dict[str, Any] = json.loads(values)
    for component in ("controller", "speaker"):
        document[component]["readinessProbe"] = PROMPT
    return document


def remove_everything(do: steps.Steps) -> None:
    """Take away what earlier tests installed, either way, and the definitions with it."""
    do.helm("uninstall", "metallb", "--namespace", NAMESPACE, "--ignore-not-found")
    do.lab.kubectl("delete", "--filename", MANIFEST, "--ignore-not-found")
    steps.wait_for("nothing of ours is left", 150, lambda: not do.left())


def definitions(do: steps.Steps) -> list[str]:
    return [name for name in do.left() if name.startswith("customresourcedefinition")]


def stale(lab: cluster.Cluster) -> str:
    """What applying the definitions of this version would change."""
    folder = CHART / "charts/crds/crds"
    manager = f"--field-manager={crd.FIELD_MANAGER}"
    try:
        return lab.kubectl("diff", "--server-side", "--force-conflicts", manager, "--filename", folder)
    except subprocess.CalledProcessError as error:
        return str(error.stdout) + str(error.stderr)


def images(do: steps.Steps) -> set[str]:
    """What the pods run, those that are ending included."""
    pods = do.items("pods", namespace=NAMESPACE)
    return {container["image"] for pod in pods for container in pod["spec"]["containers"]}


def arguments(do: steps.Steps) -> set[str]:
    pods = do.items("pods", "--selector=app.kubernetes.io/component=speaker", namespace=NAMESPACE)
    return set.intersection(*(set(pod["spec"]["containers"][0]["args"]) for pod in pods))


def of_tag(tag: str) -> set[str]:
    return {f"{bundle.REPOSITORY}/{name}:{tag}" for name in ("controller", "speaker")}


def listed(do: steps.Steps) -> set[tuple[str, str]]:
    """Kind and name of what the release says it is made of."""
    documents = yaml.safe_load_all(do.helm("get", "manifest", "metallb", "--namespace", NAMESPACE))
    return {(each["kind"], each["metadata"]["name"]) for each in documents if each}


def labelled(do: steps.Steps, kinds: set[str]) -> set[tuple[str, str]]:
    """Kind and name of what there is of these kinds with the release's label, hooks included."""
    selector = "--selector=app.kubernetes.io/instance=metallb"
    text = do.lab.kubectl("get", ",".join(sorted(kinds)), "--all-namespaces", selector, "--output=json")
    return {(each["kind"], each["metadata"]["name"]) for each in json.loads(text)["items"]}


def commands(word: str) -> list[list[str]]:
    """The block of commands in the page's section on upgrades that ends with `helm WORD`."""
    text = (ROOT / "docs/install.md").read_text()
    section = re.search(r"^## Upgrade$(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    blocks = re.findall(r"^```\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    found = [[shlex.split(line, comments=True) for line in block.splitlines()] for block in blocks]
    (chosen,) = (block for block in found if block[-1][:2] == ["helm", word])
    return chosen


def documented_flags() -> dict[str, Any]:
    """The page's example of flags: values of the speaker."""
    (example,) = (block for block in pages.blocks(pages.DOCS / "install.md") if "extraArgs" in block)
    found: dict[str, Any] = yaml.safe_load(example)["speaker"]
    return found


def run(user: steps.Steps, word: str, values: pathlib.Path) -> None:
    """Do what the page says, and wait until the last pod of the version before is gone."""
    for program, *arguments in commands(word):
        assert program == "helm"
        user.helm(*(values if argument == "values.yaml" else argument for argument in arguments))
    user.wait_rollout("metallb-controller", NAMESPACE)
    user.wait_rollout("metallb-speaker", NAMESPACE, "daemonset")


def check_traffic(silence: steps.Silence | None, what: str, tell: Tell) -> None:
    assert silence is not None
    lost = silence.udp_sent - silence.udp_answered
    tell(
        f"{what}: ARP silent for {silence.arp:.2f} s, UDP for {silence.udp:.2f} s; {lost} of {silence.udp_sent} requests failed"
    )
    assert silence.arp < HANDOVER_SECONDS
    assert lost <= HANDOVER_SECONDS * REQUESTS_A_SECOND


def test_upgrade_from_the_previous_version(
    lab: cluster.Cluster,
    do: steps.Steps,
    user: steps.Steps,
    standing: dict[str, list[str]],
    values: str,
    tell: Tell,
    tmp_path: pathlib.Path,
) -> None:
    every = lab.plan.pool_ipv4
    own = [f"{every[110]}-{every[111]}"]
    do.apply(
        workload.pool("own", *own),
        workload.advertisement("own", ipAddressPools=["own"]),
        workload.service("tenant", annotations={"metallb.io/address-pool": "own"}),
    )
    do.wait_addresses("tenant", 1)
    before = do.every_address()
    assert {name: before[name] for name in standing} == standing
    do.wait_announced(workload.ECHO, before[workload.ECHO][0])
    do.fetch(before["tenant"][0])
    do.ask_udp(before[workload.ECHO][0], "older")
    assert images(do) == of_tag(previous.TAG)
    older = listed(user)

    # The previous version's definition of pools may be the same as this one's; one that lacks a field is older for certain.
    lab.kubectl("patch", "crd", DEFINITION, "--type=json", "--patch", json.dumps([{"op": "remove", "path": FIELD}]))
    assert "avoidBuggyIPs" in stale(lab)

    document = prompt(values)
    document["controller"]["replicas"] = 2
    document["speaker"]["logLevel"] = "debug"
    document["speaker"] |= documented_flags()
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(document))
    with do.probing(before[workload.ECHO][0], PROBE_SECONDS) as probe:
        run(user, "upgrade", file)
        steps.wait_for("only pods of this version", 60, lambda: images(do) == of_tag(bundle.chart_version()))
    check_traffic(probe.silence, "upgrade from the previous version", tell)
    assert do.every_address() == before
    assert stale(lab) == ""
    assert arguments(do) >= set(documented_flags()["extraArgs"])
    newer = listed(user)
    assert {name for kind, name in newer if kind == "Deployment"} == {"metallb-controller"}
    assert labelled(do, {kind for kind, _ in older | newer}) <= newer
    assert lab.kubectl("get", "jobs", "--namespace", NAMESPACE, "--output=name") == ""
    for pod in do.items("pods", namespace=NAMESPACE):
        said = lab.kubectl("logs", pod["metadata"]["name"], "--namespace", NAMESPACE).lower()
        assert "forbidden" not in said
    assert do.get("deployment", "metallb-controller", NAMESPACE)["status"]["readyReplicas"] == 2
    assert do.get("ipaddresspool", "own", NAMESPACE)["spec"]["addresses"] == own
    do.apply(workload.service("newcomer"))
    do.fetch(do.wait_addresses("newcomer", 1)[0])
    for address in before[workload.WEB]:
        do.fetch(address)
        do.wait_announced(workload.WEB, address)


def test_rollback_to_the_previous_version(
    lab: cluster.Cluster, do: steps.Steps, user: steps.Steps, standing: dict[str, list[str]], tell: Tell
) -> None:
    """Back again, as after an upgrade that somebody regrets. The definitions stay those of this version."""
    assert images(do) == of_tag(bundle.chart_version()), "the upgrade before this did not happen"
    newer = listed(user)
    do.apply(workload.service("made-by-this"))
    do.wait_addresses("made-by-this", 1)
    before = do.every_address()
    with do.probing(before[workload.ECHO][0], PROBE_SECONDS) as probe:
        run(user, "rollback", pathlib.Path())
        steps.wait_for("only pods of the previous version", 60, lambda: images(do) == of_tag(previous.TAG))
    check_traffic(probe.silence, "rollback to the previous version", tell)
    assert do.every_address() == before
    assert stale(lab) == ""
    older = listed(user)
    assert labelled(do, {kind for kind, _ in older | newer}) <= older
    # The previous version does not answer the webhook, which is registered: a write passes all the same.
    do.apply(workload.service("newcomer"), workload.pool("later", f"{lab.plan.pool_ipv4[112]}/32"))
    for addresses in (do.wait_addresses("newcomer", 1), before["made-by-this"], before[workload.WEB]):
        do.fetch(addresses[0])
    for address in before[workload.WEB]:
        do.wait_announced(workload.WEB, address)
