"""Adj-RIB-Out: the difference that is kept is the difference that there is, whatever the order of changes."""

import random
from collections.abc import Iterable

import hypothesis
import pytest
from hypothesis import strategies

from metallb_core.domain import addresses, communities, routes
from metallb_speaker.bgp import rib_out

IPV4, IPV6 = addresses.Family.IPV4, addresses.Family.IPV6
RED = routes.Attributes(communities=frozenset({communities.Standard(64500, 1)}))
BLUE = routes.Attributes(local_pref=200)


def _prefix(number: int, family: addresses.Family = IPV4) -> routes.Prefix:
    base = 0xCB007100 if family is IPV4 else 0x20010DB8 << 96
    return routes.Prefix(addresses.Address(family, base + number), family.bits)


def _apply(peer: dict[routes.Prefix, routes.Attributes], pieces: Iterable[rib_out.Piece]) -> None:
    """What the peer does with what it is told."""
    for piece in pieces:
        if isinstance(piece, rib_out.Withdraw):
            for prefix in piece.prefixes:
                del peer[prefix]
        elif isinstance(piece, rib_out.Announce):
            peer.update(dict.fromkeys(piece.prefixes, piece.attributes))


OPERATIONS = strategies.lists(
    strategies.one_of(
        strategies.tuples(
            strategies.just("change"),
            strategies.integers(0, 5),
            strategies.sampled_from([IPV4, IPV6]),
            strategies.sampled_from([None, routes.PLAIN, RED, BLUE]),
        ),
        strategies.tuples(strategies.just("take"), strategies.integers(0, 4)),
        strategies.tuples(strategies.just("refresh"), strategies.sampled_from([IPV4, IPV6])),
        strategies.tuples(
            strategies.just("open"), strategies.sampled_from([frozenset({IPV4}), frozenset({IPV4, IPV6})])
        ),
        strategies.tuples(strategies.just("close")),
        strategies.tuples(strategies.just("replace"), strategies.sets(strategies.integers(0, 5))),
    ),
    max_size=40,
)


@hypothesis.given(OPERATIONS)
@hypothesis.settings(max_examples=300, deadline=None)
def test_the_peer_ends_with_what_is_desired(operations: list[tuple[object, ...]]) -> None:
    rib = rib_out.RibOut()
    peer: dict[routes.Prefix, routes.Attributes] = {}
    wanted: dict[routes.Prefix, routes.Attributes] = {}
    for operation in operations:
        match operation:
            case ("change", int(number), addresses.Family() as family, attributes):
                assert attributes is None or isinstance(attributes, routes.Attributes)
                rib.change(_prefix(number, family), attributes)
                wanted.pop(_prefix(number, family), None)
                if attributes is not None:
                    wanted[_prefix(number, family)] = attributes
            case ("take", int(limit)):
                pieces = rib.take(limit)
                told = [p for piece in pieces if not isinstance(piece, rib_out.EndOfRib) for p in piece.prefixes]
                assert len(told) <= limit
                _apply(peer, pieces)
            case ("refresh", addresses.Family() as family):
                if family in rib.families:
                    rib.refresh(family)
            case ("open", frozenset() as families):
                rib.open(families)
                peer.clear()
            case ("close",):
                rib.close()
                peer.clear()
            case ("replace", set() as numbers):
                wanted = {_prefix(number): BLUE for number in numbers if isinstance(number, int)}
                rib.replace(wanted)
        assert set(rib.told) == set(peer)
        assert dict(rib.desired) == wanted
        carried = {prefix: said for prefix, said in wanted.items() if prefix.family in rib.families}
        assert rib.withheld == len(wanted) - len(carried)
        gone = peer.keys() - carried.keys()
        different = {prefix for prefix, said in carried.items() if peer.get(prefix) != said}
        assert rib.pending >= len(gone) + len(different)
    carried = {prefix: said for prefix, said in wanted.items() if prefix.family in rib.families}
    _apply(peer, rib.take(1000))
    assert peer == carried
    assert rib.pending == 0
    assert not rib.has_work


def _filled(count: int = 3) -> rib_out.RibOut:
    rib = rib_out.RibOut()
    rib.replace({_prefix(number): routes.PLAIN for number in range(count)})
    rib.open({IPV4})
    rib.take(1000)
    return rib


