"""Space against a plain set: the lowest free address, the capacity, and the runs, with and without avoided addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_core.allocation import space
from metallb_core.domain import addresses


class Naive:
    """The same, by enumeration."""

    def __init__(self, interval: addresses.Interval, avoid: bool) -> None:
        usable = range(interval.first, interval.last + 1)
        skip = avoid and interval.family is addresses.Family.IPV4
        self.usable = [value for value in usable if not (skip and value & 255 in (0, 255))]
        self.used: set[int] = set()

    def lowest_free(self) -> int | None:
        return next((value for value in self.usable if value not in self.used), None)


@given(
    st.sampled_from(addresses.Family),
    st.integers(0, 1100),
    st.integers(0, 600),
    st.booleans(),
    st.lists(st.tuples(st.booleans(), st.integers(0, 10_000)), max_size=60),
    st.booleans(),
)
def test_against_a_set(
    family: addresses.Family, first: int, more: int, avoid: bool, steps: list[tuple[bool, int]], dense: bool
) -> None:
    interval = addresses.Interval(family, first, first + more)
    mine, naive = space.Space(interval, avoid_buggy=avoid), Naive(interval, avoid)
    assert mine.capacity == len(naive.usable)
    for wants_free, pick in steps:
        if wants_free and naive.used:
            value = sorted(naive.used)[pick % len(naive.used)]
            mine.free(value)
            naive.used.remove(value)
        else:
            # Either as the allocator does, or anywhere, as observed Services do.
            left = sorted(set(naive.usable) - naive.used)
            if not left:
                continue
            value = left[0] if dense else left[pick % len(left)]
            mine.use(value)
            naive.used.add(value)
        assert mine.lowest_free() == naive.lowest_free()
    while (value_or_none := mine.lowest_free()) is not None:
        assert value_or_none == naive.lowest_free()
        mine.use(value_or_none)
        naive.used.add(value_or_none)
    assert naive.used == set(naive.usable)
    stride = next(
        each for each in (7, 11, 13) if len(naive.usable) % each or not naive.usable
    )  # coprime: visits every one, out of order
    for number in range(len(naive.usable)):
        mine.free(naive.usable[number * stride % len(naive.usable)])
    assert mine.lowest_free() == (naive.usable[0] if naive.usable else None)


@pytest.mark.parametrize(
    ("text", "avoid", "capacity", "lowest"),
    [
        pytest.param("192.0.2.0/24", False, 256, "192.0.2.0", id="all-of-a-24"),
        pytest.param("192.0.2.0/24", True, 254, "192.0.2.1", id="a-24-without-buggy-ones"),
        pytest.param("192.0.2.0/32", True, 0, None, id="one-that-ends-in-0"),
        pytest.param("192.0.2.255/32", True, 0, None, id="one-that-ends-in-255"),
        pytest.param("192.0.2.255-192.0.3.0", True, 0, None, id="two-buggy-neighbours"),
        pytest.param("192.0.2.254-192.0.3.1", True, 2, "192.0.2.254", id="across-a-boundary"),
        pytest.param("10.0.0.0/8", True, 65536 * 254, "10.0.0.1", id="an-8"),
        pytest.param("0.0.0.0/0", True, 16777216 * 254, "0.0.0.1", id="everything"),
        pytest.param("0.0.0.0/32", True, 0, None, id="the-very-first"),
        pytest.param("255.255.255.255/32", True, 0, None, id="the-very-last"),
        pytest.param("2001:db8::/120", True, 256, "2001:db8::", id="ipv6-has-no-buggy-ones"),
        pytest.param("::/0", False, 1 << 128, "::", id="all-of-ipv6"),
    ],
)
def test_capacity(text: str, avoid: bool, capacity: int, lowest: str | None) -> None:
    interval = addresses.Interval.parse(text)
    made = space.Space(interval, avoid_buggy=avoid)
    assert made.capacity == capacity
    found = made.lowest_free()
    assert (None if found is None else str(addresses.Address(interval.family, found))) == lowest


def test_a_run_stays_one_run_across_avoided_addresses() -> None:
    interval = addresses.Interval.parse("192.0.2.0/22")
    made = space.Space(interval, avoid_buggy=True)
    for _ in range(made.capacity):
        value = made.lowest_free()
        assert value is not None
        assert value & 255 not in (0, 255)
        made.use(value)
        assert made._used.next_out(made._up(interval.first)) == made._up(value) + 1
    assert made.lowest_free() is None
