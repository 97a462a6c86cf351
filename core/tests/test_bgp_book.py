"""The book of advertised routes: what each peer is told depends on what is wanted, never on how it came to be, and a change says only itself."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_core.announcement import bgp
from metallb_core.announcement import routes as books
from metallb_core.domain import addresses, communities, routes, services

WEB, DNS, MAIL = (services.ServiceKey("default", name) for name in ("web", "dns", "mail"))
A, B = (routes.Prefix.of(addresses.Address.parse(text), 32) for text in ("192.0.2.1", "192.0.2.2"))
NET = routes.Prefix.of(addresses.Address.parse("192.0.2.1"), 24)
RED, BLUE = communities.Standard(65000, 1), communities.Large(65000, 1, 2)


def says(local_pref: int | None = None, *carried: communities.Community) -> routes.Attributes:
    return routes.Attributes(local_pref=local_pref, communities=frozenset(carried))


def offer(
    ad: str = "ad", local_pref: int | None = None, *carried: communities.Community, to: tuple[str, ...] = ()
) -> bgp.Offer:
    return bgp.Offer(ad, says(local_pref, *carried), frozenset(to))


def book(*peers: str) -> books.Book:
    made = books.Book()
    made.set_peers(peers)
    return made


PLAIN = offer()
Step = tuple[services.ServiceKey, tuple[bgp.Route, ...]]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([(WEB, (bgp.Route(A, PLAIN),))], {"r1": {A: says()}, "r2": {A: says()}}, id="told-to-every-peer"),
        pytest.param([(WEB, (bgp.Route(A, PLAIN),))] * 2, {}, id="no-change-says-nothing"),
        pytest.param(
            [(WEB, (bgp.Route(A, PLAIN),)), (WEB, ())], {"r1": {A: None}, "r2": {A: None}}, id="withdrawn"
        ),
        pytest.param([(WEB, ())], {}, id="withdrawing-what-is-absent-says-nothing"),
        pytest.param([(WEB, (bgp.Route(A, offer(to=("r2",))),))], {"r2": {A: says()}}, id="only-the-peers-named"),
        pytest.param([(WEB, (bgp.Route(A, offer(to=("r9",))),))], {}, id="a-peer-that-is-not-there"),
        pytest.param([(WEB, (bgp.Route(NET, PLAIN),)), (DNS, (bgp.Route(NET, PLAIN),))], {}, id="a-second-sharer"),
        pytest.param(
            [(WEB, (bgp.Route(NET, PLAIN),)), (DNS, (bgp.Route(NET, PLAIN),)), (WEB, ())], {}, id="one-sharer-goes"
        ),
        pytest.param(
            [(WEB, (bgp.Route(NET, PLAIN),)), (DNS, (bgp.Route(NET, PLAIN),)), (WEB, ()), (DNS, ())],
            {"r1": {NET: None}, "r2": {NET: None}},
            id="the-last-sharer-goes",
        ),
        pytest.param(
            [(WEB, (bgp.Route(A, offer("a", 100, RED)),)), (DNS, (bgp.Route(A, offer("b", 200, BLUE, to=("r1",))),))],
            {"r1": {A: says(100, RED, BLUE)}},
            id="union-of-communities-and-the-first-local-preference",
        ),
        pytest.param(
            [(DNS, (bgp.Route(A, offer("b", 200)),)), (WEB, (bgp.Route(A, offer("a", None, RED)),))],
            {"r1": {A: says(200, RED)}, "r2": {A: says(200, RED)}},
            id="a-local-preference-that-is-set-before-one-that-is-not",
        ),
        pytest.param(
            [(WEB, (bgp.Route(A, PLAIN),)), (WEB, (bgp.Route(B, PLAIN),))],
            {"r1": {A: None, B: says()}, "r2": {A: None, B: says()}},
            id="another-address",
        ),
        pytest.param(
            [(WEB, (bgp.Route(A, PLAIN),)), (WEB, (bgp.Route(A, offer("ad", None, RED)),))],
            {"r1": {A: says(None, RED)}, "r2": {A: says(None, RED)}},
            id="other-communities",
        ),
        pytest.param(
            [(WEB, (bgp.Route(A, PLAIN),)), (WEB, (bgp.Route(A, offer(to=("r1",))),))],
            {"r2": {A: None}},
            id="one-peer-less",
        ),
        pytest.param(
            [(WEB, (bgp.Route(A, PLAIN), bgp.Route(A, offer("b", None, RED))))],
            {"r1": {A: says(None, RED)}, "r2": {A: says(None, RED)}},
            id="two-advertisements-of-one-service",
        ),
    ],
)  # fmt: skip
def test_the_last_step_says(steps: list[Step], expected: books.Changes) -> None:
    made = book("r1", "r2")
    for key, wanted in steps[:-1]:
        made.update(key, wanted)
    assert made.update(*steps[-1]) == expected


def test_a_peer_that_appears_later_gets_everything() -> None:
    made = book("r1")
    made.update(WEB, (bgp.Route(A, PLAIN), bgp.Route(B, offer(to=("r1",)))))
    assert made.routes_for("r2") == {A: says()}
    made.set_peers(("r1", "r2"))
    assert made.update(WEB, ()) == {"r1": {A: None, B: None}, "r2": {A: None}}
    assert made.routes_for("r2") == {}


def test_what_a_service_owes_a_peer() -> None:
    made = book("r1")
    made.update(WEB, (bgp.Route(A, PLAIN), bgp.Route(A, offer("b")), bgp.Route(B, offer("c", to=("r9",)))))
    made.update(DNS, (bgp.Route(B, PLAIN),))
    assert made.prefixes_for(WEB, "r1") == (A,)
    assert made.prefixes_for(MAIL, "r1") == ()
    assert WEB in made
    assert MAIL not in made
    assert set(made.keys()) == {WEB, DNS}


OFFERS = st.builds(
    bgp.Offer,
    advertisement=st.sampled_from(["a", "b"]),
    attributes=st.builds(
        routes.Attributes,
        local_pref=st.sampled_from([None, 0, 100]),
        communities=st.frozensets(st.sampled_from([RED, BLUE])),
    ),
    peers=st.frozensets(st.sampled_from(["r1", "r2"])),
)
ROUTES = st.lists(st.builds(bgp.Route, st.sampled_from([A, B, NET]), OFFERS), max_size=4).map(
    lambda found: tuple(dict.fromkeys(found))
)
STEPS = st.lists(st.tuples(st.sampled_from([WEB, DNS, MAIL]), ROUTES), max_size=12)


@given(STEPS, st.randoms(use_true_random=False))
def test_changes_add_up_and_order_does_not_matter(steps: list[Step], shuffled: object) -> None:
    peers = ("r1", "r2")
    made = book(*peers)
    told: dict[str, dict[routes.Prefix, routes.Attributes]] = {peer: {} for peer in peers}
    for key, wanted in steps:
        for peer, changes in made.update(key, wanted).items():
            assert changes
            for prefix, attributes in changes.items():
                assert told[peer].get(prefix) != attributes, "said twice"
                if attributes is None:
                    del told[peer][prefix]
                else:
                    told[peer][prefix] = attributes
    final = list(dict(steps).items())
    shuffled.shuffle(final)  # type: ignore[attr-defined]
    afresh = book()
    for key, wanted in final:
        afresh.update(key, wanted)
    for peer in peers:
        assert told[peer] == made.routes_for(peer) == afresh.routes_for(peer)


@given(STEPS)
def test_nothing_is_left_when_all_are_gone(steps: list[Step]) -> None:
    made = book("r1")
    for key, wanted in steps:
        made.update(key, wanted)
    for key in (WEB, DNS, MAIL):
        made.update(key, ())
    assert len(made) == 0
    assert made.routes_for("r1") == {}


def test_a_change_costs_its_own_service_only() -> None:
    """Ten thousand sharers of one aggregate: one more or less looks at none of them."""
    made = book("r1", "r2")
    started = time.process_time()
    for number in range(10_000):
        made.update(services.ServiceKey("default", str(number)), (bgp.Route(NET, PLAIN),))
    for number in range(10_000):
        made.update(services.ServiceKey("default", str(number)), ())
    # About 0.1 s; looking at the others each time would take minutes.
    assert time.process_time() - started < 5.0
