"""What `metallb.io/Allocated` and `metallb.io/Announced` say, from one decision each."""

import pytest

from metallb_controller.conditions import allocated, announced, sources
from metallb_core.allocation import converge
from metallb_core.announcement import view
from metallb_core.config import compiled
from metallb_core.domain import (
    addresses,
    advertisements,
    conditions,
    interfaces,
    nodes,
    peers,
    reasons,
    remedies,
    services,
)
from metallb_core.testing import builders

TRUE, FALSE = conditions.Status.TRUE, conditions.Status.FALSE
KEY = services.ServiceKey("default", "web")
HELD = builders.service("web", holds="192.0.2.1", held_from="pool")
FULL = reasons.Refusal(reasons.Reason.POOL_EXHAUSTED, "no available IPs")


def plan(text: str = "", refusal: reasons.Refusal | None = None) -> converge.Plan:
    return converge.Plan(addresses=builders.listed(text), pool="pool" if text else None, refusal=refusal)


ALLOCATED = [
    pytest.param(plan("192.0.2.1"), TRUE, "Allocated", "192.0.2.1 from IPAddressPool pool", id="given"),
    pytest.param(
        plan("192.0.2.1 2001:db8::1"), TRUE, "Allocated", "192.0.2.1, 2001:db8::1 from IPAddressPool pool", id="two"
    ),
    pytest.param(
        plan("", FULL),
        FALSE,
        "PoolExhausted",
        "no available IPs; add addresses to a pool, or delete Services that need theirs no more [A102 PoolExhausted]",
        id="refused",
    ),
    pytest.param(
        plan("192.0.2.1", FULL),
        TRUE,
        "PoolExhausted",
        "192.0.2.1 from IPAddressPool pool is kept, since the wish cannot be met: no available IPs; add addresses to a pool, or"
        " delete Services that need theirs no more [A102 PoolExhausted]",
        id="kept-though-more-is-asked-for",
    ),
]


@pytest.mark.parametrize(("decided", "status", "reason", "message"), ALLOCATED)
def test_allocated(decided: converge.Plan, status: conditions.Status, reason: str, message: str) -> None:
    found = allocated.wanted(HELD, decided)
    assert (found[0].type, found[0].status, found[0].reason, found[0].message) == (
        "metallb.io/Allocated",
        status,
        reason,
        message,
    )
    # Without an address it is not announced either, in the same patch; with one, that is another's word.
    assert [(each.type, each.reason) for each in found[1:]] == (
        [] if decided.addresses else [("metallb.io/Announced", "NoAddress")]
    )


def by(*pairs: tuple[str, str]) -> list[announced.Announcer]:
    return [
        announced.Announcer("metallb-system", f"s{number}", KEY, node, protocol)
        for number, (node, protocol) in enumerate(pairs)
    ]


L2, BGP = announced.LAYER2, announced.BGP
ANNOUNCERS = [
    pytest.param(by(("n1", L2)), "announced from node n1 by layer 2", id="one"),
    pytest.param(by(("n2", L2), ("n1", L2)), "announced from nodes n1, n2 by layer 2", id="changing-hands"),
    pytest.param(
        by(*((f"n{i}", BGP) for i in range(9))), "announced from nodes n0, n1, n2 and 6 more by BGP", id="many"
    ),
    pytest.param(
        by(("n2", BGP), ("n1", L2)), "announced from node n1 by layer 2; from node n2 by BGP", id="both-protocols"
    ),
]


@pytest.mark.parametrize(("announcers", "message"), ANNOUNCERS)
def test_announced(announcers: list[announced.Announcer], message: str) -> None:
    found = announced.by(announcers)
    assert (found.status, found.reason, found.message) == (TRUE, "Announced", message)


POOL = builders.pool("pool", "192.0.2.0/24")
ANY = advertisements.L2Advertisement(name="l2", pools=frozenset({"pool"}))
THROUGH_ETH1 = advertisements.L2Advertisement(name="l2", pools=frozenset({"pool"}), interfaces=frozenset({"eth1"}))
ON_LABELLED = advertisements.L2Advertisement(
    name="l2", pools=frozenset({"pool"}), node_selectors=(builders.selector("rack=a"),)
)
OVER_BGP = advertisements.BGPAdvertisement(name="bgp", pools=frozenset({"pool"}))
PEER = peers.Peer(name="tor", my_asn=64512, peer_asn=64513, address=addresses.Address.parse("192.0.2.250"))
NODES = ("n1", "n2")


def seen(
    *l2: advertisements.L2Advertisement,
    bgp: tuple[advertisements.BGPAdvertisement, ...] = (),
    known_peers: tuple[peers.Peer, ...] = (),
    members: tuple[str, ...] = NODES,
    links: dict[str, interfaces.Usable] | None = None,
    excluded: bool = False,
    labelled: str = "",
) -> view.View:
    labels = builders.labels(labelled) | ({nodes.EXCLUDE_LABEL: ""} if excluded else {})
    return view.View(
        config=compiled.Config(pools={"pool": POOL}, l2=l2, bgp=bgp, peers={each.name: each for each in known_peers}),
        nodes={name: nodes.Node(name=name, labels=labels) for name in NODES},
        members=frozenset(members),
        links=links or {},
    )


