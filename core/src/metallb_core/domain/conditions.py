"""PURE. Conditions: what is so, why, and since when, as Kubernetes shows it (meta/v1 Condition).

- `since` changes only when `status` does: it answers "for how long", and a new message is no new answer.
- Nothing is written that stands there already. A condition that would differ in `since` alone is the same.
- A message is for a person and bounded, so that a list of a thousand causes does not make an object of a megabyte.
"""

import dataclasses
import enum
from collections.abc import Iterable

# The API server takes 32,768 characters; a terminal shows far fewer.
LONGEST_MESSAGE = 2048


class Status(enum.Enum):
    """Whether it is so."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition as it stands in an object. `since` is RFC 3339 in UTC (`lastTransitionTime`); empty in one that is only wished for."""

    type: str
    status: Status
    reason: str
    message: str = ""
    since: str = ""

    def says(self, other: "Condition | None") -> bool:
        """Whether both say the same, whenever they began."""
        return other is not None and (self.type, self.status, self.reason, self.message) == (
            other.type,
            other.status,
            other.reason,
            other.message,
        )


def named(held: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of that type, if there is one."""
    return next((each for each in held if each.type == kind), None)


def dated(wanted: Condition, held: Condition | None, now: str) -> Condition:
    """`wanted` with the date it should carry: that of `held` where the status stays, else `now`."""
    since = held.since if held is not None and held.status is wanted.status and held.since else now
    return dataclasses.replace(wanted, since=since)


def changed(wanted: Iterable[Condition], held: Iterable[Condition], now: str) -> tuple[Condition, ...]:
    """Those of `wanted` that have to be written over `held`, dated."""
    before = {each.type: each for each in held}
    return tuple(dated(each, before.get(each.type), now) for each in wanted if not each.says(before.get(each.type)))


def shortened(message: str, limit: int = LONGEST_MESSAGE) -> str:
    """At most `limit` characters, an ellipsis at the end of what was cut."""
    return message if len(message) <= limit else message[: limit - 4].rstrip() + " ..."
