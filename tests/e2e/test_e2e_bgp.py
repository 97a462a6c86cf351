"""BGP with real routers: FRR on the nodes' LAN puts what the speakers advertise into its kernel, and a client behind it asks for pages.

- The addresses are of a pool that no L2Advertisement covers and that is not on the LAN: what arrives came by a route from a speaker.
- One session for each node lives through the file; what a test does to others must not touch it (`untouched`).
- A second router, BIRD, in the nodes' own autonomous system, is for what needs a session of its own: passwords, local preference, mistakes.
- A figure is the longest silence of any of several flows, each asked every 20 ms from behind the router.
"""

import base64
import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demo import bgp, pages, steps, workload
from lab import cluster, namespaces
from lab.routers import bird, frr, router

NAMESPACE = workload.CHART_NAMESPACE
POOL = {"metallb.io/address-pool": "beyond"}
STANDING = {"tests.metallb.io/standing": "bgp"}
KINDS = "bgpadvertisements,bgppeers,bfdprofiles,communities,ipaddresspools"
GRACEFUL_SHUTDOWN = "65535:0"
SECOND, SECOND_NUMBER = "second", 23
ROOT = pathlib.Path(__file__).parents[2]
Tell = Callable[[str], None]


def ranges(lab: cluster.Cluster, count: int = 32) -> list[str]:
    """The addresses of the pool."""
    ipv4, ipv6 = lab.plan.routed_pool_ipv4, lab.plan.routed_pool_ipv6
    return [f"{ipv4[16]}-{ipv4[15 + count]}", f"{ipv6[16]}-{ipv6[15 + count]}"]


def advertisement(*communities: str) -> dict[str, Any]:
    return bgp.resource(
        "bgpAdvertisements",
        "beyond",
        STANDING,
        ipAddressPools=["beyond"],
        peers=[bgp.PEER],
        communities=["edge", "large:64513:1:2", *communities],
    )


def profile(milliseconds: int) -> dict[str, Any]:
    return bgp.resource("bfdProfiles", bgp.PROFILE, STANDING, **bgp.profile_spec(milliseconds))


@pytest.fixture(scope="module")
def edge(lab: cluster.Cluster, do: steps.Steps, tell: Tell) -> Iterator[bgp.Edge]:
    """FRR with a session to every node, and the configuration of those."""
    made = bgp.Edge(lab)
    try:
        made.start()
        aliases = [{"name": "edge", "value": bgp.COMMUNITY}]
        started = time.monotonic()
        do.apply(
            bgp.resource("ipAddressPools", "beyond", STANDING, addresses=ranges(lab), autoAssign=False),
            profile(300),
            bgp.resource("bgpPeers", bgp.PEER, STANDING, **bgp.peer_spec(lab)),
            bgp.resource("communities", "aliases", STANDING, communities=aliases),
            advertisement(),
        )
        made.wait_established()
        tell(f"three BGP sessions, from kubectl apply: {time.monotonic() - started:.1f} s")
        yield made
    finally:
        selector = ",".join(f"{key}={value}" for key, value in STANDING.items())
        lab.kubectl("delete", KINDS, "--namespace", NAMESPACE, "--selector", selector)
        made.close()


@pytest.fixture
def untouched(lab: cluster.Cluster, edge: bgp.Edge) -> Iterator[None]:
    """The sessions with FRR are, after the test, those from before it."""
    before = edge.wait_established()
    # A path that the test before cut may come back later than its session.
    edge.wait_paths()
    yield
    after = edge.sessions()
    assert [each.established for each in after.values()] == [each.established for each in before.values()]
    assert all(after[node].up_ms >= before[node].up_ms for node in lab.nodes)


def serve(do: steps.Steps, name: str, **spec: Any) -> tuple[str, str]:
    """A dual-stack Service with addresses of the pool: IPv4, IPv6."""
    do.apply(workload.service(name, annotations=POOL, ipFamilyPolicy="RequireDualStack", **spec))
    ipv4, ipv6 = sorted(do.wait_addresses(name, 2), key=lambda address: ":" in address)
    return ipv4, ipv6


