"""The election: its bytes are a contract with MetalLB's own speakers, its outcome a contract between nodes."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_core.announcement import election
from metallb_core.domain import addresses, advertisements, selectors

NODES = ["node-a", "node-b", "node-c"]


def address(text: str) -> addresses.Address:
    return addresses.Address.parse(text)


@pytest.mark.parametrize(
    ("node", "text", "hashed"),
    [
        pytest.param("node-a", "192.168.10.0", b"node-a#192.168.10.0", id="ipv4"),
        pytest.param(
            "n", "FC00:F853:0CCD:E799::0001", b"n#fc00:f853:ccd:e799::1", id="ipv6-is-hashed-in-canonical-text"
        ),
        pytest.param("n", "::ffff:10.0.0.1", b"n#10.0.0.1", id="mapped-is-hashed-as-ipv4"),
    ],
)
def test_hash_is_sha256_of_node_sharp_address(node: str, text: str, hashed: bytes) -> None:
    assert election.hash_of(node, address(text)) == hashlib.sha256(hashed).digest()


def test_known_order() -> None:
    """Computed once by hand with sha256sum; a change here moves addresses between nodes on an upgrade."""
    assert election.ranking(NODES, address("192.168.10.0"), {}) == sorted(
        NODES, key=lambda n: hashlib.sha256(f"{n}#192.168.10.0".encode()).hexdigest()
    )


@given(
    st.sets(st.text("abcdef-", min_size=1, max_size=8), min_size=2, max_size=8), st.integers(0, 2**32 - 1), st.data()
)
def test_removing_a_loser_never_moves_the_owner(names: set[str], value: int, data: st.DataObject) -> None:
    where = addresses.Address(addresses.Family.IPV4, value)
    order = election.ranking(names, where, {})
    loser = data.draw(st.sampled_from(order[1:]))
    assert election.ranking(names - {loser}, where, {})[0] == order[0]


@given(st.lists(st.integers(0, 100), min_size=3, max_size=3), st.integers(0, 2**32 - 1))
def test_the_highest_preference_wins(weights: list[int], value: int) -> None:
    where = addresses.Address(addresses.Family.IPV4, value)
    preferences = dict(zip(NODES, weights, strict=True))
    assert preferences[election.ranking(NODES, where, preferences)[0]] == max(weights)


def prefer(weight: int, **labels: str) -> advertisements.NodePreference:
    return advertisements.NodePreference(weight=weight, selector=selectors.Selector.of(labels))


@pytest.mark.parametrize(
    ("labels", "ads", "weight"),
    [
        pytest.param({}, [[prefer(7)]], 7, id="empty-selector-matches-every-node"),
        pytest.param(
            {"disk": "ssd"}, [[prefer(7, disk="ssd"), prefer(5)]], 12, id="weights-of-one-advertisement-add-up"
        ),
        pytest.param(
            {"disk": "ssd"}, [[prefer(7, disk="ssd")], [prefer(30)]], 37, id="weights-of-all-advertisements-add-up"
        ),
        pytest.param({"disk": "hdd"}, [[prefer(7, disk="ssd")]], 0, id="no-match-no-weight"),
    ],
)
def test_preference(labels: dict[str, str], ads: list[list[advertisements.NodePreference]], weight: int) -> None:
    matching = tuple(
        advertisements.L2Advertisement(name=str(number), pools=frozenset({"p"}), preferences=tuple(wishes))
        for number, wishes in enumerate(ads)
    )
    assert election.preference(labels, matching) == weight


def test_preference_of_an_advertisement_that_does_not_cover_the_node_does_not_count() -> None:
    ad = advertisements.L2Advertisement(
        name="a",
        pools=frozenset({"p"}),
        node_selectors=(selectors.Selector.of({"zone": "b"}),),
        preferences=(prefer(9),),
    )
    assert election.preference({"zone": "a"}, (ad,)) == 0
    assert election.preference({"zone": "b"}, (ad,)) == 9
