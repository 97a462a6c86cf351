"""The kinds of `metallb.io/v1beta1` in use: IPAddressPool, L2Advertisement, ServiceL2Status.

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