def told(do: steps.Steps, name: str) -> dict[str, list[str]]:
    """The peers in a Service's status objects, by node. An object is made first and filled then."""
    found = do.items("servicebgpstatuses", f"--selector=metallb.io/service-name={name}", namespace=NAMESPACE)
    return {item["status"]["node"]: item["status"].get("peers", []) for item in found if item.get("status")}


def condition(do: steps.Steps, node: str, peer: str) -> dict[str, Any]:
    """What a node's speaker says of a peer."""
    said = do.get("configurationstate", f"speaker-{node}", NAMESPACE).get("status", {}).get("conditions", [])
    return next((each for each in said if each["type"] == f"peer.metallb.io/{peer}"), {})


def wait_condition(do: steps.Steps, peer: str, reason: str, seconds: float = 60) -> str:
    """Wait until every speaker gives this reason for a peer; the first node's message."""
    last: dict[str, Any] = {}

    def look() -> bool:
        last.update({node: condition(do, node, peer) for node in do.lab.nodes})
        return all(said.get("reason") == reason for said in last.values())

    try:
        steps.wait_for(f"{peer} is {reason} on every node", seconds, look)
    except steps.StepError as error:
        raise steps.StepError(f"{error}; there is {last}") from None
    return str(last[do.lab.nodes[0]]["message"])


def logs(do: steps.Steps) -> str:
    """What the speakers wrote."""
    selector = "app.kubernetes.io/component=speaker"
    return do.lab.kubectl("logs", "--namespace", NAMESPACE, "--selector", selector, "--tail=-1")


def speaker_on(do: steps.Steps, node: str) -> str:
    """The name of the speaker's pod on a node."""
    selector = "--selector=app.kubernetes.io/component=speaker"
    pods = do.items("pods", selector, f"--field-selector=spec.nodeName={node}", namespace=NAMESPACE)
    (name,) = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return str(name)


def test_prefixes_with_their_attributes(do: steps.Steps, edge: bgp.Edge) -> None:
    for address in serve(do, "seen"):
        edge.wait_next_hops(address, do.lab.nodes)
        paths = edge.route(address)
        assert sorted(paths) == do.lab.nodes
        for path in paths.values():
            assert path.communities == {bgp.COMMUNITY}
            assert path.large_communities == {"64513:1:2"}
            assert path.as_path == (bgp.NODES_ASN,)
    everywhere = {node: [bgp.PEER] for node in do.lab.nodes}
    steps.wait_for("status objects of all nodes", 30, lambda: told(do, "seen") == everywhere)
    wait_condition(do, bgp.PEER, "Established")
    for node in do.lab.nodes:
        assert condition(do, node, bgp.PEER)["status"] == "True"


def test_flows_are_spread_over_the_nodes(do: steps.Steps, edge: bgp.Edge, tell: Tell) -> None:
    for address in serve(do, "spread"):
        edge.wait_next_hops(address, do.lab.nodes)
        edge.pages(address, 3)
        with edge.counting(address) as arrivals:
            pages = edge.pages(address, 48)
        assert len({page.split()[0] for page in pages}) == 2  # the Deployment's two pods
        tell(f"48 pages from {address} came by {arrivals}")
        assert sum(arrivals.values()) >= 48
        assert all(arrivals.values())


def test_local_traffic_policy_follows_the_pod(do: steps.Steps, edge: bgp.Edge) -> None:
    addresses = serve(do, "local", app=workload.ECHO, externalTrafficPolicy="Local")
    for node in do.lab.nodes:
        do.pin(workload.ECHO, node)
        for address in addresses:
            edge.wait_next_hops(address, [node])
        assert sorted(edge.route(addresses[0])) == [node]
        edge.wait_answering(addresses[0])
    steps.wait_for("status object of one node", 30, lambda: told(do, "local") == {node: [bgp.PEER]})


