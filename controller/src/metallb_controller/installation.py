"""Whether this installation stands, or is being taken away: its pools go with it, and no Service should lose an address for that. Whoever is
installed next finds each with the address it had.

- `kubectl delete` of the manifest ends the namespace, and with it the pools, while the controller is still running.
- helm deletes the Deployment, then the rights, then what it knows no order for: the pools. To be refused says the same as to find no Deployment.
- What cannot be found out is asked again. After `GIVE_UP_SECONDS` of being told that there is no Deployment this process is still there, so it
  is run in some other way, and the pools are gone because somebody meant it.
"""

from collections.abc import Callable
from typing import Final

from metallb_core.kube import client as clients
from metallb_core.kube import errors, resources
from metallb_core.runtime import clock, log

LOG = log.get("controller")
ASK_AGAIN_SECONDS: Final = 1.0
GIVE_UP_SECONDS: Final = 30.0


class Installation:
    """See the module. `deployment` empty: there is none to ask for. `ending()`: whether the namespace is known to end."""

    def __init__(
        self, client: clients.Client, clock: clock.Clock, namespace: str, deployment: str, *, ending: Callable[[], bool]
    ) -> None:
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._deployment = deployment
        self.ending = ending

    async def wait_standing(self, gone: str) -> None:
        """Return once this installation is known to stand, or may be taken to; `gone` names the pools that are not there any more."""
        give_up = self._clock.monotonic() + GIVE_UP_SECONDS
        told = False
        while (why := await self._why_not()) and (self.ending() or self._clock.monotonic() < give_up):
            if not told:
                LOG.warn("pools are gone; no address is taken back for that yet", pools=gone, why=why)
                told = True
            await self._clock.sleep(ASK_AGAIN_SECONDS)

    async def _why_not(self) -> str:
        """What speaks against it; empty if nothing does."""
        if self.ending():
            return f"the namespace {self._namespace!r} is being deleted"
        if not self._deployment:
            return ""
        name = f"the Deployment {self._namespace}/{self._deployment}"
        try:
            found = await self._client.get(resources.DEPLOYMENTS, self._deployment, self._namespace)
        except (errors.ApiError, errors.Unreachable) as error:
            return f"{name} cannot be read: {error}"
        return "" if found.metadata.deletion_timestamp is None else f"{name} is being deleted"
