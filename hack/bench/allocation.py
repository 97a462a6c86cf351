"""Allocation without an API server: 100,000 Services from an IPv4 /8 and an IPv6 /64.

    python -m bench.allocation [--services 100000] [--runs 3]

- per allocation: decide, reserve, and observe, in microseconds; single stack and dual stack
- memory: what the ledger keeps for a Service, in bytes (the Service itself not counted)
"""

import argparse
import gc
import time
import tracemalloc

from bench import figures, limits
from metallb_core.allocation import converge, ledger
from metallb_core.domain import addresses, pools, services

POOLS = {
    "big": pools.Pool(
        name="big", intervals=(addresses.Interval.parse("10.0.0.0/8"), addresses.Interval.parse("2001:db8::/64"))
    )
}
CLUSTER = {
    addresses.Family.IPV4: addresses.Address.parse("172.20.0.1"),
    addresses.Family.IPV6: addresses.Address.parse("fd00::1"),
}


def wanting(number: int, families: tuple[addresses.Family, ...]) -> services.Service:
    """A Service that needs addresses of `families`."""
    return services.Service(
        key=services.ServiceKey("default", f"service-{number}"),
        cluster_ips=tuple(CLUSTER[family] for family in families),
        families=families,
        family_policy=services.FamilyPolicy.REQUIRE_DUAL_STACK
        if len(families) > 1
        else services.FamilyPolicy.SINGLE_STACK,
        ports=(services.Port("TCP", 80),),
    )


def allocate(book: ledger.Ledger, pending: list[services.Service]) -> None:
    """Give every Service its addresses, as the controller does."""
    known = POOLS.values()
    for service in pending:
        plan = converge.converge(service, book, known)
        book.reserve(service, plan.addresses)


def run(count: int, families: tuple[addresses.Family, ...], name: str, into: figures.Figures) -> None:
    """One run."""
    book = ledger.Ledger()
    book.set_pools(POOLS)
    pending = [wanting(number, families) for number in range(count)]
    gc.collect()
    gc.disable()
    started = time.perf_counter()
    allocate(book, pending)
    into.add(name, f"allocate one of {count:,} Services, {name}", "us", (time.perf_counter() - started) / count * 1e6)
    gc.enable()


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.allocation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--services", type=limits.at_least(1), default=100_000, help="Services (default: %(default)s)")
    parser.add_argument("--runs", type=limits.at_least(1), default=3, help="runs (default: %(default)s)")
    arguments = parser.parse_args()
    found = figures.Figures()
    both = (addresses.Family.IPV4, addresses.Family.IPV6)
    for _ in range(arguments.runs):
        run(arguments.services, both[:1], "IPv4 /8", found)
        run(arguments.services, both[1:], "IPv6 /64", found)
        run(arguments.services, both, "dual stack", found)
    book = ledger.Ledger()
    book.set_pools(POOLS)
    pending = [wanting(number, both[:1]) for number in range(arguments.services)]
    tracemalloc.start()
    allocate(book, pending)
    found.add("memory", "ledger memory for each Service", "B", tracemalloc.get_traced_memory()[0] / arguments.services)
    tracemalloc.stop()
    found.show()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
