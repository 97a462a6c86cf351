"""Who owns what a pod writes, so that Kubernetes removes it once the pod is gone: the pod itself.

- A manifest gives the pod its UID by the downward API (`metadata.uid`). Where it does not, the API server is asked when the first object is
  written. While it does not answer the write fails, and whoever writes tries again anyway.
- A pod that may not be read, or is not there, owns nothing for a while: an object without an owner is better than none. An API server that has
  just started refuses what it is about to allow, so it is asked again.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from metallb_core.api import meta
from metallb_core.kube import client as clients
from metallb_core.kube import errors, resources
from metallb_core.runtime import clock, log

ASK_AGAIN_SECONDS: Final = 60.0

Owner = Callable[[], Awaitable[meta.OwnerReference | None]]
"""The owner of the next object, None for none. Raises ApiError, Unreachable: not known yet."""


async def nobody() -> None:
    """The owner of objects that stay."""


class Pod:
    """See the module. An `Owner`. `name` empty: the pod is not known, and owns nothing."""

    def __init__(
        self,
        client: clients.Client,
        clock: clock.Clock,
        *,
        namespace: str,
        name: str,
        uid: str,
        logger: log.Logger,
    ) -> None:
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._name = name
        self._uid = uid
        self._log = logger
        self._ask_at = float("-inf")

    async def __call__(self) -> meta.OwnerReference | None:
        if self._name and not self._uid and self._clock.monotonic() >= self._ask_at:
            await self._ask()
        if not self._name or not self._uid:
            return None
        return meta.OwnerReference(api_version="v1", kind="Pod", name=self._name, uid=self._uid)

    async def _ask(self) -> None:
        try:
            self._uid = (await self._client.get(resources.PODS, self._name, self._namespace)).metadata.uid
        except errors.ApiError as error:
            if not (error.forbidden or error.not_found):
                raise
            self._ask_at = self._clock.monotonic() + ASK_AGAIN_SECONDS
            self._log.warn("cannot read the own pod; what is written now has no owner", pod=self._name, error=error)
