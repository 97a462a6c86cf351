"""Who waits for which pool, and in which order they are woken."""

from metallb_core.allocation import waiting
from metallb_core.domain import services


def key(name: str) -> services.ServiceKey:
    return services.ServiceKey("default", name)


def names(found: list[services.ServiceKey]) -> str:
    return " ".join(each.name for each in found)


def test_the_oldest_is_woken_first_and_only_for_its_pools() -> None:
    line = waiting.Waiting()
    line.put(key("young"), "2026-03", frozenset({"a"}))
    line.put(key("old"), "2026-01", frozenset({"a", "b"}))
    line.put(key("any"), "2026-02", None)
    assert names(line.for_pools(["a"])) == "old young"
    assert names(line.for_pools(["b"])) == "old"
    assert names(line.for_pools(["c"])) == ""
    assert names(line.all()) == "old any young"


def test_of_the_same_age_the_name_decides() -> None:
    line = waiting.Waiting()
    for name in "cab":
        line.put(key(name), "2026-01", None)
    assert names(line.all()) == "a b c"


def test_who_waits_for_nothing_does_not_wait() -> None:
    line = waiting.Waiting()
    line.put(key("x"), "2026-01", frozenset({"a"}))
    line.put(key("x"), "2026-01", frozenset())
    assert key("x") not in line
    assert len(line) == 0
    assert line.for_pools(["a"]) == []


def test_a_changed_wish_replaces_the_former() -> None:
    line = waiting.Waiting()
    line.put(key("x"), "2026-01", frozenset({"a"}))
    line.put(key("x"), "2026-01", frozenset({"b"}))
    assert line.for_pools(["a"]) == []
    line.put(key("x"), "2026-01", None)
    assert line.for_pools(["a", "b"]) == []
    assert names(line.all()) == "x"
    line.remove(key("x"))
    line.remove(key("x"))
    assert line.all() == []
    assert (line._by_pool, line._since, line._wanted) == ({}, {}, {})
