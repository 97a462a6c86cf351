"""The router side of BGP in the lab: FRR on the nodes' LAN, a client behind it, and what is asked of both.

- The router learns the Services' prefixes from the nodes, puts them into its kernel with every next hop, and spreads flows by ports. The client
  behind it reaches a Service by these routes and by nothing else.
- What a page's way was is counted where it ends: on the nodes, before kube-proxy sees the packet.
- Objects are made as a user writes them: `resource` for `kubectl apply`, `values` for the chart.
"""

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from demo import steps, workload
from lab import cluster as clusters
from lab import namespaces
from lab.routers import frr, router

ROUTER, BEHIND = "router", "behind"
ROUTER_NUMBER = 22
NODES_ASN, ROUTER_ASN = 64512, 64513
PEER, PROFILE = "router", "watchful"
COMMUNITY = "64513:100"
FLOWS = 16
_TABLE = "lab_arrivals"
_KINDS = {
    "bgpPeers": ("metallb.io/v1beta2", "BGPPeer"),
    "bgpAdvertisements": ("metallb.io/v1beta1", "BGPAdvertisement"),
    "bfdProfiles": ("metallb.io/v1beta1", "BFDProfile"),
    "communities": ("metallb.io/v1beta1", "Community"),
    "ipAddressPools": ("metallb.io/v1beta1", "IPAddressPool"),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session as FRR sees it. `established`: how often it was; `up_ms`: for how long it is."""

    state: str
    established: int
    up_ms: int


def resource(list_name: str, name: str, labels: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """An object of the configuration, of the kind that the chart's list `list_name` is of."""
    version, kind = _KINDS[list_name]
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": workload.CHART_NAMESPACE, "labels": dict(labels or {})},
        "spec": spec,
    }


def peer_spec(lab: clusters.Cluster, **spec: Any) -> dict[str, Any]:
    """The router as a BGPPeer: IPv4 and IPv6 on one session, and short timers."""
    return {
        "myASN": NODES_ASN,
        "peerASN": ROUTER_ASN,
        "peerAddress": lab.plan.spare_host(ROUTER_NUMBER)[0],
        "holdTime": "9s",
        "connectTime": "1s",
        "dualStackAddressFamily": True,
        "bfdProfile": PROFILE,
        **spec,
    }


def profile_spec(milliseconds: int) -> dict[str, Any]:
    """BFD that calls a path dead after three packets that were missed."""
    return {"receiveInterval": milliseconds, "transmitInterval": milliseconds, "detectMultiplier": 3}


def values(lab: clusters.Cluster) -> dict[str, Any]:
    """The BGP part of the chart's values: every pool is advertised to the router."""
    return {
        "bgpPeers": [{"name": PEER, "spec": peer_spec(lab)}],
        "bfdProfiles": [{"name": PROFILE, "spec": profile_spec(300)}],
        "bgpAdvertisements": [{"name": "routed", "spec": {"peers": [PEER], "communities": [COMMUNITY]}}],
    }


