"""When two Services may have the same address.

Both carry the same sharing key (`metallb.io/allow-shared-ip`, not empty); both send traffic to the same pods if either uses
externalTrafficPolicy Local; and no protocol and port is used by both.
"""

import dataclasses

from metallb_core.domain import reasons, services


@dataclasses.dataclass(frozen=True, slots=True)
class Sharing:
    """`key`: as annotated, empty for "never". `backend`: the selector as text for policy Local, empty for Cluster."""

    key: str
    backend: str


def of(service: services.Service, key: str) -> Sharing:
    """The sharing of a Service that is annotated with `key`."""
    local = service.traffic_policy is services.TrafficPolicy.LOCAL
    return Sharing(key, ",".join(f"{name}={value}" for name, value in service.selector) if local else "")


def clash(
    mine: Sharing,
    ports: frozenset[services.Port],
    other: services.ServiceKey,
    theirs: Sharing,
    their_ports: frozenset[services.Port],
    where: str,
) -> reasons.Refusal | None:
    """Why a Service may not have the address `where` beside Service `other`; None if it may."""

    def refuse(why: str) -> reasons.Refusal:
        return reasons.Refusal(reasons.Reason.SHARING_CLASH, f"{where} is in use by Service {other}, {why}")

    if not mine.key:
        return refuse("and this Service has no metallb.io/allow-shared-ip annotation")
    if not theirs.key:
        return refuse("which has no metallb.io/allow-shared-ip annotation")
    if mine.key != theirs.key:
        return refuse(f'whose sharing key is "{theirs.key}", not "{mine.key}"')
    if mine.backend != theirs.backend:
        return refuse("and with externalTrafficPolicy Local both must have the same policy and selector")
    common = sorted(ports & their_ports)
    if common:
        return refuse(f"and port {common[0]} is already in use on it; use another port")
    return None
