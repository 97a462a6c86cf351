"""The owner of an address goes away, in every way a node or a speaker can; another takes over, and no address changes.

A figure is the longest time without an answer as the client's ARP sees it; its bound is several times what is usual. The echo's pod runs on a
node that keeps its power, so that only the announcing node matters.
"""

import json
from collections.abc import Callable

import pytest

from demo import steps, workload
from lab import cluster

NAMESPACE = workload.CHART_NAMESPACE
SPEAKERS = "app.kubernetes.io/component=speaker"
Tell = Callable[[str], None]


def place_echo_elsewhere(do: steps.Steps) -> tuple[str, str]:
    """Run the echo on a node that does not announce it. Gives its IPv4 address and its owner, whose turn it is while every node is well."""
    address = do.addresses(workload.ECHO)[0]
    # The test before may have ended with a node that was away, and that takes its addresses back a moment later.
    do.wait_members()
    owner = do.wait_announced(workload.ECHO, address)
    pods = do.items("pods", f"--selector=app={workload.ECHO}")
    # One that was moved away may still be ending.
    if owner in {pod["spec"]["nodeName"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}:
        do.pin(workload.ECHO, next(node for node in do.lab.nodes if node != owner))
    do.ask_udp(address, "before")
    return address, do.wait_announced(workload.ECHO, address)


def wait_back(do: steps.Steps, owner: str) -> None:
    """Wait until the owner says again that it announces the echo, and let the probe hear it for a while."""
    steps.wait_for(f"{owner} announces again", 60, lambda: do.owner(workload.ECHO) == owner)
    steps.pause(2)


def story(do: steps.Steps, silence: steps.Silence) -> str:
    """The turns with the nodes' names."""
    names = {do.node_mac(node): node for node in do.lab.nodes}
    turns = [f"{names.get(turn.mac, turn.mac)} {turn.first:.2f}-{turn.last:.2f}" for turn in silence.turns[:6]]
    return f"ARP silent for {silence.arp:.2f} s, UDP for {silence.udp:.2f} s ({', '.join(turns)})"


def alone_at_the_end(silence: steps.Silence, answers: int = 20) -> str:
    """The hardware address that gave the last answers, all of them."""
    last = silence.turns[-1]
    assert last.answers >= answers, silence.turns[-6:]
    return last.mac


def test_power_cut(lab: cluster.Cluster, do: steps.Steps, tell: Tell) -> None:
    address, owner = place_echo_elsewhere(do)
    with do.probing(address, 10) as probe:
        steps.pause(1)
        lab.freeze_node(owner)
        steps.pause(8)
    assert probe.silence is not None
    tell(f"power cut of the owner: {story(do, probe.silence)}")
    assert probe.silence.arp < 5
    heir = do.wait_owner(workload.ECHO, other_than=owner)
    assert alone_at_the_end(probe.silence) == do.node_mac(heir)
    with do.probing(address, 90) as probe:
        steps.pause(1)
        lab.thaw_node(owner)
        steps.pause(4)
        wait_back(do, owner)
    assert probe.silence is not None
    tell(f"power back: {story(do, probe.silence)}")
    assert probe.silence.arp < 3
    assert alone_at_the_end(probe.silence) == do.node_mac(owner)
    for each in do.addresses(workload.ECHO):
        do.wait_announced(workload.ECHO, each)


def test_carrier_loss(lab: cluster.Cluster, do: steps.Steps, tell: Tell) -> None:
    address, owner = place_echo_elsewhere(do)
    with do.probing(address, 10) as probe:
        steps.pause(1)
        lab.unplug_node(owner)
        steps.pause(8)
    assert probe.silence is not None
    tell(f"cable pulled: {story(do, probe.silence)}")
    assert probe.silence.arp < 5
    heir = do.wait_owner(workload.ECHO, other_than=owner)
    assert alone_at_the_end(probe.silence) == do.node_mac(heir)
    with do.probing(address, 90) as probe:
        steps.pause(1)
        lab.plug_node(owner)
        steps.pause(4)
        wait_back(do, owner)
    assert probe.silence is not None
    tell(f"cable plugged in: {story(do, probe.silence)}")
    assert probe.silence.arp < 3
    assert alone_at_the_end(probe.silence) == do.node_mac(owner)


def speaker_on(do: steps.Steps, node: str) -> str:
    """The name of the speaker's pod on a node."""
    pods = do.items("pods", f"--selector={SPEAKERS}", f"--field-selector=spec.nodeName={node}", namespace=NAMESPACE)
    (name,) = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return str(name)


def test_speaker_pod_deleted(lab: cluster.Cluster, do: steps.Steps, tell: Tell) -> None:
    """The next owner announces before the old one falls silent, and when the new pod takes the address back, likewise."""
    address, owner = place_echo_elsewhere(do)
    pod = speaker_on(do, owner)
    with do.probing(address, 300) as probe:
        steps.pause(1)
        lab.kubectl("delete", "pod", pod, "--namespace", NAMESPACE)
        do.wait_rollout("metallb-speaker", NAMESPACE, "daemonset")
        steps.pause(2)
        wait_back(do, owner)
    assert probe.silence is not None
    tell(f"owner's speaker deleted: {story(do, probe.silence)}")
    assert probe.silence.arp < 0.5
    assert alone_at_the_end(probe.silence) == do.node_mac(owner)


def test_rolling_restart(lab: cluster.Cluster, do: steps.Steps, tell: Tell) -> None:
    address, owner = place_echo_elsewhere(do)
    with do.probing(address, 300) as probe:
        steps.pause(1)
        lab.kubectl("rollout", "restart", "daemonset/metallb-speaker", "--namespace", NAMESPACE)
        do.wait_rollout("metallb-speaker", NAMESPACE, "daemonset")
        steps.pause(2)
        wait_back(do, owner)
    assert probe.silence is not None
    tell(f"all speakers restarted in turn: {story(do, probe.silence)}")
    assert probe.silence.arp < 0.5
    assert alone_at_the_end(probe.silence) == do.node_mac(owner)


def test_speaker_killed(lab: cluster.Cluster, do: steps.Steps, tell: Tell) -> None:
    """No farewell: the process is killed and the kubelet starts it again."""
    address, owner = place_echo_elsewhere(do)
    pod = speaker_on(do, owner)
    with do.probing(address, 20) as probe:
        steps.pause(1)
        do.signal(pod, "SIGKILL")
        steps.pause(10)
    assert probe.silence is not None
    tell(f"owner's speaker killed: {story(do, probe.silence)}")
    assert probe.silence.arp < 5
    do.wait_rollout("metallb-speaker", NAMESPACE, "daemonset")
    do.wait_announced(workload.ECHO, address)


def test_without_an_api_server(lab: cluster.Cluster, do: steps.Steps, tell: Tell) -> None:
    """Addresses go on answering, a power cut is survived, and all is told and tidy once the server is back."""
    address, owner = place_echo_elsewhere(do)
    others = do.addresses(workload.WEB)
    with do.probing(address, 120) as probe:
        steps.pause(1)
        lab.stop_apiserver()
        steps.pause(6)
        assert do.answering(address) == [owner]
        lab.freeze_node(owner)
        steps.pause(8)
        # The web page has a pod on the dead node, maybe, and nobody can take it out of rotation: any answer will do.
        for each in others:
            do.fetch(each)
        (heir,) = do.answering(address)
        assert heir != owner
        steps.pause(6)
        lab.start_apiserver()
        steps.pause(3)
    assert probe.silence is not None
    tell(f"power cut while the API server was down: {story(do, probe.silence)}")
    assert probe.silence.arp < 5
    # What could not be told is told once the server is followed again, which is tried every ten seconds.
    steps.wait_for("the status names the heir", 60, lambda: do.owner(workload.ECHO) == heir)
    lab.thaw_node(owner)
    lab.wait_nodes_ready()
    do.apply(workload.service("after-outage"))
    do.wait_addresses("after-outage", 1, 60)
    steps.wait_for("the owner is back", 60, lambda: do.answering(address) == [owner] == [do.owner(workload.ECHO)])
    # Kubernetes' own controllers come back later than ours; what follows needs them.
    by_service = "--selector=kubernetes.io/service-name=after-outage"
    steps.wait_for("EndpointSlices are kept again", 120, lambda: do.items("endpointslices", by_service))


def everywhere() -> dict[str, object]:
    """A UDP echo on every node."""
    (echo,) = [
        item
        for item in json.loads(workload.manifests())["items"]
        if item["kind"] == "Deployment" and item["metadata"]["name"] == workload.ECHO
    ]
    labels = {"app": "everywhere"}
    template = echo["spec"]["template"]
    template["metadata"]["labels"] = labels
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "everywhere", "labels": workload.TRANSIENT},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def test_local_traffic_policy_follows_the_pod(do: steps.Steps, tell: Tell) -> None:
    do.apply(workload.service("local", app=workload.ECHO, externalTrafficPolicy="Local"))
    (address,) = do.wait_addresses("local", 1)
    for node in (*do.lab.nodes[1:], do.lab.nodes[0]):
        with do.probing(address, 60) as probe:
            do.pin(workload.ECHO, node)
            do.wait_answering(address, node)
        assert probe.silence is not None
        tell(f"externalTrafficPolicy Local, pod moved to {node}: {story(do, probe.silence)}")
        assert do.wait_announced("local", address) == node
        do.ask_udp(address, "local")


