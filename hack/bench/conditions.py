"""What conditions cost the controller, on a real API server with etcd in memory.

    python -m bench.conditions [--services 2000]

One controller process as it runs in a pod. Each Service has an EndpointSlice, and a ServiceL2Status written as a speaker does. Rows:

- announced: from the first status object until every Service has the condition `metallb.io/Announced`, True
- writes: requests that changed a Service, for each Service, from its creation to that
- moved: as `announced`, when all addresses change hands from one node to another
- moving writes: requests that changed a Service, for each Service, for that
- memory: resident size of the controller at the end
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from bench import controller, figures, limits
from metallb_core.domain import conditions, services
from metallb_core.kube import client as clients
from metallb_core.kube import informer, resources
from metallb_core.runtime import clock as clocks

WRITERS = 8
DEADLINE = 120.0


class Watched:
    """The Services, and how often each changed."""

    def __init__(self, client: clients.Client) -> None:
        self.changes = 0
        self.informer = informer.Informer(
            client, resources.SERVICES_WITH_CONDITIONS, on_change=self._seen, clock=clocks.SystemClock()
        )

    def _seen(self, _key: object, old: object, new: object) -> None:
        self.changes += old is not None and new is not None

    def announced_from(self, node: str) -> int:
        """How many say that they are announced from `node`."""
        found = (conditions.named(each.conditions, "metallb.io/Announced") for each in self.informer.store.values())
        return sum(1 for each in found if each is not None and each.reason == "Announced" and node in each.message)

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition`."""
        async with asyncio.timeout(DEADLINE):
            while not condition():  # noqa: ASYNC110 - looked at rather than told, as a person would
                await asyncio.sleep(0.02)


async def each(keys: Iterable[services.ServiceKey], work: Callable[[services.ServiceKey], Any]) -> None:
    """Do `work` for every key, a few at a time."""
    waiting = iter(tuple(keys))

    async def one() -> None:
        for key in waiting:
            await work(key)

    await asyncio.gather(*(one() for _ in range(WRITERS)))


def slice_of(key: services.ServiceKey) -> dict[str, Any]:
    """One endpoint that can serve."""
    return {
        "metadata": {"name": f"{key.name}-1", "labels": {"kubernetes.io/service-name": key.name}},
        "addressType": "IPv4",
        "ports": [{"port": 80}],
        "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n1", "conditions": {"ready": True}}],
    }


def status_of(key: services.ServiceKey, node: str) -> dict[str, Any]:
    """What a speaker creates when it begins to announce."""
    labels = {
        "metallb.io/node": node,
        "metallb.io/service-name": key.name,
        "metallb.io/service-namespace": key.namespace,
    }
    return {"metadata": {"name": f"l2-{node}-{key.name}", "labels": labels}}


async def run(count: int, into: figures.Figures) -> None:
    """All rows once, on a cluster of their own."""
    async with controller.cluster() as (server, client, _):
        for name in ("n1", "n2"):
            await client.create(resources.NODES, {"metadata": {"name": name}})
            labels = {"metallb.io/component-type": "speaker", "metallb.io/node-name": name}
            speaker = {"metadata": {"name": f"speaker-{name}", "labels": labels}}
            await client.create(resources.CONFIGURATION_STATES, speaker, controller.NAMESPACE)
        await client.create(
            resources.L2_ADVERTISEMENTS, {"metadata": {"name": "all"}, "spec": {}}, controller.NAMESPACE
        )
        watched = Watched(client)
        task = asyncio.create_task(watched.informer.run())
        await watched.informer.wait_synced()
        with controller.Controller(server.kubeconfig) as process:
            names = [f"s{number}" for number in range(count)]
            keys = {services.ServiceKey("default", name) for name in names}
            await each(keys, lambda key: client.create(resources.ENDPOINT_SLICES, slice_of(key), key.namespace))
            await controller.create(client, names, 16)
            await watched.wait(lambda: all(one.ingress for one in watched.informer.store.values() if one.key in keys))

            async def announce(key: services.ServiceKey, node: str) -> None:
                await client.create(resources.SERVICE_L2_STATUSES, status_of(key, node), controller.NAMESPACE)

            started = time.monotonic()
            await each(keys, lambda key: announce(key, "n1"))
            await watched.wait(lambda: watched.announced_from("n1") == count)
            into.add("announced", f"{count} Services, first status to all conditions", "s", time.monotonic() - started)
            into.add("writes", "changes of a Service from creation to that", "", watched.changes / count)
            before, started = watched.changes, time.monotonic()

            async def move(key: services.ServiceKey) -> None:
                await announce(key, "n2")
                await client.delete(resources.SERVICE_L2_STATUSES, f"l2-n1-{key.name}", controller.NAMESPACE)

            await each(keys, move)
            await watched.wait(lambda: watched.announced_from("n2") == count and not watched.announced_from("n1"))
            into.add("moved", f"{count} addresses change hands, to all conditions", "s", time.monotonic() - started)
            into.add("moving", "changes of a Service for that", "", (watched.changes - before) / count)
            into.add("memory", f"controller memory with {count} of each", "MB", process.megabytes())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.conditions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--services", type=limits.at_least(1), default=2000, help="Services (default: %(default)s)")
    arguments = parser.parse_args()
    found = figures.Figures()
    asyncio.run(run(arguments.services, found))
    found.show()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