R = reasons.Reason
SERVING = frozenset({"n1"})
NOTHING: frozenset[str] = frozenset()
WHY = [
    pytest.param(seen(ANY), SERVING, None, "", id="some-node-should"),
    pytest.param(seen(ANY), NOTHING, R.NO_READY_ENDPOINT, "no endpoint of the Service is ready", id="no-endpoint"),
    pytest.param(
        seen(),
        SERVING,
        R.NO_ADVERTISEMENT,
        "no L2Advertisement or BGPAdvertisement covers pool pool and this Service; create one, or list the pool in"
        " spec.ipAddressPools of one",
        id="no-advertisement-of-either-kind",
    ),
    pytest.param(
        seen(ANY, members=()),
        SERVING,
        R.NO_ELIGIBLE_NODE,
        "node n1 has no live speaker, and the same goes for node n2",
        id="no-speaker",
    ),
    pytest.param(
        seen(THROUGH_ETH1, links={"n1": interfaces.Usable.both(""), "n2": interfaces.NOTHING}),
        SERVING,
        R.INTERFACE_MISSING,
        "none of eth1 on node n1 is up with carrier, and the same goes for node n2",
        id="interface-nowhere",
    ),
    pytest.param(
        seen(THROUGH_ETH1, links={"n1": interfaces.Usable.both("eth1", ""), "n2": interfaces.NOTHING}),
        SERVING,
        None,
        "",
        id="on-one",
    ),
    pytest.param(seen(ANY, links={"n1": interfaces.Usable.both("")}), SERVING, None, "", id="any-interface-will-do"),
    pytest.param(
        seen(ANY, links=dict.fromkeys(NODES, interfaces.Usable(ipv6=frozenset({""})))),
        SERVING,
        R.INTERFACE_MISSING,
        "no interface on node n1 can announce IPv4: it must be a broadcast interface (BROADCAST in `ip link`); name another one, and the same"
        " goes for node n2",
        id="no-interface-for-the-family",
    ),
    pytest.param(seen(ANY, excluded=True), SERVING, R.NODE_EXCLUDED, "node n1 carries", id="excluded-everywhere"),
    pytest.param(
        seen(ANY, members=("n2",), links={"n2": interfaces.NOTHING}),
        SERVING,
        R.NO_ELIGIBLE_NODE,
        "none of 2 nodes can announce the Service (NoEligibleNode: n1; InterfaceMissing: n2)",
        id="each-node-for-its-own-reason",
    ),
    pytest.param(
        seen(ON_LABELLED), SERVING, R.NO_ELIGIBLE_NODE, "none of 2 nodes can announce", id="no-node-is-selected"
    ),
    pytest.param(
        seen(bgp=(OVER_BGP,)), SERVING, R.NO_PEER, "no BGPPeer has a session on node", id="bgp-without-a-peer"
    ),
    pytest.param(seen(bgp=(OVER_BGP,), known_peers=(PEER,)), SERVING, None, "", id="bgp-should"),
    pytest.param(
        seen(THROUGH_ETH1, bgp=(OVER_BGP,), links=dict.fromkeys(NODES, interfaces.Usable.both(""))),
        SERVING,
        R.INTERFACE_MISSING,
        "by layer 2, none of eth1 on node n1 is up with carrier, and the same goes for node n2; by BGP, no BGPPeer has",
        id="both-for-different-reasons",
    ),
    pytest.param(seen(ANY, bgp=(OVER_BGP,)), SERVING, None, "", id="layer-2-is-enough"),
]


@pytest.mark.parametrize(("sight", "serving", "reason", "detail"), WHY)
def test_why(sight: view.View, serving: frozenset[str], reason: reasons.Reason | None, detail: str) -> None:
    found = announced.why(HELD, serving, sight)
    assert (found.reason if found else None) is reason
    if found is not None:
        assert found.detail.startswith(detail), found.detail


def test_a_refusal_says_what_to_do_and_its_code() -> None:
    found = announced.by_nobody(reasons.Refusal(R.NO_READY_ENDPOINT, "no endpoint of the Service is ready"))
    assert (found.status, found.reason) == (FALSE, "NoReadyEndpoint")
    assert found.message.endswith("and whether these are ready [N203 NoReadyEndpoint]")
    pending = announced.by_nobody(announced.PENDING)
    assert pending.reason == "AnnouncementPending"


LINKS = [
    pytest.param(None, None, id="says-nothing"),
    pytest.param((TRUE, "eth1,eth2"), interfaces.Usable.both("eth1", "eth2", ""), id="named"),
    pytest.param((TRUE, ""), interfaces.Usable.both(""), id="only-others"),
    pytest.param((FALSE, ""), interfaces.NOTHING, id="none"),
]


@pytest.mark.parametrize(("said", "expected"), LINKS)
def test_links(said: tuple[conditions.Status, str] | None, expected: interfaces.Usable | None) -> None:
    held = said and conditions.Condition(
        type="interfaces.metallb.io/usable", status=said[0], reason="x", message=said[1]
    )
    assert sources.links_of(held or None) == expected


def test_a_remedy_is_half_a_sentence() -> None:
    for remedy in remedies.REMEDIES.values():
        assert remedy[0].islower()
        assert not remedy.endswith(".")
