"""The controller dies in the middle of its work, or hands over to another: no address changes, none is given twice."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

from demo import steps, workload
from lab import cluster

NAMESPACE = workload.CHART_NAMESPACE
MANY = 50
Tell = Callable[[str], None]


def controllers(do: steps.Steps) -> list[str]:
    """The names of the controller's pods that are not on their way out."""
    pods = do.items("pods", "--selector=app.kubernetes.io/component=controller", namespace=NAMESPACE)
    return sorted(pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"])


def leader(do: steps.Steps) -> str:
    """Which pod leads."""
    holder: str = do.get("lease", "metallb-controller", NAMESPACE)["spec"].get("holderIdentity") or ""
    return holder


def wait_leader(do: steps.Steps) -> str:
    """Wait until one of the controllers that stay leads: the Lease may still name one that ended, or nobody. Gives its pod."""
    found = steps.wait_for(
        "a controller leads", 40, lambda: holder if (holder := leader(do)) in controllers(do) else None
    )
    assert isinstance(found, str)
    return found


def kill(do: steps.Steps, name: str) -> None:
    """Kill -9 the process of a pod; the kubelet starts it again."""
    do.signal(name, "SIGKILL")


def assigned(do: steps.Steps) -> dict[str, tuple[str, ...]]:
    """Addresses by Service, of those that have any."""
    return {
        item["metadata"]["name"]: tuple(entry["ip"] for entry in item["status"]["loadBalancer"]["ingress"])
        for item in do.items("services")
        if item.get("status", {}).get("loadBalancer", {}).get("ingress")
    }


class Recorder:
    """Watches the addresses of all Services for as long as its block runs; a Service that changes its address is noted."""

    def __init__(self, do: steps.Steps) -> None:
        self._do = do
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.history: dict[str, list[tuple[str, ...]]] = {}
        self.double: set[str] = set()

    def _run(self) -> None:
        while not self._stop.is_set():
            # One look that the API server did not answer is one look less.
            with contextlib.suppress(subprocess.CalledProcessError):
                self._look()
            self._stop.wait(0.1)

    def _look(self) -> None:
        seen: dict[str, str] = {}
        for name, addresses in assigned(self._do).items():
            history = self.history.setdefault(name, [])
            if not history or history[-1] != addresses:
                history.append(addresses)
            for address in addresses:
                if address in seen:
                    self.double.add(f"{address}: {seen[address]} and {name}")
                seen[address] = name

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        self._look()

    @property
    def changes(self) -> dict[str, list[tuple[str, ...]]]:
        """The Services that had more than one set of addresses."""
        return {name: history for name, history in self.history.items() if len(history) > 1}


def churn(do: steps.Steps, generation: int) -> list[dict[str, object]]:
    """Make 50 Services, and delete every other one of the generation before, whose places the new ones may get."""
    items = [workload.service(f"many-{generation}-{number:02}") for number in range(MANY // 2)]
    do.apply(*items)
    if generation:
        doomed = [f"many-{generation - 1}-{number:02}" for number in range(0, MANY // 2, 2)]
        do.lab.kubectl("delete", "service", "--wait=false", *doomed)
    return items


def all_served(do: steps.Steps) -> bool:
    """Whether every Service of type LoadBalancer has an address."""
    wanted = {item["metadata"]["name"] for item in do.items("services") if item["spec"]["type"] == "LoadBalancer"}
    return wanted <= set(assigned(do))


# Kubernetes waits before it starts a killed container again: not the first time, then 10 s, then 20 s.
@pytest.mark.parametrize(("how", "times"), [("killed", 2), ("deleted", 3)], ids=["killed", "deleted"])
def test_controller_ends_while_services_come_and_go(do: steps.Steps, tell: Tell, how: str, times: int) -> None:
    """The pool has 64 addresses and two are taken, so that what becomes free is soon given to others."""
    with Recorder(do) as recorder:
        for generation in range(times):
            (name,) = controllers(do)
            busy = threading.Thread(target=churn, args=(do, generation))
            busy.start()
            steps.pause(0.3)
            if how == "killed":
                kill(do, name)
            else:
                do.lab.kubectl("delete", "pod", name, "--namespace", NAMESPACE, "--wait=false")
            ended = time.monotonic()
            busy.join()
            steps.wait_for("every Service has an address", 60, lambda: all_served(do))
            tell(
                f"controller {how} while Services come and go: all have addresses {time.monotonic() - ended:.1f} s later"
            )
            do.wait_rollout("metallb-controller", NAMESPACE)
    assert recorder.double == set()
    assert recorder.changes == {}
    assert len(recorder.history) >= times * MANY // 2


def test_standby_takes_over(do: steps.Steps, tell: Tell) -> None:
    """Two controllers: the leader is deleted, then another one is killed without a farewell."""
    do.apply(*(workload.service(f"kept-{number:02}") for number in range(20)))
    for number in range(20):
        do.wait_addresses(f"kept-{number:02}", 1)
    try:
        with Recorder(do) as recorder:
            do.lab.kubectl("scale", "deployment/metallb-controller", "--namespace", NAMESPACE, "--replicas=2")
            do.wait_rollout("metallb-controller", NAMESPACE)
            assert len(controllers(do)) == 2
            # A Lease that is not given back lasts for 15 s from when it was last renewed, which is two seconds ago at most.
            for how, seconds in (("deleted", 12), ("killed", 40)):
                old = wait_leader(do)
                started = time.monotonic()
                if how == "deleted":
                    do.lab.kubectl("delete", "pod", old, "--namespace", NAMESPACE, "--wait=false")
                else:
                    kill(do, old)
                do.apply(workload.service(f"after-{how}"))
                do.wait_addresses(f"after-{how}", 1, seconds)
                tell(
                    f"leading controller of two {how}: a new Service has its address after {time.monotonic() - started:.1f} s"
                )
                do.wait_rollout("metallb-controller", NAMESPACE)
    finally:
        do.lab.kubectl("scale", "deployment/metallb-controller", "--namespace", NAMESPACE, "--replicas=1")
        steps.wait_for("one controller", 30, lambda: len(controllers(do)) == 1)
    assert recorder.double == set()
    assert recorder.changes == {}


def test_leader_loses_power(lab: cluster.Cluster, do: steps.Steps, tell: Tell) -> None:
    """The leader freezes with its node; when it wakes up it must not go on as if nothing had happened."""
    pods: dict[str, str] = {}
    try:
        with Recorder(do) as recorder:
            do.lab.kubectl("scale", "deployment/metallb-controller", "--namespace", NAMESPACE, "--replicas=2")
            do.wait_rollout("metallb-controller", NAMESPACE)
            old = wait_leader(do)
            pods = {name: do.get("pod", name, NAMESPACE)["spec"]["nodeName"] for name in controllers(do)}
            if len(set(pods.values())) == 1:
                pytest.skip("both controllers are on one node")
            do.apply(workload.service("before"))
            do.wait_addresses("before", 1)
            started = time.monotonic()
            lab.freeze_node(pods[old])
            do.apply(workload.service("during"))
            do.wait_addresses("during", 1, 40)
            tell(
                f"leading controller's node lost power: a new Service has its address after {time.monotonic() - started:.1f} s"
            )
            lab.thaw_node(pods[old])
            do.apply(*(workload.service(f"after-{number}") for number in range(10)))
            for number in range(10):
                do.wait_addresses(f"after-{number}", 1)
            steps.pause(3)
            assert leader(do) != old
    finally:
        for node in pods.values():
            lab.thaw_node(node)
        do.lab.kubectl("scale", "deployment/metallb-controller", "--namespace", NAMESPACE, "--replicas=1")
        steps.wait_for("one controller", 30, lambda: len(controllers(do)) == 1)
    assert recorder.double == set()
    assert recorder.changes == {}
