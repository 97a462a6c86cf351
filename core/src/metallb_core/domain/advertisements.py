"""Which pools are announced, from which nodes, through which interfaces.

An advertisement is compiled: names and label selectors of pools are resolved to the set of pool names it covers today. Node selectors stay
selectors, since nodes come and go much more often than configuration does.
"""

import dataclasses

from metallb_core.domain import addresses, communities, selectors

# A field below has the module's name.
Community = communities.Community


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodePreference:
    """A weight (1 to 100) for the nodes that `selector` matches; an empty selector matches every node."""

    weight: int
    selector: selectors.Selector


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class L2Advertisement:
    """One L2Advertisement.

    `pools`: names of the pools it covers. `node_selectors` and `service_selectors`: alternatives, empty means every node, every Service.
    `interfaces`: empty means all of a node's usable interfaces.
    """

    name: str
    pools: frozenset[str]
    node_selectors: tuple[selectors.Selector, ...] = ()
    interfaces: frozenset[str] = frozenset()
    service_selectors: tuple[selectors.Selector, ...] = ()
    preferences: tuple[NodePreference, ...] = ()

    def covers_node(self, labels: selectors.Labels) -> bool:
        """Whether a node with `labels` may announce under this advertisement."""
        return not self.node_selectors or selectors.any_matches(self.node_selectors, labels)

    def covers_service(self, labels: selectors.Labels) -> bool:
        """Whether a Service with `labels` is announced under this advertisement."""
        return not self.service_selectors or selectors.any_matches(self.service_selectors, labels)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BGPAdvertisement:
    """One BGPAdvertisement.

    `pools`: names of the pools it covers. `aggregation_length`, `aggregation_length_v6`: bits of the prefix that is advertised for an address.
    `local_pref` is None where unset. `communities`: aliases are resolved. `peers`: names, empty for all.
    `node_selectors` and `service_selectors`: alternatives, empty means every node, every Service.
    """

    name: str
    pools: frozenset[str]
    aggregation_length: int = 32
    aggregation_length_v6: int = 128
    local_pref: int | None = None
    communities: frozenset[Community] = frozenset()
    peers: frozenset[str] = frozenset()
    node_selectors: tuple[selectors.Selector, ...] = ()
    service_selectors: tuple[selectors.Selector, ...] = ()

    def covers_node(self, labels: selectors.Labels) -> bool:
        """Whether a node with `labels` advertises under this advertisement."""
        return not self.node_selectors or selectors.any_matches(self.node_selectors, labels)

    def covers_service(self, labels: selectors.Labels) -> bool:
        """Whether a Service with `labels` is advertised under this advertisement."""
        return not self.service_selectors or selectors.any_matches(self.service_selectors, labels)

    def length(self, family: addresses.Family) -> int:
        """The aggregation length for a family."""
        return self.aggregation_length if family is addresses.Family.IPV4 else self.aggregation_length_v6
