"""Every object compiled by itself; a bad one is replaced by its own last good form, if this process has seen one, or left out.

The last good form may name what has been deleted since, or what is invalid now. It was good, so it stays: `compile_kept` asks no questions about
others.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from metallb_core.api import meta
from metallb_core.config import problems


class Object(Protocol):
    """What every object has."""

    @property
    def metadata(self) -> meta.ObjectMeta:
        """Its name and age."""
        ...


W = TypeVar("W", bound=Object)
C = TypeVar("C")


def each(
    kind: str,
    wires: Iterable[W],
    previous: Mapping[str, W],
    compile_one: Callable[[W], C],
    wrong: list[problems.Problem],
    compile_kept: Callable[[W], C] | None = None,
) -> tuple[dict[str, W], dict[str, C]]:
    """The good forms and what they compile to, both by name and in order of name. What is wrong is appended to `wrong`."""
    good: dict[str, W] = {}
    compiled: dict[str, C] = {}
    for wire in sorted(wires, key=lambda found: found.metadata.name):
        name = wire.metadata.name
        try:
            compiled[name] = compile_one(wire)
            good[name] = wire
        except problems.InvalidError as error:
            before = previous.get(name)
            if before is not None:
                compiled[name] = (compile_kept or compile_one)(before)
                good[name] = before
            wrong.append(problem(kind, wire, error, kept=before is not None))
    return good, compiled


def problem(
    kind: str, wire: Object, error: problems.InvalidError, *, kept: bool = False, partly: bool = False
) -> problems.Problem:
    """What is told about `wire`."""
    return problems.Problem(
        kind=kind,
        namespace=wire.metadata.namespace,
        name=wire.metadata.name,
        uid=wire.metadata.uid,
        field=error.field,
        refusal=error.refusal,
        kept=kept,
        partly=partly,
        dangling=error.dangling,
    )
