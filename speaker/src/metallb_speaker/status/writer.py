"""Write the status objects of this node, of one kind; one key, one Service.

The plan is made from what the informer shows, so a write that failed halfway is completed by the next pass, and one that is already done is not
repeated. An object is created without status, as the API demands, and filled by a patch.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from metallb_core.api import meta
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import errors, ownership, resources, store
from metallb_speaker.status import objects, plan

BY_SERVICE = "service"

W = TypeVar("W", bound=resources.Object)
S = TypeVar("S")


def _service_of(status: objects.Object) -> tuple[services.ServiceKey]:
    return (objects.service_of(status),)


class Writer(Generic[W, S]):
    """See the module.

    - `owner`: this speaker's Pod, so that the objects go with it.
    - `make(metadata)`: a new object; `decide(key, observed)`: what is to be done; `body(status)`: a status as a merge patch.
    """

    def __init__(
        self,
        client: clients.Client,
        resource: resources.Resource[W, tuple[str, str], W],
        *,
        namespace: str,
        node: str,
        owner: ownership.Owner,
        observed: store.Store[tuple[str, str], W],
        make: Callable[[meta.ObjectMeta], meta.Wire],
        decide: Callable[[services.ServiceKey, tuple[W, ...]], plan.Plan[S]],
        body: Callable[[S], dict[str, object]],
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._node = node
        self._owner = owner
        self._observed = observed
        self._observed.index(BY_SERVICE, _service_of)
        self._make = make
        self._decide = decide
        self._body = body

    async def write(self, key: services.ServiceKey) -> None:
        """Make the objects of `key` true. Raises ApiError and Unreachable, to be tried again."""
        todo = self._decide(key, self._observed.by_index(BY_SERVICE, key))
        if not todo:
            return
        await asyncio.gather(*(self._client.delete(self._resource, name, self._namespace) for name in todo.delete))
        if todo.create is not None:
            await self._create(key, todo.create)
        if todo.write is not None:
            name, said = todo.write
            await self._client.merge_patch(
                self._resource, name, self._namespace, {"status": self._body(said)}, subresource="status"
            )

    async def _create(self, key: services.ServiceKey, name: str) -> None:
        made = self._make(objects.metadata_of(name, self._namespace, key, self._node, await self._owner()))
        try:
            await self._client.create(self._resource, made, self._namespace)
        except errors.ApiError as error:
            if not error.already_exists:
                raise
