"""Write the ServiceL2Status objects of this node; one key, one Service.

The plan is made from what the informer shows, so a write that failed halfway is completed by the next pass, and one that is already done is not
repeated. An object is created without status, as the API demands, and filled by a patch.
"""

import asyncio
from collections.abc import Callable

from metallb_core.announcement import layer2
from metallb_core.api import meta, v1beta1
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import errors, resources, store
from metallb_speaker.status import plan

BY_SERVICE = "service"


def _service_of(status: v1beta1.ServiceL2Status) -> tuple[services.ServiceKey]:
    return (plan.service_of(status),)


class Writer:
    """See the module. `owner`: this speaker's Pod, so that the objects go with it."""

    def __init__(
        self,
        client: clients.Client,
        *,
        namespace: str,
        node: str,
        owner: meta.OwnerReference | None,
        observed: store.Store[tuple[str, str], v1beta1.ServiceL2Status],
        announced: Callable[[services.ServiceKey], layer2.Announcement | None],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._node = node
        self._owner = owner
        self._observed = observed
        self._observed.index(BY_SERVICE, _service_of)
        self._announced = announced

    async def write(self, key: services.ServiceKey) -> None:
        """Make the objects of `key` true. Raises ApiError and Unreachable, to be tried again."""
        found = self._observed.by_index(BY_SERVICE, key)
        todo = plan.plan(key, self._announced(key), found, self._node)
        if not todo:
            return
        await asyncio.gather(
            *(self._client.delete(resources.SERVICE_L2_STATUSES, name, self._namespace) for name in todo.delete)
        )
        if todo.create is not None:
            await self._create(key, todo.create)
        if todo.write is not None:
            name, said = todo.write
            # A merge patch: null removes the interfaces of an earlier announcement.
            body = {
                "status": {
                    "node": said.node,
                    "serviceName": said.service_name,
                    "serviceNamespace": said.service_namespace,
                    "interfaces": [{"name": interface.name} for interface in said.interfaces]
                    if said.interfaces
                    else None,
                }
            }
            await self._client.merge_patch(
                resources.SERVICE_L2_STATUSES, name, self._namespace, body, subresource="status"
            )

    async def _create(self, key: services.ServiceKey, name: str) -> None:
        body = v1beta1.ServiceL2Status(
            metadata=meta.ObjectMeta(
                name=name,
                namespace=self._namespace,
                labels=plan.labels_of(key, self._node),
                owner_references=[self._owner] if self._owner else None,
            )
        )
        try:
            await self._client.create(resources.SERVICE_L2_STATUSES, body, self._namespace)
        except errors.ApiError as error:
            if not error.already_exists:
                raise
