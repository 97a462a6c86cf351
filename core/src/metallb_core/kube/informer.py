"""A copy of one collection, kept current by list and watch.

- `on_change(key, old, new)` says that a key changed; what it became is in the store by then. An object of the version we have says nothing,
  so a repeated list is silent. One deleted and made again under its name is reported as both.
- A watch that ends is taken up where it stopped. Only when the server no longer knows that place (410) is everything listed again, and what
  vanished meanwhile is reported as deleted. Until a list succeeds the old copy stays, since stale beats empty.
- An object that does not decode, or that the domain cannot take, is set aside: `on_invalid` hears of it once for each text of complaint, the
  version we could read stays in the store if there was one, and the others are not disturbed.
- Failures back off up to 10 s with jitter. A server that answers but ends watches at once is asked about once a second: it is alive, and what
  it has to say should not wait ten seconds.
"""

import asyncio
import random as _random
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, Generic, TypeVar

from metallb_core.kube import client as clients
from metallb_core.kube import codec, errors, resources, store
from metallb_core.runtime import backoff, clock

Wire = TypeVar("Wire", bound=resources.Object)
Key = TypeVar("Key", bound=Hashable)
Obj = TypeVar("Obj")

FAILED: Final = backoff.Policy(first=0.05, limit=10.0)
ENDED_EARLY: Final = backoff.Policy(first=0.05, limit=1.0)
# A watch this long was no failure, however it ended.
HEALTHY: Final = 5.0
# Watches end by themselves after 5 to 10 minutes, so that connections spread over the servers there are.
WATCH_SECONDS: Final = (300.0, 600.0)
# Refusals of a watch in a row, whatever they say, after which everything is listed again: our place may be what the server chokes on.
_REFUSALS: Final = 3
# Events handled in a row before others get the event loop.
_BURST: Final = 200


