"""Metrics of BGP and BFD sessions, with the names and labels that MetalLB documents: its native speaker's for BGP, its FRR exporter's for BFD.

- Read from the sessions when somebody asks, so a peer that goes takes its series along.
- `peer` is `address:port` for BGP (the interface, for a peer that is found there), the address for BFD.
- Two peers may have one address, apart by VRF or source. Their numbers are one series then: counts are added, and it is up when both are.
- BFD's counters have no `_total` in MetalLB, and the client library would add it to a counter: they are untyped series of the documented name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import prometheus_client
from prometheus_client import metrics_core, registry

from metallb_speaker.bfd import settings
from metallb_speaker.bgp import fsm
from metallb_speaker.bgp.native import peering

DEFAULT_VRF = "default"

BFD_COUNTERS = (
    ("control_packet_input", "BFD control packets received."),
    ("control_packet_output", "BFD control packets sent."),
    ("echo_packet_input", "BFD echo packets that came back."),
    ("echo_packet_output", "BFD echo packets sent."),
    ("session_up_events", "Times a BFD session came up."),
    ("session_down_events", "Times a BFD session went down."),
)


class Sessions(registry.Collector):
    """See the module. `read()` gives the sessions as they are, by peer name."""

    def __init__(self, collectors: prometheus_client.CollectorRegistry) -> None:
        self.read: Callable[[], Iterable[peering.SessionView]] = tuple
        self._configs: dict[str, settings.Config] = {}
        self._statuses: dict[str, settings.Status] = {}
        self._counters: dict[str, settings.Counters] = {}
        collectors.register(self)

    def watched(self, configs: Iterable[settings.Config]) -> None:
        """These BFD sessions there are; the numbers of others are forgotten."""
        self._configs = {each.key: each for each in configs}
        for known in (self._statuses, self._counters):
            for key in known.keys() - self._configs.keys():
                del known[key]

    def paths(self, statuses: Mapping[str, settings.Status]) -> None:
        """BFD sessions changed."""
        self._statuses.update(statuses)

    def counted(self, counts: Mapping[str, settings.Counters]) -> None:
        """Add what BFD sessions counted since the last time."""
        for key, more in counts.items():
            self._counters[key] = self._counters.get(key, settings.Counters()).plus(more)

    def collect(self) -> Iterator[metrics_core.Metric]:
        """All families; those of BFD only where there is BFD."""
        yield from self._bgp()
        if self._configs:
            yield from self._bfd()

    def _bgp(self) -> Iterator[metrics_core.Metric]:
        by_peer: dict[str, list[peering.SessionView]] = {}
        for view in self.read():
            by_peer.setdefault(view.remote, []).append(view)
        up = metrics_core.GaugeMetricFamily(
            "metallb_bgp_session_up", "Whether the BGP session is established.", labels=["peer"]
        )
        updates = metrics_core.CounterMetricFamily(
            "metallb_bgp_updates", "UPDATE messages sent, withdrawals among them.", labels=["peer"]
        )
        announced = metrics_core.GaugeMetricFamily(
            "metallb_bgp_announced_prefixes_total", "Prefixes that the peer was told and has now.", labels=["peer"]
        )
        pending = metrics_core.GaugeMetricFamily(
            "metallb_bgp_pending_prefixes_total", "Prefixes that the peer is still to be told of.", labels=["peer"]
        )
        for peer, views in by_peer.items():
            up.add_metric([peer], float(all(view.state is fsm.State.ESTABLISHED for view in views)))
            updates.add_metric([peer], sum(view.updates_sent for view in views))
            announced.add_metric([peer], sum(view.announced for view in views))
            pending.add_metric([peer], sum(view.pending for view in views))
        yield from (up, updates, announced, pending)

    def _bfd(self) -> Iterator[metrics_core.Metric]:
        labels = ["peer", "vrf"]
        groups: dict[tuple[str, str], list[str]] = {}
        for key, config in self._configs.items():
            groups.setdefault((str(config.peer), config.vrf or DEFAULT_VRF), []).append(key)
        up = metrics_core.GaugeMetricFamily("metallb_bfd_session_up", "Whether the BFD session is up.", labels=labels)
        totals = {}
        for group, keys in groups.items():
            up.add_metric(group, float(all(self._statuses.get(key, settings.UNKNOWN).up for key in keys)))
            total = settings.Counters()
            for key in keys:
                total = total.plus(self._counters.get(key, settings.Counters()))
            totals[group] = total
        yield up
        for position, (name, described) in enumerate(BFD_COUNTERS):
            family = metrics_core.UntypedMetricFamily(f"metallb_bfd_{name}", described, labels=labels)
            for group, total in totals.items():
                family.add_metric(group, total[position])
            yield family
