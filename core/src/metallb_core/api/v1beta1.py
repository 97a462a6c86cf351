"""The kinds of `metallb.io/v1beta1`. BGPPeer has a newer version, `v1beta2`, which is the one that is stored and read.

The structs are the source of the custom resource definitions: field names, types, defaults and bounds are read from the annotations here, and
the descriptions are what `kubectl explain` shows. `config` turns specs into values of the domain; what the API server can hold decodes here.
"""

from typing import Annotated

import msgspec

from metallb_core.api import meta

GROUP = "metallb.io"
VERSION = "v1beta1"

Doc = msgspec.Meta


class ServiceAllocation(meta.Wire, frozen=True):
    """Which Services the pool is meant for."""

    priority: Annotated[int, Doc(description="Lower wins; 0 or unset comes last. Ties are broken by name.")] = 0
    namespaces: Annotated[
        list[str] | None, Doc(description="Names of the namespaces whose Services may use the pool.")
    ] = None
    namespace_selectors: Annotated[
        list[meta.LabelSelector] | None,
        Doc(description="Label selectors of namespaces; joined with `namespaces`."),
    ] = None
    service_selectors: Annotated[
        list[meta.LabelSelector] | None,
        Doc(description="Label selectors of Services; any one that matches is enough."),
    ] = None


class IPAddressPoolSpec(meta.Wire, frozen=True):
    """The addresses of the pool and how they are given out."""

    addresses: Annotated[
        list[str],
        Doc(
            description="Prefixes (192.0.2.0/24) or ranges (192.0.2.1-192.0.2.9), IPv4 or IPv6; the order is the order of use."
        ),
    ]
    auto_assign: Annotated[
        bool, Doc(description="Whether a Service that names neither a pool nor an address may get one from here.")
    ] = True
    avoid_buggy_ips: Annotated[bool, Doc(description="Never give out IPv4 addresses that end in .0 or .255.")] = (
        msgspec.field(default=False, name="avoidBuggyIPs")
    )
    service_allocation: Annotated[
        ServiceAllocation | None, Doc(description="Which Services the pool is meant for; unset means all of them.")
    ] = None


class IPAddressPoolStatus(meta.Wire, frozen=True, omit_defaults=False):
    """How much of the pool is in use; a shared address counts once."""

    assigned_ipv4: Annotated[int, Doc(description="IPv4 addresses in use.")] = msgspec.field(name="assignedIPv4")
    assigned_ipv6: Annotated[int, Doc(description="IPv6 addresses in use.")] = msgspec.field(name="assignedIPv6")
    available_ipv4: Annotated[int, Doc(description="IPv4 addresses still free.")] = msgspec.field(name="availableIPv4")
    available_ipv6: Annotated[int, Doc(description="IPv6 addresses still free, at most 2^63-1.")] = msgspec.field(
        name="availableIPv6"
    )


class IPAddressPool(meta.Wire, frozen=True):
    """Addresses that the controller may give to Services of type LoadBalancer."""

    metadata: meta.ObjectMeta
    spec: IPAddressPoolSpec
    status: IPAddressPoolStatus | None = None


class NodePreference(meta.Wire, frozen=True):
    """A weight for the nodes that a selector matches."""

    weight: Annotated[
        int, Doc(ge=1, le=100, description="1 to 100; the weights of all matching preferences are added up.")
    ]
    preference: Annotated[
        meta.LabelSelector, Doc(description="Label selector of nodes; an empty one matches every node.")
    ]


class L2AdvertisementSpec(meta.Wire, frozen=True):
    """What is announced over layer 2, and from where."""

    ip_address_pools: Annotated[
        list[str] | None, Doc(description="Names of the pools to announce. No names and no selectors means all pools.")
    ] = msgspec.field(default=None, name="ipAddressPools")
    ip_address_pool_selectors: Annotated[
        list[meta.LabelSelector] | None, Doc(description="Label selectors of pools; joined with `ipAddressPools`.")
    ] = msgspec.field(default=None, name="ipAddressPoolSelectors")
    node_selectors: Annotated[
        list[meta.LabelSelector] | None, Doc(description="Nodes that may announce; unset means every node.")
    ] = None
    interfaces: Annotated[
        list[str] | None, Doc(description="Interfaces to announce through; unset means all usable ones.")
    ] = None
    service_selectors: Annotated[
        list[meta.LabelSelector] | None, Doc(description="Services to announce; unset means every Service.")
    ] = None
    preferred_node_selectors: Annotated[
        list[NodePreference] | None, Doc(description="Nodes to prefer among those that may announce.")
    ] = None


