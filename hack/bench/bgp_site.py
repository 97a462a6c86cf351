"""A node that runs the whole speaker over BGP: a namespace with an API server, etcd and one speaker, and BIRD at the other end of a cable.

- The calling thread is in the node's namespace while a site is open, so that all it starts is there; the router is beside it.
- Nothing gives addresses but the bench itself, which writes them into the status of Services: what is measured is the speaker.
- Each Service has one EndpointSlice. The speaker is confined as in its pod, with its default log level, and has no other speaker beside it.
"""

import asyncio
import contextlib
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from bench import bgp, bgp_driver, bgp_speaker, conditions, controller, pair
from lab import apiserver
from lab.routers import bird, router
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import connection, resources

T = TypeVar("T")

NODE = "n1"
WRITERS = 16
DEADLINE = 240.0
PEERS = 4
SOURCES = ("192.0.2.2", *(f"192.0.2.{100 + number}" for number in range(PEERS - 1)))


class Speaker:
    """One speaker, both its processes; `with` starts and stops it. `started`: monotonic seconds."""

    def __init__(self, kubeconfig: pathlib.Path, *, profile: pathlib.Path | None = None) -> None:
        self._argv = [
            *bgp_driver.CONFINED, sys.executable, *(["-m", "cProfile", "-o", str(profile)] if profile else []), "-m", "metallb_speaker",
            f"--kubeconfig={kubeconfig}", f"--namespace={controller.NAMESPACE}", f"--node-name={NODE}", "--port=0", "--health-probe-port=0",
        ]  # fmt: skip
        self.started = 0.0

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        self._process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=30)

    def _pids(self) -> tuple[int, ...]:
        own = self._process.pid
        children = pathlib.Path(f"/proc/{own}/task/{own}/children").read_text().split()
        return own, *map(int, children)

    def megabytes(self) -> tuple[float, float]:
        """Resident and proportional size of both."""
        weights = [bgp.weight(pid) for pid in self._pids()]
        return sum(resident for resident, _ in weights), sum(proportional for _, proportional in weights)

    def cpu_seconds(self) -> float:
        """Processor time of both so far."""
        return sum(bgp.cpu_seconds(pid) for pid in self._pids())

    async def wait_idle(self) -> None:
        """Wait until it has had next to nothing to do for two seconds."""
        async with asyncio.timeout(DEADLINE):
            before = -1.0
            while (now := self.cpu_seconds()) - before > 0.04:
                before = now
                await asyncio.sleep(2)


