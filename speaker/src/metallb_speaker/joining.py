"""Membership of this speaker: started with its key, and with the key's changes phased in while it runs.

- A file that is not there is waited for: a member that speaks plain text among others that do not would be alone, and claim every address.
- An empty file means plain text, until there is a key in it.
"""

import asyncio
import pathlib
from collections.abc import Callable

from metallb_core.runtime import clock, log
from metallb_speaker import keyring, peers
from metallb_speaker.deadline import client as deadline

LOG = log.get("speaker")
KEY_CHECK_SECONDS = 10.0
KEY_RETRY_SECONDS = 2.0


class Joining:
    """See the module. `start(keys)` starts the member; `on_problem(text)`: what it waits for, empty once it waits no more."""

    def __init__(
        self,
        *,
        clock: clock.Clock,
        process: deadline.Client,
        others: peers.Peers,
        key_folder: pathlib.Path | None,
        start: Callable[[tuple[bytes, ...]], None],
        on_problem: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._process = process
        self._others = others
        self._key_folder = key_folder
        self._start = start
        self._on_problem = on_problem

    async def run(self) -> None:
        """Join, and stay, for ever."""
        key = await self._wait_key()
        if key == keyring.PLAIN:
            LOG.warn("membership is not encrypted: there is no key")
        self._start((key,) if key else ())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._others.run())
            if self._key_folder is not None:
                group.create_task(self._watch_key(self._key_folder, keyring.Rotation(key)))

    async def _wait_key(self) -> bytes:
        """The key, once its file can be read: the Secret may come later than the pod. PLAIN where it is empty, or none is asked for."""
        told = False
        while self._key_folder is not None:
            try:
                return keyring.read(self._key_folder)
            except OSError as error:
                if not told:
                    LOG.warn("cannot read the membership key; waiting for it", error=error)
                told = True
                self._on_problem(f"cannot read the membership key: {error}")
                await self._clock.sleep(KEY_RETRY_SECONDS)
        return keyring.PLAIN

    async def _watch_key(self, folder: pathlib.Path, rotation: keyring.Rotation) -> None:
        """Follow the Secret's file: a changed key is phased in."""
        keys = rotation.keys(self._clock.monotonic())
        while True:
            await self._clock.sleep(KEY_CHECK_SECONDS)
            try:
                key = keyring.read(folder)
            except OSError as error:
                LOG.warn("cannot read the membership key; going on with the one there is", error=error)
                continue
            now = self._clock.monotonic()
            rotation.observe(key, now)
            if rotation.keys(now) != keys:
                keys = rotation.keys(now)
                LOG.info("membership keys changed", accepted=len(keys))
                self._process.set_keys(keys)
