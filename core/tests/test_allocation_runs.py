"""Runs and offers against naive sets."""

from hypothesis import given
from hypothesis import strategies as st

from metallb_core.allocation import offers, runs
from metallb_core.domain import services

PORTS = st.sets(st.integers(1, 4)).map(lambda each: frozenset(services.Port("TCP", number) for number in each))


@given(st.lists(st.integers(0, 40)), st.integers(0, 45))
def test_runs_are_a_set(numbers: list[int], probe: int) -> None:
    real, naive = runs.Runs(), set[int]()
    for number in numbers:
        if number in naive:
            real.remove(number)
            naive.remove(number)
        else:
            real.add(number)
            naive.add(number)
        assert (probe in real) == (probe in naive)
        assert real.next_in(probe) == min((each for each in naive if each >= probe), default=None)
        assert real.next_out(probe) == next(each for each in range(probe, 100) if each not in naive)
    assert bool(real) == bool(naive)


@given(st.lists(st.tuples(st.integers(0, 8), PORTS, st.booleans())), PORTS)
def test_offers_against_a_scan(
    steps: list[tuple[int, frozenset[services.Port], bool]], wanted: frozenset[services.Port]
) -> None:
    real = offers.Offers()
    naive: list[tuple[int, frozenset[services.Port]]] = []
    for at, ports, removes in steps:
        if removes and naive:
            real.remove(*naive.pop(at % len(naive)))
        else:
            naive.append((at, ports))
            real.add(at, ports)
        members = {number for number, _ in naive}
        assert list(real.free_of(wanted)) == sorted(members - {number for number, held in naive if held & wanted})
        assert bool(real) == bool(members)
