"""Where the webhook's certificate comes from: a Secret that the controllers keep filled, or a folder that somebody else does.

- The Secret is judged when it changes and every twelve hours. It is written on the version that was judged, so of several controllers one
  wins; the others read what it wrote. What a write brings is used when the informer shows it, like everybody else's.
- A folder is read every ten seconds. It needs `tls.crt` and `tls.key`; `ca.crt` is what the API server is told to trust, if it is there.
- A source only tells: `on_material` hears of each change. What cannot be used now leaves in use what was told before; `problem` says why.
"""

import asyncio
import base64
import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from metallb_core.api import workloads
from metallb_core.kube import client as clients
from metallb_core.kube import errors, following, resources
from metallb_core.runtime import backoff, log
from metallb_core.runtime import clock as clocks

AUTHORITIES: Final = "ca.crt"
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
CHECK_SECONDS: Final = 12 * 3600.0
FOLDER_SECONDS: Final = 10.0
RETRY: Final = backoff.Policy(first=0.2, limit=30.0)
# Our own write comes back within moments; if the watch is broken, the Secret is judged again after this.
_WRITTEN_SECONDS: Final = 30.0
_PROGRAM_SECONDS: Final = 60.0
LOG: Final = log.get("webhook")


class JudgementError(Exception):
    """The program that judges certificates failed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What to serve, and what to have trusted; PEM. `authorities` empty: somebody else tells the API server whom to trust."""

    authorities: bytes
    certificate: bytes
    key: bytes = dataclasses.field(repr=False)


class Source(Protocol):
    """Tells of certificates until cancelled."""

    @property
    def problem(self) -> str:
        """Why there is none, or no newer one; empty if all is well."""
        ...

    async def run(self) -> None:
        """For ever."""
        ...


def _judge(data: Mapping[str, str], served: Sequence[str], now: float) -> tuple[dict[str, str], str]:
    """What the Secret should hold, and why it has to change. Takes some tenths of a second. Raises JudgementError."""
    arguments = [sys.executable, "-m", "metallb_controller.admission.authority", str(now), *served]
    try:
        done = subprocess.run(
            arguments, input=json.dumps(data).encode(), capture_output=True, check=False, timeout=_PROGRAM_SECONDS
        )
        if done.returncode:
            raise JudgementError(f"cannot make a certificate: {done.stderr.decode(errors='replace').strip()[-500:]}")
        answer = json.loads(done.stdout)
        return answer["data"], answer["reason"]
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        raise JudgementError(f"cannot make a certificate: {error}") from None


class SecretSource:
    """The Secret `name`, made if it is absent, filled if it is empty, renewed ahead of time."""

    def __init__(
        self,
        client: clients.Client,
        *,
        namespace: str,
        name: str,
        names: Sequence[str],
        clock: clocks.Clock,
        random: backoff.Random,
        on_material: Callable[[Material], None],
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._names = names
        self._clock = clock
        self._random = random
        self._on_material = on_material
        self._check_seconds = check_seconds
        self._changed = asyncio.Event()
        self._problem = f"the Secret {namespace}/{name} is not read yet"
        self._informer = following.follow(
            client,
            resources.SECRETS,
            namespace=namespace,
            field_selector=f"metadata.name={name}",
            on_change=lambda *_: self._changed.set(),
            clock=clock,
            logger=LOG,
        )

    @property
    def problem(self) -> str:
        """See Source."""
        return self._problem

    async def run(self) -> None:
        """See Source."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run())
            group.create_task(self._maintain())

    async def _maintain(self) -> None:
        await self._informer.wait_synced()
        failed = backoff.Backoff(RETRY, self._random)
        while True:
            self._changed.clear()
            try:
                delay = await self._look()
            except (errors.ApiError, errors.Unreachable, JudgementError) as error:
                if not (isinstance(error, errors.ApiError) and error.conflict):
                    LOG.warn("the webhook's certificate could not be looked after; trying again", problem=error)
                    self._problem = f"the Secret {self._namespace}/{self._name}: {error}"
                delay = failed.next()
            else:
                failed.reset()
            await wait_changed(self._clock, self._changed, delay)

    async def _look(self) -> float:
        """Judge the Secret, write it or tell of it; the seconds until the next time. Raises ApiError, Unreachable, JudgementError."""
        held = self._informer.store.get((self._namespace, self._name))
        before = (held.data if held is not None else None) or {}
        after, reason = await asyncio.to_thread(_judge, before, self._names, self._clock.now().timestamp())
        if reason:
            LOG.info("writing the webhook's certificate", name=f"{self._namespace}/{self._name}", reason=reason)
            await self._write(held, after)
            return _WRITTEN_SECONDS
        self._problem = ""
        self._on_material(
            Material(
                authorities=base64.b64decode(after[AUTHORITIES]),
                certificate=base64.b64decode(after[CERTIFICATE]),
                key=base64.b64decode(after[KEY]),
            )
        )
        return self._check_seconds

    async def _write(self, held: workloads.Secret | None, data: dict[str, str]) -> None:
        if held is None:
            body = {"metadata": {"name": self._name, "namespace": self._namespace}, "type": "Opaque", "data": data}
            await self._client.create(resources.SECRETS, body, self._namespace)
            return
        version = {"resourceVersion": held.metadata.resource_version}
        await self._client.merge_patch(
            resources.SECRETS, self._name, self._namespace, {"metadata": version, "data": data}
        )


class FolderSource:
    """`tls.crt`, `tls.key` and perhaps `ca.crt` of a folder, usually a mounted Secret."""

    def __init__(self, folder: pathlib.Path, *, clock: clocks.Clock, on_material: Callable[[Material], None]) -> None:
        self._folder = folder
        self._clock = clock
        self._on_material = on_material
        self._problem = f"{folder} is not read yet"

    @property
    def problem(self) -> str:
        """See Source."""
        return self._problem

    async def run(self) -> None:
        """See Source."""
        told: Material | None = None
        while True:
            try:
                found = self._read()
            except OSError as error:
                if str(error) != self._problem:
                    LOG.warn("the webhook's certificate cannot be read", folder=str(self._folder), problem=error)
                self._problem = str(error)
            else:
                self._problem = ""
                if found != told:
                    told = found
                    self._on_material(found)
            await self._clock.sleep(FOLDER_SECONDS)

    def _read(self) -> Material:
        authorities = self._folder / AUTHORITIES
        return Material(
            authorities=authorities.read_bytes() if authorities.exists() else b"",
            certificate=(self._folder / CERTIFICATE).read_bytes(),
            key=(self._folder / KEY).read_bytes(),
        )


async def wait_changed(clock: clocks.Clock, changed: asyncio.Event, seconds: float) -> None:
    """Wait until `changed` is set or `seconds` have passed."""
    waiting = asyncio.ensure_future(changed.wait())
    try:
        await clocks.wait_done(clock, waiting, seconds)
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
