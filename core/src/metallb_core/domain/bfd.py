"""BFD profiles: how fast a dead path to a peer is noticed.

An unset field has the value that MetalLB documents, which is FRR's; a compiled profile holds every value.
"""

import dataclasses


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
