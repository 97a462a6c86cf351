"""BFD profiles: how fast a dead path to a peer is noticed.

An unset field has the value that MetalLB documents, which is FRR's; a compiled profile holds every value.
"""

import dataclasses
from collections.abc import Mapping

LIMITS: Mapping[str, tuple[int, int]] = {
    "receive_interval": (10, 60_000),
    "transmit_interval": (10, 60_000),
    "detect_multiplier": (2, 255),
    "echo_interval": (10, 60_000),
    "minimum_ttl": (1, 254),
}
"""The least and the most of each number of a profile."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BFDProfile:
    """One BFDProfile. Intervals are in milliseconds; `minimum_ttl` applies to multihop sessions (RFC 5883)."""

    name: str
    receive_interval: int = 300
    transmit_interval: int = 300
    detect_multiplier: int = 3
    echo_interval: int = 50
    echo_mode: bool = False
    passive_mode: bool = False
    minimum_ttl: int = 254