class Informer(Generic[Wire, Key, Obj]):
    """See the module. `store` holds what the resource's `convert` makes of each object."""

    def __init__(
        self,
        client: clients.Client,
        resource: resources.Resource[Wire, Key, Obj],
        *,
        on_change: Callable[[Key, Obj | None, Obj | None], None],
        on_invalid: Callable[[Key, str], None] | None = None,
        on_problem: Callable[[str | None], None] | None = None,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        clock: clock.Clock,
        random: backoff.Random | None = None,
        watch_seconds: tuple[float, float] = WATCH_SECONDS,
        silence: float = clients.SILENCE,
        page: int = clients.PAGE,
    ) -> None:
        self.store: store.Store[Key, Obj] = store.Store()
        self.resource = resource
        self._client = client
        self._on_change = on_change
        self._on_invalid = on_invalid
        self._on_problem = on_problem
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._clock = clock
        self._random: backoff.Random = random if random is not None else _random.Random()
        self._watch_seconds = watch_seconds
        self._silence = silence
        self._page = page
        self._synced = asyncio.Event()
        self._answered = asyncio.Event()
        self._refusal: errors.ApiError | None = None
        self._version = ""
        # uid and resourceVersion of what the store holds, to tell news from repetition.
        self._seen: dict[Key, tuple[str, str]] = {}
        self._invalid: dict[Key, str] = {}
        self._problem: str | None = None
        self.lists = 0
        self.watches = 0

    @property
    def synced(self) -> bool:
        """Whether the store has held the whole collection once."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Wait until `synced`."""
        await self._synced.wait()

    @property
    def refused(self) -> bool:
        """Whether there is no copy because the server has no such kind, or does not let us list it."""
        return self._refusal is not None and not self.synced

    @property
    def absent(self) -> bool:
        """Whether there is no copy because the server has no such kind."""
        return self._refusal is not None and self._refusal.not_found and not self.synced

    async def wait_answered(self) -> None:
        """Wait until `synced`, or until the server has `refused`: for who can do without, and would rather not wait for an upgrade."""
        await self._answered.wait()

    @property
    def invalid(self) -> Mapping[Key, str]:
        """What was set aside, and why."""
        return self._invalid

    @property
    def problem(self) -> str | None:
        """Why the copy may be stale now, for a person; None while the watch runs."""
        return self._problem

    async def run(self) -> None:
        """Keep the store current, for ever. Ends only by cancellation or by an error of `on_change`, which is a bug of ours."""
        failed = backoff.Backoff(FAILED, self._random)
        early = backoff.Backoff(ENDED_EARLY, self._random)
        listed = False
        paged = True
        refusals = 0
        while True:
            started = self._clock.monotonic()
            try:
                if not listed:
                    await self._list(paged)
                    listed, paged = True, True
                    self._synced.set()
                    self._answered.set()
                started = self._clock.monotonic()
                await self._watch()
            except errors.ApiError as error:
                self._refusal = error if error.not_found or error.forbidden else None
                if self._refusal is not None:
                    self._answered.set()
                # 404: the kind went away; when it comes back its versions have nothing to do with ours.
                stale = error.gone or error.not_found
                # A list that outlives its continue token would do so again: ask for all of it at once.
                paged = not (error.gone and not listed)
                refusals = 0 if error.overloaded or not listed else refusals + 1
                if listed and (stale or refusals >= _REFUSALS):
                    listed, refusals = False, 0
                    if error.gone:
                        # Nothing is wrong with the server: list at once, unless it says so again and again.
                        await self._clock.sleep(early.next())
                        continue
                self._complain(f"{self.resource.label}: {error}")
                await self._clock.sleep(max(failed.next(), min(error.retry_after or 0.0, FAILED.limit)))
            except errors.Unreachable as error:
                self._refusal = None
                if listed and self._clock.monotonic() - started >= HEALTHY:
                    failed.reset()
                    early.reset()
                self._complain(f"{self.resource.label}: {error}")
                await self._clock.sleep(failed.next())
            else:
                failed.reset()
                refusals = 0
                if self._clock.monotonic() - started >= HEALTHY:
                    early.reset()
                else:
                    await self._clock.sleep(early.next())

    async def _list(self, paged: bool) -> None:
        present: set[Key] = set()
        version = ""
        pages = self._client.list(
            self.resource,
            self._namespace,
            self._label_selector,
            self._field_selector,
            limit=self._page if paged else None,
        )
        self.lists += 1
        async for page in pages:
            version = page.resource_version
            for wire in page.items:
                present.add(self._take(wire))
            for odd in page.invalid:
                key = self.resource.identify(odd.metadata.namespace, odd.metadata.name)
                present.add(key)
                self._set_aside(key, odd.message)
            # A page takes about ten milliseconds; others may want the event loop before the next one.
            await asyncio.sleep(0)
        for key in [key for key in self.store if key not in present]:
            self._drop(key)
        for key in [key for key in self._invalid if key not in present]:
            del self._invalid[key]
        self._version = version

    async def _watch(self) -> None:
        shortest, longest = self._watch_seconds
        events = self._client.watch(
            self.resource,
            self._version,
            self._namespace,
            self._label_selector,
            self._field_selector,
            timeout_seconds=shortest + (longest - shortest) * self._random.random(),
            silence=self._silence,
            on_open=self._opened,
        )
        self.watches += 1
        count = 0
        try:
            async for event in events:
                self._follow(event)
                count += 1
                if count % _BURST == 0:
                    await asyncio.sleep(0)
        finally:
            await events.aclose()

    def _opened(self) -> None:
        if self._problem is not None:
            self._problem = None
            if self._on_problem is not None:
                self._on_problem(None)

    def _follow(self, event: codec.Event) -> None:
        if not event.resource_version:
            raise errors.Unreachable(f"a watch event {event.type} of {self.resource.label} carries no version")
        if event.type == "BOOKMARK":
            pass
        elif event.type == "DELETED":
            metadata = event.invalid.metadata if event.invalid is not None else event.object.metadata
            key = self.resource.identify(metadata.namespace, metadata.name)
            self._invalid.pop(key, None)
            self._drop(key)
        elif event.invalid is not None:
            metadata = event.invalid.metadata
            self._set_aside(self.resource.identify(metadata.namespace, metadata.name), event.invalid.message)
        else:
            self._take(event.object)
        self._version = event.resource_version

    def _take(self, wire: Any) -> Key:
        """Store one object and report it if it is news."""
        metadata = wire.metadata
        key = self.resource.identify(metadata.namespace, metadata.name)
        identity = (metadata.uid, metadata.resource_version)
        known = self._seen.get(key)
        if known == identity:
            return key
        try:
            new = self.resource.convert(wire)
        except (ValueError, TypeError, LookupError) as error:
            self._set_aside(key, str(error))
            return key
        self._invalid.pop(key, None)
        if known is not None and known[0] != metadata.uid:
            self._drop(key)
        self._seen[key] = identity
        old = self.store.put(key, new)
        self._on_change(key, old, new)
        return key

    def _drop(self, key: Key) -> None:
        self._seen.pop(key, None)
        old = self.store.remove(key)
        if old is not None:
            self._on_change(key, old, None)

    def _set_aside(self, key: Key, message: str) -> None:
        if self._invalid.get(key) != message:
            self._invalid[key] = message
            if self._on_invalid is not None:
                self._on_invalid(key, message)

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            if self._on_problem is not None:
                self._on_problem(problem)
