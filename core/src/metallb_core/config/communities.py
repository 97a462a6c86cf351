"""Community compiled: names for BGP communities, in one name space for all objects.

Of two definitions of one name the one in force stays; else that of the older object; else of the first by name. The other is not applied;
whatever else its object defines is.
"""

import dataclasses
from collections.abc import Iterable, Mapping

from metallb_core.api import v1beta1
from metallb_core.config import problems
from metallb_core.domain import communities


@dataclasses.dataclass(frozen=True, slots=True)
class Alias:
    """What a name stands for, and the object that says so."""

    value: communities.Community
    owner: str


def compile_one(wire: v1beta1.Community) -> dict[str, communities.Community]:
    """The names that one object defines. Raises InvalidError."""
    found: dict[str, communities.Community] = {}
    for position, alias in enumerate(wire.spec.communities or ()):
        field = f"spec.communities[{position}]"
        try:
            value = communities.parse(alias.value)
        except communities.UnknownCommunityError:
            # An alias of an alias is none.
            raise problems.InvalidError(
                f"{field}.value",
                f"invalid community format: {alias.value}; write high:low or large:global:local1:local2",
            ) from None
        except communities.CommunityError as error:
            raise problems.InvalidError(f"{field}.value", str(error)) from None
        if alias.name in found:
            raise problems.InvalidError(
                f"{field}.name", f'duplicate definition of community "{alias.name}"; remove one of the two'
            )
        found[alias.name] = value
    return found


def join(
    wires: Mapping[str, v1beta1.Community],
    compiled: Mapping[str, Mapping[str, communities.Community]],
    previous: Mapping[str, Alias],
) -> tuple[dict[str, Alias], list[tuple[str, problems.InvalidError]]]:
    """All aliases by name, and for each definition that is not applied, its object and what is wrong."""
    claims: dict[str, list[str]] = {}
    for owner, aliases in compiled.items():
        for alias in aliases:
            claims.setdefault(alias, []).append(owner)
    found: dict[str, Alias] = {}
    wrong: list[tuple[str, problems.InvalidError]] = []
    for alias, owners in sorted(claims.items()):
        before = previous.get(alias)

        def rank(owner: str, before: Alias | None = before) -> tuple[bool, str, str]:
            return before is None or before.owner != owner, wires[owner].metadata.creation_timestamp or "", owner

        first, *rest = sorted(owners, key=rank)
        found[alias] = Alias(compiled[first][alias], first)
        for owner in rest:
            position = _position(wires[owner].spec.communities or (), alias)
            wrong.append(
                (
                    owner,
                    problems.InvalidError(
                        f"spec.communities[{position}].name",
                        f'duplicate definition of community "{alias}", which Community "{first}" defines; remove one of the two',
                    ),
                )
            )
    return found, wrong


def _position(aliases: Iterable[v1beta1.CommunityAlias], name: str) -> int:
    return next(position for position, alias in enumerate(aliases) if alias.name == name)