@pytest.mark.parametrize(("milliseconds", "family"), [(300, 0), (100, 1)], ids=["300ms-ipv4", "100ms-ipv6"])
def test_power_cut_with_bfd(
    lab: cluster.Cluster, do: steps.Steps, edge: bgp.Edge, tell: Tell, milliseconds: int, family: int
) -> None:
    do.pin(workload.ECHO, lab.nodes[0])
    address = serve(do, "cut", app=workload.ECHO)[family]
    do.apply(profile(milliseconds))
    edge.wait_established()
    edge.wait_paths()
    edge.wait_next_hops(address, lab.nodes)
    edge.wait_answering(address)
    victim = lab.nodes[1 + family]
    try:
        # Of so many, one in ten thousand times none would be on the victim's way.
        with edge.probing(address, 8, 24) as flows:
            steps.pause(1)
            lab.freeze_node(victim)
            steps.pause(3)
            survivors = edge.next_hops(address)
    finally:
        lab.thaw_node(victim)
        do.apply(profile(300))
    tell(
        f"power cut, BFD {milliseconds} ms x 3: {flows.hit} of {len(flows.silences)} flows silent, for {flows.worst:.2f} s at most"
    )
    assert survivors == [node for node in lab.nodes if node != victim]
    assert flows.hit
    assert flows.worst < 1.2
    started = time.monotonic()
    edge.wait_established()
    edge.wait_next_hops(address, lab.nodes, 30)
    tell(f"power back: a next hop again after {time.monotonic() - started:.1f} s")


@pytest.mark.usefixtures("untouched")
def test_changes_touch_no_session(lab: cluster.Cluster, do: steps.Steps, edge: bgp.Edge) -> None:
    kept, _ = serve(do, "kept")
    for number in range(4):
        serve(do, f"more-{number}")
    edge.wait_next_hops(kept, lab.nodes)
    steps.wait_for("prefixes of five Services and IPv4", 10, lambda: edge.frr.prefixes() == 15)
    for number in range(4):
        lab.kubectl("delete", "service", f"more-{number}")
    steps.wait_for("withdrawals", 10, lambda: edge.frr.prefixes() == 3)
    do.apply(advertisement("64513:200"))
    wanted = {bgp.COMMUNITY, "64513:200"}
    steps.wait_for(
        "another community", 10, lambda: all(path.communities == wanted for path in edge.route(kept).values())
    )
    do.apply(bgp.resource("ipAddressPools", "beyond", STANDING, addresses=ranges(lab, 64), autoAssign=False))
    do.apply(advertisement())
    steps.wait_for("one community", 10, lambda: all(len(path.communities) == 1 for path in edge.route(kept).values()))
    assert sorted(edge.route(kept)) == lab.nodes


def beside(lab: cluster.Cluster) -> None:
    """Another host on the LAN, for a second router."""
    if SECOND not in namespaces.existing(lab.name):
        lab.add_host(SECOND, SECOND_NUMBER)


@contextlib.contextmanager
def second(lab: cluster.Cluster, **fields: Any) -> Iterator[bird.Router]:
    """BIRD, in the autonomous system of the nodes."""
    beside(lab)
    neighbours = tuple(
        router.Neighbour(asn=bgp.NODES_ASN, address=lab.node_addresses(node)[0], **fields) for node in lab.nodes
    )
    address = lab.plan.spare_host(SECOND_NUMBER)[0]
    settings = router.Settings(asn=bgp.NODES_ASN, router_id=address, neighbours=neighbours)
    made = bird.Router(namespaces.name(lab.name, SECOND), settings)
    try:
        made.start()
        yield made
    finally:
        made.close()


def wait_second(made: bird.Router) -> None:
    made.wait(lambda: all(made.established(each) for each in made.settings.neighbours), "no session", 60)


def second_peer(lab: cluster.Cluster, name: str = "second", **spec: Any) -> dict[str, Any]:
    address = lab.plan.spare_host(SECOND_NUMBER)[0]
    spec = {"peerAddress": address, "peerASN": bgp.NODES_ASN, "bfdProfile": "", **spec}
    return bgp.resource("bgpPeers", name, workload.TRANSIENT, **bgp.peer_spec(lab, **spec))


