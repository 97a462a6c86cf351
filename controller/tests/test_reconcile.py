"""Writing when the server misbehaves: no answer must ever lead to one address for two Services."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import pytest

from metallb_controller import reconcile
from metallb_core.allocation import converge, request
from metallb_core.config import compiled
from metallb_core.domain import services
from metallb_core.kube import errors, store
from metallb_core.testing import builders
from metallb_core.testing import clock as clocks

CONFLICT = errors.ApiError(409, "Conflict", "the object has been modified")
LOST = errors.Unreachable("no answer")


class Answer:
    """The server's answer to a patch, as far as it is read."""

    def __init__(self, version: str) -> None:
        self.metadata = self
        self.resource_version = version


class Api:
    """A server whose next answers are given; it records what was written."""

    def __init__(self) -> None:
        self.script: list[Exception | str] = []
        self.written: list[tuple[str, list[str]]] = []
        self.conditions: list[tuple[str, list[dict[str, str]]]] = []

    async def strategic_patch(self, _resource: object, name: str, _namespace: str, body: Any, **_: object) -> Answer:
        self.conditions.append((name, body["status"].get("conditions") or []))
        if "loadBalancer" in body["status"]:
            ingress = body["status"]["loadBalancer"]["ingress"] or []
            self.written.append((name, [entry["ip"] for entry in ingress]))
        outcome = self.script.pop(0) if self.script else "2"
        if isinstance(outcome, Exception):
            raise outcome
        return Answer(outcome)


