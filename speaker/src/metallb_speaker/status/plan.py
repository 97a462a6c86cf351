"""PURE. What to do to the ServiceL2Status objects of one Service so that they say what this node announces.

- Each node writes one object for each Service it announces, under a name derived from both, so that writing twice is harmless; the announcing
  node also deletes what others left behind (a dead node cannot clean up after itself).
- A node that does not announce deletes its own object only.
- Nothing is written when the object already says so.
"""

import dataclasses
import hashlib
from collections.abc import Iterable

from metallb_core.announcement import layer2
from metallb_core.api import v1beta1
from metallb_core.domain import services

NODE_LABEL = "metallb.io/node"
SERVICE_NAME_LABEL = "metallb.io/service-name"
SERVICE_NAMESPACE_LABEL = "metallb.io/service-namespace"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Effects in order: delete by name, create by name if set, then write the status of `write`."""

    delete: tuple[str, ...] = ()
    create: str | None = None
    write: tuple[str, v1beta1.ServiceL2StatusStatus] | None = None

    def __bool__(self) -> bool:
        return bool(self.delete or self.create or self.write)


def name_of(key: services.ServiceKey, node: str) -> str:
    """The name of the object in which `node` says that it announces `key`."""
    digest = hashlib.sha256(f"{key.namespace}/{key.name}#{node}".encode()).hexdigest()
    return f"l2-{digest[:10]}"


def labels_of(key: services.ServiceKey, node: str) -> dict[str, str]:
    """The labels by which users and other speakers find the object."""
    return {NODE_LABEL: node, SERVICE_NAME_LABEL: key.name, SERVICE_NAMESPACE_LABEL: key.namespace}


def service_of(status: v1beta1.ServiceL2Status) -> services.ServiceKey:
    """The Service an object is about; its labels say so from the moment it exists."""
    labels = status.metadata.labels or {}
    return services.ServiceKey(labels.get(SERVICE_NAMESPACE_LABEL, ""), labels.get(SERVICE_NAME_LABEL, ""))


def node_of(status: v1beta1.ServiceL2Status) -> str:
    """The node an object is about."""
    return (status.metadata.labels or {}).get(NODE_LABEL, "")


def plan(
    key: services.ServiceKey,
    announcement: layer2.Announcement | None,
    observed: Iterable[v1beta1.ServiceL2Status],
    node: str,
) -> Plan:
    """What makes the objects `observed` for Service `key` say that `node` announces `announcement` (None: it does not)."""
    objects = list(observed)
    own = sorted((found for found in objects if node_of(found) == node), key=lambda found: found.metadata.name)
    if announcement is None:
        return Plan(delete=tuple(found.metadata.name for found in own))
    wanted = v1beta1.ServiceL2StatusStatus(
        node=node,
        service_name=key.name,
        service_namespace=key.namespace,
        interfaces=[v1beta1.InterfaceInfo(name=name) for name in sorted(announcement.interfaces)] or None,
    )
    kept = own[0] if own else None
    delete = tuple(found.metadata.name for found in objects if found is not kept)
    if kept is None:
        name = name_of(key, node)
        return Plan(delete=delete, create=name, write=(name, wanted))
    said = kept.status
    same = (said.node, said.service_name, said.service_namespace) == (
        wanted.node,
        wanted.service_name,
        wanted.service_namespace,
    )
    if same and sorted(i.name for i in said.interfaces or ()) == sorted(announcement.interfaces):
        return Plan(delete=delete)
    return Plan(delete=delete, write=(kept.metadata.name, wanted))
