"""The store against a naive one."""

from collections.abc import Hashable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_core.kube import store

Value = tuple[str, ...]
KEYS = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.lists(st.sampled_from(["x", "y", "z"]), max_size=3, unique=True).map(tuple)
STEPS = st.lists(st.one_of(st.tuples(KEYS, VALUES), st.tuples(KEYS, st.none())))


def words(value: Value) -> Iterable[Hashable]:
    return value


@given(STEPS, STEPS)
def test_an_index_finds_what_a_scan_finds(
    before: list[tuple[str, Value | None]], after: list[tuple[str, Value | None]]
) -> None:
    held: store.Store[str, Value] = store.Store()
    naive: dict[str, Value] = {}
    for position, (key, value) in enumerate([*before, *after]):
        if position == len(before):
            held.index("words", words)
        expected = naive.get(key)
        if value is None:
            naive.pop(key, None)
            assert held.remove(key) == expected
        else:
            naive[key] = value
            assert held.put(key, value) == expected
    if not after:
        held.index("words", words)
    assert dict(held.items()) == naive
    for word in ("x", "y", "z"):
        expected_keys = {key for key, value in naive.items() if word in value}
        assert set(held.keys_by_index("words", word)) == expected_keys
        assert sorted(held.by_index("words", word)) == sorted(naive[key] for key in expected_keys)
    assert set(held.index_keys("words")) == {word for value in naive.values() for word in value}


def test_reading_is_a_copy_that_survives_writing() -> None:
    held: store.Store[str, Value] = store.Store()
    held.index("words", words)
    held.put("a", ("x",))
    held.put("b", ("x",))
    for _ in held.by_index("words", "x"):
        held.put("a", ())
        held.remove("b")
    assert held.by_index("words", "x") == ()
    assert len(held) == 1
    assert "a" in held
    assert list(held) == ["a"]
    assert held.get("b") is None


def test_an_index_is_made_once_and_must_exist() -> None:
    held: store.Store[str, Value] = store.Store()
    held.index("words", words)
    with pytest.raises(ValueError, match="already"):
        held.index("words", words)
    with pytest.raises(KeyError):
        held.by_index("nothing", "x")