class Events:
    """Remembers the reasons of Events."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.messages: list[str] = []

    def emit(self, _regarding: object, _type: str, reason: str, message: str) -> None:
        self.told.append(reason)
        self.messages.append(message)


class Bench:
    """A reconciler with one pool of two addresses."""

    def __init__(self) -> None:
        self.api, self.events = Api(), Events()
        self.store: store.Store[services.ServiceKey, services.Service] = store.Store()
        self.requeued: list[services.ServiceKey] = []
        self.clock, self.standing, self.asked = clocks.FakeClock(), True, 0
        self.reconciler = reconcile.Reconciler(
            client=self.api,  # type: ignore[arg-type]
            clock=self.clock,
            recorder=self.events,  # type: ignore[arg-type]
            stored=self.store,
            load_balancer_class="",
            stands=self._stands,
            requeue=self._requeue,
            on_pools=lambda _names: None,
            on_latency=lambda _seconds: None,
        )
        self.reconciler.begin(
            compiled.compile(compiled.Resources(pools=(builders.pool_object("pool", "192.0.2.0/31"),)))
        )

    async def _stands(self) -> bool:
        self.asked += 1
        await self.meanwhile()
        return self.standing

    async def meanwhile(self) -> None:
        """What happens while the API server is asked whether the installation stands."""

    def _requeue(self, keys: Iterable[services.ServiceKey]) -> None:
        self.requeued.extend(keys)

    def show(self, service: services.Service) -> services.ServiceKey:
        """The informer shows a Service."""
        before = self.store.put(service.key, service)
        self.reconciler.observed(service.key, before, service)
        return service.key


def pending(name: str, version: str = "1") -> services.Service:
    return dataclasses.replace(builders.service(name), resource_version=version)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_an_address_whose_write_may_have_taken_place_is_given_to_nobody_else(bench: Bench) -> None:
    """The write takes place, its answer is lost, and its repetition on the stale copy is a conflict."""
    web, dns = bench.show(pending("web")), bench.show(pending("dns"))
    bench.api.script = [LOST, CONFLICT]
    with pytest.raises(errors.Unreachable):
        await bench.reconciler.reconcile(web)
    await bench.reconciler.reconcile(web)
    await bench.reconciler.reconcile(dns)
    assert bench.api.written == [("web", ["192.0.2.0"]), ("web", ["192.0.2.0"]), ("dns", ["192.0.2.1"])]


async def test_what_the_informer_shows_ends_the_reservation(bench: Bench) -> None:
    web, dns = bench.show(pending("web")), bench.show(pending("dns"))
    bench.api.script = [LOST]
    with pytest.raises(errors.Unreachable):
        await bench.reconciler.reconcile(web)
    # The write did not take place, and the Service was made another type meanwhile.
    bench.show(dataclasses.replace(pending("web", "2"), is_load_balancer=False))
    await bench.reconciler.reconcile(dns)
    assert bench.api.written[-1] == ("dns", ["192.0.2.0"])


async def test_what_was_just_written_is_not_written_again_while_the_copy_is_stale(bench: Bench) -> None:
    web = bench.show(pending("web"))
    await bench.reconciler.reconcile(web)
    await bench.reconciler.reconcile(web)
    assert bench.api.written == [("web", ["192.0.2.0"])]


async def test_a_wish_taken_back_after_a_lost_answer_is_settled_by_writing_once_more(bench: Bench) -> None:
    held = dataclasses.replace(
        builders.service("web", holds="192.0.2.0", held_from="pool", asks="192.0.2.1"), resource_version="1"
    )
    web = bench.show(held)
    bench.api.script = [LOST]
    with pytest.raises(errors.Unreachable):
        await bench.reconciler.reconcile(web)
    assert bench.reconciler.book.reserved(web)
    # The configuration takes the wish's address away; the old one is right again, and nothing but the reservation is left to settle.
    smaller = compiled.compile(compiled.Resources(pools=(builders.pool_object("pool", "192.0.2.0/32"),)))
    bench.reconciler.configure(smaller)
    bench.api.script = ["1"]
    await bench.reconciler.reconcile(web)
    assert bench.api.written == [("web", ["192.0.2.1"]), ("web", ["192.0.2.0"])]
    assert bench.reconciler.book.reserved(web) == ()


async def test_a_conflict_is_not_told_as_an_assignment(bench: Bench) -> None:
    web = bench.show(pending("web"))
    bench.api.script = [CONFLICT]
    await bench.reconciler.reconcile(web)
    assert bench.events.told == []


async def test_a_service_that_asks_for_a_bad_pool_is_told_that_it_is_bad(bench: Bench) -> None:
    web = bench.show(dataclasses.replace(builders.service("web", asks_pool="broken"), resource_version="1"))
    broken = builders.pool_object("broken", "198.51.100.0/33")
    bench.reconciler.begin(compiled.compile(compiled.Resources(pools=(broken,))))
    await bench.reconciler.reconcile(web)
    assert bench.api.written == []
    assert bench.events.messages[-1].endswith(
        "the requested IPAddressPool 'broken' is invalid; the Events on it say what to mend [C501 InvalidObject]"
    )


async def test_a_pool_that_cannot_be_read_after_a_restart_costs_no_address(bench: Bench) -> None:
    web = bench.show(
        dataclasses.replace(builders.service("web", holds="198.51.100.7", held_from="broken"), resource_version="1")
    )
    broken = builders.pool_object("broken", "198.51.100.0/33")
    bench.reconciler.begin(compiled.compile(compiled.Resources(pools=(broken,))))
    await bench.reconciler.reconcile(web)
    assert bench.api.written == []
    assert bench.events.told == ["LoadBalancerFailed"]


# What nobody asked for


HELD = dataclasses.replace(builders.service("web", holds="192.0.2.0", held_from="pool"), resource_version="1")


def no_pools(bench: Bench) -> None:
    bench.reconciler.configure(compiled.EMPTY)


async def test_an_address_goes_after_a_while(bench: Bench) -> None:
    web = bench.show(HELD)
    no_pools(bench)
    assert await bench.reconciler.reconcile(web) == converge.POOL_SECONDS
    await bench.clock.advance(converge.POOL_SECONDS - 1)
    assert await bench.reconciler.reconcile(web) == 1.0
    assert bench.api.written == []
    await bench.clock.advance(1.0)
    assert await bench.reconciler.reconcile(web) is None
    assert bench.api.written == [("web", [])]
    assert bench.events.told == ["ClearAssignment", "AllocationFailed"]


async def test_an_address_of_a_pool_never_seen_has_longer(bench: Bench) -> None:
    """As after a restart, where one tool has applied its pools and another has not yet."""
    other = dataclasses.replace(
        HELD, ingress=builders.listed("198.51.100.1"), annotations={request.ALLOCATED_FROM: "other"}
    )
    web = bench.show(other)
    assert await bench.reconciler.reconcile(web) == reconcile.UNSEEN_POOL_SECONDS
    await bench.clock.advance(converge.POOL_SECONDS)
    assert await bench.reconciler.reconcile(web) == reconcile.UNSEEN_POOL_SECONDS - converge.POOL_SECONDS
    await bench.clock.advance(reconcile.UNSEEN_POOL_SECONDS)
    assert await bench.reconciler.reconcile(web) is None
    assert bench.api.written == [("web", ["192.0.2.0"])]


async def test_an_address_whose_pool_comes_back_stays_and_nothing_is_told(bench: Bench) -> None:
    web = bench.show(HELD)
    before = bench.reconciler._config
    no_pools(bench)
    assert await bench.reconciler.reconcile(web)
    await bench.clock.advance(converge.POOL_SECONDS - 1)
    bench.reconciler.configure(before)
    assert web in bench.requeued
    assert await bench.reconciler.reconcile(web) is None
    # What comes next has its own time.
    bench.show(dataclasses.replace(HELD, resource_version="2"))
    no_pools(bench)
    await bench.clock.advance(1.0)
    assert await bench.reconciler.reconcile(web) == converge.POOL_SECONDS
    assert (bench.api.written, bench.events.told) == ([], [])


async def test_an_address_stays_while_this_may_be_a_removal(bench: Bench) -> None:
    web = bench.show(HELD)
    no_pools(bench)
    bench.standing = False
    assert await bench.reconciler.reconcile(web)
    assert bench.asked == 0
    await bench.clock.advance(converge.POOL_SECONDS)
    for _ in range(3):
        assert await bench.reconciler.reconcile(web) == reconcile.LOOK_AGAIN_SECONDS
    assert bench.api.written == []
    bench.standing = True
    assert await bench.reconciler.reconcile(web) is None
    assert bench.api.written == [("web", [])]


async def test_a_write_that_failed_does_not_begin_the_while_anew(bench: Bench) -> None:
    web = bench.show(HELD)
    no_pools(bench)
    assert await bench.reconciler.reconcile(web)
    await bench.clock.advance(converge.POOL_SECONDS)
    bench.api.script = [LOST]
    with pytest.raises(errors.Unreachable):
        await bench.reconciler.reconcile(web)
    assert await bench.reconciler.reconcile(web) is None
    assert bench.api.written == [("web", []), ("web", [])]


async def test_an_address_that_is_asked_for_comes_at_once(bench: Bench) -> None:
    web = bench.show(dataclasses.replace(HELD, load_balancer_ip="192.0.2.1"))
    assert await bench.reconciler.reconcile(web) is None
    assert bench.api.written == [("web", ["192.0.2.1"])]


async def test_of_two_sharers_changed_one_after_the_other_both_keep_the_address(bench: Bench) -> None:
    """Both become Local: for a moment one is and the other is not, which may not share."""
    first, second = (
        dataclasses.replace(
            builders.service(name, holds="192.0.2.0", held_from="pool", share="key", on=port), resource_version="1"
        )
        for name, port in (("first", "TCP/53"), ("second", "UDP/53"))
    )
    keys = bench.show(first), bench.show(second)
    local = {"traffic_policy": services.TrafficPolicy.LOCAL, "resource_version": "2"}
    bench.show(dataclasses.replace(first, **local))  # type: ignore[arg-type]
    assert await bench.reconciler.reconcile(keys[0]) == converge.SHARING_SECONDS
    bench.show(dataclasses.replace(second, **local))  # type: ignore[arg-type]
    await bench.clock.advance(converge.SHARING_SECONDS)
    for key in keys:
        assert await bench.reconciler.reconcile(key) is None
    assert bench.api.written == []


def elsewhere(bench: Bench) -> None:
    """The pool goes, and another one is there."""
    other = builders.pool_object("other", "198.51.100.0/31")
    bench.reconciler.configure(compiled.compile(compiled.Resources(pools=(other,))))


@pytest.mark.parametrize("what", ["given-to-another", "deleted", "cured"])
async def test_what_happens_while_the_api_server_is_asked_counts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    web = bench.show(HELD)
    before = bench.reconciler._config
    elsewhere(bench)
    assert await bench.reconciler.reconcile(web)
    await bench.clock.advance(converge.POOL_SECONDS)

    async def meanwhile() -> None:
        monkeypatch.undo()
        if what == "given-to-another":
            await bench.reconciler.reconcile(bench.show(pending("new")))
        elif what == "deleted":
            bench.reconciler.observed(web, bench.store.remove(web), None)
        else:
            bench.reconciler.configure(before)

    monkeypatch.setattr(bench, "meanwhile", meanwhile)
    assert await bench.reconciler.reconcile(web) == 0.0
    assert await bench.reconciler.reconcile(web) is None
    assert bench.reconciler.book.reserved(web) == (
        (builders.listed("198.51.100.1")) if what == "given-to-another" else ()
    )
    assert (
        bench.api.written
        == {
            "given-to-another": [("new", ["198.51.100.0"]), ("web", ["198.51.100.1"])],
            "deleted": [],
            "cured": [],
        }[what]
    )


async def test_the_next_loss_has_its_own_time(bench: Bench) -> None:
    """The pool that the Service was moved to goes before the Service was looked at again."""
    web = bench.show(HELD)
    elsewhere(bench)
    assert await bench.reconciler.reconcile(web)
    await bench.clock.advance(converge.POOL_SECONDS)
    assert await bench.reconciler.reconcile(web) is None
    assert bench.api.written == [("web", ["198.51.100.0"])]
    no_pools(bench)
    moved = builders.service("web", holds="198.51.100.0", held_from="other")
    bench.show(dataclasses.replace(moved, resource_version="2"))
    assert await bench.reconciler.reconcile(web) == converge.POOL_SECONDS


async def test_a_clash_does_not_wait_for_the_installation_and_has_a_second_of_its_own(bench: Bench) -> None:
    first, second = (
        dataclasses.replace(
            builders.service(name, holds="192.0.2.0", held_from="pool", share="key", on=port), resource_version="1"
        )
        for name, port in (("first", "TCP/53"), ("second", "UDP/53"))
    )
    bench.show(first)
    key = bench.show(second)
    before, bench.standing = bench.reconciler._config, False
    no_pools(bench)
    assert await bench.reconciler.reconcile(key) == converge.POOL_SECONDS
    await bench.clock.advance(2.0)
    bench.reconciler.configure(before)
    bench.show(dataclasses.replace(second, ports=first.ports, resource_version="2"))
    assert await bench.reconciler.reconcile(key) == converge.SHARING_SECONDS
    await bench.clock.advance(converge.SHARING_SECONDS)
    assert await bench.reconciler.reconcile(key) is None
    assert bench.api.written == [("second", ["192.0.2.1"])]
    assert bench.asked == 0


@pytest.mark.parametrize("how", ["deleted", "begun-anew"])
async def test_a_service_or_leader_that_comes_anew_has_the_whole_time(bench: Bench, how: str) -> None:
    web = bench.show(HELD)
    no_pools(bench)
    assert await bench.reconciler.reconcile(web)
    await bench.clock.advance(converge.POOL_SECONDS - 1)
    if how == "deleted":
        bench.reconciler.observed(web, bench.store.remove(web), None)
        bench.show(dataclasses.replace(HELD, resource_version="2"))
    else:
        bench.reconciler.begin(compiled.EMPTY)
    assert await bench.reconciler.reconcile(web) == converge.POOL_SECONDS
