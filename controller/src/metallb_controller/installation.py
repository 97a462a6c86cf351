"""Whether this installation stands, or is being taken away: its pools go with it, and no Service should lose an address for that. Whoever is
installed next finds each with the address it had.

- `kubectl delete` of the manifest ends the namespace, and with it the pools, while the controller is still running.
- helm deletes the Deployment, then the rights, then what it knows no order for: the pools. To be refused says the same as to find no Deployment.
- What cannot be found out is asked again. Where there is no Deployment for `GIVE_UP_SECONDS`, and this process is still there, it is run in some
  other way, and the pools are gone because somebody meant it.
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
        self._stands = False
        self._ask_at = float("-inf")
        self._missing_since: float | None = None
        self._told = ""

    async def stands(self) -> bool:
        """Whether it is known to stand, or may be taken to. Of many askers within `ASK_AGAIN_SECONDS` one asks the API server."""
        if self.ending() or not self._deployment:
            return not self.ending()
        now = self._clock.monotonic()
        if now >= self._ask_at:
            if now - self._ask_at >= GIVE_UP_SECONDS:
                # Nobody has asked for so long: what was refused then says nothing of the time between.
                self._missing_since = None
            self._ask_at, self._stands = now + ASK_AGAIN_SECONDS, False
            why = await self._why_not()
            self._stands = not why
            if why and why != self._told:
                LOG.warn("pools are gone; no address is taken back for that while this may be a removal", why=why)
            self._told = why
        return self._stands

    async def _why_not(self) -> str:
        """What speaks against it; empty if nothing does."""
        name = f"the Deployment {self._namespace}/{self._deployment}"
        try:
            found = await self._client.get(resources.DEPLOYMENTS, self._deployment, self._namespace)
        except (errors.ApiError, errors.Unreachable) as error:
            if isinstance(error, errors.ApiError) and (error.not_found or error.forbidden or error.unauthorized):
                now = self._clock.monotonic()
                self._missing_since = now if self._missing_since is None else self._missing_since
                if now - self._missing_since >= GIVE_UP_SECONDS:
                    return ""
            return f"{name} cannot be read: {error}"
        self._missing_since = None
        return "" if found.metadata.deletion_timestamp is None else f"{name} is being deleted"
