"""The steps of the demo, each usable by itself: the end-to-end tests take the same ones."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from demo import workload
from lab import cluster as clusters
from lab.routers import router

PROBE = pathlib.Path(__file__).with_name("probe.py")
POLL = 0.1
# Below what any kubectl may take. Pods of a DaemonSet are replaced one after the other, each asked every ten seconds whether it is ready.
ROLLOUT_SECONDS = 170


class StepError(Exception):
    """A step did not reach what it waited for; the message says what was seen last."""


@dataclasses.dataclass(frozen=True, slots=True)
class Silence:
    """The longest time without an answer, in seconds, at the speaker (ARP) and through the Service (UDP)."""

    arp: float
    udp: float
    arp_answered: int
    udp_answered: int
    udp_sent: int
    turns: tuple["Turn", ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """One station answered ARP from `first` to `last` (seconds since the probe's start), `answers` times without another in between."""

    mac: str
    first: float
    last: float
    answers: int


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """An Event as `kubectl describe` shows it."""

    type: str
    reason: str
    message: str
    source: str
    count: int


def wait_for(what: str, seconds: float, look: Callable[[], object]) -> object:
    """Call `look` until it gives something true, at most for `seconds`. Raises StepError with what it gave last.

    A program that could not answer, kubectl or a router's client, counts as not yet.
    """
    stop = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except (subprocess.CalledProcessError, router.RouterError) as error:
            found, said = None, f"{error} {getattr(error, 'stderr', '') or ''}".strip()
        else:
            said = repr(found)
        if found:
            return found
        if time.monotonic() > stop:
            raise StepError(f"{what}: not within {seconds:.0f} s; last seen: {said}")
        time.sleep(POLL)


def pause(seconds: float) -> None:
    """Let the lab run on: for what must not happen there is nothing to wait for."""
    time.sleep(seconds)


def server_version(lab: clusters.Cluster) -> str:
    """What the API server says it is."""
    found: str = json.loads(lab.kubectl("version", "--output=json"))["serverVersion"]["gitVersion"]
    return found


class Steps:
    """The demo's steps on one lab."""

    def __init__(self, lab: clusters.Cluster, helm: pathlib.Path, home: pathlib.Path) -> None:
        self.lab = lab
        self._helm = helm
        # Helm keeps its repositories in a folder of the demo's own, not in the user's.
        self._environment = {
            "HOME": str(home),
            "KUBECONFIG": str(lab.kubeconfig),
            "HELM_CACHE_HOME": str(home / "cache"),
            "HELM_CONFIG_HOME": str(home / "config"),
            "HELM_DATA_HOME": str(home / "data"),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        self._home = home
        self._macs: dict[str, str] = {}

    def helm(self, *arguments: str | pathlib.Path) -> str:
        """Run helm against the lab; its output. Raises StepError with what helm said."""
        done = subprocess.run(
            [self._helm, *arguments], env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StepError(f"helm {' '.join(map(str, arguments))}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def install(self, repository: str, values: str) -> None:
        """The documented path, on an empty cluster, first time."""
        file = self._home / "values.yaml"
        file.write_text(values)
        self.helm("repo", "add", "metallb", repository)
        self.helm(
            "install", "metallb", "metallb/metallb", "--namespace", workload.CHART_NAMESPACE, "--create-namespace",
            "-f", file, "--wait", "--timeout", "3m",
        )  # fmt: skip

    def addresses(self, name: str) -> list[str]:
        """The load balancer addresses a Service has."""
        document = json.loads(self.lab.kubectl("get", "service", name, "--output=json"))
        return [entry["ip"] for entry in document["status"]["loadBalancer"].get("ingress", [])]

    def every_address(self) -> dict[str, list[str]]:
        """The load balancer addresses of every Service of that type."""
        return {
            item["metadata"]["name"]: [entry["ip"] for entry in item["status"]["loadBalancer"].get("ingress", [])]
            for item in self.items("services")
            if item["spec"]["type"] == "LoadBalancer"
        }

    def left(self) -> list[str]:
        """What there is of us outside any namespace, and whether the API server still offers our kinds, which it does a moment longer."""
        kinds = "namespaces,customresourcedefinitions,validatingwebhookconfigurations"
        groups = [each["name"] for each in json.loads(self.lab.kubectl("get", "--raw", "/apis"))["groups"]]
        return [
            name for name in (*self.lab.kubectl("get", kinds, "--output=name").split(), *groups) if "metallb" in name
        ]

    def wait_addresses(self, name: str, count: int, seconds: float = 30) -> list[str]:
        """Wait until a Service has `count` addresses."""
        found = wait_for(
            f"{count} addresses for service {name}",
            seconds,
            lambda: addresses if len(addresses := self.addresses(name)) == count else [],
        )
        assert isinstance(found, list)
        return found

    def wait_rollout(self, name: str, namespace: str = "default", kind: str = "deployment") -> None:
        """Wait until a workload is rolled out."""
        self.lab.kubectl(
            "rollout", "status", f"{kind}/{name}", "--namespace", namespace, f"--timeout={ROLLOUT_SECONDS}s"
        )

    def owner(self, name: str, namespace: str = "default") -> str | None:
        """The node that says it announces a Service, by its ServiceL2Status."""
        selector = f"metallb.io/service-name={name},metallb.io/service-namespace={namespace}"
        listed = json.loads(
            self.lab.kubectl(
                "get",
                "servicel2statuses",
                "--namespace",
                workload.CHART_NAMESPACE,
                "--selector",
                selector,
                "--output=json",
            )
        )
        nodes = [item.get("status", {}).get("node") for item in listed["items"]]
        return nodes[0] if len(nodes) == 1 else None

    def wait_owner(self, name: str, seconds: float = 30, *, other_than: str | None = None) -> str:
        """Wait until exactly one node, other than `other_than`, says that it announces a Service."""
        owner = wait_for(
            f"one owner of service {name}",
            seconds,
            lambda: found if (found := self.owner(name)) != other_than else None,
        )
        assert isinstance(owner, str)
        return owner

    def fetch(self, address: str, seconds: float = 20) -> str:
        """The page behind an address, as the client gets it; waits for kube-proxy to know it."""
        host = f"[{address}]" if ":" in address else address
        argv = [
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "2",
            f"http://{host}:{workload.WEB_PORT}/name",
        ]

        def look() -> str:
            done = self.lab.client_exec(argv, check=False)
            return done.stdout.strip() if done.returncode == 0 else ""

        return str(wait_for(f"a page from {address}", seconds, look))

    def ask_udp(self, address: str, text: str, seconds: float = 20) -> str:
        """What the UDP echo Service behind an address answers to `text`."""
        script = (
            "import socket,sys\n"
            "s=socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.settimeout(1)\n"
            "s.connect((sys.argv[1], int(sys.argv[2])))\n"
            "s.send(sys.argv[3].encode())\n"
            "print(s.recv(2048).decode(), end='')\n"
        )

        def look() -> str:
            argv = [sys.executable, "-c", script, address, str(workload.ECHO_PORT), text]
            done = self.lab.client_exec(argv, check=False)
            return done.stdout if done.returncode == 0 else ""

        return str(wait_for(f"an echo from {address}", seconds, look))

    def pin(self, name: str, node: str) -> None:
        """Run a Deployment's pods on one node only, and wait until they do."""
        patch = {"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": node}}}}}
        self.lab.kubectl("patch", "deployment", name, "--patch", json.dumps(patch))
        self.wait_rollout(name)

    # What the tests ask beyond the demo.

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create or change objects, as `kubectl apply` does."""
        body = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.lab.kubectl("apply", "--filename", "-", input=body)

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        """An object. Raises CalledProcessError if it is not there."""
        found: dict[str, Any] = json.loads(
            self.lab.kubectl("get", kind, name, "--namespace", namespace, "--output=json")
        )
        return found

    def items(self, kind: str, *arguments: str, namespace: str = "default") -> list[dict[str, Any]]:
        """The objects of a kind in a namespace; further arguments go to `kubectl get`."""
        text = self.lab.kubectl("get", kind, "--namespace", namespace, "--output=json", *arguments)
        found: list[dict[str, Any]] = json.loads(text)["items"]
        return found

    def events(self, kind: str, name: str, namespace: str = "default") -> list[Event]:
        """The Events on an object, by either make of recorder. What was said of an earlier object of its name is left out."""
        uid = self.get(kind, name, namespace)["metadata"]["uid"]
        selector = f"involvedObject.kind={kind},involvedObject.name={name},involvedObject.uid={uid}"
        return [
            Event(
                type=item["type"],
                reason=item["reason"],
                message=item.get("message", ""),
                source=item.get("source", {}).get("component") or item.get("reportingComponent", ""),
                count=item.get("count") or (item.get("series") or {}).get("count") or 1,
            )
            for item in self.items("events", "--field-selector", selector, namespace=namespace)
        ]

    def wait_event(
        self, kind: str, name: str, reason: str, *words: str, namespace: str = "default", seconds: float = 20
    ) -> Event:
        """Wait for an Event with this reason whose message has all `words`. Raises StepError with the Events there are."""

        def look() -> Event | None:
            return next(
                (
                    event
                    for event in self.events(kind, name, namespace)
                    if event.reason == reason and all(word in event.message for word in words)
                ),
                None,
            )

        try:
            found = wait_for(f"Event {reason} with {words} on {kind} {name}", seconds, look)
        except StepError as error:
            raise StepError(f"{error}; there are {self.events(kind, name, namespace)}") from None
        assert isinstance(found, Event)
        return found

    def node_mac(self, node: str) -> str:
        """The hardware address of a node on the LAN."""
        if node not in self._macs:
            links = json.loads(self.lab.node_exec(node, ["ip", "-json", "link", "show", "dev", "eth0"]).stdout)
            self._macs[node] = links[0]["address"]
        return self._macs[node]

    def macs(self, address: str, seconds: float = 0.3) -> set[str]:
        """Who answers for an IPv4 address on the LAN, by hardware address."""
        with self.probing(address, seconds) as probe:
            probe.wait_over()
        assert probe.silence is not None
        return {turn.mac for turn in probe.silence.turns}

    def neighbour(self, address: str) -> str | None:
        """Who answers for an IPv6 address, by the client's own solicitation (RFC 4861)."""
        done = self.lab.client_exec(["ndisc6", "-1", "-q", "-w", "500", address, "eth0"], check=False)
        return done.stdout.strip().lower() or None

    def answering(self, address: str) -> list[str]:
        """The nodes that answer for an address, as the LAN sees it; an unknown hardware address stands for itself."""
        found = self.macs(address) if ":" not in address else {mac for mac in (self.neighbour(address),) if mac}
        names = {self.node_mac(node): node for node in self.lab.nodes}
        return sorted(names.get(mac, mac) for mac in found)

    def wait_answering(self, address: str, node: str, seconds: float = 30) -> None:
        """Wait until `node` and nobody else answers for an address."""
        wait_for(
            f"only {node} answers for {address}", seconds, lambda: (found := self.answering(address)) == [node] or None
        )

    def wait_silent(self, address: str, seconds: float = 10) -> None:
        """Wait until nobody answers for an address."""
        wait_for(f"nobody answers for {address}", seconds, lambda: not self.answering(address))

    def wait_announced(self, name: str, address: str, seconds: float = 30) -> str:
        """Wait until one node says that it announces a Service, and it and nobody else answers for `address`. Gives the node.

        The two are looked at together: an owner that was asked for first may have handed over by the time that somebody answers.
        """

        def look() -> str | None:
            owner = self.owner(name)
            return owner if owner is not None and self.answering(address) == [owner] else None

        owner = wait_for(f"the owner of service {name} alone answers for {address}", seconds, look)
        assert isinstance(owner, str)
        return owner

    def wait_members(self, seconds: float = 60) -> None:
        """Wait until the speaker of every node counts every node as alive: a node that was away takes its addresses back only then."""
        selector = "--selector=app.kubernetes.io/component=speaker"

        def look() -> bool:
            seen = {}
            for pod in self.items("pods", selector, namespace=workload.CHART_NAMESPACE):
                if "deletionTimestamp" not in pod["metadata"]:
                    name = pod["metadata"]["name"]
                    said = self.lab.kubectl("logs", "--namespace", workload.CHART_NAMESPACE, name)
                    told = [json.loads(line)["alive"] for line in said.splitlines() if '"alive"' in line]
                    seen[pod["spec"].get("nodeName", "")] = told[-1] if told else []
            return sorted(seen) == self.lab.nodes and all(sorted(alive) == self.lab.nodes for alive in seen.values())

        wait_for("every speaker counts every node as alive", seconds, look)

    def signal(self, pod: str, name: str, namespace: str = workload.CHART_NAMESPACE, seconds: float = 30) -> None:
        """Send a signal to the first process of a pod. A container that is just being started again is waited for."""

        def send() -> bool:
            found = self.get("pod", pod, namespace)
            container = found["status"]["containerStatuses"][0].get("containerID", "").removeprefix("containerd://")
            argv = ["ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", name, container]
            return self.lab.node_exec(found["spec"]["nodeName"], argv, check=False).returncode == 0

        wait_for(f"a process of pod {pod} to send {name} to", seconds, send)

    def probing(self, address: str, seconds: float) -> "Probe":
        """A probe of an IPv4 address from the client, every 20 ms."""
        return Probe(self.lab, address, seconds)


class Probe:
    """A running probe; leaving the block ends it and fills `silence`."""

    def __init__(self, lab: clusters.Cluster, address: str, seconds: float) -> None:
        argv: list[str | pathlib.Path] = [
            "python3", str(PROBE), "--address", address, "--port", str(workload.ECHO_PORT),
            "--own", lab.client_address[0], "--interface", "eth0", "--seconds", str(seconds),
        ]  # fmt: skip
        self._argv = lab.client_argv(argv)
        self._process: subprocess.Popen[str] | None = None
        self.silence: Silence | None = None

    def __enter__(self) -> "Probe":
        self._process = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def wait_over(self) -> None:
        """Wait until its seconds are over: they count from its own first packet, which a busy machine may delay."""
        assert self._process is not None
        self._process.wait(timeout=60)

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        report = json.loads(self._process.communicate("stop\n", timeout=60)[0])
        self.silence = Silence(
            arp=report["arp"]["silence"],
            udp=report["udp"]["silence"],
            arp_answered=report["arp"]["answered"],
            udp_answered=report["udp"]["answered"],
            udp_sent=report["udp"]["sent"],
            turns=tuple(Turn(*turn) for turn in report["arp"]["turns"]),
        )
