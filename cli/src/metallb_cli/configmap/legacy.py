"""The configuration of MetalLB before 0.13: the YAML text under the key `config` of a ConfigMap.

A key that MetalLB did not have, or a value of another type, is an error that names its place: a migration that drops a line silently is
worse than one that stops.
"""

from typing import Annotated, Any

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=0)]


class LegacyError(Exception):
    """The input cannot be read. The message says where."""


class _Part(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    pass


class Expression(_Part, frozen=True):
    """A requirement on a label."""

    key: str
    operator: str
    values: list[str]


class NodeSelector(_Part, frozen=True):
    """Nodes by label."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[Expression] | None = None


class Peer(_Part, frozen=True):
    """A BGP router. Times are Go durations."""

    my_asn: Positive
    peer_asn: Positive
    peer_address: str
    source_address: str = ""
    peer_port: Positive = 0
    hold_time: str = ""
    keepalive_time: str = ""
    router_id: str = ""
    node_selectors: list[NodeSelector] | None = None
    password: str = ""
    bfd_profile: str = ""
    ebgp_multihop: bool = False


class BGPAdvertisement(_Part, frozen=True):
    """How addresses of a pool are advertised."""

    aggregation_length: int | None = None
    aggregation_length_v6: int | None = None
    localpref: Positive | None = None
    communities: list[str] | None = None


class AddressPool(_Part, frozen=True):
    """Addresses and the protocol they are announced by."""

    protocol: str
    name: str
    addresses: list[str]
    auto_assign: bool | None = None
    avoid_buggy_ips: bool | None = None
    bgp_advertisements: list[BGPAdvertisement] | None = None


class BFDProfile(_Part, frozen=True):
    """Timers of BFD sessions."""

    name: str
    receive_interval: int | None = None
    transmit_interval: int | None = None
    detect_multiplier: int | None = None
    echo_interval: int | None = None
    echo_mode: bool = False
    passive_mode: bool = False
    minimum_ttl: int | None = None


class Config(_Part, frozen=True):
    """All of it."""

    peers: list[Peer] | None = None
    bgp_communities: dict[str, str] | None = None
    address_pools: list[AddressPool] | None = None
    bfd_profiles: list[BFDProfile] | None = None


def read(data: Any) -> Config:
    """The configuration from parsed YAML. Raises LegacyError."""
    if data is None:
        return Config()
    try:
        # Labels and communities such as `true` or 64512:1 may have become another type in YAML 1.1.
        return msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        raise LegacyError(f"configuration: {error}") from None