def test_equal_attributes_leave_together_and_withdrawals_first() -> None:
    rib = _filled()
    rib.change(_prefix(7), RED)
    rib.change(_prefix(8), BLUE)
    rib.change(_prefix(9), RED)
    rib.change(_prefix(0), None)
    assert rib.take(10) == [
        rib_out.Withdraw(family=IPV4, prefixes=(_prefix(0),)),
        rib_out.Announce(family=IPV4, attributes=RED, prefixes=(_prefix(7), _prefix(9))),
        rib_out.Announce(family=IPV4, attributes=BLUE, prefixes=(_prefix(8),)),
    ]


@pytest.mark.parametrize(
    ("there_and_back", "pending"),
    [
        pytest.param([(7, RED), (7, None)], 0, id="announced-and-not"),
        pytest.param([(0, None), (0, routes.PLAIN)], 0, id="withdrawn-and-not"),
        pytest.param([(0, RED), (0, routes.PLAIN)], 0, id="changed-and-not"),
        pytest.param([(0, RED), (0, BLUE)], 1, id="changed-twice"),
        pytest.param([(0, None), (0, RED)], 1, id="withdrawn-and-changed"),
        pytest.param([(0, routes.PLAIN)], 0, id="said-again"),
        pytest.param([(7, None)], 0, id="withdrawn-without-being-there"),
    ],
)
def test_only_the_difference_is_pending(
    there_and_back: list[tuple[int, routes.Attributes | None]], pending: int
) -> None:
    rib = _filled()
    for number, attributes in there_and_back:
        rib.change(_prefix(number), attributes)
    assert rib.pending == pending
    assert len(rib.take(10)) == pending


def test_pieces_are_bounded_and_a_late_change_overtakes_nothing_twice() -> None:
    rib = rib_out.RibOut()
    rib.replace({_prefix(number): routes.PLAIN for number in range(10)})
    rib.open({IPV4})
    first = rib.take(4)
    assert [len(piece.prefixes) for piece in first if isinstance(piece, rib_out.Announce)] == [4]
    assert rib.pending == 6
    rib.change(_prefix(9), None)
    assert rib.pending == 5, "what was never told needs no withdrawal"
    rib.change(_prefix(0), None)
    assert rib.take(1) == [rib_out.Withdraw(family=IPV4, prefixes=(_prefix(0),))]


def test_end_of_rib_follows_the_routes_once() -> None:
    rib = rib_out.RibOut()
    rib.change(_prefix(0), RED)
    rib.open({IPV4, IPV6})
    assert [type(piece) for piece in rib.take(10)] == [rib_out.Announce]
    assert [rib.has_work, rib.ended] == [False, False]
    rib.change(_prefix(1), RED)
    rib.complete()
    assert rib.take(0) == [rib_out.EndOfRib(family=IPV6)]
    assert rib.take(10)[1:] == [rib_out.EndOfRib(family=IPV4)]
    assert [rib.has_work, rib.ended] == [False, True]
    rib.refresh(IPV4)
    assert [type(piece) for piece in rib.take(10)] == [rib_out.Announce], "a refresh has no End-of-RIB of its own"
    rib.open({IPV4})
    assert [type(piece) for piece in rib.take(10)] == [rib_out.Announce, rib_out.EndOfRib], "but a new session has"


def test_end_of_rib_of_a_family_that_we_have_nothing_to_say_of() -> None:
    rib = rib_out.RibOut()
    rib.complete()
    rib.open({IPV4}, agreed={IPV4, IPV6})
    assert rib.take(1) == [rib_out.EndOfRib(family=IPV4), rib_out.EndOfRib(family=IPV6)]


def test_a_refresh_repeats_also_what_is_being_changed() -> None:
    rib = _filled()
    rib.refresh(IPV4)
    assert rib.pending == 3
    rib.change(_prefix(0), RED)
    rib.change(_prefix(0), routes.PLAIN)
    rib.change(_prefix(1), None)
    assert rib.take(10) == [
        rib_out.Withdraw(family=IPV4, prefixes=(_prefix(1),)),
        rib_out.Announce(family=IPV4, attributes=routes.PLAIN, prefixes=(_prefix(2), _prefix(0))),
    ]


def test_many_changes_in_any_order() -> None:
    dice = random.Random(5)
    rib, peer = _filled(0), dict[routes.Prefix, routes.Attributes]()
    wanted: dict[routes.Prefix, routes.Attributes] = {}
    for _ in range(3000):
        prefix, said = _prefix(dice.randrange(200)), dice.choice([None, RED, BLUE, routes.PLAIN])
        rib.change(prefix, said)
        wanted.pop(prefix, None)
        if said is not None:
            wanted[prefix] = said
        if dice.random() < 0.2:
            _apply(peer, rib.take(dice.randrange(20)))
    _apply(peer, rib.take(1000))
    assert peer == wanted
