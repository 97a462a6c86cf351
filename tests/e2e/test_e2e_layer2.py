"""Which node announces: what L2Advertisements say, and what a Service's user is told when nobody does."""

from collections.abc import Iterable
from typing import Any

import pytest

from demo import steps, workload
from lab import cluster

NAMESPACE = workload.CHART_NAMESPACE
POOL = {"metallb.io/address-pool": "layer2"}


def hosts(*names: str) -> list[dict[str, Any]]:
    """Node selectors for these nodes."""
    return [{"matchLabels": {"kubernetes.io/hostname": name}} for name in names]


@pytest.fixture
def pooled(lab: cluster.Cluster, do: steps.Steps) -> str:
    """A pool that no advertisement of the installation covers, and a Service with an address of it."""
    every = lab.plan.pool_ipv4
    do.apply(workload.pool("layer2", f"{every[80]}-{every[99]}"), workload.service("placed", annotations=POOL))
    return do.wait_addresses("placed", 1)[0]


def owners(do: steps.Steps, names: Iterable[str]) -> set[str]:
    return {do.wait_owner(name) for name in names}


def test_no_advertisement(do: steps.Steps, pooled: str) -> None:
    do.wait_event("Service", "placed", "announceFailed", "no L2Advertisement", "layer2")
    assert do.answering(pooled) == []
    do.apply(workload.advertisement("any", ipAddressPools=["layer2"]))
    do.wait_announced("placed", pooled)
    do.fetch(pooled)


def test_node_selectors_move_it(do: steps.Steps, pooled: str) -> None:
    for node in do.lab.nodes:
        do.apply(workload.advertisement("where", ipAddressPools=["layer2"], nodeSelectors=hosts(node)))
        do.wait_answering(pooled, node)
        steps.wait_for(f"status names {node}", 10, lambda node=node: do.owner("placed") == node)  # type: ignore[misc]
    do.apply(workload.advertisement("where", ipAddressPools=["layer2"], nodeSelectors=hosts("elsewhere")))
    do.wait_event("Service", "placed", "announceFailed", "none of 3 nodes")
    do.wait_silent(pooled)
    steps.wait_for("status names nobody", 10, lambda: do.owner("placed") is None)


def test_interfaces(do: steps.Steps, pooled: str) -> None:
    do.apply(workload.advertisement("where", ipAddressPools=["layer2"], interfaces=["eth9"]))
    event = do.wait_event("Service", "placed", "announceFailed", "InterfaceMissing")
    assert "node1" in event.message
    assert do.answering(pooled) == []
    assert do.owner("placed") is None
    do.apply(workload.advertisement("where", ipAddressPools=["layer2"], interfaces=["eth9", "eth0"]))
    do.wait_announced("placed", pooled)
    (status,) = do.items("servicel2statuses", "--selector=metallb.io/service-name=placed", namespace=NAMESPACE)
    assert {"name": "eth0"} in status["status"]["interfaces"]


def test_two_advertisements_add_up(do: steps.Steps, pooled: str) -> None:
    """A Service is announced from a node of either; over several addresses both nodes are used, and never the third."""
    first, second, _ = do.lab.nodes
    names = [f"placed-{number}" for number in range(7)]
    do.apply(
        workload.advertisement("one", ipAddressPools=["layer2"], nodeSelectors=hosts(first)),
        workload.advertisement("two", ipAddressPools=["layer2"], nodeSelectors=hosts(second)),
        *(workload.service(name, annotations=POOL) for name in names),
    )
    for name in names:
        do.wait_addresses(name, 1)
    # A speaker that has read the first advertisement alone announces from the first node, for a moment.
    steps.wait_for("both nodes are used", 20, lambda: owners(do, names) == {first, second})
    do.lab.kubectl("delete", "l2advertisement", "one", "--namespace", NAMESPACE)
    for name in (*names, "placed"):
        steps.wait_for(f"{name} is on {second}", 10, lambda name=name: do.owner(name) == second)  # type: ignore[misc]
    do.wait_answering(pooled, second)


def test_service_selectors(do: steps.Steps, pooled: str) -> None:
    selector = [{"matchLabels": {"tier": "front"}}]
    do.apply(workload.advertisement("front", ipAddressPools=["layer2"], serviceSelectors=selector))
    do.wait_event("Service", "placed", "announceFailed", "layer2")
    assert do.answering(pooled) == []
    do.lab.kubectl("label", "service", "placed", "tier=front")
    do.wait_announced("placed", pooled)


def test_preferred_nodes(lab: cluster.Cluster, do: steps.Steps, pooled: str) -> None:
    """The preferred node announces while it can; when it loses power another does."""
    for node in lab.nodes[:2]:
        do.apply(
            workload.advertisement(
                "where",
                ipAddressPools=["layer2"],
                preferredNodeSelectors=[{"weight": 10, "preference": hosts(node)[0]}],
            )
        )
        do.wait_answering(pooled, node)
    lab.freeze_node(node)
    assert steps.wait_for("another answers", 10, lambda: do.answering(pooled)) != [node]
    lab.thaw_node(node)
    do.wait_answering(pooled, node)


def test_no_endpoint(do: steps.Steps, pooled: str) -> None:
    """Nothing is announced for a Service that nobody serves, and the reason is told."""
    do.apply(workload.advertisement("any", ipAddressPools=["layer2"]))
    do.wait_announced("placed", pooled)
    do.lab.kubectl("patch", "service", "placed", "--patch", '{"spec":{"selector":{"app":"nobody"}}}')
    do.wait_event("Service", "placed", "announceFailed", "no endpoint")
    do.wait_silent(pooled)
    do.lab.kubectl("patch", "service", "placed", "--patch", '{"spec":{"selector":{"app":"web"}}}')
    do.wait_announced("placed", pooled)
    do.fetch(pooled)
