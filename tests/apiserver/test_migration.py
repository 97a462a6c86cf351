"""From MetalLB to here on a real API server, by the commands of `docs/migrate-from-metallb.md`: no address of a Service changes, and nothing
that MetalLB left behind stands in the way.

- `metallb/` has the objects as MetalLB leaves them: definitions, a registration of webhooks that nobody answers, custom resources of every kind,
  Services with addresses, reports of speakers. Its controller is gone before the first command, which is the worst moment.
- Ways: the manifest over MetalLB's manifest; `helm upgrade` over a release whose chart has its definitions as templates, as MetalLB's has.
- Then a controller runs: the program itself, with the rights of its role and no others. The API server reaches its webhook at an address of this
  machine, for an address of loopback is refused in an EndpointSlice.
"""

import base64
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from generate import helm, output
from lab import apiserver, controlplane
from metallb_core.announcement import layer2
from metallb_core.api import crd, v1beta1
from metallb_core.domain import addresses as ip  # a test asks for the addresses of Services
from metallb_core.domain import services
from metallb_core.kube import codec
from metallb_speaker.status import plan

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(400)]
LEFT = pathlib.Path(__file__).parent / "metallb"
CHART = output.ROOT / "charts/metallb"
MANIFEST = output.ROOT / "config/manifests/metallb-native.yaml"
NAMESPACE = "metallb-system"
REGISTRATION = "metallb-webhook-configuration"
DEADLINE = 60.0
# The account of each way, and what its deployment tells the controller.
WAYS = {
    "manifest": ("controller", "controller", "metallb-system:controller", "memberlist"),
    "chart": ("metallb-controller", "metallb-controller", "metallb:controller", "metallb-memberlist"),
}
# MetalLB, too, would replace this one: no pool holds it.
REPLACED = "default/outside"
WAITING = "default/waiting"
# As in the page.
KINDS_SAVED = "ipaddresspools,l2advertisements,bgppeers,bgpadvertisements,bfdprofiles,communities"
SAVED_AS = "yaml"
OWNED = (f"meta.helm.sh/release-namespace={NAMESPACE}", "meta.helm.sh/release-name=metallb")
SERVER_SIDE = ("apply", "--server-side", "--force-conflicts")
Node = dict[str, Any]
Addresses = dict[str, list[Node]]


def left(name: str) -> list[Node]:
    """The objects of one file."""
    return list(yaml.safe_load_all((LEFT / f"{name}.yaml").read_text()))


def put(server: apiserver.ApiServer, *nodes: Node, how: tuple[str, ...] = ("create",)) -> None:
    server.kubectl(*how, "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(nodes)}))


def put_with_status(server: apiserver.ApiServer, nodes: list[Node]) -> None:
    """Create the objects, then write the status of those that have one."""
    made = json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes})
    created = yaml.safe_load_all(server.kubectl("create", "-o", "yaml", "-f", "-", input=made))
    for found, node in zip(created, nodes, strict=True):
        if "status" in node:
            server.kubectl(
                "patch", found["kind"], found["metadata"]["name"], "-n", found["metadata"].get("namespace", "default"),
                "--subresource=status", "--type=merge", "-p", json.dumps({"status": node["status"]}),
            )  # fmt: skip


def listed(server: apiserver.ApiServer, *what: str) -> list[Node]:
    found: list[Node] = json.loads(server.kubectl("get", *what, "-o", "json"))["items"]
    return found


def addresses(server: apiserver.ApiServer) -> Addresses:
    """What each Service shows, by namespace and name."""
    return {
        f"{each['metadata']['namespace']}/{each['metadata']['name']}": each["status"]["loadBalancer"].get("ingress", [])
        for each in listed(server, "services", "-A")
    }


def refused(server: apiserver.ApiServer, *arguments: str | pathlib.Path, node: Node | None = None) -> str:
    """What kubectl says of a command that fails."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        server.kubectl(*arguments, input=None if node is None else json.dumps(node))
    return str(caught.value.stderr)


def pool(name: str, span: str) -> Node:
    return {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"addresses": [span]},
    }


def wait_for(what: str, condition: Callable[[], bool], said: Callable[[], str]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {DEADLINE:.0f} s\n{said()}"
        time.sleep(0.1)


def own_address() -> str:
    """An address of this machine that is none of loopback. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            pytest.skip("this machine has no address beside loopback's")
        return str(probe.getsockname()[0])