class Edge:
    """FRR and the client behind it, on a lab that is up. `close` ends FRR; the hosts stay until `lab.down`, and another `start` uses them."""

    def __init__(self, lab: clusters.Cluster) -> None:
        self.lab = lab
        self._known: dict[str, str] = {}
        neighbours = tuple(
            router.Neighbour(asn=NODES_ASN, address=lab.node_addresses(node)[0], bfd=True, bfd_interval_ms=100)
            for node in lab.nodes
        )
        settings = router.Settings(
            asn=ROUTER_ASN, router_id=lab.plan.spare_host(ROUTER_NUMBER)[0], neighbours=neighbours, kernel=True
        )
        # In the lab's own folder, so that whoever takes the lab down takes this away too.
        self.frr = frr.Router(namespaces.name(lab.name, ROUTER), settings, lab.state / "frr")

    def start(self) -> None:
        """Make the two hosts and start FRR."""
        there = namespaces.existing(self.lab.name)
        if ROUTER not in there:
            self.lab.add_host(ROUTER, ROUTER_NUMBER)
        if BEHIND not in there:
            self.lab.add_host_behind(BEHIND, ROUTER, ROUTER_NUMBER)
        self.frr.start()

    def close(self) -> None:
        """End FRR; its routes go with it."""
        self.frr.close()

    # What FRR says

    def sessions(self) -> dict[str, Session]:
        """The sessions by node."""
        peers = self.frr.json("show bgp ipv4 unicast summary json").get("peers", {})
        found = {}
        for node in self.lab.nodes:
            said = peers.get(self.lab.node_addresses(node)[0], {})
            found[node] = Session(
                state=said.get("state", ""),
                established=int(said.get("connectionsEstablished", 0)),
                up_ms=int(said.get("peerUptimeMsec", 0)),
            )
        return found

    def wait_established(self, seconds: float = 60) -> dict[str, Session]:
        """Wait until the session with every node is up."""
        steps.wait_for(
            "BGP sessions from every node",
            seconds,
            lambda: all(each.state == "Established" for each in self.sessions().values()),
        )
        return self.sessions()

    def path_states(self) -> dict[str, str]:
        """BFD's state by node, `up` or `down`; absent where there is no BFD session."""
        known = {self.lab.node_addresses(node)[0]: node for node in self.lab.nodes}
        return {known[each["peer"]]: each["status"] for each in self.frr.bfd_peers() if each["peer"] in known}

    def wait_paths(self, seconds: float = 30) -> None:
        """Wait until BFD has the path to every node."""
        steps.wait_for(
            "BFD up to every node",
            seconds,
            lambda: len(found := self.path_states()) == len(self.lab.nodes) and set(found.values()) == {"up"},
        )

    def route(self, address: str) -> dict[str, router.Route]:
        """FRR's paths to the host route of an address, by node."""
        family, prefix = _family(address)
        paths = frr.paths(self.frr.json(f"show bgp {family} unicast {prefix} json"))
        found = {}
        for path in paths:
            for node in self.lab.nodes:
                if set(path.next_hops) & set(self.lab.node_addresses(node)):
                    found[node] = path
        return found

    def seen_of(self, node: str, address: str) -> tuple[router.Route | None, bool]:
        """FRR's path to an address by one node, and whether the session with that node is up: one question, as each takes a while to ask."""
        family, prefix = _family(address)
        text = self.frr.command(f"show bgp {family} unicast {prefix} json", "show bgp ipv4 unicast summary json")
        answers: list[dict[str, Any]] = []
        try:
            while text := text.lstrip():
                answer, end = json.JSONDecoder().raw_decode(text)
                answers.append(answer)
                text = text[end:]
        except ValueError as error:
            raise router.RouterError(f"frr: {prefix}: {text[:400]}") from error
        if not answers:
            raise router.RouterError(f"frr: {prefix}: no answer")
        own = self.lab.node_addresses(node)
        # Of a prefix that is not there FRR may say nothing at all; the summary comes last.
        said = answers[-1].get("peers", {}).get(own[0], {})
        paths = frr.paths(answers[0]) if len(answers) > 1 else ()
        path = next((each for each in paths if set(each.next_hops) & set(own)), None)
        return path, said.get("state") == "Established"

    def next_hops(self, address: str) -> list[str]:
        """The nodes that the kernel of the router sends an address to."""
        version = "-6" if ":" in address else "-4"
        _, prefix = _family(address)
        text = self.lab.host_exec(ROUTER, ["ip", version, "-json", "route", "show", "exact", prefix]).stdout
        names = self._names()
        hops = []
        for way in json.loads(text or "[]"):
            hops += [hop["gateway"] for hop in way.get("nexthops", [way]) if "gateway" in hop]
        return sorted(names.get(hop, hop) for hop in hops)

    def _names(self) -> dict[str, str]:
        # FRR prefers a neighbour's link-local address as the next hop of IPv6 prefixes (RFC 2545 section 3).
        if not self._known:
            for node in self.lab.nodes:
                text = self.lab.host_exec(node, ["ip", "-json", "address", "show", "dev", "eth0"]).stdout
                (link,) = (entry for entry in json.loads(text) if entry)
                self._known.update({each["local"]: node for each in link["addr_info"]})
        return self._known

    def wait_next_hops(self, address: str, nodes: list[str], seconds: float = 20) -> None:
        """Wait until exactly these nodes are next hops of an address."""
        wanted = sorted(nodes)
        last: list[str] = []

        def look() -> bool:
            last[:] = self.next_hops(address)
            return last == wanted

        try:
            steps.wait_for(f"{address} by {wanted}", seconds, look)
        except steps.StepError as error:
            raise steps.StepError(f"{error}; there are {last}") from None

    # What the client behind it gets

    def pages(self, address: str, count: int = 24, seconds: float = 20) -> list[str]:
        """Fetch a page `count` times, each over a connection of its own: `<pod> <node>`, one for each. Waits until all succeed."""
        host = f"[{address}]" if ":" in address else address
        argv = ["curl", "--silent", "--show-error", "--fail", "--max-time", "20", "--header", "Connection: close"]
        argv += [f"http://{host}:{workload.WEB_PORT}/name"] * count

        def look() -> list[str]:
            done = self.lab.host_exec(BEHIND, argv, check=False)
            found = done.stdout.split("\n")[:-1] if done.returncode == 0 else []
            return found if len(found) == count else []

        found = steps.wait_for(f"{count} pages from {address}", seconds, look)
        assert isinstance(found, list)
        return found

    @contextlib.contextmanager
    def counting(self, address: str) -> Iterator[dict[str, int]]:
        """Count the connections to an address by the node that they arrive at; the answer is filled when the block ends."""
        arrivals: dict[str, int] = {}
        match = f"ip6 daddr {address}" if ":" in address else f"ip daddr {address}"
        script = (
            f"table inet {_TABLE} {{ chain arrivals {{ type filter hook prerouting priority -310; "
            f"{match} tcp flags & (syn | ack) == syn counter; }}; }}"
        )
        try:
            for node in self.lab.nodes:
                self.lab.host_exec(node, ["nft", script])
            yield arrivals
            for node in self.lab.nodes:
                text = self.lab.host_exec(node, ["nft", "--json", "list", "table", "inet", _TABLE]).stdout
                arrivals[node] = _counter(json.loads(text)["nftables"])
        finally:
            for node in self.lab.nodes:
                self.lab.host_exec(node, ["nft", "delete", "table", "inet", _TABLE], check=False)

    def probing(self, address: str, seconds: float, count: int = FLOWS) -> "Flows":
        """Flows from the client behind the router, each asked every 20 ms."""
        return Flows(self.lab, address, seconds, count)

    def wait_answering(self, address: str, seconds: float = 20) -> None:
        """Wait until the echo behind an address answers on every flow, so through every next hop."""

        def look() -> bool:
            with self.probing(address, 0.5) as flows:
                flows.wait_over()
            return flows.worst < 0.3

        steps.wait_for(f"answers from {address} on every flow", seconds, look)


