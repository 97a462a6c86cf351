"""What both images' programs do once they are put together: serve health and metrics, and run the parts until asked to stop."""

import contextlib
import pathlib
from typing import Protocol

from metallb_core.kube import client as clients
from metallb_core.kube import reviews
from metallb_core.runtime import clock, health, metrics, supervise, tls


class Program(Protocol):
    """A controller or a speaker."""

    def failing(self) -> dict[str, str]:
        """What keeps it from being ready, by name."""
        ...

    def parts(self) -> list[supervise.Part]:
        """What runs, in the order of starting."""
        ...


async def run(
    program: Program,
    *,
    client: clients.Client,
    clock: clock.Clock,
    registry: metrics.Registry,
    health_port: int,
    health_address: str | None = None,
    metrics_port: int,
    certificate_folder: str,
    options: tls.Options,
    stop_seconds: float,
) -> int:
    """Run until a signal or a failure; the exit status. Raises InvalidTLSError, OSError.

    `certificate_folder` empty: a self-signed certificate.
    """
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(health.serve(program.failing, port=health_port, address=health_address))
        certificates = await stack.enter_async_context(
            metrics.serve(
                registry,
                port=metrics_port,
                gatekeeper=reviews.Reviewer(client, clock),
                options=options,
                certificates=pathlib.Path(certificate_folder) if certificate_folder else None,
                clock=clock,
            )
        )
        parts = program.parts()
        if certificates is not None:
            parts.insert(0, supervise.Part(name="certificates", run=lambda: certificates.keep_current(clock)))
        return await supervise.supervise(parts, clock=clock, stop_seconds=stop_seconds)