def endpoints(do: steps.Steps, name: str) -> set[str]:
    """The nodes with a ready endpoint of a Service."""
    return {
        endpoint["nodeName"]
        for each in do.items("endpointslices", f"--selector=kubernetes.io/service-name={name}")
        for endpoint in each.get("endpoints") or ()
        if endpoint["conditions"].get("ready")
    }


def test_local_traffic_policy_survives_a_power_cut(lab: cluster.Cluster, do: steps.Steps, tell: Tell) -> None:
    do.apply(everywhere(), workload.service("local", app="everywhere", externalTrafficPolicy="Local", ports=[
        {"port": workload.ECHO_PORT, "targetPort": 8080, "protocol": "UDP"}
    ]))  # fmt: skip
    do.wait_rollout("everywhere", kind="daemonset")
    (address,) = do.wait_addresses("local", 1)
    do.wait_members()
    # With the first endpoint its node announces, with the last one the node whose turn it is.
    steps.wait_for("an endpoint on every node", 30, lambda: endpoints(do, "local") == set(lab.nodes))
    owner = do.wait_announced("local", address)
    do.ask_udp(address, "before")
    with do.probing(address, 10) as probe:
        steps.pause(1)
        lab.freeze_node(owner)
        steps.pause(8)
    assert probe.silence is not None
    tell(f"externalTrafficPolicy Local, power cut: {story(do, probe.silence)}")
    assert probe.silence.arp < 5
    assert probe.silence.udp < 6
    heir = do.wait_owner("local", other_than=owner)
    assert alone_at_the_end(probe.silence) == do.node_mac(heir)


@pytest.mark.parametrize("what", ["cordon", "exclude"])
def test_node_taken_out_of_service(lab: cluster.Cluster, do: steps.Steps, tell: Tell, what: str) -> None:
    """Cordoning means nothing to announcing; the exclude label moves the addresses without loss."""
    address, owner = place_echo_elsewhere(do)
    label = "node.kubernetes.io/exclude-from-external-load-balancers"
    try:
        with do.probing(address, 60) as probe:
            steps.pause(1)
            if what == "cordon":
                lab.kubectl("cordon", owner)
            else:
                lab.kubectl("label", "node", owner, f"{label}=true")
                do.wait_owner(workload.ECHO, other_than=owner)
            steps.pause(3)
    finally:
        lab.kubectl("uncordon", owner)
        lab.kubectl("label", "node", owner, f"{label}-")
    assert probe.silence is not None
    tell(f"owner, {what}: {story(do, probe.silence)}")
    assert probe.silence.arp < 0.5
    assert (alone_at_the_end(probe.silence) == do.node_mac(owner)) == (what == "cordon")
    do.wait_answering(address, owner)
