"""When announcements are due, on a clock that only the test moves."""

import itertools
import random
from collections.abc import Iterator

import pytest

from metallb_core.domain import addresses
from metallb_speaker.layer2 import claims, schedule

KEY = (addresses.Address.parse("192.0.2.10"), "eth0")


def _many(count: int) -> list[schedule.Key]:
    return [(addresses.Address(addresses.Family.IPV4, 0xC0000000 + number), "eth0") for number in range(count)]


def _run(plan: schedule.Schedule, start: float, end: float, limit: int = 64) -> Iterator[tuple[float, schedule.Key]]:
    """Follow the schedule as its shell does: sleep what it asks for, take at most `limit`."""
    now = start
    for _ in range(1_000_000):
        for key in plan.due(now, limit):
            yield now, key
        wait = plan.wait(now)
        if wait is None or now + wait > end:
            return
        now += max(wait, 0.0001)  # a timer is never exact, and always late
    raise AssertionError("the schedule does not come to rest")


def test_burst_then_refreshes() -> None:
    plan = schedule.Schedule(random.Random(1))
    plan.start(KEY, 100.0)
    times = [now - 100.0 for now, _ in _run(plan, 100.0, 400.0)]
    assert times[:7] == pytest.approx(list(schedule.BURST), abs=0.001)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times[6:])]
    assert 3 <= len(gaps) <= 10
    assert all(30.0 <= gap <= 90.001 for gap in gaps)
    assert len({round(gap, 3) for gap in gaps}) > 1, "refreshes are jittered"


def test_no_refresh_if_switched_off() -> None:
    plan = schedule.Schedule(random.Random(1), refresh=0)
    plan.start(KEY, 0.0)
    assert len(list(_run(plan, 0.0, 1000.0))) == len(schedule.BURST)
    assert plan.wait(1000.0) is None
    assert len(plan) == 1


def test_starting_again_restarts_the_burst() -> None:
    plan = schedule.Schedule(random.Random(1), refresh=0)
    plan.start(KEY, 0.0)
    list(_run(plan, 0.0, 0.1))
    plan.start(KEY, 0.15)
    times = [now for now, _ in _run(plan, 0.15, 100.0)]
    assert times == pytest.approx([0.15 + offset for offset in schedule.BURST], abs=0.001)


def test_stopped_is_silent() -> None:
    plan = schedule.Schedule(random.Random(1))
    plan.start(KEY, 0.0)
    plan.due(0.0, 64)
    plan.stop(KEY)
    plan.stop(KEY)
    assert list(_run(plan, 0.0, 500.0)) == []


def test_one_more_copy_changes_nothing_else() -> None:
    plan = schedule.Schedule(random.Random(1), refresh=0)
    plan.start(KEY, 0.0)
    list(_run(plan, 0.0, 50.0))
    plan.again(KEY, 60.0)
    assert [now for now, _ in _run(plan, 60.0, 1000.0)] == [60.0]
    plan.stop(KEY)
    plan.again(KEY, 70.0)
    assert list(_run(plan, 70.0, 1000.0)) == []


def test_clear() -> None:
    plan = schedule.Schedule(random.Random(1))
    plan.start(KEY, 0.0)
    plan.clear()
    assert (len(plan), plan.wait(0.0), plan.due(10.0, 64)) == (0, None, [])


def test_two_thousand_addresses_are_first_announced_at_once() -> None:
    plan = schedule.Schedule(random.Random(1))
    keys = _many(2000)
    for key in keys:
        plan.start(key, 0.0)
    sent = plan.due(0.0, 10_000)
    assert set(sent) == set(keys)
    assert len(sent) == 2000


def test_first_copies_have_a_bound() -> None:
    plan = schedule.Schedule(random.Random(1), first_rate=100.0, first_capacity=10.0, refresh=0)
    for key in _many(50):
        plan.start(key, 0.0)
    assert len(plan.due(0.0, 10_000)) == 10
    assert plan.wait(0.0) == pytest.approx(0.01)


def test_repeats_and_refreshes_are_paced() -> None:
    plan = schedule.Schedule(random.Random(7))
    for key in _many(2000):
        plan.start(key, 0.0)
    events = list(_run(plan, 0.0, 200.0))
    later = [now for now, _ in events[2000:]]
    assert _busiest(later, 0.1) <= 2000 * 0.1 + 32 + 500 * 0.1 + 16 + 1
    refreshes = [now for now in later if now > 20.0]
    assert _busiest(refreshes, 1.0) <= 500 + 16 + 1
    assert _busiest(refreshes, 1.0) < 120, "and they are spread over the whole interval"
    last: dict[schedule.Key, float] = {}
    for now, key in events:
        assert now - last.get(key, 0.0) <= 90.5, "no address is left out"
        last[key] = now
    assert len(last) == 2000


def _busiest(times: list[float], window: float) -> int:
    most = begin = 0
    for end, now in enumerate(times):
        while times[begin] < now - window:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def test_being_late_does_not_pile_up() -> None:
    plan = schedule.Schedule(random.Random(1), refresh=0)
    plan.start(KEY, 0.0)
    assert plan.due(0.0, 64) == [KEY]
    assert plan.due(3.0, 64) == [KEY], "four copies were due: one is sent"
    assert plan.due(3.0, 64) == []
    assert plan.wait(3.0) == pytest.approx(0.5)


def test_limit_is_kept_and_first_copies_go_first() -> None:
    plan = schedule.Schedule(random.Random(1))
    old, new = _many(40)[:20], _many(40)[20:]
    for key in old:
        plan.start(key, 0.0)
    plan.due(0.0, 64)
    for key in new:
        plan.start(key, 0.05)
    assert plan.due(0.05, 20) == new
    assert set(plan.due(0.05, 20)) == set(old)


ADDRESS = KEY[0]
MAC = b"\2\0\0\0\0\x99"


def test_claim_is_judged_after_a_second_once_in_ten() -> None:
    heard = claims.Claims()
    assert heard.heard(ADDRESS, "eth0", MAC, 5.0)
    assert not heard.heard(ADDRESS, "eth0", MAC, 5.5), "one judgement is pending already"
    assert heard.due(5.9) == []
    assert heard.wait(5.9) == pytest.approx(0.1)
    assert heard.due(6.0) == [claims.Conflict(address=ADDRESS, interface="eth0", mac=MAC)]
    assert heard.wait(6.0) is None
    reports = []
    for tenth in range(600):
        now = 6.1 + tenth / 10
        heard.heard(ADDRESS, "eth0", MAC, now)
        reports += [now for _ in heard.due(now)]
    assert len(reports) == 6, "a station that insists for a minute is reported six times"


def test_claim_on_an_address_that_left_is_nothing() -> None:
    heard = claims.Claims()
    heard.heard(ADDRESS, "eth0", MAC, 0.0)
    heard.forget(ADDRESS, "eth0")
    heard.forget(ADDRESS, "eth0")
    assert (heard.due(10.0), heard.wait(10.0)) == ([], None)


def test_claims_on_two_links_are_two() -> None:
    heard = claims.Claims()
    heard.heard(ADDRESS, "eth0", MAC, 0.0)
    heard.heard(ADDRESS, "eth1", MAC, 0.2)
    assert [each.interface for each in heard.due(1.1)] == ["eth0"]
    assert [each.interface for each in heard.due(1.2)] == ["eth1"]