def old_chart(folder: pathlib.Path) -> pathlib.Path:
    """A chart as MetalLB's: definitions and the registration are templates, and names come from the release."""
    chart = folder / "metallb"
    templates = chart / "templates"
    templates.mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: metallb, version: 0.16.1}")
    (chart / "values.yaml").write_text("{}")
    for name in ("definitions", "webhooks"):
        shutil.copy(LEFT / f"{name}.yaml", templates)
    kept = [each for each in left("installation") if each["metadata"]["name"].startswith("metallb-")]
    labels = {"app.kubernetes.io/name": "metallb", "app.kubernetes.io/instance": "metallb"}
    for each in left("installation"):
        if each["kind"] not in ("Deployment", "DaemonSet"):
            continue
        name = each["metadata"]["name"]
        own = {**labels, "app.kubernetes.io/component": name}
        each["metadata"] |= {"name": f"metallb-{name}", "labels": own}
        each["spec"]["selector"]["matchLabels"] = own
        each["spec"]["template"]["metadata"]["labels"] = own
        kept.append(each)
    rest = [each for each in kept if each["kind"] not in ("Namespace", "ClusterRole", "ClusterRoleBinding")]
    (templates / "rest.yaml").write_text(yaml.safe_dump_all(rest))
    return chart


def leave(server: apiserver.ApiServer, way: str, folder: pathlib.Path) -> None:
    """Everything as a MetalLB leaves it that is gone. What is stored comes before the registration, which would refuse it."""
    definitions = left("definitions")
    (peers,) = (each for each in definitions if each["spec"]["names"]["kind"] == "BGPPeer")
    # Once, peers were stored as v1beta1.
    early = json.loads(json.dumps(peers))
    early["spec"]["conversion"] = {"strategy": "None"}
    for version in early["spec"]["versions"]:
        version["storage"] = version["name"] == "v1beta1"
    put(server, early, how=("apply", "--server-side", "--field-manager=early"))
    server.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd/bgppeers.metallb.io")
    put(server, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    put(server, *left("stored-as-v1beta1"))
    server.kubectl("get", "bgppeers", "-n", NAMESPACE)

    if way == "manifest":
        server.kubectl("apply", "-f", LEFT / "definitions.yaml", "-f", LEFT / "installation.yaml")
    else:
        server.kubectl("annotate", "crd", "bgppeers.metallb.io", *OWNED)
        server.kubectl("label", "crd", "bgppeers.metallb.io", "app.kubernetes.io/managed-by=Helm")
        chart = old_chart(folder)
        (chart / "templates/webhooks.yaml").rename(folder / "webhooks.yaml")
        helm_on(server, "install", "metallb", chart)
        (folder / "webhooks.yaml").rename(chart / "templates/webhooks.yaml")
    server.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    put(server, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tenant"}})
    resources = left("resources")
    for each in resources:
        if each["metadata"]["name"] == "memberlist":
            each["metadata"]["name"] = WAYS[way][3]
    put_with_status(server, [*resources, *left("services")])
    put_with_status(server, left("statuses"))
    if way == "manifest":
        server.kubectl("apply", "-f", LEFT / "webhooks.yaml")
    else:
        helm_on(server, "upgrade", "metallb", folder / "metallb")
    put_authority(server)


def put_authority(server: apiserver.ApiServer) -> None:
    """What MetalLB's controller does to the definition: a field of another writer."""
    authority = base64.b64encode(server.ca_file.read_bytes()).decode()
    conversion = {"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": authority}}}}}
    manager = ("--type=merge", "--field-manager=MetalLB", "-p")
    server.kubectl("patch", "crd", "bgppeers.metallb.io", *manager, json.dumps(conversion))


def helm_on(server: apiserver.ApiServer, *arguments: str | pathlib.Path) -> str:
    return helm.run(helm.require(), [*arguments, "--namespace", NAMESPACE, "--kubeconfig", server.kubeconfig])


def replace_by_manifest(server: apiserver.ApiServer) -> None:
    server.kubectl("apply", "-f", MANIFEST)