def second_advertisement(**spec: Any) -> dict[str, Any]:
    labels = workload.TRANSIENT
    return bgp.resource("bgpAdvertisements", "second", labels, ipAddressPools=["beyond"], peers=["second"], **spec)


def secret(password: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/basic-auth",
        "metadata": {"name": "second", "namespace": NAMESPACE, "labels": workload.TRANSIENT},
        "data": {"password": base64.b64encode(password.encode()).decode()},
    }


@pytest.mark.usefixtures("untouched")
def test_password_from_a_secret_and_its_rotation(lab: cluster.Cluster, do: steps.Steps) -> None:
    """The internal router sees the local preference; another password on one side is named as the reason, and shown nowhere."""
    first, other = "s3cret-of-spring", "s3cret-of-autumn"
    ipv4, _ = serve(do, "secret")
    do.apply(secret(first), second_peer(lab, passwordSecret={"name": "second"}), second_advertisement(localPref=150))
    with second(lab, password=first) as made:
        wait_second(made)
        made.wait(lambda: len(made.routes().get(f"{ipv4}/32", ())) == 3, "three paths")
        assert {path.local_pref for path in made.routes()[f"{ipv4}/32"]} == {150}
        do.apply(secret(other))
        assert "password" in wait_condition(do, "second", "AuthMismatch")
    with second(lab, password=other) as made:
        wait_second(made)
        wait_condition(do, "second", "Established")
    text = logs(do)
    for password in (first, other):
        assert password not in text
        assert password not in str(do.items("configurationstates", namespace=NAMESPACE))


def test_graceful_restart_keeps_the_routes(lab: cluster.Cluster, do: steps.Steps, edge: bgp.Edge) -> None:
    """A peer that agreed to it forwards while a speaker is replaced; without it the routes would go with the session."""
    ipv4, _ = serve(do, "steady")
    do.apply(second_peer(lab, enableGracefulRestart=True), second_advertisement())
    node = lab.nodes[2]
    with second(lab, graceful_restart=True) as made:
        wait_second(made)
        made.wait(lambda: len(made.routes().get(f"{ipv4}/32", ())) == 3, "three paths")
        neighbour = made.settings.neighbours[2]
        do.signal(speaker_on(do, node), "SIGTERM")
        gone = False
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (gone and made.established(neighbour)):
            gone = gone or not made.established(neighbour)
            assert len(made.routes().get(f"{ipv4}/32", ())) == 3
            steps.pause(0.05)
        assert gone
        assert made.established(neighbour)
    edge.wait_established()


@pytest.mark.usefixtures("untouched")
def test_unnumbered(lab: cluster.Cluster, do: steps.Steps, edge: bgp.Edge) -> None:
    """A cable without addresses: the router is found by its advertisements, and IPv4 has next hops of IPv6 (RFC 8950)."""
    ipv4, ipv6 = serve(do, "cabled")
    node = lab.nodes[0]
    beside(lab)
    there = namespaces.name(lab.name, SECOND)
    lab.host_exec(node, ["ip", "link", "add", "leaf0", "type", "veth", "peer", "name", "swp1", "netns", there])
    settings = router.Settings(
        asn=64600,
        router_id=lab.plan.spare_host(SECOND_NUMBER)[0],
        neighbours=(router.Neighbour(asn=bgp.NODES_ASN, interface="swp1", passive=False),),
    )
    made = frr.Router(there, settings)
    try:
        lab.host_exec(node, ["ip", "link", "set", "leaf0", "up"])
        lab.host_exec(SECOND, ["ip", "link", "set", "swp1", "up"])
        made.start()
        selector = [{"matchLabels": {"kubernetes.io/hostname": node}}]
        spec = {"myASN": bgp.NODES_ASN, "dynamicASN": "external", "interface": "leaf0", "nodeSelectors": selector}
        do.apply(bgp.resource("bgpPeers", "second", workload.TRANSIENT, **spec), second_advertisement())
        made.wait(lambda: made.established(settings.neighbours[0]), "no session", 40)
        for family, prefix in ((router.IPV4, f"{ipv4}/32"), (router.IPV6, f"{ipv6}/128")):
            made.wait(lambda family=family, prefix=prefix: prefix in made.routes(family), f"{prefix} is not there")  # type: ignore[misc]
            (path,) = made.routes(family)[prefix]
            assert path.next_hops[-1].startswith("fe80:")
        steps.wait_for("both peers in the status", 30, lambda: told(do, "cabled").get(node) == [bgp.PEER, "second"])
        assert not condition(do, lab.nodes[1], "second")
    finally:
        made.close()
        lab.host_exec(node, ["ip", "link", "delete", "leaf0"], check=False)


