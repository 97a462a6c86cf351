"""Why one node may not announce: each obstacle by itself, and which of two is told."""

import dataclasses

import pytest

from metallb_core.announcement import eligibility, view
from metallb_core.config import compiled
from metallb_core.domain import addresses, advertisements, interfaces, nodes, reasons, selectors

AD = advertisements.L2Advertisement(name="all", pools=frozenset({"pool"}))
ON_ETH1 = dataclasses.replace(AD, interfaces=frozenset({"eth1"}))
ZONE_A = dataclasses.replace(AD, node_selectors=(selectors.Selector.of({"zone": "a"}),))
PLAIN = nodes.Node(name="n1")
EXCLUDED = nodes.Node(name="n1", labels={nodes.EXCLUDE_LABEL: "false"})
UNAVAILABLE = nodes.Node(name="n1", network_unavailable=True)
SERVED = frozenset({"n1"})
V4, V6 = addresses.Family.IPV4, addresses.Family.IPV6


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
            seen(PLAIN, links={"n1": interfaces.Usable.both("eth0")}),
            ON_ETH1,
            SERVED,
            reasons.Reason.INTERFACE_MISSING,
            "none of eth1 on node n1",
            id="interface-is-not-there",
        ),
        pytest.param(
            seen(PLAIN, links={"n1": interfaces.NOTHING}),
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
    verdict = eligibility.candidate("n1", sight, (ad,), serving, families=frozenset({V4}), local=True)
    assert isinstance(verdict, reasons.Refusal)
    assert verdict.reason is reason
    assert told in verdict.detail
    assert "n1" in verdict.detail


def test_a_node_without_obstacles_is_a_candidate_with_its_interfaces() -> None:
    sight = seen(PLAIN, members=SERVED, links={"n1": interfaces.Usable.both("eth0", "eth1")})
    found = eligibility.candidate("n1", sight, (ON_ETH1,), SERVED, families=frozenset({V4, V6}), local=True)
    assert found == eligibility.Candidate("n1", frozenset({"eth1"}))


SPLIT = interfaces.Usable(ipv4=frozenset({"eth0"}), ipv6=frozenset({"eth1"}))


@pytest.mark.parametrize(
    ("ad", "usable", "families", "told"),
    [
        pytest.param(AD, SPLIT, {V4, V6}, None, id="each-family-through-another-interface"),
        pytest.param(AD, interfaces.Usable(ipv4=frozenset({"eth0"})), {V4}, None, id="ipv4-where-ipv6-is-off"),
        pytest.param(
            AD,
            interfaces.Usable(ipv4=frozenset({"eth0"})),
            {V4, V6},
            "no interface on node n1 can announce IPv6: it needs an IPv6 link-local address (`ip -6 address`); switch IPv6 on there, or"
            " name another one",
            id="ipv6-where-ipv6-is-off",
        ),
        pytest.param(
            ON_ETH1,
            SPLIT,
            {V4, V6},
            "none of eth1 on node n1 can announce IPv4: it must be a broadcast interface (BROADCAST in `ip link`); name another one",
            id="the-named-interface-without-ipv4",
        ),
        pytest.param(ON_ETH1, SPLIT, {V6}, None, id="the-named-interface-with-what-is-asked-for"),
    ],
)
def test_each_family_needs_an_interface(
    ad: advertisements.L2Advertisement, usable: interfaces.Usable, families: set[addresses.Family], told: str | None
) -> None:
    sight = seen(PLAIN, links={"n1": usable})
    verdict = eligibility.candidate("n1", sight, (ad,), SERVED, families=frozenset(families), local=False)
    if told is None:
        assert isinstance(verdict, eligibility.Candidate)
    else:
        assert verdict == reasons.Refusal(reasons.Reason.INTERFACE_MISSING, told)
