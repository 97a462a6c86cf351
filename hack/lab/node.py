"""The configuration of one node: kubelet, containerd, kube-proxy and the pod network.

Rules:
- Each node has a directory on disk for what it writes (`run`, `lib`, `log`), bound over /run, /var/lib and /var/log
  in the node's mount namespace. The paths below are therefore the usual ones of a real node.
- Pods are routed, not bridged: each has a point-to-point link to its node, and nodes and control plane have a route
  for each node's pod subnet. Addresses are never masqueraded, so a server sees its client.
- Nothing here evicts, throttles or reserves: the lab is about networking, on a machine that others use too.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lab import cgroups, namespaces, nodeinit, plan, processes

PAUSE_IMAGE = "localhost/metallb-lab/pause:1"
CNI_PROGRAMS = "/usr/lib/cni"
SOCKET_SECONDS = 90.0
START_SECONDS = 60.0
POLL_SECONDS = 0.05

# kube-proxy and kubelet find their programs here; the cache may be below a directory that the node hides.
PROGRAMS = "/run/kubernetes"
SETTINGS = "/var/lib/kubernetes"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of a lab. `disk` is its directory on the host; `log` holds its daemons' and pods' logs."""

    lab: plan.Plan
    number: int
    disk: Path
    log: Path

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def addresses(self) -> tuple[str, str]:
        """LAN addresses, IPv4 and IPv6."""
        return self.lab.node(self.number)

    @property
    def runtime_socket(self) -> Path:
        """containerd's socket as the host sees it."""
        return self.disk / "run" / "containerd" / "containerd.sock"

    @property
    def gate(self) -> Path:
        """kubelet and kube-proxy start when this file exists."""
        return self.disk / "run" / "gate"


