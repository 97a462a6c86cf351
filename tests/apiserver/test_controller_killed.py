"""A controller that is killed a hundred times, at any moment: no address changes, and none is given twice.

- The controller is the program itself, with the rights of the chart and no others, and is killed by SIGKILL. The next one has the same name, as
  a container that Kubernetes starts again in its pod.
- The pools have 200 addresses and there are always more Services than that, so that whatever becomes free is wanted by several, and a controller
  that does not know what its predecessor gave would soon give it again.
- While it is dead and while it works, Services go and come, and pools are edited: what they are for, how their ranges are written, a mistake
  (an overlap) and its cure. None of that may move an address. One pool, `edge`, is made smaller, deleted and made again: its addresses may be
  taken back, which the user asked for, but not given twice either.
- An observer sees every version of every Service, in the order in which they were written.
- METALLB_SEED repeats a run as far as chance goes; what the processes do in which order is theirs.
"""

import asyncio
import contextlib
import dataclasses
import ipaddress
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from generate import helm, output
from lab import apiserver, controlplane
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import connection, errors, informer, resources
from metallb_core.runtime import clock as clocks

pytestmark = [pytest.mark.apiserver, pytest.mark.slow, pytest.mark.timeout(900)]
NAMESPACE = "metallb-system"
ACCOUNT = "account"
KILLS = 100
SERVICES = 200
WAITING = 12
"""So many more Services than addresses, at most."""
LONGEST_LIFE = 4.0
SHARED_KEY = "metallb.io/allow-shared-ip"
POOLS = {
    "main": ["10.1.0.0-10.1.0.119"],
    "other": ["10.2.0.0/26"],
    "edge": ["10.3.0.0/28"],
}
EDGE = ipaddress.ip_network("10.3.0.0/28")
# Each may happen to its pool at any time and move nothing, whatever the pool was before.
HARMLESS: dict[str, tuple[dict[str, Any], ...]] = {
    "main": (
        {"addresses": ["10.1.0.0-10.1.0.9", "10.1.0.10-10.1.0.119"]},
        {"addresses": ["10.1.0.0/26", "10.1.0.64-10.1.0.119"]},
        {"addresses": POOLS["main"], "autoAssign": False},
        {"autoAssign": True, "serviceAllocation": {"priority": 3}},
        {"serviceAllocation": {"namespaces": ["elsewhere"]}},
        {"serviceAllocation": None, "autoAssign": True},
    ),
    "other": (
        {"addresses": ["10.2.0.0/26", "10.1.0.0/28"]},
        {"addresses": ["10.2.0.0/27", "10.2.0.32/27"]},
        {"addresses": POOLS["other"], "autoAssign": False},
        {"addresses": POOLS["other"], "autoAssign": True},
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[apiserver.ApiServer]:
    """With the definitions, and the roles of the chart for the controller's account."""
    definitions = output.ROOT / "charts/metallb/charts/crds/crds"
    account = controlplane.Identity(user=f"system:serviceaccount:{NAMESPACE}:metallb-controller")
    with apiserver.ApiServer(identities={ACCOUNT: account}) as running:
        running.kubectl("apply", "--server-side", "-f", definitions)
        running.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", definitions)
        running.kubectl("create", "namespace", NAMESPACE)
        chart = output.ROOT / "charts/metallb"
        disabled = ("--set", "controller.webhookMode=disabled")
        # Its Deployment is what tells the controller that it is not being removed; here nobody makes pods of it.
        shown = [f"--show-only=templates/{name}.yaml" for name in ("rbac", "controller")]
        rendered = helm.run(helm.require(), ["template", "metallb", chart, "--namespace", NAMESPACE, *shown, *disabled])
        running.kubectl("apply", "-f", "-", input=rendered)
        yield running


# Lives are shorter than an address of a pool that is gone is waited for; it would never go.
IMPATIENT = """
import runpy
from metallb_core.allocation import converge
from metallb_controller import reconcile
converge.POOL_SECONDS = reconcile.UNSEEN_POOL_SECONDS = 0.1
runpy.run_module("metallb_controller", run_name="__main__", alter_sys=True)
"""


class Controller:
    """One process at a time. There is no webhook: nothing leads to it here."""

    def __init__(self, kubeconfig: pathlib.Path, log: pathlib.Path) -> None:
        self._argv = [
            sys.executable, "-c", IMPATIENT, f"--kubeconfig={kubeconfig}", f"--namespace={NAMESPACE}",
            "--pod-name=only", "--port=0", "--health-probe-port=0", "--log-level=warn", "--webhook-mode=disabled",
            "--deployment=metallb-controller",
        ]  # fmt: skip
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._argv, env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """As power loss would. A process that has ended by itself is a failure."""
        assert self._process is not None
        assert self._process.poll() is None, self.said()
        self._process.kill()
        assert self._process.wait(timeout=30) == -signal.SIGKILL

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text()[-4000:]

    def end(self) -> None:
        """For whoever leaves: gone already is success."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)


@dataclasses.dataclass(slots=True)
class Held:
    """What a Service was last seen with."""

    uid: str
    addresses: frozenset[str]
    shared: str | None


class Observer:
    """Every version of every Service: `changed` and `doubled` are what must not be, in words."""

    def __init__(self, client: clients.Client) -> None:
        self.held: dict[services.ServiceKey, Held] = {}
        self.changed: list[str] = []
        self.doubled: list[str] = []
        self.given = 0
        self.taken_back = 0
        self._seen = asyncio.Event()
        self.informer = informer.Informer(
            client, resources.SERVICES, on_change=self._follow, clock=clocks.SystemClock()
        )

    def _follow(self, key: services.ServiceKey, _old: object, new: services.Service | None) -> None:
        before = self.held.pop(key, None)
        if new is None or not new.is_load_balancer:
            return
        now = Held(new.uid, frozenset(str(each) for each in new.ingress), new.annotations.get(SHARED_KEY))
        if before is not None and before.uid == now.uid and before.addresses and before.addresses != now.addresses:
            if all(ipaddress.ip_address(address) in EDGE for address in before.addresses):
                self.taken_back += 1
            else:
                self.changed.append(f"{key.name}: {sorted(before.addresses)}, then {sorted(now.addresses)}")
        for other, theirs in self.held.items():
            common = now.addresses & theirs.addresses
            if common and (now.shared is None or now.shared != theirs.shared):
                self.doubled.append(f"{sorted(common)}: {other.name} and {key.name}")
        if now.addresses and (before is None or before.addresses != now.addresses):
            self.given += 1
            self._seen.set()
        self.held[key] = now

    async def wait_given(self, count: int, seconds: float) -> bool:
        """Wait until an address was given `count` times more. False when the time is up."""
        wanted = self.given + count
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.given < wanted:
                    self._seen.clear()
                    await self._seen.wait()
        return self.given >= wanted

    def without(self) -> list[str]:
        """The Services that have no address."""
        return sorted(key.name for key, held in self.held.items() if not held.addresses)


class User:
    """Makes and deletes Services and edits pools, by chance."""

    def __init__(self, client: clients.Client, chance: random.Random) -> None:
        self._client = client
        self._chance = chance
        self._made = 0
        self.names: list[str] = []
        self.edits = 0

    async def create(self) -> None:
        """A Service, one in ten with a key that lets others share its address."""
        self._made += 1
        name = f"s-{self._made:05}"
        annotations = {SHARED_KEY: f"key-{self._chance.randrange(3)}"} if self._chance.random() < 0.1 else {}
        spec = {
            "type": "LoadBalancer",
            "allocateLoadBalancerNodePorts": False,
            "ports": [{"port": 1000 + self._made, "protocol": "TCP"}],
        }
        await self._client.create(
            resources.SERVICES, {"metadata": {"name": name, "annotations": annotations}, "spec": spec}, "default"
        )
        self.names.append(name)

    async def delete(self, name: str | None = None) -> None:
        """A Service, any if no name is given."""
        doomed = name or self._chance.choice(self.names)
        self.names.remove(doomed)
        await self._client.delete(resources.SERVICES, doomed, "default")

    async def churn(self, turns: int) -> None:
        """So many go, and as many come, or one more or less."""
        for _ in range(turns):
            if self._chance.random() < 0.5 or len(self.names) >= SERVICES + WAITING:
                await self.delete()
            if len(self.names) < SERVICES + WAITING:
                await self.create()
        while len(self.names) < SERVICES + WAITING // 2:
            await self.create()

    async def edit(self) -> None:
        """One change of a pool."""
        self.edits += 1
        name = self._chance.choice(("main", "other", "other", "edge"))
        if name != "edge":
            await self._set(name, self._chance.choice(HARMLESS[name]))
            return
        match self._chance.randrange(3):
            case 0:
                await self._client.delete(resources.IP_ADDRESS_POOLS, "edge", NAMESPACE)
            case 1:
                await self._set("edge", {"addresses": ["10.3.0.0/29"]})
            case _:
                await self._set("edge", {"addresses": POOLS["edge"]})

    async def _set(self, name: str, spec: dict[str, Any]) -> None:
        try:
            await self._client.merge_patch(resources.IP_ADDRESS_POOLS, name, NAMESPACE, {"spec": spec})
        except errors.ApiError as error:
            if not error.not_found:
                raise
            await self._client.create(resources.IP_ADDRESS_POOLS, pool(name), NAMESPACE)

    async def put_right(self) -> None:
        """Every pool as it was at first."""
        for name, held in POOLS.items():
            await self._set(name, {"addresses": held, "autoAssign": True, "serviceAllocation": None})


def pool(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"addresses": POOLS[name]}}


@contextlib.asynccontextmanager
async def observing(client: clients.Client) -> AsyncIterator[Observer]:
    made = Observer(client)
    task = asyncio.create_task(made.informer.run())
    try:
        await made.informer.wait_synced()
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def wait_killing(chance: random.Random, observer: Observer) -> None:
    """Until the moment to kill: at any time from its start, as soon as some addresses were given, or shortly after the first."""
    match chance.randrange(3):
        case 0:
            await asyncio.sleep(chance.uniform(0.0, 2.0))
        case 1:
            await observer.wait_given(chance.randint(1, 6), LONGEST_LIFE)
        case _:
            await observer.wait_given(1, LONGEST_LIFE)
            await asyncio.sleep(chance.uniform(0.0, 0.1))


async def eventually(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait for a state of the cluster. Raises AssertionError with `what` says when it does not come."""
    end = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < end, what()
        await asyncio.sleep(0.05)


async def test_a_hundred_kills_move_no_address(server: apiserver.ApiServer, tmp_path: pathlib.Path) -> None:
    seed = int(os.environ.get("METALLB_SEED") or random.SystemRandom().randrange(2**32))
    print(f"METALLB_SEED={seed}")
    chance = random.Random(seed)
    controller = Controller(server.kubeconfig_for(ACCOUNT), tmp_path / "controller.log")
    place = connection.from_kubeconfig(server.kubeconfig)
    started, busy = time.monotonic(), 0
    async with clients.Client(place, user_agent="test/0") as client, observing(client) as observer:
        user = User(client, chance)
        for name in POOLS:
            await client.create(resources.IP_ADDRESS_POOLS, pool(name), NAMESPACE)
        for _ in range(SERVICES):
            await user.create()
        try:
            for _ in range(KILLS):
                before = observer.given
                await user.churn(chance.randint(2, 6))
                if chance.random() < 0.3:
                    await user.edit()
                controller.start()
                async with asyncio.TaskGroup() as group:
                    group.create_task(user.churn(chance.randint(0, 4)))
                    if chance.random() < 0.5:
                        group.create_task(user.edit())
                    group.create_task(wait_killing(chance, observer))
                controller.kill()
                busy += observer.given > before
            took = time.monotonic() - started
            await user.put_right()
            controller.start()
            # As many Services as addresses: each gets one.
            for name in observer.without()[: max(0, len(user.names) - SERVICES)]:
                await user.delete(name)
            while len(user.names) > SERVICES:
                await user.delete()
            await eventually(
                lambda: len(observer.held) == len(user.names) and not observer.without(),
                lambda: f"seed {seed}: without address {observer.without()}\n{controller.said()}",
            )
        finally:
            controller.end()
    print(
        f"{KILLS} kills in {took:.0f} s, {busy} of them after it had given addresses; {observer.given} addresses given,"
        f" {observer.taken_back} taken back with their pool, {user.edits} edits of pools"
    )
    assert observer.changed == [], f"seed {seed}"
    assert observer.doubled == [], f"seed {seed}"
    assert busy > KILLS // 3
    assert "Traceback" not in controller.said()
    # What the observer made of it is what is there.
    listed = json.loads(server.kubectl("get", "services", "--namespace=default", "--output=json"))["items"]
    assert {
        item["metadata"]["name"]: frozenset(entry["ip"] for entry in item["status"]["loadBalancer"].get("ingress", ()))
        for item in listed
        if item["spec"]["type"] == "LoadBalancer"
    } == {key.name: held.addresses for key, held in observer.held.items()}
