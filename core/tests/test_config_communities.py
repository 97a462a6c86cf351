"""Community objects: values, duplicates, and who owns a name."""

import dataclasses

import pytest

from metallb_core.config import communities, compiled, problems
from metallb_core.domain import communities as domain_communities
from metallb_core.testing import builders

OLD, NEW = "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"


def in_force(config: compiled.Config) -> dict[str, str]:
    return {name: f"{alias.value} of {alias.owner}" for name, alias in config.aliases.items()}


def wires(*texts: str) -> compiled.Resources:
    """`name[@created]: alias=value ...` each."""
    made = []
    for text in texts:
        head, _, pairs = text.partition(": ")
        name, _, created = head.partition("@")
        made.append(builders.community_object(name, pairs, created=created or NEW))
    return compiled.Resources(communities=tuple(made))


def test_values() -> None:
    found = communities.compile_one(builders.community_object("c", "a=65000:1 b=large:1:2:4294967295 c=0:0"))
    assert found == {
        "a": domain_communities.Standard(65000, 1),
        "b": domain_communities.Large(1, 2, 4294967295),
        "c": domain_communities.Standard(0, 0),
    }


@pytest.mark.parametrize(
    ("text", "field", "fragment"),
    [
        pytest.param(
            "a=1:2 b=65536:1", "communities[1].value", "invalid community value: invalid section", id="too-large"
        ),
        pytest.param("a=1:x", "communities[0].value", 'invalid community value: invalid section "x"', id="no-number"),
        pytest.param("a=large:1:2:4294967296", "communities[0].value", "invalid section", id="large-too-large"),
        pytest.param("a=big:1:2:3", "communities[0].value", "expected community to be of format large", id="marker"),
        pytest.param("a=1", "communities[0].value", "invalid community format: 1", id="one-part"),
        pytest.param("a=1:2:3", "communities[0].value", "invalid community format: 1:2:3", id="three-parts"),
        pytest.param("a=1:1 b=a", "communities[1].value", "invalid community format: a", id="alias-of-an-alias"),
        pytest.param("a=1:1 a=1:2", "communities[1].name", "duplicate definition of community", id="twice"),
    ],
)
def test_a_bad_community_is_refused(text: str, field: str, fragment: str) -> None:
    with pytest.raises(problems.InvalidError) as caught:
        communities.compile_one(builders.community_object("c", text))
    assert caught.value.field == f"spec.{field}"
    assert fragment in caught.value.refusal.detail
    assert not caught.value.dangling


@pytest.mark.parametrize(
    ("steps", "expected", "wrong"),
    [
        pytest.param([["x: a=1:1", "y: b=1:2"]], {"a": "1:1 of x", "b": "1:2 of y"}, [], id="two-objects"),
        pytest.param([["x: a=1:1", "y: a=1:2 b=1:3"]], {"a": "1:1 of x", "b": "1:3 of y"}, ["y"], id="first-by-name"),
        pytest.param([[f"x@{NEW}: a=1:1", f"y@{OLD}: a=1:2"]], {"a": "1:2 of y"}, ["x"], id="older"),
        pytest.param([["y: a=1:2"], [f"x@{OLD}: a=1:1", "y: a=1:2"]], {"a": "1:2 of y"}, ["x"], id="in-force"),
        pytest.param([["y: a=1:2"], ["x: a=1:2", "y: a=1:2"]], {"a": "1:2 of y"}, ["x"], id="same-value-in-force"),
        pytest.param([["y: a=1:2"], ["x: a=1:1", "y: a=1:9"]], {"a": "1:9 of y"}, ["x"], id="owner-changes-value"),
        pytest.param([["y: a=1:2"], ["x: a=1:1"]], {"a": "1:1 of x"}, [], id="moved"),
        pytest.param([["x: a=1:1"], ["x: a=bad"]], {"a": "1:1 of x"}, ["x"], id="last-good-form"),
        pytest.param([["x: a=bad", "y: b=1:1"]], {"b": "1:1 of y"}, ["x"], id="bad-one-alone"),
    ],
)
def test_names_over_all_objects(steps: list[list[str]], expected: dict[str, str], wrong: list[str]) -> None:
    config = compiled.EMPTY
    for texts in steps:
        config = compiled.compile(wires(*texts), config)
    assert in_force(config) == expected
    assert [each.name for each in config.problems] == wrong
    assert compiled.compile(wires(*steps[-1]), config) == config
    backwards = dataclasses.replace(wires(*steps[-1]), communities=wires(*steps[-1]).communities[::-1])
    assert compiled.compile(backwards, config) == config


def test_a_duplicate_says_who_defines_it() -> None:
    (problem,) = compiled.compile(wires("x: a=1:1", "y: b=1:2 a=1:2")).problems
    assert str(problem) == (
        'Community "y": spec.communities[1].name: duplicate definition of community "a", which Community "x" defines; remove one of'
        " the two [C501 InvalidObject]; the rest of it is in force"
    )
