"""Label selectors, by the table of the Kubernetes API: every operator against present, absent and other values."""

import pytest

from metallb_core.domain import selectors

IN, NOT_IN = selectors.Operator.IN, selectors.Operator.NOT_IN
EXISTS, ABSENT = selectors.Operator.EXISTS, selectors.Operator.DOES_NOT_EXIST


@pytest.mark.parametrize(
    ("operator", "values", "labels", "expected"),
    [
        pytest.param(IN, {"a", "b"}, {"k": "a"}, True, id="in-one-of-them"),
        pytest.param(IN, {"a"}, {"k": "b"}, False, id="in-another-value"),
        pytest.param(IN, {"a"}, {}, False, id="in-absent"),
        pytest.param(IN, {""}, {"k": ""}, True, id="in-empty-value"),
        pytest.param(IN, {""}, {}, False, id="in-empty-value-absent"),
        pytest.param(NOT_IN, {"a"}, {"k": "b"}, True, id="not-in-another-value"),
        pytest.param(NOT_IN, {"a"}, {"k": "a"}, False, id="not-in-that-value"),
        pytest.param(NOT_IN, {"a"}, {}, True, id="not-in-absent"),
        pytest.param(EXISTS, (), {"k": ""}, True, id="exists-even-empty"),
        pytest.param(EXISTS, (), {}, False, id="exists-absent"),
        pytest.param(ABSENT, (), {}, True, id="does-not-exist-absent"),
        pytest.param(ABSENT, (), {"k": ""}, False, id="does-not-exist-present"),
    ],
)
def test_operators(operator: selectors.Operator, values: set[str], labels: dict[str, str], expected: bool) -> None:
    requirement = selectors.Requirement("k", operator, frozenset(values))
    assert requirement.matches(labels) is expected
    assert selectors.Selector((requirement,)).matches(labels) is expected


@pytest.mark.parametrize(("operator", "values"), [(IN, ()), (NOT_IN, ()), (EXISTS, ("a",)), (ABSENT, ("a",))])
def test_values_must_fit_the_operator(operator: selectors.Operator, values: tuple[str, ...]) -> None:
    with pytest.raises(selectors.SelectorError, match=r"'k'.*value"):
        selectors.Requirement("k", operator, frozenset(values))


def test_every_requirement_must_hold_and_none_means_everything() -> None:
    both = selectors.Selector.of({"a": "1"}, (selectors.Requirement("b", EXISTS),))
    assert both.matches({"a": "1", "b": ""})
    assert not both.matches({"a": "1"})
    assert not both.matches({"b": ""})
    assert selectors.Selector().matches({})
    assert not selectors.any_matches((), {})


def test_order_of_writing_does_not_matter() -> None:
    one, other = selectors.Requirement("b", EXISTS), selectors.Requirement("a", NOT_IN, frozenset({"x", "y"}))
    assert selectors.Selector.of({"k": "v"}, (one, other)) == selectors.Selector.of({"k": "v"}, (other, one))
    assert str(selectors.Selector.of({"k": "v"}, (one, other))) == "a notin (x,y),b,k in (v)"
