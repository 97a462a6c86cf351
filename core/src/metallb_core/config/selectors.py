"""Label selectors as the API has them, compiled into the domain's."""

import re
from collections.abc import Iterable

from metallb_core.api import meta
from metallb_core.config import problems
from metallb_core.domain import selectors

# Label keys and values as apimachinery takes them; another one can match nothing, which is never what was meant.
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def _refuse_bad_label(field: str, key: str, values: Iterable[str]) -> None:
    prefix, slash, name = key.rpartition("/")
    if not _NAME.fullmatch(name) or (slash and not _PREFIX.fullmatch(prefix)):
        raise problems.InvalidError(field, f"{key!r} is not a label key; write name or example.com/name")
    for value in values:
        if value and not _NAME.fullmatch(value):
            raise problems.InvalidError(
                field, f"{value!r} is not a label value; it takes at most 63 letters, digits, '-', '_' and '.'"
            )


def compile_one(wire: meta.LabelSelector, field: str) -> selectors.Selector:
    """One selector. Raises InvalidError."""
    requirements = []
    for key, value in (wire.match_labels or {}).items():
        _refuse_bad_label(f"{field}.matchLabels", key, (value,))
    for position, expression in enumerate(wire.match_expressions or ()):
        where = f"{field}.matchExpressions[{position}]"
        try:
            operator = selectors.Operator(expression.operator)
        except ValueError:
            known = ", ".join(each.value for each in selectors.Operator)
            raise problems.InvalidError(
                f"{where}.operator", f"unknown operator {expression.operator!r}; use one of {known}"
            ) from None
        _refuse_bad_label(where, expression.key, expression.values or ())
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
