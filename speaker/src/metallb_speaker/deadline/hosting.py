"""Running a cluster member inside the deadline process.

- What is wanted is kept here; one worker makes it so, one thing after the other, and tries a failed start again. A port that a predecessor
  still holds is such a failure.
- Joining runs beside the worker, since a host that does not answer takes seconds, and neither new keys nor leaving may wait for that.
- A failure of the membership is a warning, never the end of the process: the answers on the links go on.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

import msgspec

from metallb_speaker.deadline import messages

_RETRY = 2.0  # seconds between attempts to start
_LEAVE = 1.0  # seconds for telling the others


class Member(Protocol):
    """What a cluster membership offers."""

    async def start(self) -> None: ...

    async def join(self, addresses: tuple[str, ...]) -> int: ...

    async def leave(self, timeout: float) -> object: ...

    async def stop(self) -> None: ...

    def members(self) -> frozenset[str]: ...

    def metadata(self) -> dict[str, bytes]: ...

    def set_metadata(self, meta: bytes) -> None: ...

    def set_keys(self, *keys: bytes) -> None: ...

    @property
    def join_errors(self) -> tuple[str, ...]: ...


OnChange = Callable[[frozenset[str]], None]
Factory = Callable[[messages.StartMembership, OnChange], Member]


class Host:
    """Owns at most one member. `on_change` gets the names of the members that are alive."""

    def __init__(self, factory: Factory, on_change: OnChange, on_warning: Callable[[str], None]) -> None:
        self._factory = factory
        self._on_change = on_change
        self._on_warning = on_warning
        self._wanted: messages.StartMembership | None = None
        self._keys: tuple[bytes, ...] | None = None
        self._joined: tuple[str, ...] = ()
        self._metadata = b""
        self._complaint = ""
        self._member: Member | None = None
        self._running: messages.StartMembership | None = None
        self._complaint = ""
        self._stir = asyncio.Event()
        self._ended = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._joining: asyncio.Task[None] | None = None

    def start(self, wanted: messages.StartMembership) -> None:
        """Run a member like this. One that runs with other keys gets these; with other parameters it is stopped first."""
        if self._running is not None and msgspec.structs.replace(self._running, keys=wanted.keys) == wanted:
            self._running = wanted
            if self._keys != wanted.keys:
                self.set_keys(wanted.keys)
        self._wanted = wanted
        self._keys = wanted.keys
        self._wake()

    def join(self, addresses: tuple[str, ...]) -> None:
        """Contact these members, now or once started."""
        self._joined = addresses
        if self._member is not None:
            self._start_joining(self._member)

    def set_keys(self, keys: tuple[bytes, ...]) -> None:
        """Encrypt with the first, accept all; none means plain text."""
        self._keys = keys
        if self._member is not None:
            self._rekey(self._member, keys)

    def metadata(self) -> dict[str, bytes]:
        """What each live member says of itself, by name."""
        return self._member.metadata() if self._member is not None else {}

    def set_metadata(self, meta: bytes) -> None:
        """Say `meta` of this member, now and whenever it is started."""
        self._metadata = meta
        if self._member is not None:
            self._member.set_metadata(meta)

    def leave(self) -> None:
        """Leave and end the membership."""
        self._wanted = None
        self._wake()

    async def wait_left(self) -> None:
        """Leave, end the membership and the worker. Takes at most a little over a second."""
        self._wanted = None
        if self._worker is None:
            return
        self._ended.clear()
        self._wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE + 1.0):
                await self._ended.wait()
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        self._worker = None

    def _wake(self) -> None:
        self._stir.set()
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while True:
            self._stir.clear()
            if self._running is not None and self._running != self._wanted:
                await self._end()
                self._running = None
            if self._wanted is not None and self._running is None:
                await self._begin(self._wanted)
            if self._wanted is None and self._running is None:
                self._ended.set()
            waiting = self._wanted is not None and self._running is None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY if waiting else None):
                    await self._stir.wait()

    async def _begin(self, wanted: messages.StartMembership) -> None:
        try:
            member = self._factory(wanted, self._on_change)
            await member.start()
            member.set_metadata(self._metadata)
        except Exception as error:  # any fault in here must not end the answers on the links
            complaint = f"cannot start the membership: {error}"
            if complaint != self._complaint:  # once, however often it is tried again
                self._on_warning(complaint)
            self._complaint = complaint
            return
        self._complaint = ""
        self._member, self._running = member, wanted
        if self._keys is not None and self._keys != wanted.keys:
            self._rekey(member, self._keys)
        self._on_change(member.members())
        if self._joined:
            self._start_joining(member)

    async def _end(self) -> None:
        member, self._member = self._member, None
        if self._joining is not None:
            self._joining.cancel()
        if member is None:
            return
        try:
            await member.leave(_LEAVE)
        except Exception as error:
            self._on_warning(f"cannot leave the membership in order: {error}")
        try:
            await member.stop()
        except Exception as error:
            self._on_warning(f"cannot stop the membership in order: {error}")

    def _rekey(self, member: Member, keys: tuple[bytes, ...]) -> None:
        try:
            member.set_keys(*keys)
        except ValueError as error:
            self._on_warning(f"cannot use the new keys of the membership: {error}")

    def _start_joining(self, member: Member) -> None:
        if self._joining is not None:
            self._joining.cancel()
        self._joining = asyncio.get_running_loop().create_task(self._join(member, self._joined))

    async def _join(self, member: Member, addresses: tuple[str, ...]) -> None:
        try:
            joined = await member.join(addresses)
        except Exception as error:
            self._complain_of_joining(f"cannot join: {error}")
            return
        if joined < len(addresses):
            why = "; ".join(sorted(member.join_errors)) or "no error is known"
            self._complain_of_joining(f"joined {joined} of {len(addresses)} members: {why}")
        else:
            self._complaint = ""

    def _complain_of_joining(self, text: str) -> None:
        """Joining is repeated every few seconds while somebody is missing; the same trouble is told once."""
        if text != self._complaint:
            self._complaint = text
            self._on_warning(text)
