"""What a node says of its interfaces: read back as it was written, and nothing where nothing was said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_speaker import capability

NAMES = st.text(st.characters(blacklist_characters="\n", blacklist_categories=["Cs"]), min_size=1, max_size=15)


@given(st.frozensets(NAMES, max_size=5))
def test_round_trip(names: frozenset[str]) -> None:
    encoded = capability.encode(names)
    assert len(encoded) <= capability.LIMIT
    assert capability.decode(encoded) == names


@pytest.mark.parametrize(
    "meta",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x02eth0", id="a-version-to-come"),
        pytest.param(b"\x01\xff\xfe", id="not-text"),
    ],
)
def test_nothing_said(meta: bytes) -> None:
    assert capability.decode(meta) is None


def test_a_list_that_does_not_fit_says_nothing() -> None:
    assert capability.encode(frozenset(f"interface{number:06}" for number in range(50))) == b""


@given(st.binary(max_size=512))
def test_garbage_raises_nothing(meta: bytes) -> None:
    capability.decode(meta)
