"""Series live as long as what they tell of: packets of an address that is no longer announced here are nobody's."""

import prometheus_client

from metallb_core.announcement import difference, layer2
from metallb_core.domain import addresses, services
from metallb_speaker import gauges, reconcile

WEB, DNS = services.ServiceKey("default", "web"), services.ServiceKey("default", "dns")
FIRST, SECOND = addresses.Address.parse("192.0.2.1"), addresses.Address.parse("192.0.2.2")
EVERYWHERE: frozenset[str] = frozenset()


def series(collectors: prometheus_client.CollectorRegistry, start: str) -> dict[str, float]:
    """The samples whose names start with `start`, by name and address."""
    return {
        f"{sample.name} {sample.labels['ip']}": sample.value
        for family in collectors.collect()
        for sample in family.samples
        if sample.name.startswith(start)
    }


def test_packets_of_a_withdrawn_address_are_dropped() -> None:
    collectors = prometheus_client.CollectorRegistry()
    own, held = gauges.Metrics(collectors, "n1"), difference.Announced()
    held.update(WEB, layer2.Announcement((FIRST,), EVERYWHERE))
    held.update(DNS, layer2.Announcement((SECOND,), EVERYWHERE))
    own.packets({FIRST: (3, 2, 1), SECOND: (1, 1, 1)}, held)
    own.packets({FIRST: (1, 1, 1)}, held)
    assert series(collectors, "metallb_layer2_requests") == {
        "metallb_layer2_requests_received 192.0.2.1": 4,
        "metallb_layer2_requests_received 192.0.2.2": 1,
    }
    held.update(WEB, None)
    # What was counted while it was being withdrawn comes a moment later.
    own.packets({FIRST: (1, 0, 0)}, held)
    assert series(collectors, "metallb_layer2_") == {
        "metallb_layer2_requests_received 192.0.2.2": 1,
        "metallb_layer2_responses_sent 192.0.2.2": 1,
        "metallb_layer2_gratuitous_sent 192.0.2.2": 1,
    }


def test_an_address_that_comes_back_counts_from_nothing() -> None:
    collectors = prometheus_client.CollectorRegistry()
    own, held = gauges.Metrics(collectors, "n1"), difference.Announced()
    held.update(WEB, layer2.Announcement((FIRST,), EVERYWHERE))
    own.packets({FIRST: (3, 2, 1)}, held)
    held.update(WEB, None)
    own.packets({}, held)
    held.update(WEB, layer2.Announcement((FIRST,), EVERYWHERE))
    own.packets({FIRST: (1, 1, 1)}, held)
    assert series(collectors, "metallb_layer2_requests") == {"metallb_layer2_requests_received 192.0.2.1": 1}


def test_the_gauge_of_a_service_ends_with_its_addresses() -> None:
    collectors = prometheus_client.CollectorRegistry()
    own = gauges.Metrics(collectors, "n1")
    own.announced(WEB, reconcile.Protocol.LAYER2, (), (FIRST, SECOND))
    own.announced(WEB, reconcile.Protocol.LAYER2, (FIRST, SECOND), (SECOND,))
    assert series(collectors, "metallb_speaker_announced") == {"metallb_speaker_announced 192.0.2.2": 1}
    own.announced(WEB, reconcile.Protocol.LAYER2, (SECOND,), ())
    assert series(collectors, "metallb_speaker_announced") == {}
