"""The webhook put together: certificate, server, registration; and a change of certificate during which no question goes unanswered.

- The server listens once the stores are filled and there is a certificate, the registration follows, readiness comes last.
- A new certificate of a new authority is served only after the API server was told to trust both authorities, and `TOLD_SECONDS` more,
  since each API server learns of it by its own watch. The old authority stays trusted for `TRUSTED_SECONDS` after that, for another
  controller's sake.
- When the process is asked to stop it goes on answering for `LINGER_SECONDS`: the network still leads questions here. The registration
  stays; what it says of a webhook that is away (`failurePolicy`) is the user's choice.
- A registration that somebody changes or deletes is put right, as long as its owner exists.
"""

import asyncio
import dataclasses
import pathlib
from collections.abc import Awaitable, Callable
from typing import Final

from metallb_controller.admission import certificates, registration, server
from metallb_core.config import compiled
from metallb_core.kube import client as clients
from metallb_core.kube import errors
from metallb_core.runtime import backoff, clock, log, supervise, tls

TOLD_SECONDS: Final = 5.0
TRUSTED_SECONDS: Final = 60.0
LINGER_SECONDS: Final = 2.0
# With nothing to do, the registration is compared this often all the same.
_IDLE_SECONDS: Final = 600.0
_LOG: Final = log.get("webhook")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`folder` set: the certificate is read from there and nobody renews it. `address` None: all addresses."""

    target: registration.Target
    secret: str = "metallb-webhook-cert"
    folder: pathlib.Path | None = None
    options: tls.Options = dataclasses.field(default_factory=tls.Options)
    port: int = server.PORT
    address: str | None = None
    told_seconds: float = TOLD_SECONDS
    trusted_seconds: float = TRUSTED_SECONDS
    linger_seconds: float = LINGER_SECONDS
    check_seconds: float = certificates.CHECK_SECONDS


class Webhook:
    """See the module. `known` gives what the stores hold, `wait_known` waits until they have held everything once."""

    def __init__(
        self,
        settings: Settings,
        *,
        client: clients.Client,
        clock: clock.Clock,
        random: backoff.Random,
        known: Callable[[], compiled.Resources],
        wait_known: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self._wait_known = wait_known
        self._served = tls.ReplaceableCertificate(settings.options)
        self._answering = server.Answering(client, settings.target.namespace, known)
        self._registrar = registration.Registrar(client, settings.target, clock)
        self._changed = asyncio.Event()
        # What is served, what is to be served, and when that may begin.
        self._used: certificates.Material | None = None
        self._latest: certificates.Material | None = None
        self._switch_at: float | None = None
        # Authorities that were served before, each with the time until which they are trusted.
        self._former: dict[bytes, float] = {}
        self._exact = False
        self._registered = False
        self._problem = "not registered yet"
        self._source: certificates.Source = self._make_source(client)
        self._following = registration.follow(client, clock, self._changed.set)

    def _make_source(self, client: clients.Client) -> certificates.Source:
        settings = self._settings
        if settings.folder is not None:
            return certificates.FolderSource(settings.folder, clock=self._clock, on_material=self._received)
        return certificates.SecretSource(
            client,
            namespace=settings.target.namespace,
            name=settings.secret,
            names=settings.target.names,
            clock=self._clock,
            random=self._random,
            on_material=self._received,
            check_seconds=settings.check_seconds,
        )

    def parts(self) -> list[supervise.Part]:
        """What runs, in the order of starting."""
        return [
            supervise.Part(name="webhook", run=self._run),
            supervise.Part(name="webhook certificate", run=self._source.run),
            supervise.Part(name="watch webhook configuration", run=self._following.run),
        ]

    def failing(self) -> dict[str, str]:
        """What keeps the webhook from being ready, by name."""
        if self._used is None:
            return {"webhook": self._source.problem or "no certificate yet"}
        return {} if self._registered else {"webhook": self._problem}

    def _received(self, material: certificates.Material) -> None:
        if material != self._latest:
            self._latest = material
            self._switch_at = None
            self._exact = self._used is not None
            self._changed.set()

    async def _run(self) -> None:
        await self._wait_known()
        while self._used is None:
            self._changed.clear()
            if self._latest is not None:
                self._use(self._latest)
            if self._used is None:
                await self._changed.wait()
        settings = self._settings
        application, context = self._answering.application(), self._served.context
        async with server.serve(application, context, port=settings.port, address=settings.address) as port:
            _LOG.info("serving", port=port)
            try:
                await self._keep_registered()
            except asyncio.CancelledError:
                self._answering.leave()
                await self._clock.sleep(settings.linger_seconds)
                raise

    async def _keep_registered(self) -> None:
        await self._following.wait_synced()
        failed = backoff.Backoff(registration.RETRY, self._random)
        while True:
            self._changed.clear()
            try:
                delay = await self._step()
            except (errors.ApiError, errors.Unreachable) as error:
                self._tell(f"cannot be registered: {error}")
                delay = failed.next()
            else:
                failed.reset()
            await certificates.wait_changed(self._clock, self._changed, delay)

    async def _step(self) -> float:
        """Register what is to be trusted now, and change the certificate if its time has come; the seconds until the next step."""
        now = self._clock.monotonic()
        former = [text for text, until in self._former.items() if until > now]
        if len(former) != len(self._former):
            self._former = {text: self._former[text] for text in former}
            self._exact = True
        pending = self._latest if self._latest != self._used else None
        trusted = [each.authorities for each in (self._latest, self._used) if each is not None]
        found = self._following.store.get(registration.NAME)
        bundle = b"".join(registration.blocks(*trusted, *former))
        again = await self._registrar.ensure(found, bundle, exact=self._exact and pending is None)
        if pending is None and again is None:
            self._exact = False
        self._registered = True
        now = self._clock.monotonic()
        waits = [_IDLE_SECONDS, *(until - now for until in self._former.values())]
        if again is not None:
            waits.append(again)
        if pending is not None and pending == self._latest:
            if self._switch_at is None:
                self._switch_at = now + (self._settings.told_seconds if self._brings_authority(pending) else 0.0)
            if self._switch_at <= now:
                self._use(pending)
                return 0.0
            waits.append(self._switch_at - now)
        return max(0.0, min(waits))

    def _brings_authority(self, material: certificates.Material) -> bool:
        used = self._used.authorities if self._used is not None else b""
        return not set(registration.blocks(material.authorities)) <= set(registration.blocks(used))

    def _use(self, material: certificates.Material) -> None:
        """Serve it. What cannot be served is dropped, until its source brings something else."""
        self._switch_at = None
        try:
            self._served.use(material.certificate, material.key)
        except tls.InvalidTLSError as error:
            _LOG.error("the new certificate is not used", problem=error)
            self._latest = self._used
            return
        until = self._clock.monotonic() + self._settings.trusted_seconds
        # After a start too: what was registered before may name authorities of certificates that other controllers still serve.
        self._former[self._used.authorities if self._used is not None else b""] = until
        if self._used is not None:
            _LOG.info("certificate replaced")
        self._used = material

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            _LOG.warn("the webhook is not registered; trying again", problem=problem)
        self._problem = problem
        # An earlier registration may well be in force, but nobody can say so now.
        self._registered = self._registered and self._following.store.get(registration.NAME) is not None
