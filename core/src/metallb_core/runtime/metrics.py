"""Metrics in Prometheus' format, over HTTPS, for whoever the gatekeeper lets in.

- A registry is a value, not a global: tests make their own, and a process has one.
- Callers keep the child of a labelled metric; looking it up costs three times what counting costs.
- The page is rendered when asked for, on the event loop: ten thousand series take about 0.1 s, so series for each object belong to processes
  that have no deadline to meet.
"""

import asyncio
import contextlib
import enum
import pathlib
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

import prometheus_client
from aiohttp import web
from prometheus_client import exposition

from metallb_core.runtime import clock, tls

PATH: Final = "/metrics"


class Verdict(enum.Enum):
    """What a gatekeeper says."""

    ALLOWED = 200
    UNKNOWN_TOKEN = 401
    FORBIDDEN = 403
    # Whom it asks does not answer.
    UNDECIDED = 503


class Gatekeeper(Protocol):
    """Decides who may read."""

    async def review(self, token: str, path: str, verb: str) -> Verdict:
        """Whether the owner of a bearer token may do `verb` on `path`."""
        ...


class Registry:
    """The metrics of one process, with those of the process and the interpreter themselves."""

    def __init__(self, *, process: bool = True) -> None:
        self.collectors = prometheus_client.CollectorRegistry()
        if process:
            prometheus_client.ProcessCollector(registry=self.collectors)
            prometheus_client.PlatformCollector(registry=self.collectors)
            prometheus_client.GCCollector(registry=self.collectors)

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> prometheus_client.Counter:  # noqa: A002
        """A number that only grows; `name` with its `_total` or without, it is shown with."""
        return prometheus_client.Counter(name, help, labels, registry=self.collectors)

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> prometheus_client.Gauge:  # noqa: A002
        """A number that goes up and down."""
        return prometheus_client.Gauge(name, help, labels, registry=self.collectors)

    def histogram(
        self,
        name: str,
        help: str,  # noqa: A002
        labels: Sequence[str] = (),
        buckets: Sequence[float] = prometheus_client.Histogram.DEFAULT_BUCKETS,
    ) -> prometheus_client.Histogram:
        """How numbers (seconds, mostly) are spread."""
        return prometheus_client.Histogram(name, help, labels, buckets=buckets, registry=self.collectors)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The page in the format that `accept` asks for, and its content type."""
        encoder, content_type = exposition.choose_encoder(accept)
        return encoder(self.collectors), content_type


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def application(registry: Registry, gatekeeper: Gatekeeper | None) -> web.Application:
    """What answers. Without a gatekeeper everybody may read."""

    async def answer(request: web.Request) -> web.Response:
        if gatekeeper is not None:
            token = _bearer(request)
            verdict = Verdict.UNKNOWN_TOKEN if token is None else await gatekeeper.review(token, PATH, "get")
            if verdict is not Verdict.ALLOWED:
                headers = {"WWW-Authenticate": "Bearer"} if verdict is Verdict.UNKNOWN_TOKEN else {}
                return web.Response(status=verdict.value, text=_EXPLANATIONS[verdict], headers=headers)
        body, content_type = registry.render(request.headers.get("Accept", ""))
        response = web.Response(body=body, headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    app = web.Application()
    app.router.add_get(PATH, answer)
    return app


_EXPLANATIONS: Final = {
    Verdict.UNKNOWN_TOKEN: "a bearer token that the API server knows is needed\n",
    Verdict.FORBIDDEN: f"this token's owner may not get the non-resource URL {PATH}\n",
    Verdict.UNDECIDED: "the API server could not be asked whether this token may read\n",
}


@contextlib.asynccontextmanager
async def serve(
    registry: Registry,
    *,
    port: int,
    address: str | None = None,
    gatekeeper: Gatekeeper | None,
    options: tls.Options,
    certificates: pathlib.Path | None,
    clock: clock.Clock,
) -> AsyncIterator[tls.CertificateFiles | None]:
    """Serve /metrics over HTTPS while the context lasts; on all addresses if none is given; port 0 serves nothing.

    Gives the certificate files to keep current, if there are any. Raises InvalidTLSError, OSError (port in use).
    """
    if port == 0:
        yield None
        return
    context = tls.server_context(options)
    files = None
    if certificates is not None:
        files = tls.CertificateFiles(certificates, context)
        files.load()
    else:
        await asyncio.to_thread(tls.load_self_signed, context, ("localhost",))
    runner = web.AppRunner(application(registry, gatekeeper), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port, ssl_context=context, reuse_address=True).start()
        yield files
    finally:
        await runner.cleanup()
