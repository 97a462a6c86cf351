"""One speaker put together, without its processes: what it looks at again, and how long it may take to stop."""

import functools

import prometheus_client
import pytest

from metallb_core.announcement import layer2
from metallb_core.api import meta, v1beta1
from metallb_core.domain import addresses, services
from metallb_core.kube import client as clients
from metallb_core.kube import connection, events, instruments, ownership
from metallb_core.runtime import metrics
from metallb_core.testing import clock as clocks
from metallb_speaker import gauges, main, place, speaker
from metallb_speaker.bgp import gauges as bgp_gauges
from metallb_speaker.layer2 import link
from metallb_speaker.status import objects

KEY = services.ServiceKey("default", "web")
ADDRESS = addresses.Address.parse("192.0.2.1")
PLACE = place.Place(node="n1", namespace="metallb-system")


class Marks:
    """Counts how often everything was looked at again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        clock = clocks.FakeClock()
        client = clients.Client(connection.plain("http://127.0.0.1:9"), user_agent="test")
        self.speaker = speaker.Speaker(
            PLACE,
            client=client,
            clock=clock,
            registry_metrics=gauges.Metrics(prometheus_client.CollectorRegistry(), "n1"),
            session_metrics=bgp_gauges.Sessions(prometheus_client.CollectorRegistry()),
            shared_metrics=instruments.Instruments(metrics.Registry(process=False)),
            recorder=events.EventRecorder(client, "test", "n1", clock),
            owner=ownership.nobody,
        )
        monkeypatch.setattr(self.speaker._reconciler, "mark_all", self._mark)

    def _mark(self) -> None:
        self.count += 1


def table(revision: int, *names: str, down: tuple[str, ...] = ()) -> link.Table:
    return link.Table(
        revision=revision,
        links={
            name: link.Link(
                index=number, name=name, mac=bytes(6), up=name not in down, carrier=True, arp=True, broadcast=True
            )
            for number, name in enumerate((*names, *down), 1)
        },
    )


def test_links_that_cannot_announce_have_nothing_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = Marks(monkeypatch)
    for number, (names, down, looked_at) in enumerate(
        [
            ((), (), 1),
            (("eth0",), (), 2),
            (("eth0",), ("veth1",), 2),
            (("eth0",), ("veth1", "veth2"), 2),
            (("eth0", "eth1"), (), 3),
            ((), ("eth0",), 4),
        ]
    ):
        marks.speaker._links_changed(table(number, *names, down=down))
        assert marks.count == looked_at


STATUSES = [
    pytest.param("n2", True, (0, 1), id="of-another-who-announces-too"),
    pytest.param("n1", True, (0, 1), id="our-own-which-another-may-have-deleted"),
    pytest.param("n1", False, (1, 0), id="a-leftover-of-ours"),
    pytest.param("n2", False, (0, 0), id="of-the-owner"),
]


@pytest.mark.parametrize(("node", "announced", "queued"), STATUSES)
async def test_the_words_of_others_are_not_answered_at_once(
    monkeypatch: pytest.MonkeyPatch, node: str, announced: bool, queued: tuple[int, int]
) -> None:
    """Of two nodes that do not hear each other, each would delete the other's as fast as it is written."""
    made = Marks(monkeypatch).speaker
    made._members_count({"n1": None})
    if announced:
        made._reconciler.announced.update(KEY, layer2.Announcement((ADDRESS,), frozenset()))
    labels = objects.labels_of(KEY, node)
    status = v1beta1.ServiceL2Status(metadata=meta.ObjectMeta(name="s", namespace=PLACE.namespace, labels=labels))
    made._layer2_status_changed((PLACE.namespace, "s"), None, status)
    queue = made._reports.statuses
    assert (queue.depth, queue.delayed) == queued


@pytest.mark.parametrize(
    ("drain", "linger", "seconds"),
    [
        # The chart gives 15, of which the end of the process itself takes up to two.
        pytest.param(1.0, 1.0, 10.0, id="defaults"),
        pytest.param(1.0, 5.0, 14.0, id="addresses-answer-on-for-long"),
        pytest.param(9.0, 1.0, 18.0, id="routers-get-long"),
    ],
)
def test_stopping_gives_each_protocol_its_time(drain: float, linger: float, seconds: float) -> None:
    chosen = place.Place(node="n1", namespace="metallb-system", bgp_drain=drain, linger=linger)
    assert main.stop_seconds(chosen) == seconds


def test_what_failed_in_an_outage_is_tried_again_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Marks(monkeypatch).speaker
    retried: list[str] = []
    for name in ("statuses", "bgp_statuses"):
        queue = getattr(one._reports, name)
        monkeypatch.setattr(queue, "retry_failed", functools.partial(retried.append, name))
    followed = one._sources.services
    followed._complain("no answer")
    assert retried == []
    followed._opened()
    assert retried == ["statuses", "bgp_statuses"]
