"""One of several replicas works, chosen through a Lease (coordination.k8s.io/v1).

- Durations are measured on our own monotonic clock from when we saw the Lease change; the times written in it are for people.
- Every write compares the resource version, so two who think that a Lease is free cannot both take it.
- We count as elected until `duration` after the *sending* of the last renewal that succeeded. The work is cancelled at `renew` seconds, and the
  difference is what it has to stop in; a clock of its own does that, so a renewal that hangs or fails in whatever way does not delay it.
- Work that does not stop in that time ends the process (WorkWouldNotStopError): a process that may still write is worse than none.
- On the way out the work stops first, then the Lease is given back, so that a successor starts at once.
"""

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from typing import Any, Final

from metallb_core.api import coordination
from metallb_core.kube import client as clients
from metallb_core.kube import errors, resources
from metallb_core.runtime import backoff, clock, log

_LOG: Final = log.get("leases")
# What a work that is cancelled gets at least, when we find out late (the machine was suspended, say); `leading` is false by then.
_LEAST_GRACE: Final = 0.5
# Giving back must not hold up the end of the process.
_RELEASE_SECONDS: Final = 2.0


class WorkWouldNotStopError(Exception):
    """The work did not end before the Lease could expire. The process must end now."""


class LeaseElector:
    """See the module. `on_started` is the work: it runs while we are elected and is cancelled when we may no longer be.

    `on_stopped` is called once the work has ended. `identity` must be one of its own for each process. Durations in seconds.
    """

    def __init__(
        self,
        client: clients.Client,
        namespace: str,
        name: str,
        identity: str,
        clock: clock.Clock,
        random: backoff.Random,
        on_started: Callable[[], Awaitable[None]],
        on_stopped: Callable[[], None],
        duration: float = 15.0,
        renew: float = 10.0,
        retry: float = 2.0,
    ) -> None:
        if not 0 < retry < renew < duration:
            raise ValueError(f"need 0 < retry < renew < duration, got {retry}, {renew}, {duration}")
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._random = random
        self._on_started = on_started
        self._on_stopped = on_stopped
        self._duration = duration
        self._renew = renew
        self._retry = retry
        # When what we hold ends, by our clock.
        self._until = 0.0
        self._observed: tuple[str, str] | None = None
        self._observed_at = 0.0
        self._lease: coordination.Lease | None = None
        self._problem: str | None = None

    @property
    def leading(self) -> bool:
        """Whether nobody else can be elected at this moment. Work asks this before what must not be done twice."""
        return self._clock.monotonic() < self._until

    @property
    def holder(self) -> str:
        """Who holds the Lease as far as we saw, or an empty text."""
        return (self._lease.spec.holder_identity or "") if self._lease is not None else ""

    async def run(self) -> None:
        """Stand for election for ever; cancel to stop. Raises only what the work raises, and WorkWouldNotStopError."""
        while True:
            await self._wait_elected()
            _LOG.info("elected", lease=self._name, identity=self._identity)
            await self._lead()
            _LOG.warn("no longer elected", lease=self._name, identity=self._identity)
            # Whatever ended it, another replica may do better.
            await self._clock.sleep(self._retry)

    async def _wait_elected(self) -> None:
        while not await self._attempt(self._acquire, self._renew):
            await self._clock.sleep(self._retry * (1.0 + 0.2 * self._random.random()))

    async def _lead(self) -> None:
        work: asyncio.Future[None] = asyncio.ensure_future(self._on_started())
        renewing = asyncio.ensure_future(self._keep_renewing())
        stopped_in_time = True
        try:
            await asyncio.wait({work, renewing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            renewing.cancel()
            stopped_in_time = await self._stop(work)
            await asyncio.gather(renewing, return_exceptions=True)
            self._on_stopped()
            if stopped_in_time:
                await self._release()
        if not stopped_in_time:
            raise WorkWouldNotStopError(f"what runs under Lease {self._name} did not stop before it could expire")
        if work.done() and not work.cancelled():
            error = work.exception()
            if error is not None:
                raise error

    async def _keep_renewing(self) -> None:
        """Returns when the work must stop."""
        while True:
            deadline = self._until - self._duration + self._renew
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return
            await self._clock.sleep(min(self._retry, left))
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return
            await self._attempt(self._renew_once, min(left, self._renew / 2))
            if self._until == 0.0:
                # Somebody else holds it: we were away too long.
                return

    async def _stop(self, work: "asyncio.Future[None]") -> bool:
        work.cancel()
        left = max(_LEAST_GRACE, self._until - self._clock.monotonic())
        return await clock.wait_done(self._clock, work, left)

    async def _attempt(self, what: Callable[[], Awaitable[bool]], seconds: float) -> bool:
        """Try for at most so long. Whatever goes wrong is a failed attempt, since no kind of error may leave the work running."""
        attempt: asyncio.Future[bool] = asyncio.ensure_future(what())
        try:
            if not await clock.wait_done(self._clock, attempt, seconds):
                self._complain("the API server did not answer in time")
                return False
            result = attempt.result()
        except Exception as error:
            self._complain(f"{type(error).__name__}: {error}")
            return False
        finally:
            if not attempt.done():
                attempt.cancel()
                await asyncio.gather(attempt, return_exceptions=True)
        self._problem = None
        return result

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            _LOG.warn("lease not obtained", lease=self._name, error=problem)

    async def _acquire(self) -> bool:
        started = self._clock.monotonic()
        try:
            lease = await self._client.get(resources.LEASES, self._name, self._namespace)
        except errors.ApiError as error:
            if not error.not_found:
                raise
            lease = await self._client.create(
                resources.LEASES, {"metadata": {"name": self._name}, "spec": self._spec(transitions=0)}, self._namespace
            )
            self._won(lease, started)
            return True
        self._observe(lease)
        holder = lease.spec.holder_identity or ""
        if holder not in ("", self._identity):
            theirs = float(lease.spec.lease_duration_seconds or self._duration)
            if self._clock.monotonic() < self._observed_at + theirs:
                return False
        transitions = (lease.spec.lease_transitions or 0) + (holder != self._identity)
        return await self._write(lease, self._spec(transitions=transitions), started)

    async def _renew_once(self) -> bool:
        if self._lease is None:
            raise AssertionError("what is renewed was acquired")
        started = self._clock.monotonic()
        try:
            return await self._write(self._lease, {"renewTime": self._now()}, started)
        except errors.ApiError as error:
            if not error.conflict and not error.not_found:
                raise
        # Somebody wrote to it: a label, say, or a successor. Or our last write arrived and its answer did not.
        try:
            lease = await self._client.get(resources.LEASES, self._name, self._namespace)
        except errors.ApiError as error:
            if error.not_found:
                self._until = 0.0
            raise
        if lease.spec.holder_identity != self._identity:
            self._observe(lease)
            self._until = 0.0
            return False
        return await self._write(lease, {"renewTime": self._now()}, started)

    async def _write(self, lease: coordination.Lease, spec: dict[str, Any], started: float) -> bool:
        body = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
        written = await self._client.merge_patch(resources.LEASES, self._name, self._namespace, body)
        self._won(written, started)
        return True

    def _won(self, lease: coordination.Lease, started: float) -> None:
        self._lease = lease
        self._until = started + self._duration

    def _observe(self, lease: coordination.Lease) -> None:
        seen = (lease.metadata.uid, lease.metadata.resource_version)
        if seen != self._observed:
            self._observed, self._observed_at = seen, self._clock.monotonic()
        self._lease = lease

    async def _release(self) -> None:
        """Give the Lease back if we still hold it. Failing costs the successor one duration, no more."""
        lease, self._until = self._lease, 0.0
        if lease is None or lease.spec.holder_identity != self._identity:
            return
        body = {
            "metadata": {"resourceVersion": lease.metadata.resource_version},
            "spec": {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._now()},
        }

        async def give_back() -> bool:
            self._lease = await self._client.merge_patch(resources.LEASES, self._name, self._namespace, body)
            return True

        await self._attempt(give_back, _RELEASE_SECONDS)

    def _spec(self, transitions: int) -> dict[str, Any]:
        now = self._now()
        return {
            "holderIdentity": self._identity,
            # Whole seconds are all the field takes; rounding up keeps others away longer, never shorter.
            "leaseDurationSeconds": int(-(-self._duration // 1)),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    def _now(self) -> str:
        return self._clock.now().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
