"""Why one node may not announce: each obstacle by itself, and which of two is told."""

import dataclasses

import pytest

from metallb_core.announcement import eligibility, view
from metallb_core.config import compiled
from metallb_core.domain import advertisements, nodes, reasons, selectors

AD = advertisements.L2Advertisement(name="all", pools=frozenset({"pool"}))
ON_ETH1 = dataclasses.replace(AD, interfaces=frozenset({"eth1"}))
ZONE_A = dataclasses.replace(AD, node_selectors=(selectors.Selector.of({"zone": "a"}),))
PLAIN = nodes.Node(name="n1")
EXCLUDED = nodes.Node(name="n1", labels={nodes.EXCLUDE_LABEL: "false"})
UNAVAILABLE = nodes.Node(name="n1", network_unavailable=True)
SERVED = frozenset({"n1"})


def seen(node: nodes.Node, **changes: object) -> view.View:
    base = view.View(config=compiled.EMPTY, nodes={node.name: node})
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sight", "ad", "serving", "reason", "told"),
    [
        pytest.param(
            seen(PLAIN, members=frozenset({"n2"})),
            AD,
            SERVED,
            reasons.Reason.NO_ELIGIBLE_NODE,
            "no live speaker",
            id="no-speaker",
        ),
        pytest.param(
            seen(EXCLUDED), AD, SERVED, reasons.Reason.NODE_EXCLUDED, "exclude-from", id="label-whatever-its-value"
        ),
        pytest.param(
            seen(UNAVAILABLE),
            AD,
            SERVED,
            reasons.Reason.NODE_NETWORK_UNAVAILABLE,
            "network of node n1",
            id="network-unavailable",
        ),
        pytest.param(seen(PLAIN), ZONE_A, SERVED, reasons.Reason.NO_ADVERTISEMENT, "covers node n1", id="not-covered"),
        pytest.param(
            seen(PLAIN, links={"n1": frozenset({"eth0"})}),
            ON_ETH1,
            SERVED,
            reasons.Reason.INTERFACE_MISSING,
            "none of eth1 on node n1",
            id="interface-is-not-there",
        ),
        pytest.param(
            seen(PLAIN, links={"n1": frozenset()}),
            AD,
            SERVED,
            reasons.Reason.INTERFACE_MISSING,
            "no interface on node n1",
            id="no-interface-at-all",
        ),
        pytest.param(
            seen(PLAIN), AD, frozenset({"n2"}), reasons.Reason.NO_LOCAL_ENDPOINT, "n1 has no ready", id="no-endpoint"
        ),
        pytest.param(
            seen(EXCLUDED, members=frozenset()),
            ZONE_A,
            frozenset(),
            reasons.Reason.NO_ELIGIBLE_NODE,
            "speaker",
            id="the-first-is-told",
        ),
    ],
)
def test_an_obstacle_is_told_with_the_node(
    sight: view.View,
    ad: advertisements.L2Advertisement,
    serving: frozenset[str],
    reason: reasons.Reason,
    told: str,
) -> None:
    verdict = eligibility.candidate("n1", sight, (ad,), serving, local=True)
    assert isinstance(verdict, reasons.Refusal)
    assert verdict.reason is reason
    assert told in verdict.detail
    assert "n1" in verdict.detail


def test_a_node_without_obstacles_is_a_candidate_with_its_interfaces() -> None:
    sight = seen(PLAIN, members=SERVED, links={"n1": frozenset({"eth0", "eth1"})})
    found = eligibility.candidate("n1", sight, (ON_ETH1,), SERVED, local=True)
    assert found == eligibility.Candidate("n1", frozenset({"eth1"}))
