"""A whole Kubernetes cluster on one machine: control plane, nodes, a client, all on one LAN.

    from lab import cluster

    lab = cluster.Cluster("demo")
    lab.up(nodes=3)                                # or: with cluster.Cluster("demo") as lab: (three nodes)
    lab.kubectl("get", "nodes")
    lab.load_image(Path("build/images/speaker.tar"))
    lab.client_exec(["arping", "-c", "1", "-I", "eth0", str(lab.plan.pool_ipv4[0])])
    lab.freeze_node("node1")                       # power cut
    lab.thaw_node("node1")
    lab.down()

Rules:
- Everything on disk lives under three directories with the lab's name in them (`STATE`, `DISK`, `MEMORY`), so a lab
  can be taken down by a process that knows the name and nothing else.
- `down` never fails because something is already gone, and goes on to the next kind of leftover when one resists;
  what resisted is raised at the end.
- `up` on a running lab returns at once; on the remains of one it first takes them down; and one that fails or is
  interrupted takes down what it made before it raises.
- Times are bounded everywhere; the slowest part of `up` is three kubelets on two cores.
"""

from __future__ import annotations

import concurrent.futures
import fcntl
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import cgroups, controlplane, host, images, kubectl, namespaces, node, packages, plan, processes
from tools import build

STATE = Path("/run/metallb-lab")
DISK = Path("/var/lib/metallb-lab")
MEMORY = Path("/dev/shm")
NODES_IN_MEMORY_BYTES = 4 << 30
"""Three nodes with the project's images hold about 1 GB; with less than this free in memory they go to disk."""
API_PORT = 6443
READY_SECONDS = 180.0
POLL_SECONDS = 0.1
EXEC_SECONDS = 300.0

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
PROGRAMS = (
    "etcd",
    "pause",
    "kubernetes/kube-apiserver",
    "kubernetes/kube-controller-manager",
    "kubernetes/kube-scheduler",
    "kubernetes/kube-proxy",
    "kubernetes/kubelet",
    "kubernetes/kubectl",
)


class LabError(Exception):
    """The lab is not in the state that the call needs, or could not be brought there."""


