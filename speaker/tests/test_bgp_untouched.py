"""A change of Services, communities or pools is told by UPDATEs and touches no session; a changed peer restarts its own session alone.

A whole speaker, confined as in its pod, 10,000 Services in a fake API server, and FRR, which counts what becomes of both its sessions.
"""

import asyncio
import contextlib
import dataclasses
import functools
import os
import pathlib
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from bench import bgp_driver, bgp_speaker, pair
from lab.routers import frr, router
from metallb_core.testing import fake_apiserver, kubeconfigs

NEEDED = ("ip", "setpriv", frr.Router.program)
MISSING = [each for each in NEEDED if shutil.which(each) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.netns,
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0 or bool(MISSING), reason=f"needs root and {', '.join(MISSING) or 'nothing'}"),
]

SERVICES = 10_000
# What is put at once; between two such lots the server, which runs in this process, answers.
LOT = 200
WAIT_SECONDS = 60.0
NODE = "n1"
OURS, THEIRS = 64513, 64512
NAMESPACE = "metallb-system"
METALLB = "metallb.io"
# Addresses of the node that the two sessions come from, by the name of the peer object.
SOURCES = {"changed": "192.0.2.2", "left-alone": "192.0.2.102"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What FRR knows of a session's past. `since`: seconds since 1970, as far as its clocks agree on them."""

    established: int
    dropped: int
    opens: int
    notifications: int
    since: int


class World:
    """The API server's objects, and the router."""

    def __init__(self, server: fake_apiserver.FakeApiServer, there: frr.Router) -> None:
        self.server = server
        self._router = there

    def put(self, plural: str, kind: str, name: str, spec: dict[str, Any], version: str = "v1beta1") -> None:
        metadata = {"name": name, "namespace": NAMESPACE}
        body = {"apiVersion": f"{METALLB}/{version}", "kind": kind, "metadata": metadata, "spec": spec}
        self.server.put(METALLB, plural, body)

    def put_peer(self, name: str, **spec: Any) -> None:
        where = {"peerAddress": "192.0.2.1", "sourceAddress": SOURCES[name]}
        self.put("bgppeers", "BGPPeer", name, {"myASN": OURS, "peerASN": THEIRS, **where, **spec}, "v1beta2")

    def put_pool(self, *ranges: str) -> None:
        self.put("ipaddresspools", "IPAddressPool", "routed", {"addresses": list(ranges)})

    def put_alias(self, value: str) -> None:
        self.put("communities", "Community", "names", {"communities": [{"name": "tier", "value": value}]})

    async def each_service(self, work: Callable[[int], None]) -> None:
        """Do `work` for all Services, while the server goes on answering."""
        for first in range(0, SERVICES, LOT):
            for number in range(first, first + LOT):
                work(number)
            await asyncio.sleep(0)

    def add(self, number: int) -> None:
        name = f"s{number}"
        labels = {"kubernetes.io/service-name": name}
        endpoint = {"nodeName": NODE, "conditions": {"ready": True}, "addresses": ["10.0.0.1"]}
        self.server.put(
            "discovery.k8s.io",
            "endpointslices",
            {"metadata": {"name": f"{name}-1", "namespace": "default", "labels": labels}, "endpoints": [endpoint]},
        )
        self.server.put(
            "",
            "services",
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "clusterIP": "10.0.0.1"},
                "status": {"loadBalancer": {"ingress": [{"ip": str(bgp_speaker.host_route(number).address)}]}},
            },
        )

    def remove(self, number: int) -> None:
        self.server.remove("", "services", f"s{number}", "default")
        self.server.remove("discovery.k8s.io", "endpointslices", f"s{number}-1", "default")

    # The router is asked by another thread: this one has the API server.

    def _session(self, name: str) -> Session:
        known = self._router.neighbour(router.Neighbour(asn=OURS, address=SOURCES[name]))
        counts = known.get("messageStats", {})
        return Session(
            established=known["connectionsEstablished"],
            dropped=known["connectionsDropped"],
            opens=counts["opensRecv"] + counts["opensSent"],
            notifications=counts["notificationsRecv"] + counts["notificationsSent"],
            since=known.get("bgpTimerUpEstablishedEpoch", 0),
        )

    async def session(self, name: str) -> Session:
        return await asyncio.to_thread(self._session, name)

    async def wait_established(self, name: str, times: int) -> None:
        """Until that session has been established so often."""
        await self.wait(lambda: self._session(name).established == times, f"{name} is not established {times} times")

    async def wait(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while not await asyncio.to_thread(condition):
            assert time.monotonic() < end, what
            await asyncio.sleep(0.2)

    async def wait_prefixes(self, count: int) -> None:
        """Until both sessions have brought that many."""
        await self.wait(lambda: self._router.prefixes() == count * len(SOURCES), f"{count} prefixes of each session")

    async def wait_community(self, community: str) -> None:
        """Until every route has it."""
        command = f"show bgp ipv4 unicast community {community} json"

        def marked() -> bool:
            routes = self._router.json(command).get("routes", {})
            return len(routes) == SERVICES and all(len(paths) == len(SOURCES) for paths in routes.values())

        await self.wait(marked, f"{SERVICES} routes with {community} of each session")


@contextlib.asynccontextmanager
async def running(folder: pathlib.Path, cabling: pair.Pair) -> AsyncIterator[World]:
    """A speaker with two sessions to FRR, a pool whose routes have a community, and no Service."""
    neighbours = tuple(
        router.Neighbour(asn=OURS, address=each, hold_time=90, families=(router.IPV4,)) for each in SOURCES.values()
    )
    there = frr.Router(cabling.peer.name, router.Settings(asn=THEIRS, router_id="192.0.2.1", neighbours=neighbours))
    with contextlib.closing(there):
        there.start()
        async with fake_apiserver.FakeApiServer() as server:
            world = World(server, there)
            server.put("", "nodes", {"metadata": {"name": NODE}})
            world.put_pool("198.18.0.0/15")
            world.put_alias("64513:1")
            world.put("bgpadvertisements", "BGPAdvertisement", "all", {"communities": ["tier"]})
            for name in SOURCES:
                world.put_peer(name)
            kubeconfig = kubeconfigs.write(folder, server.url)
            log = folder / "speaker.log"
            with log.open("wb") as output:
                process = await asyncio.create_subprocess_exec(
                    *(*bgp_driver.CONFINED, sys.executable, "-m", "metallb_speaker", f"--kubeconfig={kubeconfig}"),
                    *(f"--namespace={NAMESPACE}", f"--node-name={NODE}", "--port=0", "--health-probe-port=0"),
                    stdout=output,
                    stderr=output,
                )
            try:
                for each in neighbours:
                    await world.wait(functools.partial(there.established, each), f"no session with {each.address}")
                yield world
                process.terminate()
                assert await asyncio.wait_for(process.wait(), 30) == 0
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                # What pytest shows of a test that failed.
                print(*log.read_text(errors="replace").splitlines()[-20:], sep="\n")


@pytest.fixture
def cabling() -> Iterator[pair.Pair]:
    made = pair.Pair("bgu")
    try:
        for address in SOURCES.values():
            made.node.ip("addr", "add", f"{address}/24", "dev", "lan0")
        with made.node.inside():
            yield made
    finally:
        made.close()


async def test_only_a_changed_peer_restarts_and_only_its_own_session(
    tmp_path: pathlib.Path, cabling: pair.Pair
) -> None:
    async with running(tmp_path, cabling) as world:
        before = {name: await world.session(name) for name in SOURCES}
        assert all(each.established == 1 for each in before.values())
        await world.each_service(world.add)
        await world.wait_prefixes(SERVICES)
        await world.wait_community("64513:1")
        world.put_alias("64513:2")
        await world.wait_community("64513:2")
        # A smaller pool takes routes away, and brings them back.
        world.put_pool("198.18.0.0/20", "203.0.113.0/24")
        await world.wait_prefixes(2**12)
        world.put_pool("198.18.0.0/15")
        await world.wait_prefixes(SERVICES)
        await world.each_service(world.remove)
        await world.wait_prefixes(0)
        for name, session in before.items():
            assert_untouched(session, await world.session(name))
        await world.each_service(world.add)
        await world.wait_prefixes(SERVICES)
        world.put_peer("changed", holdTime="30s")
        await world.wait_established("changed", 2)
        await world.wait_prefixes(SERVICES)
        assert (await world.session("changed")).dropped == 1
        assert_untouched(before["left-alone"], await world.session("left-alone"))


def assert_untouched(before: Session, after: Session) -> None:
    """The same session as before. Its begin is computed from two clocks, hence the second."""
    assert abs(after.since - before.since) <= 1
    assert dataclasses.replace(after, since=before.since) == before
