"""The controller's rows of the budget, on a real API server with etcd in memory, three runs each.

    python -m bench.controller [--runs 3] [--services 2000]

One controller process as it runs in a pod, one API server. A row is the median and the worst of the runs:

- pending: from starting the controller until 2,000 waiting Services have their address
- one: create one Service in a quiet cluster, until a watch shows its address; median of 50
- storm: 1,000 Services by 8 writers, from each one's creation to its address; median
- restart: with 2,000 assigned Services, from starting the controller until a new Service has its address
- memory: resident size of the controller with 2,000 Services
"""

import argparse
import asyncio
import contextlib
import pathlib
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator

from bench import figures, limits
from lab import apiserver
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import connection, informer, resources
from metallb_core.runtime import clock as clocks

ROOT = pathlib.Path(__file__).parents[2]
NAMESPACE = "metallb-system"
DEADLINE = 300.0


class Watched:
    """The Services of the cluster, and when each was first seen with an address."""

    def __init__(self, client: clients.Client) -> None:
        self.assigned: dict[services.ServiceKey, float] = {}
        self._changed = asyncio.Event()
        self.informer = informer.Informer(client, resources.SERVICES, on_change=self._seen, clock=clocks.SystemClock())

    def _seen(self, key: services.ServiceKey, _old: object, new: services.Service | None) -> None:
        if new is None:
            self.assigned.pop(key, None)
        elif new.ingress:
            self.assigned.setdefault(key, time.monotonic())
            self._changed.set()

    async def wait(self, keys: set[services.ServiceKey]) -> None:
        """Wait until every one of `keys` has an address."""
        async with asyncio.timeout(DEADLINE):
            while not keys <= self.assigned.keys():
                self._changed.clear()
                await self._changed.wait()


def manifest(name: str) -> dict[str, object]:
    """A Service without selector, so that nothing else in the cluster works on it."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name, "team": "bench"}},
        "spec": {
            "type": "LoadBalancer",
            "allocateLoadBalancerNodePorts": False,
            "ports": [{"port": 80, "protocol": "TCP"}],
        },
    }


class Controller:
    """One controller process; `with` starts and stops it."""

    def __init__(self, kubeconfig: pathlib.Path) -> None:
        self._argv = [
            sys.executable, "-m", "metallb_controller", f"--kubeconfig={kubeconfig}", f"--namespace={NAMESPACE}",
            "--pod-name=bench", "--port=0", "--health-probe-port=0", "--log-level=warn",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Controller":
        self._process = subprocess.Popen(self._argv)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=30)

    def kill(self) -> None:
        """As power loss would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=30)

    def megabytes(self) -> float:
        """Resident size."""
        assert self._process is not None
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))) / 1024


async def create(client: clients.Client, names: list[str], writers: int) -> dict[services.ServiceKey, float]:
    """Create Services by `writers` at a time; when each creation was sent."""
    started: dict[services.ServiceKey, float] = {}
    waiting = iter(names)

    async def write() -> None:
        for name in waiting:
            started[services.ServiceKey("default", name)] = time.monotonic()
            await client.create(resources.SERVICES, manifest(name), "default")

    await asyncio.gather(*(write() for _ in range(writers)))
    return started


@contextlib.asynccontextmanager
async def cluster() -> AsyncIterator[tuple[apiserver.ApiServer, clients.Client, Watched]]:
    """An API server with the definitions, a pool of a /16, a client and a watch."""
    with apiserver.ApiServer(service_ranges=("10.96.0.0/12",)) as server:
        server.kubectl("apply", "--filename", ROOT / "charts/metallb/charts/crds/crds")
        server.kubectl("create", "namespace", NAMESPACE)
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        pool = (
            f'{{"apiVersion":"metallb.io/v1beta1","kind":"IPAddressPool","metadata":{{"name":"bench","namespace":"{NAMESPACE}"}},'
            '"spec":{"addresses":["172.16.0.0/16"]}}'
        )
        server.kubectl("apply", "--filename", "-", input=pool)
        place = connection.from_kubeconfig(server.kubeconfig)
        async with clients.Client(place, user_agent="bench") as client:
            watched = Watched(client)
            task = asyncio.create_task(watched.informer.run())
            await watched.informer.wait_synced()
            try:
                yield server, client, watched
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def run(count: int, into: figures.Figures) -> None:
    """All rows once, on a cluster of their own."""
    async with cluster() as (server, client, watched):
        pending = await create(client, [f"pending-{number}" for number in range(count)], 16)
        started = time.monotonic()
        with Controller(server.kubeconfig) as controller:
            await watched.wait(set(pending))
            into.add(
                "pending",
                f"{count} pending Services, controller start to all assigned",
                "s",
                time.monotonic() - started,
            )
            into.add("memory", f"controller memory at {count} Services", "MB", controller.megabytes())
            await asyncio.sleep(2)
            single = []
            for number in range(50):
                sent = await create(client, [f"one-{number}"], 1)
                await watched.wait(set(sent))
                single += [(watched.assigned[key] - at) * 1000 for key, at in sent.items()]
                await asyncio.sleep(0.05)
            into.add("one", "one Service, create to address, quiet cluster, p50", "ms", statistics.median(single))
            sent = await create(client, [f"storm-{number}" for number in range(1000)], 8)
            await watched.wait(set(sent))
            waits = [watched.assigned[key] - at for key, at in sent.items()]
            into.add("storm", "1,000 Services by 8 writers, create to address, p50", "s", statistics.median(waits))
            controller.kill()
        started = time.monotonic()
        with Controller(server.kubeconfig):
            sent = await create(client, ["after-restart"], 1)
            await watched.wait(set(sent))
            into.add(
                "restart",
                f"restart with {count} assigned, until a new one has an address",
                "s",
                time.monotonic() - started,
            )


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.controller", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=limits.at_least(1), default=3, help="runs (default: %(default)s)")
    parser.add_argument("--services", type=limits.at_least(1), default=2000, help="Services (default: %(default)s)")
    arguments = parser.parse_args()
    found = figures.Figures()
    for number in range(arguments.runs):
        figures.progress(f"controller, run {number + 1} of {arguments.runs}")
        asyncio.run(run(arguments.services, found))
    found.show()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