class Site:
    """See the module. `client` reaches the API server as its administrator."""

    def __init__(self, cabling: pair.Pair, server: apiserver.ApiServer, client: clients.Client) -> None:
        self.server = server
        self.client = client
        self.services: list[services.ServiceKey] = []
        neighbours = tuple(
            router.Neighbour(asn=bgp.OURS, address=address, hold_time=90, families=(router.IPV4,))
            for address in SOURCES
        )
        self._router = bird.Router(
            cabling.peer.name, router.Settings(asn=bgp.THEIRS, router_id="192.0.2.1", neighbours=neighbours)
        )
        self.control: bgp.Control | None = None

    def close(self) -> None:
        """End the router."""
        if self.control is not None:
            self.control.close()
        self._router.close()

    def restart_router(self) -> bgp.Control:
        """A router that knows no route, and remembers no session that it could keep routes of."""
        if self.control is not None:
            self.control.close()
        self._router.kill()
        self._router.start()
        self.control = bgp.Control(str(self._router.directory / "bird.ctl"))
        return self.control

    async def configure(self) -> None:
        """The node, an advertisement of the one pool there is, and one peer."""
        await self.client.create(resources.NODES, {"metadata": {"name": NODE}})
        advertisement = {"metadata": {"name": "all"}, "spec": {"ipAddressPools": ["routed"]}}
        await self.client.create(resources.BGP_ADVERTISEMENTS, advertisement, controller.NAMESPACE)
        pool = {"metadata": {"name": "routed"}, "spec": {"addresses": ["198.18.0.0/15"]}}
        await self.client.create(resources.IP_ADDRESS_POOLS, pool, controller.NAMESPACE)
        await self.peer(0)

    async def peer(self, number: int) -> None:
        """One more peer: the same router, from another address."""
        spec = {
            "myASN": bgp.OURS,
            "peerASN": bgp.THEIRS,
            "peerAddress": "192.0.2.1",
            "sourceAddress": SOURCES[number],
        }
        body = {"metadata": {"name": f"tor{number}"}, "spec": spec}
        await self.client.create(resources.BGP_PEERS, body, controller.NAMESPACE)

    async def unpeer(self, number: int) -> None:
        """One peer less."""
        await self.client.delete(resources.BGP_PEERS, f"tor{number}", controller.NAMESPACE)

    async def add(self, number: int) -> services.ServiceKey:
        """A Service and its EndpointSlice, without an address."""
        key = services.ServiceKey("default", f"s{number}")
        await self.client.create(resources.ENDPOINT_SLICES, _slice_of(key), key.namespace)
        await self.client.create(resources.SERVICES, controller.manifest(key.name), key.namespace)
        return key

    async def give(self, key: services.ServiceKey, number: int) -> None:
        """Give it its address, as the controller does: with one patch of its status."""
        status = {"status": {"loadBalancer": {"ingress": [{"ip": address_of(number)}]}}}
        await self.client.merge_patch(resources.SERVICES, key.name, key.namespace, status, subresource="status")

    async def grow(self, count: int) -> None:
        """Have that many Services with addresses."""

        async def one(number: int) -> None:
            key = await self.add(number)
            await self.give(key, number)
            self.services.append(key)

        await many(range(len(self.services), count), one)

    async def statuses(self) -> list[str]:
        """Names of the status objects that speakers wrote."""
        return [
            each.metadata.name
            async for page in self.client.list(resources.SERVICE_BGP_STATUSES, controller.NAMESPACE)
            for each in page.items
        ]

    async def wait_statuses(self) -> float:
        """Wait until each Service has one; when that was seen, monotonic, to half a second."""
        async with asyncio.timeout(DEADLINE):
            while len(await self.statuses()) < len(self.services):  # noqa: ASYNC110 - counted at the server
                await asyncio.sleep(0.5)
        return time.monotonic()

    async def forget_statuses(self) -> None:
        """Delete what speakers wrote, as if none had ever run."""
        await many(
            await self.statuses(),
            lambda name: self.client.delete(resources.SERVICE_BGP_STATUSES, name, controller.NAMESPACE),
        )


def address_of(number: int) -> str:
    """The address of the Service of that number."""
    return str(bgp_speaker.host_route(number).address)


def _slice_of(key: services.ServiceKey) -> dict[str, Any]:
    made = conditions.slice_of(key)
    made["endpoints"][0]["nodeName"] = NODE
    return made


async def many(items: Iterable[T], work: Callable[[T], Awaitable[object]]) -> None:
    """Do `work` for every item, a few at a time."""
    waiting = iter(tuple(items))

    async def one() -> None:
        for item in waiting:
            await work(item)

    await asyncio.gather(*(one() for _ in range(WRITERS)))


async def wait(condition: Callable[[], bool], what: str, *, every: float = 0.005) -> float:
    """Look every so many seconds until it holds; when that was seen, monotonic. The pause leaves the cores to what is measured."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        await asyncio.sleep(every)
    return time.monotonic()


@contextlib.asynccontextmanager
async def site(cabling: pair.Pair) -> AsyncIterator[Site]:
    """Open one; the calling thread has to be in the node's namespace."""
    for address in SOURCES:
        cabling.node.ip("addr", "add", f"{address}/24", "dev", "lan0")
    with apiserver.ApiServer(service_ranges=("10.96.0.0/12",)) as server:
        server.kubectl("apply", "--filename", controller.ROOT / "charts/metallb/charts/crds/crds")
        server.kubectl("create", "namespace", controller.NAMESPACE)
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        async with clients.Client(connection.from_kubeconfig(server.kubeconfig), user_agent="bench") as client:
            made = Site(cabling, server, client)
            try:
                await made.configure()
                yield made
            finally:
                made.close()
