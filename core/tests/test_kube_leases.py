"""Elections. Each flaw found in the official elector has a test here: work that outlives the Lease, errors of transport that end the elector
without stopping the work, the wall clock, no giving back.

The API server is a small one in memory rather than the fake with sockets, since elections are about time and time is fake here.
"""

import asyncio
import random
from typing import Any

import pytest

from metallb_core.api import coordination, meta
from metallb_core.kube import errors, leases
from metallb_core.testing import clock as fake_clock


class Store:
    """One Lease with compare-and-swap, in place of a client. `fault` is raised by each request while it is set; `hang` holds them."""

    def __init__(self) -> None:
        self.lease: coordination.Lease | None = None
        self.version = 0
        self.fault: BaseException | None = None
        self.hang = False
        self.lose_answers = False
        self.writes = 0

    async def _pass(self) -> None:
        await asyncio.sleep(0)
        if self.hang:
            await asyncio.get_running_loop().create_future()
        if self.fault is not None:
            raise self.fault

    async def get(self, _resource: object, _name: str, _namespace: str) -> coordination.Lease:
        await self._pass()
        if self.lease is None:
            raise errors.ApiError(404, "NotFound", "no lease")
        return self.lease

    async def create(self, _resource: object, body: dict[str, Any], _namespace: str) -> coordination.Lease:
        await self._pass()
        if self.lease is not None:
            raise errors.ApiError(409, "AlreadyExists", "there is one")
        return self._write(body["spec"])

    async def merge_patch(
        self, _resource: object, _name: str, _namespace: str, body: dict[str, Any]
    ) -> coordination.Lease:
        await self._pass()
        if self.lease is None:
            raise errors.ApiError(404, "NotFound", "no lease")
        if body["metadata"]["resourceVersion"] != self.lease.metadata.resource_version:
            raise errors.ApiError(409, "Conflict", "it changed")
        written = self._write(body["spec"])
        if self.lose_answers:
            raise errors.Unreachable("reset")
        return written

    def _write(self, spec: dict[str, Any]) -> coordination.Lease:
        self.version += 1
        self.writes += 1
        before = self.lease.spec if self.lease is not None else coordination.LeaseSpec()
        names = {
            "holderIdentity": "holder_identity",
            "leaseDurationSeconds": "lease_duration_seconds",
            "acquireTime": "acquire_time",
            "renewTime": "renew_time",
            "leaseTransitions": "lease_transitions",
        }
        values = {field: spec.get(name, getattr(before, field)) for name, field in names.items()}
        metadata = meta.ObjectMeta(name="l", namespace="ns", uid="u", resource_version=str(self.version))
        self.lease = coordination.Lease(metadata=metadata, spec=coordination.LeaseSpec(**values))
        return self.lease

    @property
    def holder(self) -> str | None:
        return self.lease.spec.holder_identity if self.lease is not None else None


class Candidate:
    """An elector and what its work went through."""

    def __init__(self, store: Store, clock: fake_clock.FakeClock, identity: str, stop_seconds: float = 0.0) -> None:
        self.clock = clock
        self.identity = identity
        self.stop_seconds = stop_seconds
        self.working = False
        self.log: list[tuple[str, float]] = []
        self.fail: BaseException | None = None
        self.elector = leases.LeaseElector(
            store,  # type: ignore[arg-type]
            "ns",
            "l",
            identity,
            clock,
            random.Random(identity),
            self.work,
            lambda: self.log.append(("stopped", clock.monotonic())),
        )
        self.task: asyncio.Task[None] = asyncio.create_task(self.elector.run())

    async def work(self) -> None:
        self.working = True
        self.log.append(("started", self.clock.monotonic()))
        try:
            if self.fail is not None:
                raise self.fail
            await asyncio.get_running_loop().create_future()
        finally:
            if self.stop_seconds:
                await asyncio.shield(asyncio.ensure_future(self.clock.sleep(self.stop_seconds)))
            self.working = False
            self.log.append(("ended", self.clock.monotonic()))

    async def cancel(self) -> None:
        self.task.cancel()
        await self.clock.advance(self.stop_seconds)
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
def clock() -> fake_clock.FakeClock:
    return fake_clock.FakeClock()


@pytest.fixture
def store() -> Store:
    return Store()


async def test_one_of_three_works(clock: fake_clock.FakeClock, store: Store) -> None:
    candidates = [Candidate(store, clock, name) for name in "abc"]
    await clock.advance(60)
    assert sum(each.working for each in candidates) == 1
    (leader,) = [each for each in candidates if each.working]
    assert store.holder == leader.identity
    assert [each.elector.leading for each in candidates] == [each is leader for each in candidates]
    assert {each.elector.holder for each in candidates} == {leader.identity}
    for each in candidates:
        await each.cancel()


async def test_on_the_way_out_the_lease_is_given_back_after_the_work_ended(
    clock: fake_clock.FakeClock, store: Store
) -> None:
    first = Candidate(store, clock, "a")
    await clock.advance(1)
    second = Candidate(store, clock, "b")
    await clock.advance(5)
    assert first.working
    await first.cancel()
    assert store.holder == ""
    assert not first.working
    before = clock.monotonic()
    await clock.advance(2.5)
    assert second.working
    assert second.log[0][1] - before < 2.5
    assert store.lease is not None
    assert store.lease.spec.lease_transitions == 1
    await second.cancel()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(errors.Unreachable("reset"), id="transport"),
        pytest.param(errors.ApiError(500, "InternalError", "etcd"), id="server-error"),
        pytest.param(errors.ApiError(403, "Forbidden", "rights were taken away"), id="forbidden"),
        pytest.param(ConnectionResetError("odd"), id="bare-os-error"),
        pytest.param(ValueError("a bug of ours"), id="bug"),
        pytest.param(None, id="hangs"),
    ],
)
async def test_work_ends_before_the_lease_can_expire_whatever_goes_wrong(
    clock: fake_clock.FakeClock, store: Store, fault: BaseException | None
) -> None:
    candidate = Candidate(store, clock, "a", stop_seconds=3.0)
    await clock.advance(5)
    assert candidate.working
    last = clock.monotonic()
    store.fault, store.hang = fault, fault is None
    await clock.advance(30)
    assert [what for what, _ in candidate.log] == ["started", "ended", "stopped"]
    assert candidate.log[1][1] < last + 15.0
    assert not candidate.elector.leading
    store.fault, store.hang = None, False
    await clock.advance(20)
    assert candidate.working, "it stands again once the server answers"
    await candidate.cancel()


