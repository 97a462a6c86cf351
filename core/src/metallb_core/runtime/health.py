"""Whether the process is alive (/healthz) and whether it can do its job (/readyz), over plain HTTP.

Readiness is a list of reasons why not, by name; empty means ready. The reasons are in the answer's body, so that `kubectl describe pod` shows
them. Liveness asks nothing: the event loop answers or it does not.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

from aiohttp import web

Reasons = Callable[[], Mapping[str, str]]


def application(failing: Reasons) -> web.Application:
    """What answers. `failing` gives the names of what is not ready, each with a sentence why."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        reasons = failing()
        if not reasons:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="".join(f"{name}: {why}\n" for name, why in reasons.items()))

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app


@contextlib.asynccontextmanager
async def serve(failing: Reasons, *, port: int, address: str | None = None) -> AsyncIterator[None]:
    """Serve while the context lasts; on all addresses if none is given; port 0 serves nothing. Raises OSError (port in use)."""
    if port == 0:
        yield
        return
    runner = web.AppRunner(application(failing), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port, reuse_address=True).start()
        yield
    finally:
        await runner.cleanup()
