"""The controller's metrics, with the names and labels that MetalLB documents.

Pool gauges are read from the ledger when they are asked for, so they are exact at that moment and cost nothing in between; the series of a
deleted pool end with it.
"""

from collections.abc import Callable, Iterator, Mapping

import prometheus_client
from prometheus_client import metrics_core, registry

from metallb_core.allocation import usage

PREFIX = "metallb_allocator_"

FAMILIES: tuple[tuple[str, str, Callable[[usage.Usage], int]], ...] = (
    ("addresses_total", "Usable addresses.", lambda use: use.capacity_ipv4 + use.capacity_ipv6),
    ("ipv4_addresses_total", "Usable IPv4 addresses.", lambda use: use.capacity_ipv4),
    ("ipv6_addresses_total", "Usable IPv6 addresses.", lambda use: use.capacity_ipv6),
    (
        "addresses_in_use_total",
        "Addresses in use; a shared one counts once.",
        lambda use: use.assigned_ipv4 + use.assigned_ipv6,
    ),
    ("ipv4_addresses_in_use_total", "IPv4 addresses in use.", lambda use: use.assigned_ipv4),
    ("ipv6_addresses_in_use_total", "IPv6 addresses in use.", lambda use: use.assigned_ipv6),
    ("services_allocated_total", "Services with an address of the pool.", lambda use: use.services),
)


class Pools(registry.Collector):
    """Gauges by pool. `usages` gives the usage of every pool by name."""

    def __init__(self, usages: Callable[[], Mapping[str, usage.Usage]]) -> None:
        self._usages = usages

    def collect(self) -> Iterator[metrics_core.Metric]:
        """One family a number."""
        usages = self._usages()
        for name, described, number in FAMILIES:
            family = metrics_core.GaugeMetricFamily(PREFIX + name, described, labels=["pool"])
            for pool, use in usages.items():
                family.add_metric([pool], number(use))
            yield family


class NotAnnounced(registry.Collector):
    """How many Services are not announced, by reason, as their conditions say. `counts` gives them."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[metrics_core.Metric]:
        """One family."""
        family = metrics_core.GaugeMetricFamily(
            "metallb_services_not_announced", "Services that no node announces, by reason.", labels=["reason"]
        )
        for reason, count in sorted(self._counts().items()):
            family.add_metric([reason], count)
        yield family


class Metrics:
    """Histograms and counters of one controller."""

    def __init__(
        self, collectors: prometheus_client.CollectorRegistry, usages: Callable[[], Mapping[str, usage.Usage]]
    ) -> None:
        collectors.register(Pools(usages))
        self.latency = prometheus_client.Histogram(
            "metallb_allocator_allocation_seconds",
            "From noticing that a Service needs an address until the API server has it.",
            registry=collectors,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
