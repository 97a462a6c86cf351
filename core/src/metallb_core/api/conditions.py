"""Conditions as the API writes them (meta/v1), to and from the domain's. What cannot be read is left out: it is somebody else's then."""

from collections.abc import Iterable

from metallb_core.api import meta
from metallb_core.domain import conditions

_STATUS = {each.value: each for each in conditions.Status}


def read(wires: Iterable[meta.Condition] | None, prefix: str = "") -> tuple[conditions.Condition, ...]:
    """The conditions whose type begins with `prefix`."""
    if not wires:
        return ()
    return tuple(
        conditions.Condition(
            type=wire.type,
            status=_STATUS[wire.status],
            reason=wire.reason,
            message=wire.message,
            since=wire.last_transition_time or "",
        )
        for wire in wires
        if wire.type.startswith(prefix) and wire.status in _STATUS
    )


def write(condition: conditions.Condition) -> dict[str, str]:
    """One condition as it goes into a patch. `observedGeneration` is left out: a Service has none."""
    return {
        "type": condition.type,
        "status": condition.status.value,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.since,
    }


def remove(kind: str) -> dict[str, str]:
    """What takes the condition of that type out, in a strategic merge patch."""
    return {"$patch": "delete", "type": kind}