def containerd_settings() -> str:
    # A score below the current one is refused on machines without the privilege, and then no container starts:
    # restrict_oom_score_adj makes the runtime ask for no less than its own.
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{SETTINGS}/cni"
"""


def pod_network(node: Node) -> dict[str, object]:
    """The CNI configuration list: a routed link for each pod, one address of each family."""
    subnets = node.lab.node_pods(node.number)
    return {
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni/networks",
                    "ranges": [[{"subnet": subnet}] for subnet in subnets],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def kubelet_settings(node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups.relative(node.lab.name, node.name, cgroups.KUBE),
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{SETTINGS}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        # No resolver runs in the lab. The control plane refuses a question at once, so a program is not kept waiting.
        "clusterDNS": list(node.lab.control_plane),
        "clusterDomain": "cluster.local",
        "resolvConf": f"{SETTINGS}/resolv.conf",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "enforceNodeAllocatable": [],
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        # Images are imported, never pulled: one that was collected could not come back.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "makeIPTablesUtilChains": False,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
    }


def kube_proxy_settings(node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": "0.0.0.0",
        "hostnameOverride": node.name,
        "clientConnection": {"kubeconfig": f"{SETTINGS}/kube-proxy.kubeconfig"},
        "clusterCIDR": ",".join(node.lab.pods),
        "detectLocalMode": "ClusterCIDR",
        "oomScoreAdj": 0,
        # These limits are the machine's, and a namespace other than the first may not write them.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _kubelet_argv(node: Node) -> list[str]:
    return [
        f"{PROGRAMS}/kubelet",
        f"--config={SETTINGS}/kubelet.json",
        f"--kubeconfig={SETTINGS}/kubelet.kubeconfig",
        f"--hostname-override={node.name}",
        f"--node-ip={','.join(node.addresses)}",
        "--root-dir=/var/lib/kubelet",
        "--cert-dir=/var/lib/kubelet/pki",
        "--node-labels=node.kubernetes.io/instance-type=lab",
    ]


def write_settings(node: Node, credentials: Path) -> None:
    """Fill the node's directory from the control plane's `credentials` directory (kubeconfigs and pki/ca.crt)."""
    settings = node.disk / "lib" / "kubernetes"
    (settings / "cni").mkdir(parents=True, exist_ok=True)
    for part in ("run/kubernetes", "lib/kubelet"):
        (node.disk / part).mkdir(parents=True, exist_ok=True)
    node.log.mkdir(parents=True, exist_ok=True)
    (settings / "containerd.toml").write_text(containerd_settings())
    (settings / "cni" / "10-lab.conflist").write_text(json.dumps(pod_network(node)))
    (settings / "kubelet.json").write_text(json.dumps(kubelet_settings(node)))
    (settings / "kube-proxy.json").write_text(json.dumps(kube_proxy_settings(node)))
    # No resolver answers in the lab; an empty list would make programs ask their own loopback.
    (settings / "resolv.conf").write_text(f"nameserver {node.lab.control_plane[0]}\noptions timeout:1 attempts:1\n")
    authority = credentials / "pki" / "ca.crt"
    shutil.copy(authority, settings / "ca.crt")
    for source, target in ((node.name, "kubelet"), ("kube-proxy", "kube-proxy")):
        text = (credentials / f"{source}.kubeconfig").read_text().replace(str(authority), f"{SETTINGS}/ca.crt")
        (settings / f"{target}.kubeconfig").write_text(text)


def start(node: Node, *, programs: Path, state: Path) -> None:
    """Start the node's first process and containerd. `programs` holds kubelet and kube-proxy; `state` is the lab's."""
    specification = nodeinit.Specification(
        lab=node.lab.name,
        node=node.name,
        namespace=str(namespaces.path(node.lab.name, node.name)),
        ledger=str(state / "pids"),
        log=str(state / "logs" / f"{node.name}.log"),
        # The order matters: a bind hides what was below its target, and these sources are below those targets.
        binds=[
            # The runtime must not ask the host's resolver for a registry: nothing outside the lab is reachable.
            (str(node.disk / "lib" / "kubernetes" / "resolv.conf"), "/etc/resolv.conf"),
            (str(programs), str(node.disk / "run" / "kubernetes")),
            (str(node.log), "/var/log"),
            (str(node.disk / "run"), "/run"),
            (str(node.disk / "lib"), "/var/lib"),
        ],
        sysctls=[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv6/conf/default/forwarding", "1"),
        ],
        runtime_socket="/run/containerd/containerd.sock",
        gate="/run/gate",
        daemons=[
            nodeinit.Daemon(
                name="containerd",
                argv=["containerd", f"--config={SETTINGS}/containerd.toml"],
                log="/var/log/containerd.log",
            ),
            nodeinit.Daemon(name="kubelet", argv=_kubelet_argv(node), log="/var/log/kubelet.log"),
            nodeinit.Daemon(
                name="kube-proxy",
                argv=[f"{PROGRAMS}/kube-proxy", f"--config={SETTINGS}/kube-proxy.json"],
                log="/var/log/kube-proxy.log",
            ),
        ],
    )
    file = state / f"{node.name}.json"
    file.write_text(json.dumps(dataclasses.asdict(specification)))
    cgroups.create(node.lab.name, node.name)
    log = Path(specification.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        result = subprocess.run(
            [sys.executable, "-m", "lab.nodeinit", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=Path(__file__).resolve().parent.parent,
            timeout=START_SECONDS,
            check=False,
        )
    if result.returncode != 0:
        raise processes.ProcessError(f"{node.name} did not start:\n{log.read_text()[-2000:]}")


def wait_runtime(node: Node) -> None:
    """Wait until containerd answers on its socket."""
    deadline = time.monotonic() + SOCKET_SECONDS
    while True:
        answer = subprocess.run(
            ["ctr", "--address", str(node.runtime_socket), "--connect-timeout", "2s", "version"],
            capture_output=True,
            text=True,
            timeout=SOCKET_SECONDS,
            check=False,
        )
        if answer.returncode == 0:
            return
        if time.monotonic() >= deadline:
            log = node.log / "containerd.log"
            words = log.read_text(errors="replace")[-2000:] if log.exists() else "(no log)"
            raise processes.ProcessError(f"containerd of {node.name} does not answer: {answer.stderr}{words}")
        time.sleep(POLL_SECONDS)
