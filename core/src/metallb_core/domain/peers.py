"""BGP peers: the routers that are told about addresses.

A peer is compiled: texts are parsed, timers complete each other by the rule of `config.peers`. Equal peers need no new session, so everything
that a session is made from is compared, and nothing else is kept.
"""

import dataclasses
import enum

from metallb_core.domain import addresses, selectors

DEFAULT_PORT = 179


class DynamicASN(enum.Enum):
    """The peer's autonomous system is learned from its OPEN: ours, or any other."""

    INTERNAL = "internal"
    EXTERNAL = "external"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One BGPPeer. Times are in seconds; None is the session's default.

    - `peer_asn` is 0 exactly where `dynamic_asn` is set; `local_asn` is 0 where the session uses `my_asn`.
    - Exactly one of `address` and `interface` is set; with `interface` the peer is found by its router advertisements.
    - `password` is in clear and never shown; `password_secret` names a Secret of our namespace, which whoever opens the session reads.
    - `node_selectors`: alternatives, empty for every node.
    """

    name: str
    my_asn: int
    peer_asn: int = 0
    dynamic_asn: DynamicASN | None = None
    local_asn: int = 0
    address: addresses.Address | None = None
    interface: str = ""
    port: int = DEFAULT_PORT
    source_address: addresses.Address | None = None
    router_id: addresses.Address | None = None
    hold_time: float | None = None
    keepalive_time: float | None = None
    connect_time: float | None = None
    password: str = dataclasses.field(default="", repr=False)
    password_secret: str = ""
    bfd_profile: str = ""
    graceful_restart: bool = False
    multihop: bool = False
    vrf: str = ""
    dual_stack: bool = False
    node_selectors: tuple[selectors.Selector, ...] = ()

    def covers_node(self, labels: selectors.Labels) -> bool:
        """Whether a node with `labels` has a session with this peer."""
        return not self.node_selectors or selectors.any_matches(self.node_selectors, labels)

    @property
    def own_asn(self) -> int:
        """The autonomous system that we show this peer."""
        return self.local_asn or self.my_asn

    @property
    def is_internal(self) -> bool:
        """Whether the peer is of the autonomous system that we show it."""
        if self.dynamic_asn is not None:
            return self.dynamic_asn is DynamicASN.INTERNAL
        return self.peer_asn == self.own_asn

    @property
    def remote(self) -> str:
        """Address and port, or the interface, as metrics and messages name it."""
        if self.address is None:
            return self.interface
        host = str(self.address)
        return f"[{host}]:{self.port}" if self.address.family is addresses.Family.IPV6 else f"{host}:{self.port}"