class Cluster:
    """One lab by name. The object holds no state of its own: any process may make one and use what runs."""

    def __init__(self, name: str = "lab") -> None:
        self.name = name
        # Checks the name; the index is chosen by `up`.
        plan.Plan(name=name, index=0)
        self.state = STATE / name
        self.memory = MEMORY / f"metallb-lab-{name}"
        self.ledger = processes.Ledger(self.state / "pids")

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # -- what there is ---------------------------------------------------------------------------------------------

    @property
    def plan(self) -> plan.Plan:
        """The address plan; its index is known once `up` has begun. Raises LabError before."""
        return plan.Plan(name=self.name, index=int(self._record()["index"]))

    @property
    def disk(self) -> Path:
        """What the nodes write: in memory when there is enough of it, because containerd syncs every file it unpacks."""
        return Path(str(self._record()["disk"]))

    def _record(self) -> dict[str, int | str]:
        try:
            record: dict[str, int | str] = json.loads((self.state / "plan.json").read_text())
        except (OSError, ValueError):
            raise LabError(f"lab {self.name} is not up") from None
        return record

    @property
    def nodes(self) -> list[str]:
        """Node names, `node1` first."""
        return [f"node{number}" for number in range(1, int(self._record()["nodes"]) + 1)]

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, for use on this host."""
        return self.state / f"{controlplane.ADMIN}.kubeconfig"

    @property
    def url(self) -> str:
        return f"https://{self.plan.control_plane[0]}:{API_PORT}"

    @property
    def token(self) -> str:
        return self._settings().token(controlplane.ADMIN)

    @property
    def ca_file(self) -> Path:
        return self._settings().authority_file

    @property
    def client_address(self) -> tuple[str, str]:
        """The client's LAN addresses, IPv4 and IPv6."""
        return self.plan.client

    def node_addresses(self, name: str) -> tuple[str, str]:
        """A node's LAN addresses, IPv4 and IPv6."""
        return self._node(name).addresses

    def log(self, name: str) -> Path:
        """A log file: `kube-apiserver`, `audit` (requests of service accounts), `node1/kubelet`, `node1/containerd`, `node1/kube-proxy`."""
        return self.state / "logs" / f"{name}.log"

    def _node(self, name: str) -> node.Node:
        if name not in self.nodes:
            raise LabError(f"lab {self.name} has no {name}; it has {', '.join(self.nodes)}")
        return self._node_by_number(int(name.removeprefix("node")))

    def _node_by_number(self, number: int) -> node.Node:
        name = f"node{number}"
        return node.Node(lab=self.plan, number=number, disk=self.disk / name, log=self.state / "logs" / name)

    def _settings(self) -> controlplane.Settings:
        current = self.plan
        identities = {
            controlplane.ADMIN: controlplane.Identity(user="kubernetes-admin", groups=("system:masters",)),
            "kube-controller-manager": controlplane.Identity(user="system:kube-controller-manager"),
            "kube-scheduler": controlplane.Identity(user="system:kube-scheduler"),
            "kube-proxy": controlplane.Identity(user="system:kube-proxy", groups=("system:node-proxier",)),
        }
        for name in self.nodes:
            identities[name] = controlplane.Identity(user=f"system:node:{name}", groups=("system:nodes",))
        return controlplane.Settings(
            directory=self.state,
            etcd_data=self.memory / "etcd",
            address=current.control_plane[0],
            api_port=API_PORT,
            etcd_port=2379,
            etcd_peer_port=2380,
            service_ranges=current.services,
            identities=identities,
            alternatives=tuple(f"IP:{address}" for address in current.control_plane),
            arguments=("--enable-admission-plugins=NodeRestriction",),
            audit_log=self.log("audit"),
        )

    def running(self) -> bool:
        """Whether the control plane and every node's first process run."""
        try:
            names = [*CONTROL_PLANE, *self.nodes]
        except LabError:
            return False
        found = [self.ledger.get(name) for name in names]
        return all(process is not None and process.alive() for process in found)

    # -- up --------------------------------------------------------------------------------------------------------

    def up(self, nodes: int = 3, archives: Iterable[Path] = (), *, keep: bool = False) -> None:
        """Bring the lab up, every node Ready and every archive imported.

        When it cannot, it raises and leaves nothing; with `keep` it leaves everything as it is, to be looked at.
        """
        if os.geteuid() != 0:
            raise LabError("the lab needs root: it makes network namespaces")
        if self.running():
            for archive in archives:
                self.load_image(archive)
            return
        packages.ensure()
        binaries = build.ensure(*PROGRAMS)
        self.down()
        try:
            self._reserve(nodes)
            self._up(binaries, list(archives))
        except BaseException:
            if not keep:
                self.down()
            raise

    def _reserve(self, nodes: int) -> None:
        """Choose an index that neither another lab nor a route of this host uses, and write the record."""
        STATE.mkdir(parents=True, exist_ok=True, mode=0o755)
        with (STATE / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            used = set()
            for file in STATE.glob("*/plan.json"):
                used.add(int(json.loads(file.read_text())["index"]))
            routed = [ipaddress.ip_network(cidr, strict=False) for cidr in namespaces.routed_networks()]
            for index in range(plan.MAX_INDEX + 1):
                whole = plan.Plan(name=self.name, index=index).whole
                clash = any(
                    mine.overlaps(theirs) for mine in whole for theirs in routed if mine.version == theirs.version
                )
                if index not in used and not clash:
                    break
            else:
                raise LabError("every address range is taken")
            self.state.mkdir(mode=0o755)
            free = shutil.disk_usage(MEMORY).free if MEMORY.is_dir() else 0
            disk = self.memory / "nodes" if free >= NODES_IN_MEMORY_BYTES else DISK / self.name
            (self.state / "plan.json").write_text(json.dumps({"index": index, "nodes": nodes, "disk": str(disk)}))
            host.adjust(STATE / "host.json")

    def _up(self, binaries: dict[str, Path], archives: list[Path]) -> None:
        settings = self._settings()
        members = [self._node(name) for name in self.nodes]
        current = self.plan
        namespaces.create_lan(self.name, current.control_plane, current.this_host)
        namespaces.set_sysctls(
            self.name,
            namespaces.LAN,
            # What a pod sends to an unknown address ends here.
            [("net/ipv4/ip_forward", "0"), ("net/ipv6/conf/all/forwarding", "0")],
        )
        controlplane.prepare(settings)
        self._spawn("etcd", controlplane.etcd_argv(binaries["etcd"], settings))
        self._spawn("kube-apiserver", controlplane.apiserver_argv(binaries["kube-apiserver"], settings))
        pause = self.disk / "pause.tar"
        images.write_single_file_image(pause, node.PAUSE_IMAGE, binaries["pause"])
        namespaces.create_host(self.name, "client", current.client, None)
        for member in members:
            namespaces.create_host(self.name, member.name, member.addresses, current.control_plane)
        self._route_pods(members)

        def prepare(member: node.Node) -> None:
            node.write_settings(member, self.state)
            node.start(member, programs=binaries["kubelet"].parent, state=self.state)
            node.wait_runtime(member)
            for archive in (pause, *archives):
                images.import_archive(member, archive)

        with concurrent.futures.ThreadPoolExecutor(max_workers=len(members) + 1) as pool:
            waits = [pool.submit(prepare, member) for member in members]
            self._wait_apiserver()
            self._spawn("kube-controller-manager", self._controller_manager_argv(binaries["kube-controller-manager"]))
            self._spawn("kube-scheduler", self._scheduler_argv(binaries["kube-scheduler"]))
            for wait in waits:
                wait.result()
        for member in members:
            member.gate.touch()
        self.wait_nodes_ready()

    def _route_pods(self, members: Sequence[node.Node]) -> None:
        routes = {
            member.name: list(zip(self.plan.node_pods(member.number), member.addresses, strict=True))
            for member in members
        }
        for where in (namespaces.LAN, *routes):
            others = [route for name, each in routes.items() if name != where for route in each]
            namespaces.add_routes(self.name, where, others)

    def _spawn(self, name: str, argv: Sequence[str]) -> processes.Process:
        command = namespaces.enter(self.name, namespaces.LAN, argv)
        return self.ledger.add(processes.start(name, command, self.log(name)))

    def _controller_manager_argv(self, binary: Path) -> list[str]:
        keys = self.state / "pki"
        return [
            str(binary),
            f"--kubeconfig={self._settings().kubeconfig('kube-controller-manager')}",
            f"--service-account-private-key-file={keys / 'service-accounts.key'}",
            f"--root-ca-file={keys / 'ca.crt'}",
            f"--cluster-signing-cert-file={keys / 'ca.crt'}",
            f"--cluster-signing-key-file={keys / 'ca.key'}",
            "--use-service-account-credentials=true",
            "--allocate-node-cidrs=false",
            f"--cluster-cidr={','.join(self.plan.pods)}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ]

    def _scheduler_argv(self, binary: Path) -> list[str]:
        return [
            str(binary),
            f"--kubeconfig={self._settings().kubeconfig('kube-scheduler')}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ]

    def _wait_apiserver(self) -> None:
        running = [process for name in CONTROL_PLANE[:2] if (process := self.ledger.get(name)) is not None]
        controlplane.wait_apiserver(self._settings(), running)

    def wait_nodes_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until every node reports Ready. Raises LabError with the nodes' own words."""

        def ready() -> bool:
            items = json.loads(self.kubectl("get", "nodes", "--output=json"))["items"]
            states = {
                item["metadata"]["name"]: any(
                    condition["type"] == "Ready" and condition["status"] == "True"
                    for condition in item["status"].get("conditions", ())
                )
                for item in items
            }
            return all(states.get(name) for name in self.nodes)

        deadline = time.monotonic() + seconds
        while not ready():
            for name in self.nodes:
                process = self.ledger.get(name)
                if process is None or not process.alive():
                    raise LabError(f"{name} ended:\n{self._tail(self.log(name))}")
            if time.monotonic() >= deadline:
                tails = [f"-- {name}\n{self._tail(self.log(f'{name}/kubelet'))}" for name in self.nodes]
                raise LabError(f"nodes are not Ready after {seconds:.0f} s\n" + "\n".join(tails))
            time.sleep(POLL_SECONDS)

    @staticmethod
    def _tail(path: Path) -> str:
        try:
            return "\n".join(path.read_text(errors="replace").splitlines()[-15:])
        except OSError:
            return "(no log)"

    # -- use -------------------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str | Path, input: str | None = None) -> str:  # noqa: A002
        """Run kubectl as the administrator; its output. Raises CalledProcessError with stderr as a note."""
        return kubectl.run(build.program("kubernetes/kubectl"), self.kubeconfig, *arguments, input=input)

    def client_argv(self, argv: Sequence[str | Path]) -> list[str | Path]:
        """The command line that runs `argv` on the client, for a caller that wants a process of its own."""
        return namespaces.enter(self.name, "client", argv)

    def client_exec(
        self, argv: Sequence[str | Path], *, timeout: float = EXEC_SECONDS, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the client. Output is captured; `check` raises CalledProcessError."""
        return self.host_exec("client", argv, timeout=timeout, check=check)

    def host_exec(
        self, what: str, argv: Sequence[str | Path], *, timeout: float = EXEC_SECONDS, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the network namespace of any host: `client`, `lan`, or one made by `add_host`."""
        command = namespaces.enter(self.name, what, argv)
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=check)

    def add_host(self, what: str, number: int) -> tuple[str, str]:
        """Put another host on the LAN (a router, a second client); returns its addresses. `down` removes it."""
        addresses = self.plan.spare_host(number)
        namespaces.create_host(self.name, what, addresses, None)
        return addresses

    def add_host_behind(self, what: str, router: str, number: int) -> tuple[str, str]:
        """Put a host behind `router`, the spare host with this number, which then routes for it and the nodes; returns its addresses."""
        addresses, gateway = self.plan.behind_host(2), self.plan.behind_host(1)
        namespaces.create_behind(self.name, what, addresses, router, gateway)
        for name in self.nodes:
            namespaces.add_routes(
                self.name, name, list(zip(self.plan.behind, self.plan.spare_host(number), strict=True))
            )
        return addresses

    def node_argv(self, name: str, argv: Sequence[str | Path]) -> list[str | Path]:
        """The command line that runs `argv` on a node, inside all of its namespaces."""
        process = self.ledger.get(self._node(name).name)
        if process is None or not process.alive():
            raise LabError(f"{name} does not run")
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid"]
        return ["nsenter", f"--target={process.pid}", *spaces, "--", *argv]

    def node_exec(
        self, name: str, argv: Sequence[str | Path], *, timeout: float = EXEC_SECONDS, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on a node (`ctr`, `nft`, `ip`). Output is captured; `check` raises CalledProcessError."""
        return subprocess.run(self.node_argv(name, argv), capture_output=True, text=True, timeout=timeout, check=check)

    def load_image(self, archive: Path) -> None:
        """Import an OCI archive into every node."""
        members = [self._node(name) for name in self.nodes]
        with concurrent.futures.ThreadPoolExecutor(max_workers=len(members)) as pool:
            list(pool.map(lambda member: images.import_archive(member, archive), members))

    def freeze_node(self, name: str) -> None:
        """Cut a node's power: its cable is dead, and its processes, pods included, stop where they are."""
        self._node(name)
        namespaces.set_link(self.name, name, up=False)
        cgroups.freeze(self.name, name)

    def thaw_node(self, name: str) -> None:
        """Give the node back: its processes go on as if no time had passed. Not frozen is success."""
        self._node(name)
        cgroups.thaw(self.name, name)
        namespaces.set_link(self.name, name, up=True)

    def unplug_node(self, name: str) -> None:
        """Pull a node's cable and leave its processes running."""
        self._node(name)
        namespaces.set_link(self.name, name, up=False)

    def plug_node(self, name: str) -> None:
        self._node(name)
        namespaces.set_link(self.name, name, up=True)

    def stop_apiserver(self) -> None:
        """Power cut for the API server; etcd and everything else go on."""
        process = self.ledger.get("kube-apiserver")
        if process is not None:
            process.stop()

    def start_apiserver(self) -> None:
        """Start it on its old address and data, and wait until it is ready. Running already is success."""
        process = self.ledger.get("kube-apiserver")
        if process is None or not process.alive():
            binary = build.program("kubernetes/kube-apiserver")
            controlplane.prepare(self._settings())
            self._spawn("kube-apiserver", controlplane.apiserver_argv(binary, self._settings()))
        self._wait_apiserver()

    def restart_apiserver(self) -> None:
        self.stop_apiserver()
        self.start_apiserver()

    # -- down ------------------------------------------------------------------------------------------------------

    def down(self) -> None:
        """Take everything of this lab's name away. Nothing there is success. Raises LabError for what resisted."""
        problems: list[str] = []

        def attempt(what: str, action: Callable[[], None]) -> None:
            try:
                action()
            except (OSError, processes.ProcessError, namespaces.NamespaceError, subprocess.SubprocessError) as error:
                problems.append(f"{what}: {error}")

        for name in cgroups.nodes(self.name):
            # A frozen process does not even die.
            attempt(f"thaw {name}", lambda name=name: cgroups.thaw(self.name, name))  # type: ignore[misc]
        for process in self.ledger.all():
            process.signal(signal.SIGKILL)
        for process in self.ledger.all():
            attempt(f"stop {process.name}", process.stop)
        attempt("namespaces", lambda: namespaces.delete_all(self.name))
        attempt("control groups", lambda: cgroups.remove(self.name))
        for directory in (DISK / self.name, self.memory):
            if directory.exists():
                attempt(str(directory), lambda directory=directory: shutil.rmtree(directory))  # type: ignore[misc]
        if problems:
            # The record stays, so that the next `down` can try again.
            raise LabError(f"lab {self.name} was not removed whole:\n" + "\n".join(problems))
        if self.state.exists():
            attempt(str(self.state), lambda: shutil.rmtree(self.state))
        if not list(STATE.glob("*/plan.json")):
            host.restore(STATE / "host.json")
            for parent in (STATE, DISK):
                attempt(str(parent), lambda parent=parent: _remove_empty(parent))  # type: ignore[misc]
        if problems:
            raise LabError(f"lab {self.name} was not removed whole:\n" + "\n".join(problems))


def _remove_empty(directory: Path) -> None:
    if directory.is_dir():
        (directory / ".lock").unlink(missing_ok=True)
        if not any(directory.iterdir()):
            directory.rmdir()


def names() -> list[str]:
    """The labs that are up, or whose remains are there."""
    return sorted(path.parent.name for path in STATE.glob("*/plan.json"))
