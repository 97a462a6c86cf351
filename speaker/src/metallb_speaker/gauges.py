"""The speaker's metrics, with the names and labels that MetalLB documents.

The three packet counters have no `_total` in MetalLB, and the client library would add it to a counter: they are untyped series, of
exactly the documented name.
"""

from collections.abc import Iterator, Mapping

import prometheus_client
from prometheus_client import metrics_core, registry

from metallb_core.announcement import difference
from metallb_core.domain import addresses, services
from metallb_speaker import reconcile

Counts = tuple[int, int, int]

PACKETS = (
    ("metallb_layer2_requests_received", "ARP and NDP requests for announced addresses."),
    ("metallb_layer2_responses_sent", "ARP and NDP answers for announced addresses."),
    ("metallb_layer2_gratuitous_sent", "Gratuitous ARP and unsolicited NDP packets for announced addresses."),
)


class _Packets(registry.Collector):
    """Packet counts by address, for as long as the address is announced."""

    def __init__(self) -> None:
        self.counts: dict[addresses.Address, Counts] = {}

    def collect(self) -> Iterator[metrics_core.Metric]:
        """The three families."""
        for position, (name, described) in enumerate(PACKETS):
            family = metrics_core.UntypedMetricFamily(name, described, labels=["ip"])
            for address, counts in self.counts.items():
                family.add_metric([str(address)], counts[position])
            yield family


class Metrics:
    """Counters and gauges of one speaker."""

    def __init__(self, collectors: prometheus_client.CollectorRegistry, node: str) -> None:
        self._node = node
        self._announced = prometheus_client.Gauge(
            "metallb_speaker_announced",
            "Services announced from this node.",
            ["service", "protocol", "node", "ip"],
            registry=collectors,
        )
        self._packets = _Packets()
        collectors.register(self._packets)
        self.owner_changes = prometheus_client.Counter(
            "metallb_speaker_owner_changes_total", "Services this node took over or gave up.", registry=collectors
        )
        self.conflicts = prometheus_client.Counter(
            "metallb_speaker_address_conflicts_total",
            "Times another station claimed an address that this node announces.",
            ["ip"],
            registry=collectors,
        )

    def announced(
        self,
        key: services.ServiceKey,
        protocol: reconcile.Protocol,
        before: tuple[addresses.Address, ...],
        now: tuple[addresses.Address, ...],
    ) -> None:
        """The addresses announced for a Service by one protocol changed."""
        for address in before:
            if address not in now:
                self._announced.remove(str(key), protocol.value, self._node, str(address))
        for address in now:
            self._announced.labels(str(key), protocol.value, self._node, str(address)).set(1)

    def packets(self, counts: Mapping[addresses.Address, Counts], held: difference.Announced) -> None:
        """Add what the deadline process counted since the last time; series of addresses no longer held are dropped."""
        known = self._packets.counts
        for address in [address for address in known if held.interfaces(address) is None]:
            del known[address]
        for address, (received, sent, gratuitous) in counts.items():
            if held.interfaces(address) is not None:
                before = known.get(address, (0, 0, 0))
                known[address] = (before[0] + received, before[1] + sent, before[2] + gratuitous)