class L2Advertisement(meta.Wire, frozen=True):
    """Announces the addresses of pools over layer 2 (ARP and NDP)."""

    metadata: meta.ObjectMeta
    spec: L2AdvertisementSpec = L2AdvertisementSpec()


class InterfaceInfo(meta.Wire, frozen=True):
    """One network interface."""

    name: Annotated[str, Doc(description="Name of the interface.")] = ""


class ServiceL2StatusStatus(meta.Wire, frozen=True):
    """Who announces the Service."""

    node: Annotated[str, Doc(description="The node that answers for the Service's addresses.")] = ""
    service_name: Annotated[str, Doc(description="Name of the Service.")] = ""
    service_namespace: Annotated[str, Doc(description="Namespace of the Service.")] = ""
    interfaces: Annotated[
        list[InterfaceInfo] | None, Doc(description="The interfaces in use; empty means all usable ones.")
    ] = None


class ServiceL2Status(meta.Wire, frozen=True):
    """Which node announces a Service over layer 2; written by that node's speaker."""

    metadata: meta.ObjectMeta
    status: ServiceL2StatusStatus = ServiceL2StatusStatus()


class BGPAdvertisementSpec(meta.Wire, frozen=True):
    """What is advertised over BGP, to whom, from where, and with which attributes."""

    aggregation_length: Annotated[
        int | None, Doc(description="Length of the IPv4 prefix that is advertised for an address.")
    ] = None
    aggregation_length_v6: Annotated[
        int | None, Doc(description="Length of the IPv6 prefix that is advertised for an address.")
    ] = None
    local_pref: Annotated[
        int | None,
        Doc(description="LOCAL_PREF towards internal peers, the higher preferred; 0 or unset means their default."),
    ] = None
    communities: Annotated[
        list[str] | None,
        Doc(
            description="BGP communities: high:low, large:global:local1:local2, or the name of an alias that a Community defines."
        ),
    ] = None
    ip_address_pools: Annotated[
        list[str] | None, Doc(description="Names of the pools to advertise. No names and no selectors means all pools.")
    ] = msgspec.field(default=None, name="ipAddressPools")
    ip_address_pool_selectors: Annotated[
        list[meta.LabelSelector] | None, Doc(description="Label selectors of pools; joined with `ipAddressPools`.")
    ] = msgspec.field(default=None, name="ipAddressPoolSelectors")
    node_selectors: Annotated[
        list[meta.LabelSelector] | None, Doc(description="Nodes that advertise; unset means every node.")
    ] = None
    peers: Annotated[list[str] | None, Doc(description="Names of the BGPPeers that are told; unset means all.")] = None
    service_selectors: Annotated[
        list[meta.LabelSelector] | None,
        Doc(description="Services to advertise; unset means every Service. Excludes aggregation."),
    ] = None


class BGPAdvertisement(meta.Wire, frozen=True):
    """Advertises the addresses of pools over BGP."""

    metadata: meta.ObjectMeta
    spec: BGPAdvertisementSpec = BGPAdvertisementSpec()


class BFDProfileSpec(meta.Wire, frozen=True):
    """Timers and modes of BFD sessions (RFC 5880)."""

    receive_interval: Annotated[
        int | None, Doc(description="Least time between packets that can be received, in milliseconds; 300 if unset.")
    ] = None
    transmit_interval: Annotated[
        int | None, Doc(description="Least time between packets that are sent, in milliseconds; 300 if unset.")
    ] = None
    detect_multiplier: Annotated[
        int | None, Doc(description="How many packets may be missed before the path counts as dead; 3 if unset.")
    ] = None
    echo_interval: Annotated[
        int | None, Doc(description="Least time between echo packets, in milliseconds; 50 if unset.")
    ] = None
    echo_mode: Annotated[bool | None, Doc(description="Whether echo packets are used; not for multihop sessions.")] = (
        None
    )
    passive_mode: Annotated[bool | None, Doc(description="Whether the peer has to speak first.")] = None
    minimum_ttl: Annotated[int | None, Doc(description="Least TTL of packets of multihop sessions; 254 if unset.")] = (
        msgspec.field(default=None, name="minimumTtl")
    )


class BFDProfile(meta.Wire, frozen=True):
    """How a dead path to a BGP peer is noticed; BGPPeers name it."""

    metadata: meta.ObjectMeta
    spec: BFDProfileSpec = BFDProfileSpec()


class CommunityAlias(meta.Wire, frozen=True):
    """A name for a BGP community."""

    name: Annotated[str, Doc(description="The name that BGPAdvertisements use.")] = ""
    value: Annotated[
        str, Doc(description="high:low (0 to 65535 each) or large:global:local1:local2 (32 bits each).")
    ] = ""


