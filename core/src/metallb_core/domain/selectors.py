"""Label selectors: the Kubernetes `LabelSelector` as a value that matches.

Semantics are apimachinery's: every requirement must hold; an empty selector matches everything; `NotIn` and `DoesNotExist` match when the
key is absent.
"""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Self

Labels = Mapping[str, str]


class SelectorError(ValueError):
    """A selector that Kubernetes would not accept. The message names the key and the operator."""


class Operator(enum.Enum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclasses.dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label key."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        takes_values = self.operator in (Operator.IN, Operator.NOT_IN)
        if takes_values and not self.values:
            raise SelectorError(f"key {self.key!r}: operator {self.operator.value} needs at least one value")
        if not takes_values and self.values:
            raise SelectorError(f"key {self.key!r}: operator {self.operator.value} takes no values")

    def matches(self, labels: Labels) -> bool:
        """Whether `labels` satisfies this condition."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case _:
                return f"{self.key} {self.operator.value.lower()} ({','.join(sorted(self.values))})"


@dataclasses.dataclass(frozen=True, slots=True)
class Selector:
    """A conjunction of requirements, sorted by key so that equal selectors compare equal."""

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def of(cls, match_labels: Labels, expressions: tuple[Requirement, ...] = ()) -> Self:
        """Join `matchLabels` and `matchExpressions` into one selector."""
        equalities = [Requirement(key, Operator.IN, frozenset({value})) for key, value in match_labels.items()]
        joined = sorted((*equalities, *expressions), key=lambda r: (r.key, r.operator.value, sorted(r.values)))
        return cls(tuple(joined))

    def matches(self, labels: Labels) -> bool:
        """Whether `labels` satisfies every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


def any_matches(selectors: tuple[Selector, ...], labels: Labels) -> bool:
    """Whether any of `selectors` matches. An empty tuple matches nothing; callers decide what "none given" means."""
    return any(selector.matches(labels) for selector in selectors)