async def test_nobody_else_starts_before_the_work_of_a_cut_off_leader_ended(
    clock: fake_clock.FakeClock, store: Store
) -> None:
    shared = store
    cut_off = Store()
    first = Candidate(shared, clock, "a", stop_seconds=3.0)
    await clock.advance(5)
    second = Candidate(shared, clock, "b")
    # From here on the first one's requests hang, the second one's do not.
    first.elector._client = cut_off  # type: ignore[assignment]
    cut_off.hang = True
    for _ in range(400):
        await clock.advance(0.1)
        assert not (first.working and second.working)
        assert not (first.elector.leading and second.elector.leading)
    assert second.working
    await first.cancel()
    await second.cancel()


async def test_the_wall_clock_does_not_matter(clock: fake_clock.FakeClock, store: Store) -> None:
    store._write(
        {
            "holderIdentity": "somebody",
            "leaseDurationSeconds": 15,
            "acquireTime": "1970-01-01T00:00:00.000000Z",
            "renewTime": "1970-01-01T00:00:00.000000Z",
        }
    )
    candidate = Candidate(store, clock, "a")
    await clock.advance(14)
    assert not candidate.working, "its renewTime looks old, but it may just have been written by a clock that is wrong"
    await clock.advance(5)
    assert candidate.working
    await candidate.cancel()


async def test_a_suspended_leader_stops_as_soon_as_it_runs_again(clock: fake_clock.FakeClock, store: Store) -> None:
    first = Candidate(store, clock, "a")
    await clock.advance(5)
    clock.jump(100)
    assert not first.elector.leading, "known at once, before any timer has run"
    store._write({"holderIdentity": "b"})
    await clock.advance(1)
    assert not first.working
    assert store.holder == "b"
    await first.cancel()
    assert store.holder == "b", "what is not ours is not given back"


async def test_work_that_does_not_stop_ends_the_process(clock: fake_clock.FakeClock, store: Store) -> None:
    candidate = Candidate(store, clock, "a", stop_seconds=1000.0)
    await clock.advance(5)
    store.fault = errors.Unreachable("reset")
    await clock.advance(30)
    assert isinstance(candidate.task.exception(), leases.WorkWouldNotStopError)
    await clock.advance(1000)


async def test_a_lease_that_somebody_took_is_left_to_them(clock: fake_clock.FakeClock, store: Store) -> None:
    candidate = Candidate(store, clock, "a")
    await clock.advance(5)
    store._write({"holderIdentity": "b"})
    await clock.advance(3)
    assert not candidate.working
    assert store.holder == "b"
    await candidate.cancel()


async def test_a_lease_that_somebody_labelled_stays_ours(clock: fake_clock.FakeClock, store: Store) -> None:
    candidate = Candidate(store, clock, "a")
    await clock.advance(5)
    for _ in range(10):
        store._write({})
        await clock.advance(5)
    assert [what for what, _ in candidate.log] == ["started"]
    await candidate.cancel()


async def test_a_renewal_whose_answer_was_lost_is_ours(clock: fake_clock.FakeClock, store: Store) -> None:
    candidate = Candidate(store, clock, "a")
    await clock.advance(5)
    store.lose_answers = True
    await clock.advance(4)
    store.lose_answers = False
    await clock.advance(20)
    assert [what for what, _ in candidate.log] == ["started"]
    await candidate.cancel()


async def test_a_deleted_lease_stops_the_work_and_is_made_again(clock: fake_clock.FakeClock, store: Store) -> None:
    candidate = Candidate(store, clock, "a")
    await clock.advance(5)
    store.lease = None
    await clock.advance(10)
    assert [what for what, _ in candidate.log] == ["started", "ended", "stopped", "started"]
    assert store.holder == "a"
    await candidate.cancel()


async def test_an_error_of_the_work_is_not_hidden(clock: fake_clock.FakeClock, store: Store) -> None:
    candidate = Candidate(store, clock, "a")
    candidate.fail = ZeroDivisionError()
    await clock.advance(1)
    assert isinstance(candidate.task.exception(), ZeroDivisionError)
    assert store.holder == ""
    assert candidate.log[-1][0] == "stopped"


@pytest.mark.parametrize("times", [(10.0, 15.0, 2.0), (15.0, 10.0, 10.0), (15.0, 10.0, 0.0)], ids=str)
def test_durations_that_make_no_sense_are_refused(
    clock: fake_clock.FakeClock, store: Store, times: tuple[float, float, float]
) -> None:
    async def work() -> None:
        return

    duration, renew, retry = times
    with pytest.raises(ValueError, match="retry < renew < duration"):
        leases.LeaseElector(
            store,  # type: ignore[arg-type]
            "ns",
            "l",
            "a",
            clock,
            random.Random(1),
            work,
            lambda: None,
            duration=duration,
            renew=renew,
            retry=retry,
        )
