"""Durations as Go reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_core.config import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("0", 0, id="bare-zero"),
        pytest.param("-0", 0, id="signed-zero"),
        pytest.param("0s", 0, id="zero-with-unit"),
        pytest.param("90s", 90, id="seconds"),
        pytest.param("1m30s", 90, id="two-units"),
        pytest.param("30s1m", 90, id="any-order"),
        pytest.param("1h2m3s4ms5us6ns", 3723.004005006, id="all-units"),
        pytest.param("3\u00b5s", 3e-6, id="micro-sign"),
        pytest.param("3\u03bcs", 3e-6, id="greek-mu"),
        pytest.param("1.5h", 5400, id="fraction"),
        pytest.param(".5s", 0.5, id="no-whole-part"),
        pytest.param("5.s", 5, id="no-fraction-digits"),
        pytest.param("-1.5s", -1.5, id="negative"),
        pytest.param("+2s", 2, id="plus"),
        pytest.param("0.3333333333333333333h", 1200, id="finer-than-a-nanosecond-is-cut"),
        pytest.param("0.1ns", 0, id="less-than-a-nanosecond"),
        pytest.param("007s", 7, id="leading-zeros"),
        pytest.param("0" * 100_000 + "1s", 1, id="very-many-zeros"),
        pytest.param("2562047h47m16.854775807s", 9223372036.854775807, id="longest"),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert durations.parse(text) == pytest.approx(seconds, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "no number", id="empty"),
        pytest.param("-", "no number", id="only-a-sign"),
        pytest.param("90", "unit is missing", id="no-unit"),
        pytest.param("00", "unit is missing", id="only-one-bare-zero"),
        pytest.param("s", "no number", id="no-number"),
        pytest.param(".s", "no number", id="only-a-point"),
        pytest.param("1d", "no unit 'd'", id="days"),
        pytest.param("1S", "no unit 'S'", id="upper-case"),
        pytest.param("1 s", "no unit ' s'", id="blank"),
        pytest.param("1s ", "no unit 's '", id="blank-behind"),
        pytest.param("1s2", "unit is missing", id="second-without-unit"),
        pytest.param("--1s", "no number", id="two-signs"),
        pytest.param("1.2.3s", "unit is missing", id="two-points"),
        pytest.param("\u0663s", "no number", id="digits-of-other-scripts"),
        pytest.param("2562047h47m16.854775808s", "too long", id="one-nanosecond-too-long"),
        pytest.param("9" * 5_000 + "s", "too long", id="very-many-digits"),
        pytest.param("3000000h", "too long", id="too-many-hours"),
    ],
)
def test_a_bad_duration_is_refused(text: str, why: str) -> None:
    with pytest.raises(durations.DurationError) as caught:
        durations.parse(text)
    assert why in str(caught.value)
    assert "such as 90s" in str(caught.value)


@given(st.integers(0, 2**40))
def test_nanoseconds_are_exact(value: int) -> None:
    assert durations.nanoseconds(f"{value}ns") == value
    assert durations.nanoseconds(f"-{value // 10**9}.{value % 10**9:09}s") == -value


@given(st.text("0123456789.+-nuµsmh ", max_size=12))
def test_anything_is_read_or_refused_by_name(text: str) -> None:
    try:
        found = durations.parse(text)
    except durations.DurationError as error:
        found, said = 0.0, str(error)
    else:
        said = repr(text)
    assert isinstance(found, float)
    assert repr(text) in said
