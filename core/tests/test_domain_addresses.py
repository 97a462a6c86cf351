"""Addresses and intervals: what is read, what is refused, and that text and prefixes say exactly what the interval says."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_core.domain import addresses

families = st.sampled_from(addresses.Family)


@st.composite
def intervals(draw: st.DrawFn) -> addresses.Interval:
    family = draw(families)
    top = (1 << family.bits) - 1
    # Aligned and short intervals matter as much as arbitrary ones.
    first = draw(st.integers(0, top) | st.integers(0, 512) | st.integers(top - 512, top))
    last = draw(st.integers(first, top) | st.integers(first, min(top, first + 600)))
    return addresses.Interval(family, first, last)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("192.0.2.0/24", "192.0.2.0/24", id="prefix"),
        pytest.param("192.0.2.77/24", "192.0.2.0/24", id="host-bits-are-masked"),
        pytest.param("192.0.2.7/32", "192.0.2.7/32", id="one-address"),
        pytest.param("0.0.0.0/0", "0.0.0.0/0", id="all-of-ipv4"),
        pytest.param("::/0", "::/0", id="all-of-ipv6"),
        pytest.param("2001:DB8::5/64", "2001:db8::/64", id="ipv6-prefix"),
        pytest.param("192.0.2.1-192.0.2.9", "192.0.2.1-192.0.2.9", id="range"),
        pytest.param(" 192.0.2.1  -  192.0.2.9 ", "192.0.2.1-192.0.2.9", id="range-with-blanks"),
        pytest.param("192.0.2.8-192.0.2.15", "192.0.2.8/29", id="range-that-is-a-prefix"),
        pytest.param("192.0.2.8-192.0.2.8", "192.0.2.8/32", id="range-of-one"),
        pytest.param("2001:db8::1-2001:db8::ff", "2001:db8::1-2001:db8::ff", id="ipv6-range"),
        pytest.param("::ffff:192.0.2.1-192.0.2.3", "192.0.2.1-192.0.2.3", id="mapped-end-of-a-range-is-ipv4"),
    ],
)
def test_an_interval_is_read(text: str, expected: str) -> None:
    assert str(addresses.Interval.parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        pytest.param("", "neither a prefix nor a range", id="empty"),
        pytest.param("192.0.2.1", "write 192.0.2.1/32", id="bare-address"),
        pytest.param("192.0.2.0/33", "at most 32", id="length-too-long"),
        pytest.param("2001:db8::/129", "at most 128", id="ipv6-length-too-long"),
        pytest.param("192.0.2.0/", "not a prefix length", id="no-length"),
        pytest.param("192.0.2.0/024", "not a prefix length", id="length-with-leading-zero"),
        pytest.param("192.0.2.0/+8", "not a prefix length", id="signed-length"),
        pytest.param("192.0.2.0/٨", "not a prefix length", id="digits-of-another-script"),
        pytest.param("192.0.2.0/²", "not a prefix length", id="superscript-digit"),
        pytest.param("192.0.2.0/24/24", "not a prefix length", id="two-lengths"),
        pytest.param("192.0.2.0/255.255.255.0", "not a prefix length", id="netmask"),
        pytest.param("192.0.02.0/24", "not an IP address", id="leading-zero"),
        pytest.param("192.0.2/24", "not an IP address", id="three-octets"),
        pytest.param("fe80::1%eth0/64", "zone", id="zone"),
        pytest.param("::ffff:192.0.2.0/120", "write it as IPv4", id="mapped-prefix"),
        pytest.param("192.0.2.9-192.0.2.1", "write 192.0.2.1-192.0.2.9", id="reversed"),
        pytest.param("192.0.2.1-2001:db8::1", "one family", id="mixed-family"),
        pytest.param("192.0.2.1-", "not an IP address", id="range-without-end"),
        pytest.param("-192.0.2.1", "not an IP address", id="range-without-start"),
        pytest.param("192.0.2.1-192.0.2.2-192.0.2.3", "not an IP address", id="three-ends"),
        pytest.param("192.0.2.0/24-192.0.3.0/24", "not an IP address", id="range-of-prefixes"),
        pytest.param("192.0.2.1-9", "not an IP address", id="abbreviated-range"),
        pytest.param("nonsense", "neither a prefix nor a range", id="nonsense"),
    ],
)
def test_a_bad_interval_is_refused(text: str, fragment: str) -> None:
    with pytest.raises(addresses.AddressError) as caught:
        addresses.Interval.parse(text)
    assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("192.0.2.1", "192.0.2.1", id="ipv4"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.1", id="mapped-is-ipv4"),
        pytest.param("2001:0DB8:0::0001", "2001:db8::1", id="canonical"),
        pytest.param("::", "::", id="unspecified"),
        pytest.param("1:0:0:2:0:0:0:3", "1:0:0:2::3", id="longest-run-is-shortened"),
    ],
)
def test_an_address_is_read_and_written(text: str, expected: str) -> None:
    assert str(addresses.Address.parse(text)) == expected


@pytest.mark.parametrize(
    "text", ["", " 192.0.2.1", "192.0.2.1\n", "192.0.2.256", "::1%lo", "1::2::3", "3221225985", "１.2.3.4"]
)
def test_a_bad_address_is_refused(text: str) -> None:
    with pytest.raises(addresses.AddressError):
        addresses.Address.parse(text)


@given(st.text(alphabet="0123456789abcdef.:/-% ", max_size=24))
def test_garbage_raises_nothing_but_an_address_error(text: str) -> None:
    for parse in (addresses.Address.parse, addresses.Interval.parse):
        with contextlib.suppress(addresses.AddressError):
            parse(text)


@given(families, st.data())
def test_an_address_survives_text_and_bytes(family: addresses.Family, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, (1 << family.bits) - 1))
    address = addresses.Address(family, value)
    assert addresses.Address.from_packed(address.packed()) == address
    mapped = family is addresses.Family.IPV6 and value >> 32 == 0xFFFF
    again = addresses.Address.parse(str(address))
    assert again == (addresses.Address(addresses.Family.IPV4, value & 0xFFFFFFFF) if mapped else address)


@given(intervals())
def test_prefixes_cover_exactly_the_interval(interval: addresses.Interval) -> None:
    expected = interval.first
    previous = None
    for value, length in interval.prefixes():
        size = 1 << (interval.family.bits - length)
        assert value == expected
        assert value % size == 0
        if previous is not None:
            # Fewest: no two neighbours of one length that one shorter prefix would cover.
            assert not (previous[1] == length and previous[0] % (2 * size) == 0)
        previous = (value, length)
        expected += size
    assert expected == interval.last + 1


@given(intervals())
def test_an_interval_survives_its_text(interval: addresses.Interval) -> None:
    mapped = interval.family is addresses.Family.IPV6 and any(
        end >> 32 == 0xFFFF for end in (interval.first, interval.last)
    )
    if not mapped:
        assert addresses.Interval.parse(str(interval)) == interval
        between = f"{addresses.Address(interval.family, interval.first)} - {addresses.Address(interval.family, interval.last)}"
        assert addresses.Interval.parse(between) == interval


@given(intervals(), intervals(), st.data())
def test_overlap_means_a_common_address(
    one: addresses.Interval, other: addresses.Interval, data: st.DataObject
) -> None:
    assert one.overlaps(other) == other.overlaps(one)
    common = max(one.first, other.first)
    inside = addresses.Address(one.family, common)
    assert one.overlaps(other) == (one.family == other.family and inside in one and inside in other)
    assert one.overlaps(one)
    assert addresses.Address(one.family, data.draw(st.integers(one.first, one.last))) in one


@pytest.mark.parametrize(
    ("text", "buggy"),
    [("192.0.2.0", True), ("192.0.2.255", True), ("192.0.2.1", False), ("2001:db8::", False), ("2001:db8::ff", False)],
)
def test_buggy_addresses(text: str, buggy: bool) -> None:
    assert addresses.Address.parse(text).is_buggy() is buggy
