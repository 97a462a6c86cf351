"""HTTPS for the API server's questions: HTTP/1.1, one path for each kind.

The store of the incoming object's own kind may be a moment behind, and two pools that overlap are often written within a moment; so that
kind is asked for anew. The others come from the stores: what they lack is at most a reference that is about to appear, which is only warned
of.
"""

import contextlib
import dataclasses
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from aiohttp import web

from metallb_controller.admission import kinds, review
from metallb_core.api import admission
from metallb_core.config import compiled
from metallb_core.kube import client as clients
from metallb_core.kube import errors, resources
from metallb_core.runtime import log

PORT: Final = 9443
# A question holds the object twice at most, and an object has at most 1.5 MiB in etcd.
LARGEST_BYTES: Final = 8 * 2**20
# How long what was being answered may take when the server stops.
_DRAIN_SECONDS: Final = 2.0
_LOG: Final = log.get("webhook")
_RESOURCES: Final = {each.kind: each for each in resources.CONFIGURATION}


class Answering:
    """What answers. `known` gives the objects of all kinds as the stores have them."""

    def __init__(self, client: clients.Client, namespace: str, known: Callable[[], compiled.Resources]) -> None:
        self._client = client
        self._namespace = namespace
        self._known = known
        self._leaving = False

    def leave(self) -> None:
        """Answer each connection once more, then close it: an API server keeps connections by the Service's name, and would go on using it."""
        self._leaving = True

    def application(self) -> web.Application:
        """One route for each kind."""
        app = web.Application(client_max_size=LARGEST_BYTES)
        for kind in kinds.ALL:
            app.router.add_post(kind.path, self._handler(kind))
        return app

    def _handler(self, kind: kinds.Kind) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            try:
                asked = admission.parse(await request.read())
            except admission.UnreadableError as error:
                return web.Response(status=400, text=f"{error}\n")
            # Whether a BFDProfile may go is up to the peers.
            asked_for = kinds.BY_NAME["BGPPeer"] if asked.operation == "DELETE" else kind
            answer = review.answer(asked, kind, await self._existing(asked_for), self._namespace)
            response = answer.response
            if response is not None and not response.allowed:
                _LOG.info("refused", kind=kind.name, name=asked.name, namespace=asked.namespace, review=response.status)
            said = web.Response(body=admission.serialise(answer), content_type="application/json")
            if self._leaving:
                said.force_close()
            return said

        return handle

    async def _existing(self, kind: kinds.Kind) -> compiled.Resources:
        found: list[Any] = []
        try:
            async for page in self._client.list(_RESOURCES[kind.name], self._namespace):
                found += page.items
        except (errors.ApiError, errors.Unreachable) as error:
            _LOG.warn("answering from what is known: the API server could not be asked", kind=kind.name, problem=error)
            return self._known()
        return dataclasses.replace(self._known(), **{kind.field: tuple(found)})


@contextlib.asynccontextmanager
async def serve(app: web.Application, context: ssl.SSLContext, *, port: int, address: str | None) -> AsyncIterator[int]:
    """Serve while the context lasts; on all addresses if none is given. Gives the port. Raises OSError (port in use)."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_DRAIN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port, ssl_context=context, reuse_address=True)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
