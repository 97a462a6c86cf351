"""Label selectors as the API has them, compiled into the domain's."""

from metallb_core.api import meta
from metallb_core.config import problems
from metallb_core.domain import selectors


def compile_one(wire: meta.LabelSelector, field: str) -> selectors.Selector:
    """One selector. Raises InvalidError."""
    requirements = []
    for position, expression in enumerate(wire.match_expressions or ()):
        where = f"{field}.matchExpressions[{position}]"
        try:
            operator = selectors.Operator(expression.operator)
        except ValueError:
            known = ", ".join(each.value for each in selectors.Operator)
            raise problems.InvalidError(
                f"{where}.operator", f"unknown operator {expression.operator!r}; use one of {known}"
            ) from None
        problems.refuse_duplicates(f"{where}.values", expression.values or [])
        try:
            requirements.append(selectors.Requirement(expression.key, operator, frozenset(expression.values or ())))
        except selectors.SelectorError as error:
            raise problems.InvalidError(where, str(error)) from None
    if len(set(requirements)) != len(requirements):
        raise problems.InvalidError(f"{field}.matchExpressions", "duplicate expression; remove one of the two")
    return selectors.Selector.of(wire.match_labels or {}, tuple(requirements))


def compile_all(wires: list[meta.LabelSelector] | None, field: str) -> tuple[selectors.Selector, ...]:
    """A list of alternatives. Raises InvalidError, also for one that appears twice."""
    compiled = tuple(compile_one(wire, f"{field}[{position}]") for position, wire in enumerate(wires or ()))
    for position, selector in enumerate(compiled):
        if selector in compiled[:position]:
            raise problems.InvalidError(
                f"{field}[{position}]", f"duplicate selector {str(selector)!r}; remove one of the two"
            )
    return compiled