class Flows:
    """Running flows; leaving the block ends them and fills `silences`, one for each flow, in seconds."""

    def __init__(self, lab: clusters.Cluster, address: str, seconds: float, count: int = FLOWS) -> None:
        argv = [sys.executable, "-m", "demo.flows", "--address", address, "--port", str(workload.ECHO_PORT)]
        argv += ["--flows", str(count), "--seconds", str(seconds)]
        self._argv = namespaces.enter(lab.name, BEHIND, argv)
        self._process: subprocess.Popen[str] | None = None
        self.silences: list[float] = []
        self.began = 0.0
        """When the longest silence began, in seconds since the start."""

    def __enter__(self) -> "Flows":
        self._process = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def wait_over(self) -> None:
        """Wait until its seconds are over: they count from its own first datagram, which a busy machine may delay."""
        assert self._process is not None
        self._process.wait(timeout=60)

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        report = json.loads(self._process.communicate("stop\n", timeout=60)[0])
        report.sort(key=lambda each: each["silence"])
        self.silences = [each["silence"] for each in report]
        self.began = report[-1]["from"]

    @property
    def worst(self) -> float:
        """The longest silence of any flow."""
        return self.silences[-1]

    @property
    def hit(self) -> int:
        """How many flows were silent for longer than five of their datagrams: those that the failure concerned."""
        return sum(each > 0.1 for each in self.silences)


def _family(address: str) -> tuple[str, str]:
    return (router.IPV6, f"{address}/128") if ":" in address else (router.IPV4, f"{address}/32")


def _counter(objects: list[dict[str, Any]]) -> int:
    for each in objects:
        for part in each.get("rule", {}).get("expr", ()):
            if "counter" in part:
                return int(part["counter"]["packets"])
    return 0
