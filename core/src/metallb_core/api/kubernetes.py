"""The kinds of Kubernetes itself that are watched: Service, Node, Namespace (core/v1) and EndpointSlice (discovery/v1).

Conversion never fails on what the API server can hold: a value we cannot read is dropped or marked, never raised, since one odd object must
not stop the list it came in.
"""

from collections.abc import Iterable

import msgspec

from metallb_core.api import conditions, meta
from metallb_core.domain import addresses, annotations, endpoints, namespaces, nodes, services
from metallb_core.domain import conditions as domain_conditions

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


class ServicePort(meta.Wire, frozen=True):
    port: int
    protocol: str = "TCP"


class ServiceSpec(meta.Wire, frozen=True):
    type: str = "ClusterIP"
    selector: dict[str, str] | None = None
    ports: list[ServicePort] | None = None
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: list[str] | None = msgspec.field(default=None, name="clusterIPs")
    ip_families: list[str] | None = None
    ip_family_policy: str | None = None
    external_traffic_policy: str = ""
    load_balancer_ip: str = msgspec.field(default="", name="loadBalancerIP")
    load_balancer_class: str | None = None


class LoadBalancerIngress(meta.Wire, frozen=True):
    ip: str = ""
    hostname: str = ""


class LoadBalancerStatus(meta.Wire, frozen=True):
    ingress: list[LoadBalancerIngress] | None = None


class ServiceStatus(meta.Wire, frozen=True):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()
    conditions: list[meta.Condition] | None = None


class Service(meta.Wire, frozen=True):
    metadata: meta.ObjectMeta
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class NodeCondition(meta.Wire, frozen=True):
    type: str
    status: str


class NodeStatus(meta.Wire, frozen=True):
    conditions: list[NodeCondition] | None = None


class Taint(meta.Wire, frozen=True):
    key: str


class NodeSpec(meta.Wire, frozen=True):
    taints: list[Taint] | None = None


class Node(meta.Wire, frozen=True):
    metadata: meta.ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class Namespace(meta.Wire, frozen=True):
    metadata: meta.ObjectMeta


class EndpointConditions(meta.Wire, frozen=True):
    ready: bool | None = None
    serving: bool | None = None


class Endpoint(meta.Wire, frozen=True):
    node_name: str | None = None
    conditions: EndpointConditions = EndpointConditions()


class EndpointSlice(meta.Wire, frozen=True):
    metadata: meta.ObjectMeta
    endpoints: list[Endpoint] | None = None


def _readable(texts: Iterable[str]) -> tuple[addresses.Address, ...]:
    found = []
    for text in texts:
        try:
            found.append(addresses.Address.parse(text))
        except addresses.AddressError:
            continue  # "None" of a headless Service, or an empty string.
    return tuple(found)


def _families(names: Iterable[str]) -> tuple[addresses.Family, ...]:
    known = {"IPv4": addresses.Family.IPV4, "IPv6": addresses.Family.IPV6}
    return tuple(known[name] for name in names if name in known)


def service_with_conditions(wire: Service) -> services.Service:
    """The domain's view of a Service, with our conditions."""
    return service(wire, conditions.read(wire.status.conditions, annotations.PREFIX))


def service(wire: Service, told: tuple[domain_conditions.Condition, ...] = ()) -> services.Service:
    """The domain's view of a Service. Its conditions are for who writes them: to others they are a kilobyte of text."""
    metadata, spec = wire.metadata, wire.spec
    ingress = wire.status.load_balancer.ingress or []
    readable = _readable(entry.ip for entry in ingress)
    policy = spec.ip_family_policy or services.FamilyPolicy.SINGLE_STACK.value
    return services.Service(
        key=services.ServiceKey(metadata.namespace, metadata.name),
        uid=metadata.uid,
        created=metadata.creation_timestamp or "",
        resource_version=metadata.resource_version,
        is_load_balancer=spec.type == "LoadBalancer",
        load_balancer_class=spec.load_balancer_class,
        load_balancer_ip=spec.load_balancer_ip,
        cluster_ips=_readable(spec.cluster_ips or [spec.cluster_ip]),
        families=_families(spec.ip_families or ()),
        family_policy=services.FamilyPolicy(policy),
        traffic_policy=services.TrafficPolicy(spec.external_traffic_policy or "Cluster"),
        selector=tuple(sorted((spec.selector or {}).items())),
        ports=tuple(services.Port(port.protocol, port.port) for port in spec.ports or ()),
        labels=metadata.labels or {},
        annotations={
            key: value for key, value in (metadata.annotations or {}).items() if key.startswith(annotations.PREFIXES)
        },
        ingress=readable,
        ingress_extra=len(readable) != len(ingress),
        deleting=metadata.deletion_timestamp is not None,
        conditions=told,
    )


def node(wire: Node) -> nodes.Node:
    """The domain's view of a Node."""
    unavailable = any(
        condition.type == "NetworkUnavailable" and condition.status == "True"
        for condition in wire.status.conditions or ()
    )
    return nodes.Node(
        name=wire.metadata.name,
        labels=wire.metadata.labels or {},
        network_unavailable=unavailable,
        taints=frozenset(taint.key for taint in wire.spec.taints or ()),
    )


def namespace(wire: Namespace) -> namespaces.Namespace:
    """The domain's view of a Namespace."""
    return namespaces.Namespace(
        name=wire.metadata.name,
        labels=wire.metadata.labels or {},
        deleting=wire.metadata.deletion_timestamp is not None,
    )


def endpoint_slice(wire: EndpointSlice) -> endpoints.EndpointSlice:
    """The domain's view of an EndpointSlice; one without the Service label belongs to a Service of empty name."""
    owner = (wire.metadata.labels or {}).get(SERVICE_NAME_LABEL, "")
    return endpoints.EndpointSlice(
        namespace=wire.metadata.namespace,
        name=wire.metadata.name,
        service=services.ServiceKey(wire.metadata.namespace, owner),
        endpoints=tuple(
            endpoints.Endpoint(
                node=endpoint.node_name or "",
                can_serve=endpoint.conditions.ready is not False or endpoint.conditions.serving is True,
            )
            for endpoint in wire.endpoints or ()
        ),
    )
