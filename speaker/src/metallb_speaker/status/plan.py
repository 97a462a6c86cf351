"""PURE. What to do to the ServiceL2Status objects of one Service so that they say what this node announces.

- Each node writes one object for each Service it announces, under a name derived from both, so that writing twice is harmless; the announcing
  node also deletes what others left behind (a dead node cannot clean up after itself).
- A node that does not announce deletes its own object only.
- Nothing is written when the object already says so.
"""

import dataclasses
from collections.abc import Iterable
from typing import Generic, TypeVar

from metallb_core.announcement import layer2
from metallb_core.api import v1beta1
from metallb_core.domain import services
from metallb_speaker.status import objects

S = TypeVar("S")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[S]):
    """Effects in order: delete by name, create by name if set, then write the status of `write`."""

    delete: tuple[str, ...] = ()
    create: str | None = None
    write: tuple[str, S] | None = None

    def __bool__(self) -> bool:
        return bool(self.delete or self.create or self.write)


def plan(
    key: services.ServiceKey,
    announcement: layer2.Announcement | None,
    observed: Iterable[v1beta1.ServiceL2Status],
    node: str,
) -> Plan[v1beta1.ServiceL2StatusStatus]:
    """What makes the objects `observed` for Service `key` say that `node` announces `announcement` (None: it does not)."""
    known = list(observed)
    own = sorted((found for found in known if objects.node_of(found) == node), key=lambda found: found.metadata.name)
    if announcement is None:
        return Plan(delete=tuple(found.metadata.name for found in own))
    wanted = v1beta1.ServiceL2StatusStatus(
        node=node,
        service_name=key.name,
        service_namespace=key.namespace,
        interfaces=[v1beta1.InterfaceInfo(name=name) for name in sorted(announcement.interfaces)] or None,
    )
    kept = own[0] if own else None
    delete = tuple(found.metadata.name for found in known if found is not kept)
    if kept is None:
        name = objects.name_of(objects.LAYER2_PREFIX, key, node)
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


def body(said: v1beta1.ServiceL2StatusStatus) -> dict[str, object]:
    """The status as a merge patch: null removes the interfaces of an earlier announcement."""
    return {
        "node": said.node,
        "serviceName": said.service_name,
        "serviceNamespace": said.service_namespace,
        "interfaces": [{"name": interface.name} for interface in said.interfaces] if said.interfaces else None,
    }
