"""The whole speaker over BGP: a real API server with etcd in memory, the speaker as it runs in its pod, BIRD as its router.

    python -m bench.bgp_whole [--runs 3] [--many-runs 1] [--changes 200] [--idle-seconds 30]

- change: one Service among 1,000 is given its address by a write of its status, or is deleted, until the router has its route or has lost it.
  The API's own delay is until a watch beside the speaker's has the change; the rest is the speaker's, its session's and BIRD's
- idle: share of one CPU of both processes, with four peers and 1,000 routes for each, hold time 90 s; nothing in the cluster changes
- start: from starting the process until the router has every route, of 2,000 and of 10,000 Services: `first start` when no speaker ran before
  and each Service's status object is yet to be written, which goes on beside; `restart` when all of them are there
- memory: of both processes once all is said and written

Needs root, network namespaces, BIRD, and the programs of the lab.
"""

import argparse
import asyncio
import pathlib
import statistics
import time
from collections.abc import Mapping

from bench import bgp, bgp_site, figures, limits, pair
from metallb_core.domain import services
from metallb_core.kube import informer, resources
from metallb_core.runtime import clock as clocks

FEW = 1_000
SIZES = (2_000, 10_000)
POLL_SECONDS = 0.001
# Numbers of the Services that come and go lie beyond those that stay.
COMING = 20_000


class Watched:
    """When a watch first had each Service with an address, and when it had each deletion; monotonic seconds."""

    def __init__(self, site: bgp_site.Site) -> None:
        self.given: dict[services.ServiceKey, float] = {}
        self.gone: dict[services.ServiceKey, float] = {}
        self.informer = informer.Informer(
            site.client, resources.SERVICES, on_change=self._seen, clock=clocks.SystemClock()
        )

    def _seen(self, key: services.ServiceKey, _old: object, new: services.Service | None) -> None:
        if new is None:
            self.gone[key] = time.monotonic()
        elif new.ingress:
            self.given.setdefault(key, time.monotonic())


def _show(what: str, seconds: list[float]) -> None:
    times = [each * 1000 for each in seconds]
    cuts = statistics.quantiles(times, n=100)
    print(
        f"{what:<68} p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, max {max(times):.1f} ms ({len(times)} changes)",
        flush=True,
    )


async def _wait_routed(control: bgp.Control, prefix: str, *, is_there: bool) -> float:
    return await bgp_site.wait(lambda: control.has(prefix) is is_there, prefix, every=POLL_SECONDS)


async def _wait_seen(times: Mapping[services.ServiceKey, float], key: services.ServiceKey) -> None:
    await bgp_site.wait(lambda: key in times, f"a watch has {key}", every=POLL_SECONDS)


async def changes(site: bgp_site.Site, count: int) -> None:
    """One Service at a time, among those there are."""
    control = site.restart_router()
    watched = Watched(site)
    task = asyncio.create_task(watched.informer.run())
    await watched.informer.wait_synced()
    taken: dict[str, list[tuple[float, float, float]]] = {"gets its address": [], "is deleted": []}
    with bgp_site.Speaker(site.server.kubeconfig) as speaker:
        await bgp_site.wait(lambda: control.count() >= FEW, f"{FEW} routes")
        await speaker.wait_idle()
        for number in range(COMING, COMING + count):
            key = await site.add(number)
            prefix = f"{bgp_site.address_of(number)}/32"
            await asyncio.sleep(0.02)
            sent = time.monotonic()
            writing = asyncio.create_task(site.give(key, number))
            routed = await _wait_routed(control, prefix, is_there=True)
            await _wait_seen(watched.given, key)
            await writing
            taken["gets its address"].append((sent, watched.given[key], routed))
            await asyncio.sleep(0.02)
            sent = time.monotonic()
            deleting = asyncio.create_task(site.client.delete(resources.SERVICES, key.name, key.namespace))
            routed = await _wait_routed(control, prefix, is_there=False)
            await _wait_seen(watched.gone, key)
            await deleting
            taken["is deleted"].append((sent, watched.gone[key], routed))
            await site.client.delete(resources.ENDPOINT_SLICES, f"{key.name}-1", key.namespace)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for what, times in taken.items():
        _show(f"one Service of {FEW:,} {what}, until the router knows", [routed - sent for sent, _, routed in times])
        _show("  of it the API's own delay, from the write to a watch", [seen - sent for sent, seen, _ in times])
        _show("  beyond the API's own delay", [routed - seen for _, seen, routed in times])


