"""Membership's word counts only once joining had its chance: a speaker that has just started must not claim every address."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from metallb_core.api import meta, workloads
from metallb_core.kube import store
from metallb_core.testing import clock as clocks
from metallb_speaker import peers

ALONE: peers.Members = {"me": None}
TOGETHER: peers.Members = {"me": None, "you": None}


class Heard:
    """What the reconciler and the member were told."""

    def __init__(self, *addresses: str) -> None:
        self.clock = clocks.FakeClock()
        self.members: list[peers.Members] = []
        self.joined: list[tuple[str, ...]] = []
        pods: store.Store[tuple[str, str], workloads.Pod] = store.Store()
        for address in ("10.0.0.1", *addresses):
            metadata = meta.ObjectMeta(namespace="metallb-system", name=f"speaker-{address}")
            pod = workloads.Pod(metadata=metadata, status=workloads.PodStatus(pod_ip=address))
            pods.put((metadata.namespace, metadata.name), pod)
        self.peers = peers.Peers(
            own_address="10.0.0.1",
            clock=self.clock,
            pods=pods,
            join=self.joined.append,
            on_members=self.members.append,
        )


@contextlib.asynccontextmanager
async def running(heard: Heard) -> AsyncIterator[None]:
    task = asyncio.create_task(heard.peers.run())
    try:
        await heard.clock.settle()
        yield
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_hosts_are_the_other_pods_with_an_address() -> None:
    assert Heard("10.0.0.3", "", "10.0.0.2").peers.hosts() == ("10.0.0.2", "10.0.0.3")


def test_alone_counts_at_once_when_there_is_nobody_else() -> None:
    heard = Heard()
    heard.peers.report(ALONE)
    assert heard.members == [ALONE]


def test_alone_does_not_count_while_others_may_still_answer() -> None:
    heard = Heard("10.0.0.2")
    heard.peers.report(ALONE)
    assert heard.members == []
    heard.peers.report(TOGETHER)
    assert heard.members == [TOGETHER]


def test_being_left_alone_later_counts() -> None:
    heard = Heard("10.0.0.2")
    heard.peers.report(TOGETHER)
    heard.peers.report(ALONE)
    assert heard.members == [TOGETHER, ALONE]


async def test_alone_counts_when_joining_had_its_time() -> None:
    heard = Heard("10.0.0.2")
    heard.peers.report(ALONE)
    await heard.clock.advance(peers.SETTLE_SECONDS + 0.1)
    heard.peers.report(ALONE)
    assert heard.members == [ALONE]


def test_after_a_restart_of_the_member_alone_does_not_count_again() -> None:
    heard = Heard("10.0.0.2")
    heard.peers.report(TOGETHER)
    heard.peers.restarted()
    heard.peers.report(ALONE)
    assert heard.members == [TOGETHER]


async def test_all_are_called_at_once_and_then_each_minute() -> None:
    heard = Heard("10.0.0.2")
    heard.peers.report(TOGETHER)
    async with running(heard):
        assert heard.joined == [("10.0.0.2",)]
        await heard.clock.advance(peers.REJOIN_SECONDS - 1)
        assert len(heard.joined) == 1
        await heard.clock.advance(2)
        assert len(heard.joined) == 2


async def test_who_is_missing_is_called_again_soon() -> None:
    heard = Heard("10.0.0.2")
    heard.peers.report(TOGETHER)
    async with running(heard):
        heard.joined.clear()
        heard.peers.report(ALONE)
        await heard.clock.advance(2 * peers.RECALL_SECONDS)
        assert heard.joined == [("10.0.0.2",), ("10.0.0.2",)]
        heard.joined.clear()
        heard.peers.report(TOGETHER)
        await heard.clock.advance(2 * peers.RECALL_SECONDS)
        assert heard.joined == []


async def test_in_a_large_cluster_a_few_are_called_in_turn() -> None:
    hosts = [f"10.0.0.{number}" for number in range(10, 30)]
    heard = Heard(*hosts)
    heard.peers.report(TOGETHER)
    async with running(heard):
        heard.joined.clear()
        await heard.clock.advance(3 * peers.RECALL_SECONDS)
        assert [len(called) for called in heard.joined] == [peers.RECALLED_AT_ONCE] * 3
        assert {host for called in heard.joined for host in called} == set(hosts)


async def test_a_report_of_nobody_ends_nothing() -> None:
    heard = Heard()
    async with running(heard):
        heard.peers.report({})
        await heard.clock.advance(peers.RECALL_SECONDS + 1)
        heard.peers.report(ALONE)
        await heard.clock.advance(peers.RECALL_SECONDS + 1)
    assert heard.members == [{}, ALONE]