def replace_by_chart(server: apiserver.ApiServer) -> None:
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig)}
    command = [sys.executable, "-m", "metallb_controller.crds", "apply"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # Hooks are pods, which nothing runs here: the one there is has just been done.
    helm_on(server, "upgrade", "metallb", CHART, "--no-hooks")


@contextlib.contextmanager
def controller(server: apiserver.ApiServer, way: str, log: pathlib.Path) -> Iterator[Callable[[], str]]:
    """The program; gives a function for what it said."""
    _, deployment, owner, secret = WAYS[way]
    argv = [
        sys.executable, "-m", "metallb_controller", f"--kubeconfig={server.kubeconfig_for(way)}",
        f"--namespace={NAMESPACE}", "--pod-name=only", "--port=0", "--health-probe-port=0", "--log-level=info",
        f"--deployment={deployment}", f"--webhook-owner={owner}", f"--ml-secret-name={secret}",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with log.open("wb") as out:
        process = subprocess.Popen(argv, env=environment, stdout=out, stderr=out)
    try:
        yield lambda: log.read_text()[-6000:]
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.parametrize("way", WAYS)
def test_everything_is_taken_over(way: str, tmp_path: pathlib.Path) -> None:
    account = controlplane.Identity(user=f"system:serviceaccount:{NAMESPACE}:{WAYS[way][0]}")
    with apiserver.ApiServer(identities={way: account}) as server:
        leave(server, way, tmp_path)
        before = addresses(server)
        reports = {each["metadata"]["name"]: each for each in listed(server, "servicel2statuses", "-n", NAMESPACE)}
        assert len(reports) == 2
        # Without MetalLB's controller no peer can be read and no pool can be written.
        assert "webhook" in refused(server, "get", "bgppeers", "-n", NAMESPACE, "--request-timeout=10s")
        assert "failed calling webhook" in refused(server, "create", "-f", "-", node=pool("third", "10.4.0.0/28"))
        stored = {kind.plural: names(server, kind.plural) for kind in crd.KINDS if kind.name != "BGPPeer"}
        uids = workloads(server)

        server.kubectl("scale", "deployment", WAYS[way][1], "-n", NAMESPACE, "--replicas=0")
        (replace_by_manifest if way == "manifest" else replace_by_chart)(server)
        assert workloads(server) == uids, "made anew, not changed"
        replicas = "jsonpath={.spec.replicas}"
        assert server.kubectl("get", "deployment", WAYS[way][1], "-n", NAMESPACE, "-o", replicas) == "1"
        assert {plural: names(server, plural) for plural in stored} == stored
        assert_peers(server)
        if way == "manifest":
            # kubectl removes nothing that the new manifest does not name.
            assert "failed calling webhook" in refused(server, "create", "-f", "-", node=pool("third", "10.4.0.0/28"))
        else:
            assert refused(server, "get", "validatingwebhookconfiguration", REGISTRATION)
        assert addresses(server) == before

        assert_saved_objects_are_judged(server, tmp_path / "saved.yaml")
        slice_for_the_webhook(server)
        with controller(server, way, tmp_path / "controller.log") as said:
            wait_for("the webhook is registered", lambda: registered(server), said)
            wait_for("a new Service has an address", lambda: bool(addresses(server)[WAITING]), said)
            wait_for("no pool holds it", lambda: addresses(server)[REPLACED] not in ([], before[REPLACED]), said)
            wait_for("pools are counted", lambda: counted(server, "main")["assignedIPv4"] == 7, said)
            after = addresses(server)
            given = {key: after.pop(key) for key in (REPLACED, WAITING)}
            assert after == {key: held for key, held in before.items() if key not in given}
            held = {entry.get("ip") for entries in after.values() for entry in entries}
            fresh = [entry["ip"] for entries in given.values() for entry in entries]
            assert len(set(fresh)) == 2, fresh
            assert not held & set(fresh), fresh
            assert all(ip.startswith("10.1.0.") for ip in fresh), fresh

            assert "third created" in server.kubectl(
                "create", "-f", "-", input=json.dumps(pool("third", "10.4.0.0/28"))
            )
            assert "denied the request" in refused(server, "create", "-f", "-", node=pool("fourth", "10.4.0.0/30"))
            both = ("plain", "converted", "oldest")
            for version, peers in (("v1beta1", both), ("v1beta2", (*both, "newer"))):
                kind = f"bgppeers.{version}.metallb.io"
                server.kubectl("label", kind, *peers, "-n", NAMESPACE, "--overwrite", f"tried={version}")
            server.kubectl("delete", "bgppeer", "oldest", "-n", NAMESPACE)
            state = json.loads(server.kubectl("get", "configurationstate", "controller", "-n", NAMESPACE, "-o", "json"))
            assert state["status"]["result"] == "Valid", state
            assert_key(server, way)
        assert "Traceback" not in said()
        # The controller leaves reports to the speakers.
        found = {each["metadata"]["name"]: each for each in listed(server, "servicel2statuses", "-n", NAMESPACE)}
        assert found == reports
        assert_reports_are_taken_over(list(found.values()))


def test_conversion_ends_by_hand_where_it_was_applied_server_side() -> None:
    """No way of applying the manifest removes what another writer put there, and the API server takes no half of it; the page's patch does."""
    with apiserver.ApiServer() as server:
        server.kubectl(*SERVER_SIDE, "-f", LEFT / "definitions.yaml", "-f", LEFT / "installation.yaml")
        put_authority(server)
        for how in (("apply",), SERVER_SIDE):
            assert 'CustomResourceDefinition "bgppeers.metallb.io" is invalid' in refused(server, *how, "-f", MANIFEST)
        server.kubectl("patch", "crd", "bgppeers.metallb.io", "--type=merge", "-p", json.dumps(crd.without_webhook()))
        server.kubectl(*SERVER_SIDE, "-f", MANIFEST)
        server.kubectl("apply", "-f", MANIFEST)
        conversion = server.kubectl("get", "crd", "bgppeers.metallb.io", "-o", "jsonpath={.spec.conversion}")
        assert json.loads(conversion) == {"strategy": "None"}


def names(server: apiserver.ApiServer, plural: str) -> list[tuple[str, str]]:
    """Name and UID: the same object."""
    found = listed(server, f"{plural}.metallb.io", "-n", NAMESPACE)
    return [(each["metadata"]["name"], each["metadata"]["uid"]) for each in found]


def workloads(server: apiserver.ApiServer) -> dict[str, str]:
    found = listed(server, "deployments,daemonsets", "-n", NAMESPACE)
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in found}


def assert_peers(server: apiserver.ApiServer) -> None:
    """Every peer reads as either version, whatever it was stored as."""
    for version in ("v1beta1", "v1beta2"):
        found = {
            each["metadata"]["name"]: each["spec"]
            for each in listed(server, f"bgppeers.{version}.metallb.io", "-n", NAMESPACE)
        }
        assert sorted(found) == ["converted", "newer", "oldest", "plain"]
        assert found["oldest"]["nodeSelectors"][0]["matchExpressions"][0]["values"] == ["a", "b"]
        assert found["converted"]["keepaliveTime"] == "0s"
    conversion = server.kubectl("get", "crd", "bgppeers.metallb.io", "-o", "jsonpath={.spec.conversion}")
    assert json.loads(conversion) == {"strategy": "None"}


def assert_saved_objects_are_judged(server: apiserver.ApiServer, file: pathlib.Path) -> None:
    """The page's two commands."""
    file.write_text(server.kubectl("get", KINDS_SAVED, "-n", NAMESPACE, "--output", SAVED_AS))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "metallb_cli", "check", "-f", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "11 objects, all good\n"), done.stdout + done.stderr