@pytest.mark.usefixtures("untouched")
def test_bad_peers_harm_nobody(lab: cluster.Cluster, do: steps.Steps, edge: bgp.Edge) -> None:
    """The wrong autonomous system, a machine that refuses, one that says nothing: each with its reason, and all else goes on."""
    ipv4, _ = serve(do, "unharmed")
    client = lab.client_address[0]
    hole = "table inet hole { chain input { type filter hook input priority 0; tcp dport 1179 drop; }; }"
    lab.client_exec(["nft", hole])
    try:
        with second(lab):
            do.apply(
                second_peer(lab, "wrong-system", peerASN=64600, ebgpMultiHop=True),
                second_peer(lab, "refusing", peerAddress=client, connectTime="2s"),
                second_peer(lab, "silent", peerAddress=client, peerPort=1179, connectTime="2s"),
            )
            message = wait_condition(do, "wrong-system", "ASMismatch")
            assert "B302" in message
            assert "64600" in message
            assert "refused" in wait_condition(do, "refusing", "ConnectFailed")
            assert "not answer" in wait_condition(do, "silent", "ConnectFailed")
            edge.wait_next_hops(ipv4, lab.nodes)
            edge.pages(ipv4, 6)
            for each in do.addresses(workload.WEB):
                do.fetch(each)
                do.wait_announced(workload.WEB, each)
            text = logs(do)
            for name in ("wrong-system", "refusing", "silent"):
                assert name in text
    finally:
        lab.client_exec(["nft", "delete", "table", "inet", "hole"], check=False)


class Watch:
    """What the router sees of one node's route to an address, each change once, beginning with `there`."""

    def __init__(self, edge: bgp.Edge, address: str, node: str) -> None:
        self._edge, self._address, self._node = edge, address, node
        self.seen = ["there"]

    def now(self) -> str:
        path, up = self._edge.seen_of(self._node, self._address)
        state = "withdrawn" if path is None else "leaving" if GRACEFUL_SHUTDOWN in path.communities else "there"
        state += "" if up else ", no session"
        if self.seen[-1] != state:
            self.seen.append(state)
        return state


@pytest.fixture
def leaving(lab: cluster.Cluster, do: steps.Steps, edge: bgp.Edge) -> tuple[str, Watch]:
    """An address whose echo runs on the first node, and a watch on the second node's route to it."""
    do.pin(workload.ECHO, lab.nodes[0])
    ipv4, _ = serve(do, "polite", app=workload.ECHO)
    edge.wait_established()
    edge.wait_paths()
    edge.wait_next_hops(ipv4, lab.nodes)
    edge.wait_answering(ipv4)
    return ipv4, Watch(edge, ipv4, lab.nodes[1])


@pytest.mark.usefixtures("patient")
def test_a_speaker_that_stops_asks_to_be_avoided(
    lab: cluster.Cluster, do: steps.Steps, edge: bgp.Edge, leaving: tuple[str, Watch], tell: Tell
) -> None:
    """On SIGTERM: GRACEFUL_SHUTDOWN on its routes, then their withdrawal, then the end; and no flow notices."""
    address, watch = leaving
    with edge.probing(address, 60) as flows:
        steps.pause(0.5)
        lab.kubectl("delete", "pod", speaker_on(do, lab.nodes[1]), "--namespace", NAMESPACE, "--wait=false")
        steps.wait_for("the new speaker's route", 60, lambda: watch.now() == "there" and len(watch.seen) > 2)
        steps.pause(1)
    tell(f"a speaker stopped: {' -> '.join(watch.seen)}; flows silent for {flows.worst:.2f} s at most")
    assert watch.seen[:2] == ["there", "leaving"]
    assert any("withdrawn" in state for state in watch.seen)
    assert flows.worst < 0.5


