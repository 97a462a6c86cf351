"""Endpoints: where a Service's traffic can be served."""

import dataclasses

from metallb_core.domain import services


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint. `can_serve`: `ready` is unset or true, or `serving` is true (so that a terminating endpoint that still serves counts)."""

    node: str
    can_serve: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSlice:
    """One EndpointSlice of one Service."""

    namespace: str
    name: str
    service: services.ServiceKey
    endpoints: tuple[Endpoint, ...] = ()


def serving_nodes(slices: tuple[EndpointSlice, ...]) -> frozenset[str]:
    """Names of the nodes with an endpoint that can serve; the empty name stands for endpoints that run on no node."""
    return frozenset(endpoint.node for piece in slices for endpoint in piece.endpoints if endpoint.can_serve)
