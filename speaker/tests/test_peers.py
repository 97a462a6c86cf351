"""Membership's word counts only once joining had its chance: a speaker that has just started must not claim every address."""

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
