"""How status objects are found again: by labels for users and other speakers, by a name derived from what they are about.

One object says something of one Service and one node. Its name is the same whoever computes it, so that writing twice is harmless. PURE.
"""

import hashlib
from typing import Protocol

from metallb_core.api import meta
from metallb_core.domain import services

NODE_LABEL = "metallb.io/node"
SERVICE_NAME_LABEL = "metallb.io/service-name"
SERVICE_NAMESPACE_LABEL = "metallb.io/service-namespace"

LAYER2_PREFIX = "l2-"
BGP_PREFIX = "bgp-"


class Object(Protocol):
    """A status object of either kind."""

    @property
    def metadata(self) -> meta.ObjectMeta:
        """Its name and labels."""
        ...


def name_of(prefix: str, key: services.ServiceKey, node: str) -> str:
    """The name of the object in which `node` speaks of `key`."""
    digest = hashlib.sha256(f"{key.namespace}/{key.name}#{node}".encode()).hexdigest()
    return f"{prefix}{digest[:10]}"


def labels_of(key: services.ServiceKey, node: str) -> dict[str, str]:
    """The labels by which it is found."""
    return {NODE_LABEL: node, SERVICE_NAME_LABEL: key.name, SERVICE_NAMESPACE_LABEL: key.namespace}


def service_of(status: Object) -> services.ServiceKey:
    """The Service an object is about; its labels say so from the moment it exists."""
    labels = status.metadata.labels or {}
    return services.ServiceKey(labels.get(SERVICE_NAMESPACE_LABEL, ""), labels.get(SERVICE_NAME_LABEL, ""))


def node_of(status: Object) -> str:
    """The node an object is about."""
    return (status.metadata.labels or {}).get(NODE_LABEL, "")


def metadata_of(
    name: str, namespace: str, key: services.ServiceKey, node: str, owner: meta.OwnerReference | None
) -> meta.ObjectMeta:
    """The metadata of a new object; it goes with `owner`, the speaker's Pod."""
    return meta.ObjectMeta(
        name=name, namespace=namespace, labels=labels_of(key, node), owner_references=[owner] if owner else None
    )
