"""The kinds we read and write: where the API keeps them, how they decode, and what the domain calls them.

The key of a namespaced object is (namespace, name), of a cluster-scoped one its name; a Service's key is the domain's own ServiceKey.
"""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from metallb_core.api import coordination, events, kubernetes, meta, reviews, v1beta1, v1beta2, webhooks, workloads
from metallb_core.domain import endpoints, namespaces, nodes, services


class Object(Protocol):
    """What every decoded object has."""

    @property
    def metadata(self) -> meta.ObjectMeta:
        """Its name and version."""
        ...


Wire = TypeVar("Wire", bound=Object)
Key = TypeVar("Key", bound=Hashable)
Obj = TypeVar("Obj")


class NamespacedName(NamedTuple):
    """The key of a namespaced object. Stores are typed by the plain pair, which it is, so that callers may look up with one."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[Wire, Key, Obj]):
    """One kind. `convert` makes what stores hold of what the server sends; `key` finds the key in it, `identify` makes one of its parts."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    wire: type[Wire]
    convert: Callable[[Wire], Obj]
    key: Callable[[Obj], Key]
    identify: Callable[[str, str], Key]

    @property
    def api_version(self) -> str:
        """`group/version`, or `version` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def label(self) -> str:
        """For messages and metrics: `plural` or `plural.group`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of the collection, or of one object. No namespace means all of them. Raises ValueError if it cannot name one object."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace:
            if not self.namespaced:
                raise ValueError(f"{self.label} is not namespaced, got namespace {namespace!r}")
            parts += ["namespaces", namespace]
        elif self.namespaced and name:
            raise ValueError(f"{self.label} {name!r} needs a namespace")
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


def _unchanged(wire: Wire) -> Wire:
    return wire


def _name_of(wire: Object) -> str:
    return wire.metadata.name


def _namespaced_name_of(wire: Object) -> tuple[str, str]:
    return NamespacedName(wire.metadata.namespace, wire.metadata.name)


def _namespaced_name(namespace: str, name: str) -> tuple[str, str]:
    return NamespacedName(namespace, name)


def _name(_namespace: str, name: str) -> str:
    return name


def namespaced(
    wire: type[Wire], group: str, version: str, plural: str, kind: str
) -> Resource[Wire, tuple[str, str], Wire]:
    """A namespaced kind that is kept as it comes."""
    return Resource(
        group=group,
        version=version,
        plural=plural,
        kind=kind,
        namespaced=True,
        wire=wire,
        convert=_unchanged,
        key=_namespaced_name_of,
        identify=_namespaced_name,
    )


def cluster_scoped(wire: type[Wire], group: str, version: str, plural: str, kind: str) -> Resource[Wire, str, Wire]:
    """A cluster-scoped kind that is kept as it comes."""
    return Resource(
        group=group,
        version=version,
        plural=plural,
        kind=kind,
        namespaced=False,
        wire=wire,
        convert=_unchanged,
        key=_name_of,
        identify=_name,
    )


def _service_key(service: services.Service) -> services.ServiceKey:
    return service.key


def _node_name(node: nodes.Node) -> str:
    return node.name


def _namespace_name(namespace: namespaces.Namespace) -> str:
    return namespace.name


def _slice_key(piece: endpoints.EndpointSlice) -> tuple[str, str]:
    return NamespacedName(piece.namespace, piece.name)