def counted(server: apiserver.ApiServer, name: str) -> dict[str, int]:
    found = json.loads(server.kubectl("get", "ipaddresspool", name, "-n", NAMESPACE, "-o", "json"))
    return dict(found.get("status") or {"assignedIPv4": 0})


def registered(server: apiserver.ApiServer) -> bool:
    """By ours: its entries have the chart's names, and an owner."""
    found = server.kubectl("get", "validatingwebhookconfiguration", REGISTRATION, "-o", "json", "--ignore-not-found")
    if not found:
        return False
    node = json.loads(found)
    entries = {each["name"]: each["failurePolicy"] for each in node["webhooks"]}
    return (
        len(entries) == 6
        and "bgppeervalidationwebhook.metallb.io" in entries
        and set(entries.values()) == {"Ignore"}
        and [each["kind"] for each in node["metadata"].get("ownerReferences", [])] == ["ClusterRole"]
    )


def slice_for_the_webhook(server: apiserver.ApiServer) -> None:
    """What the endpoint controller of a cluster makes."""
    piece = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "metallb-webhook-service-here",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": "metallb-webhook-service"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [own_address()], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": 9443, "protocol": "TCP"}],
    }
    put(server, piece)


def assert_key(server: apiserver.ApiServer, way: str) -> None:
    """The speakers' key is MetalLB's, so that both makes form one group."""
    key = "jsonpath={.data.secretkey}"
    found = server.kubectl("get", "secret", WAYS[way][3], "-n", NAMESPACE, "-o", key)
    assert base64.b64decode(found) == b"as-metallb-left-it"


def assert_reports_are_taken_over(reports: list[Node]) -> None:
    """By speakers of this make: the announcing one keeps its own node's object under the name it has, and removes all others."""
    known = [codec.decode(v1beta1.ServiceL2Status, json.dumps(each).encode()) for each in reports]
    key = services.ServiceKey("default", "web")
    name = {each.metadata.labels["metallb.io/node"]: each.metadata.name for each in known if each.metadata.labels}
    announcing = layer2.Announcement(addresses=(ip.Address.parse("10.1.0.7"),), interfaces=frozenset({"eth0"}))
    assert plan.plan(key, announcing, known, "n1") == plan.Plan(delete=(name["n2"],))
    assert plan.plan(key, None, known, "n2") == plan.Plan(delete=(name["n2"],))
    assert set(plan.plan(key, announcing, known, "n3").delete) == set(name.values())
