"""What a node says of its interfaces: read back as it was written, and nothing where nothing was said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_core.domain import interfaces
from metallb_speaker import capability

NAMES = st.frozensets(
    st.text(st.characters(blacklist_characters="\n/", blacklist_categories=["Cs"]), min_size=1, max_size=15), max_size=4
)


@given(st.builds(interfaces.Usable, ipv4=NAMES, ipv6=NAMES))
def test_round_trip(usable: interfaces.Usable) -> None:
    encoded = capability.encode(usable)
    assert len(encoded) <= capability.LIMIT
    assert capability.decode(encoded) == usable


FORMS = [
    pytest.param(interfaces.NOTHING, b"\x01", id="none"),
    pytest.param(interfaces.Usable.both("eth0", "eth1"), b"\x01eth0\neth1", id="both-families-as-they-always-stood"),
    pytest.param(
        interfaces.Usable(ipv4=frozenset({"eth0", "eth1"}), ipv6=frozenset({"eth1", "eth2"})),
        b"\x01eth0\neth1\neth2\n/4+6",
        id="a-sign-for-each-name",
    ),
]


@pytest.mark.parametrize(("usable", "meta"), FORMS)
def test_forms(usable: interfaces.Usable, meta: bytes) -> None:
    assert capability.encode(usable) == meta
    assert capability.decode(meta) == usable


@pytest.mark.parametrize(
    "meta",
    [
        pytest.param(b"\x01eth0\neth1", id="only-names"),
        pytest.param(b"\x01eth0\neth1\n/4", id="too-few-signs"),
        pytest.param(b"\x01eth0\neth1\n/?x", id="signs-to-come"),
    ],
)
def test_what_says_no_family_is_for_both(meta: bytes) -> None:
    assert capability.decode(meta) == interfaces.Usable.both("eth0", "eth1")


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
    assert capability.encode(interfaces.Usable.both(*(f"interface{number:06}" for number in range(50)))) == b""


@given(st.binary(max_size=512))
def test_garbage_raises_nothing(meta: bytes) -> None:
    capability.decode(meta)
    capability.decode(b"\x01" + meta)