SERVICES: Final = Resource(
    group="",
    version="v1",
    plural="services",
    kind="Service",
    namespaced=True,
    wire=kubernetes.Service,
    convert=kubernetes.service,
    key=_service_key,
    identify=services.ServiceKey,
)
# For who writes conditions; others do without that text.
SERVICES_WITH_CONDITIONS: Final = dataclasses.replace(SERVICES, convert=kubernetes.service_with_conditions)
NODES: Final = Resource(
    group="",
    version="v1",
    plural="nodes",
    kind="Node",
    namespaced=False,
    wire=kubernetes.Node,
    convert=kubernetes.node,
    key=_node_name,
    identify=_name,
)
NAMESPACES: Final = Resource(
    group="",
    version="v1",
    plural="namespaces",
    kind="Namespace",
    namespaced=False,
    wire=kubernetes.Namespace,
    convert=kubernetes.namespace,
    key=_namespace_name,
    identify=_name,
)
ENDPOINT_SLICES: Final = Resource(
    group="discovery.k8s.io",
    version="v1",
    plural="endpointslices",
    kind="EndpointSlice",
    namespaced=True,
    wire=kubernetes.EndpointSlice,
    convert=kubernetes.endpoint_slice,
    key=_slice_key,
    identify=_namespaced_name,
)
IP_ADDRESS_POOLS: Final = namespaced(
    v1beta1.IPAddressPool, v1beta1.GROUP, v1beta1.VERSION, "ipaddresspools", "IPAddressPool"
)
L2_ADVERTISEMENTS: Final = namespaced(
    v1beta1.L2Advertisement, v1beta1.GROUP, v1beta1.VERSION, "l2advertisements", "L2Advertisement"
)
SERVICE_L2_STATUSES: Final = namespaced(
    v1beta1.ServiceL2Status, v1beta1.GROUP, v1beta1.VERSION, "servicel2statuses", "ServiceL2Status"
)
BGP_PEERS: Final = namespaced(v1beta2.BGPPeer, v1beta1.GROUP, v1beta2.VERSION, "bgppeers", "BGPPeer")
BGP_ADVERTISEMENTS: Final = namespaced(
    v1beta1.BGPAdvertisement, v1beta1.GROUP, v1beta1.VERSION, "bgpadvertisements", "BGPAdvertisement"
)
BFD_PROFILES: Final = namespaced(v1beta1.BFDProfile, v1beta1.GROUP, v1beta1.VERSION, "bfdprofiles", "BFDProfile")
COMMUNITIES: Final = namespaced(v1beta1.Community, v1beta1.GROUP, v1beta1.VERSION, "communities", "Community")
SERVICE_BGP_STATUSES: Final = namespaced(
    v1beta1.ServiceBGPStatus, v1beta1.GROUP, v1beta1.VERSION, "servicebgpstatuses", "ServiceBGPStatus"
)
CONFIGURATION_STATES: Final = namespaced(
    v1beta1.ConfigurationState, v1beta1.GROUP, v1beta1.VERSION, "configurationstates", "ConfigurationState"
)
# What users write, in the order of what names what.
CONFIGURATION: Final[tuple[Resource[Any, Any, Any], ...]] = (
    IP_ADDRESS_POOLS,
    L2_ADVERTISEMENTS,
    BGP_ADVERTISEMENTS,
    BGP_PEERS,
    BFD_PROFILES,
    COMMUNITIES,
)
PODS: Final = namespaced(workloads.Pod, "", "v1", "pods", "Pod")
SECRETS: Final = namespaced(workloads.Secret, "", "v1", "secrets", "Secret")
DEPLOYMENTS: Final = namespaced(workloads.Deployment, "apps", "v1", "deployments", "Deployment")
EVENTS: Final = namespaced(events.Event, "", "v1", "events", "Event")
LEASES: Final = namespaced(coordination.Lease, "coordination.k8s.io", "v1", "leases", "Lease")
TOKEN_REVIEWS: Final = cluster_scoped(reviews.TokenReview, "authentication.k8s.io", "v1", "tokenreviews", "TokenReview")
SUBJECT_ACCESS_REVIEWS: Final = cluster_scoped(
    reviews.SubjectAccessReview, "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview"
)
VALIDATING_WEBHOOKS: Final = cluster_scoped(
    webhooks.ValidatingWebhookConfiguration,
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
)
CLUSTER_ROLES: Final = cluster_scoped(
    webhooks.ClusterRole, "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole"
)