@pytest.fixture(scope="module")
def patient(lab: cluster.Cluster, do: steps.Steps, edge: bgp.Edge) -> Iterator[None]:
    """Speakers to which a cordoned node is a drained one, and whose routes ask to be avoided for so long that a busy machine sees it."""
    path = "/spec/template/spec/containers/0/args"
    before = do.get("daemonset", "metallb-speaker", NAMESPACE)["spec"]["template"]["spec"]["containers"][0]["args"]

    def roll_out(arguments: list[str]) -> None:
        patch = json.dumps([{"op": "replace", "path": path, "value": arguments}])
        lab.kubectl("patch", "daemonset", "metallb-speaker", "--namespace", NAMESPACE, "--type=json", "--patch", patch)
        do.wait_rollout("metallb-speaker", NAMESPACE, "daemonset")
        edge.wait_established()

    try:
        roll_out([*before, "--drain-taint=node.kubernetes.io/unschedulable", "--bgp-drain-ms=3000"])
        yield
    finally:
        roll_out(before)


@pytest.mark.usefixtures("patient")
def test_a_drained_node_asks_to_be_avoided(
    lab: cluster.Cluster, edge: bgp.Edge, leaving: tuple[str, Watch], tell: Tell
) -> None:
    """The same by a taint, while the session stays."""
    address, watch = leaving
    try:
        with edge.probing(address, 60) as flows:
            steps.pause(0.5)
            lab.kubectl("cordon", lab.nodes[1])
            steps.wait_for("the withdrawal", 30, lambda: watch.now() == "withdrawn")
            lab.kubectl("uncordon", lab.nodes[1])
            steps.wait_for("the node's route again", 30, lambda: watch.now() == "there")
            steps.pause(1)
    finally:
        lab.kubectl("uncordon", lab.nodes[1])
    tell(
        f"a node cordoned, with its taint as drain taint: {' -> '.join(watch.seen)}; flows silent for {flows.worst:.2f} s at most"
    )
    assert watch.seen == ["there", "leaving", "withdrawn", "there"]
    assert flows.worst < 0.5


def test_examples_of_the_guide(lab: cluster.Cluster, do: steps.Steps, values: str, tmp_path: pathlib.Path) -> None:
    """What docs/bgp.md shows can be applied as it stands, one after the other, and leaves nothing to object to."""
    examples = pages.blocks(pages.DOCS / "bgp.md")
    assert len(examples) > 10
    installation = tmp_path / "installation.yaml"
    installation.write_text(values)
    made: set[str] = set()
    try:
        for number, text in enumerate(examples):
            if text.startswith("# values.yaml"):
                file = tmp_path / f"{number}.yaml"
                file.write_text(text)
                do.helm("template", "metallb", ROOT / "charts/metallb", "-f", installation, "-f", file)
            else:
                made.update(lab.kubectl("apply", "--output=name", "--filename", "-", input=text).split())
        steps.wait_for(
            "the configuration is valid everywhere",
            30,
            lambda: all(
                item.get("status", {}).get("result") == "Valid"
                for item in do.items("configurationstates", namespace=NAMESPACE)
            ),
        )
    finally:
        # What refers to others first.
        for kind in ("bgpadvertisement", "bgppeer", "bfdprofile", "community", "secret", "ipaddresspool"):
            names = [name for name in made if name.startswith((f"{kind}.", f"{kind}/"))]
            if names:
                lab.kubectl("delete", "--namespace", NAMESPACE, *names)
                made.difference_update(names)
    assert not made