async def idle(site: bgp_site.Site, seconds: float) -> None:
    """Four peers, and nothing to do."""
    control = site.restart_router()
    for number in range(1, bgp_site.PEERS):
        await site.peer(number)
    with bgp_site.Speaker(site.server.kubeconfig) as speaker:
        await bgp_site.wait(lambda: control.count() >= FEW * bgp_site.PEERS, "all routes of all peers")
        await speaker.wait_idle()
        began, before = time.monotonic(), speaker.cpu_seconds()
        await asyncio.sleep(seconds)
        share = (speaker.cpu_seconds() - before) / (time.monotonic() - began) * 100
        resident, proportional = speaker.megabytes()
        kept = control.count() == FEW * bgp_site.PEERS
    print(
        f"four peers of {FEW:,} routes each, idle: {share:.2f} % of one CPU over {seconds:g} s, resident {resident:.0f} MB,"
        f" proportional {proportional:.0f} MB{'' if kept else ' (ROUTES WERE LOST)'}",
        flush=True,
    )
    for number in range(1, bgp_site.PEERS):
        await site.unpeer(number)


async def start(site: bgp_site.Site, found: figures.Figures, kind: str, profile: pathlib.Path | None = None) -> None:
    """One start with the Services there are."""
    size = len(site.services)
    control = site.restart_router()
    with bgp_site.Speaker(site.server.kubeconfig, profile=profile) as speaker:
        done = await bgp_site.wait(lambda: control.count() >= size, f"{size} routes")
        spent = speaker.cpu_seconds()
        name = f"{kind}-{size}"
        found.add(name, f"{kind} with {size:,} Services until the router has every route", "s", done - speaker.started)
        found.add(f"{name}-cpu", "  processor time of both processes by then", "s", spent)
        told = await site.wait_statuses()
        if kind == "first start":
            found.add(f"{name}-told", "  until each Service has its status object too", "s", told - speaker.started)
        await speaker.wait_idle()
        resident, proportional = speaker.megabytes()
        found.add(f"{name}-rss", "  memory of both processes afterwards, resident", "MB", resident)
        found.add(f"{name}-pss", "  the same, proportional (shared pages counted once)", "MB", proportional)


async def run(cabling: pair.Pair, options: argparse.Namespace) -> None:
    """All rows."""
    found = figures.Figures()
    async with bgp_site.site(cabling) as site:
        figures.progress(f"{FEW:,} Services")
        await site.grow(FEW)
        if options.changes:
            figures.progress("single changes")
            await changes(site, options.changes)
        if options.idle_seconds:
            figures.progress(f"idle for {options.idle_seconds:g} s")
            await idle(site, options.idle_seconds)
        for size, runs in zip(SIZES, (options.runs, options.many_runs), strict=True):
            if not runs:
                continue
            figures.progress(f"{size:,} Services")
            await site.grow(size)
            for number in range(runs):
                figures.progress(f"start with {size:,} Services, run {number + 1} of {runs}")
                await site.forget_statuses()
                await start(site, found, "first start", options.profile)
                await start(site, found, "restart")
    found.show()


def main() -> None:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bgp_whole", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs",
        type=limits.at_least(0),
        default=3,
        help="starts of each kind with 2,000 Services (default: %(default)s)",
    )
    parser.add_argument(
        "--many-runs", type=limits.at_least(0), default=1, help="the same with 10,000 (default: %(default)s)"
    )
    parser.add_argument(
        "--changes",
        type=limits.at_least(0),
        default=200,
        help="Services given an address and deleted (default: %(default)s)",
    )
    parser.add_argument(
        "--idle-seconds", type=float, default=30.0, help="how long the idle speaker is watched (default: %(default)s)"
    )
    parser.add_argument("--profile", type=pathlib.Path, help="write a profile of the reconciler's first starts here")
    options = parser.parse_args()
    cabling = pair.Pair("bgw")
    try:
        with cabling.node.inside():
            asyncio.run(run(cabling, options))
    finally:
        cabling.close()


if __name__ == "__main__":
    main()