class CommunitySpec(meta.Wire, frozen=True):
    """The names that are defined."""

    communities: Annotated[list[CommunityAlias] | None, Doc(description="Names and values.")] = None


class Community(meta.Wire, frozen=True):
    """Names for BGP communities, which BGPAdvertisements may use in place of numbers."""

    metadata: meta.ObjectMeta
    spec: CommunitySpec = CommunitySpec()


class ServiceBGPStatusStatus(meta.Wire, frozen=True):
    """Which peers are told of the Service."""

    node: Annotated[str, Doc(description="The node that advertises.")] = ""
    service_name: Annotated[str, Doc(description="Name of the Service.")] = ""
    service_namespace: Annotated[str, Doc(description="Namespace of the Service.")] = ""
    peers: Annotated[list[str] | None, Doc(description="Names of the BGPPeers that were told.")] = None


class ServiceBGPStatus(meta.Wire, frozen=True):
    """Which peers a node told how to reach a Service; written by that node's speaker."""

    metadata: meta.ObjectMeta
    status: ServiceBGPStatusStatus = ServiceBGPStatusStatus()


class ConfigurationStateStatus(meta.Wire, frozen=True):
    """What the component makes of the configuration."""

    result: Annotated[str, Doc(description="Valid, Invalid or Unknown.")] = ""
    error_summary: Annotated[str, Doc(description="What is wrong, one line a message.")] = ""
    conditions: Annotated[list[meta.Condition] | None, Doc(description="What each part of the component says.")] = None


class ConfigurationState(meta.Wire, frozen=True):
    """Whether the configuration is valid, as the controller or one node's speaker sees it; written by that component."""

    metadata: meta.ObjectMeta
    status: ConfigurationStateStatus = ConfigurationStateStatus()


class LegacyRequirement(meta.Wire, frozen=True):
    """One requirement on a label."""

    key: Annotated[str, Doc(description="The label that the requirement is about.")]
    operator: Annotated[str, Doc(description="How the label relates to the values.")]
    values: Annotated[list[str], Doc(description="The values.")]


class LegacySelector(meta.Wire, frozen=True):
    """A label selector of nodes; an empty one matches every node."""

    match_labels: Annotated[
        dict[str, str] | None, Doc(description="Labels that must be there, each with this value.")
    ] = None
    match_expressions: Annotated[
        list[LegacyRequirement] | None, Doc(description="Requirements that must all hold, `matchLabels` included.")
    ] = None


class BGPPeerSpec(meta.Wire, frozen=True):
    """The router, and how sessions with it are held; v1beta2 can say more."""

    my_asn: Annotated[int, Doc(description="The autonomous system of the nodes.")] = msgspec.field(name="myASN")
    peer_asn: Annotated[int, Doc(description="The autonomous system of the peer.")] = msgspec.field(name="peerASN")
    peer_address: Annotated[str, Doc(description="IP address of the peer.")]
    source_address: Annotated[str, Doc(description="IP address that the session is opened from.")] = ""
    peer_port: Annotated[int | None, Doc(description="TCP port of the peer; 0 or unset means 179.")] = None
    hold_time: Annotated[
        str | None,
        Doc(description="Hold time, such as 90s: 0s, or 3s to 65535s. Unset means three times `keepaliveTime`."),
    ] = None
    keepalive_time: Annotated[
        str | None, Doc(description="Time between keepalives, such as 30s. Unset means a third of `holdTime`.")
    ] = None
    router_id: Annotated[str, Doc(description="The BGP identifier of the node, written as an IPv4 address.")] = (
        msgspec.field(default="", name="routerID")
    )
    node_selectors: Annotated[
        list[LegacySelector] | None, Doc(description="Nodes that have a session with the peer; unset means every node.")
    ] = None
    password: Annotated[str, Doc(description="Password of the TCP session (TCP MD5), in clear.")] = ""
    bfd_profile: Annotated[
        str, Doc(description="Name of the BFDProfile by which a dead path is noticed; unset means no BFD.")
    ] = ""
    ebgp_multi_hop: Annotated[bool, Doc(description="Whether the peer is more than one hop away.")] = False

    def __repr__(self) -> str:
        return meta.repr_without(self, "password")


class BGPPeer(meta.Wire, frozen=True):
    """A router that is told over BGP how to reach the addresses of Services. Deprecated: use v1beta2."""

    metadata: meta.ObjectMeta
    spec: BGPPeerSpec
