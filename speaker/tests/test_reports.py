"""What people are told: an Event for each protocol once, the gauge for as long as it is so, status objects when peers really know."""

import asyncio
from collections.abc import AsyncIterator

import prometheus_client
import pytest

from metallb_core.api import events as wires
from metallb_core.domain import addresses, reasons, services
from metallb_core.testing import clock as clocks
from metallb_speaker import gauges, reconcile, reports

KEY = services.ServiceKey("default", "web")
OTHER = services.ServiceKey("default", "dns")
ADDRESS = addresses.Address.parse("192.0.2.1")
SERVICE = services.Service(key=KEY, ingress=(ADDRESS,))
BGP, LAYER2 = reconcile.Protocol.BGP, reconcile.Protocol.LAYER2
NO_PEER = reasons.Refusal(reasons.Reason.NO_PEER, "no BGPPeer has a session on node n1")


class Recorder:
    """Keeps what was said of whom."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def emit(self, regarding: wires.ObjectReference, kind: str, reason: str, message: str) -> None:
        self.said.append(f"{regarding.name} {reason}: {message}")


class Told:
    """Reports whose status objects are written nowhere."""

    def __init__(self) -> None:
        self.clock = clocks.FakeClock()
        self.recorder = Recorder()
        self.collectors = prometheus_client.CollectorRegistry()
        self.written: list[str] = []
        self.refusal: reasons.Refusal | None = None
        self.reports = reports.Reports(
            node="n1",
            clock=self.clock,
            recorder=self.recorder,  # type: ignore[arg-type]
            metrics=gauges.Metrics(self.collectors, "n1"),
            write_layer2=lambda key: self._write("layer2", key),
            write_bgp=lambda key: self._write("bgp", key),
            refusal=lambda key: (SERVICE, self.refusal) if self.refusal else None,
            on_error=lambda key, error: None,
        )

    async def _write(self, kind: str, key: services.ServiceKey) -> None:
        self.written.append(f"{kind} {key.name}")

    async def wait_written(self, seconds: float = 0.0) -> list[str]:
        """What was written within these seconds."""
        await self.clock.advance(seconds)
        taken, self.written = self.written, []
        return sorted(taken)

    def outcome(
        self,
        protocol: reconcile.Protocol,
        *,
        turned: bool,
        announced: bool = True,
        refusal: reasons.Refusal | None = None,
    ) -> None:
        self.reports.outcome(
            KEY,
            reconcile.Outcome(
                protocol=protocol,
                service=SERVICE,
                addresses=(ADDRESS,) if announced else (),
                refusal=refusal,
                turned=turned,
            ),
        )

    def announced(self) -> set[str]:
        """Protocols in the gauge."""
        return {
            sample.labels["protocol"]
            for family in self.collectors.collect()
            for sample in family.samples
            if sample.name == "metallb_speaker_announced"
        }


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    made = Told()
    queues = (made.reports.statuses, made.reports.bgp_statuses, made.reports.refusals)
    running = [asyncio.ensure_future(each.run()) for each in queues]
    await made.clock.settle()
    yield made
    for each in running:
        each.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_each_protocol_is_told_once(told: Told) -> None:
    told.outcome(LAYER2, turned=True)
    told.outcome(BGP, turned=True)
    told.outcome(BGP, turned=False)
    assert told.recorder.said == [
        'web nodeAssigned: announcing from node "n1" with protocol "layer2"',
        'web nodeAssigned: announcing from node "n1" with protocol "bgp"',
    ]
    assert told.announced() == {"layer2", "bgp"}
    told.outcome(LAYER2, turned=True, announced=False)
    assert told.announced() == {"bgp"}
    assert await told.wait_written() == ["bgp web", "layer2 web"]


async def test_a_service_is_looked_at_until_every_peer_was_told(told: Told) -> None:
    told.outcome(BGP, turned=True)
    assert await told.wait_written() == ["bgp web"]
    # A peer that takes its time has not everything looked at for each thing that another one is told.
    for _ in range(3):
        told.reports.peer_told(settled=False)
        assert await told.wait_written(0.2) == []
    assert await told.wait_written(0.5) == ["bgp web"]
    told.reports.peer_told(settled=True)
    assert await told.wait_written() == ["bgp web"]
    told.reports.peer_told(settled=True)
    assert await told.wait_written() == []


async def test_a_session_that_comes_up_concerns_every_service_when_it_has_told_them(told: Told) -> None:
    told.reports.session_found((KEY, OTHER))
    assert await told.wait_written(5.0) == []
    told.reports.peer_told(settled=True)
    assert await told.wait_written() == ["bgp dns", "bgp web"]


async def test_services_that_no_peer_is_told_of_are_not_kept(told: Told) -> None:
    told.outcome(BGP, turned=False, announced=False, refusal=NO_PEER)
    told.outcome(BGP, turned=True)
    told.outcome(BGP, turned=True, announced=False)
    assert await told.wait_written() == ["bgp web"]
    told.reports.peer_told(settled=False)
    assert await told.wait_written() == []


async def test_a_session_that_is_lost_is_written_down_a_moment_later(told: Told) -> None:
    told.reports.session_lost((KEY,))
    assert await told.wait_written(2.9) == []
    assert await told.wait_written(0.2) == ["bgp web"]


async def test_a_refusal_is_told_when_it_has_stood_and_again_when_it_came_back(told: Told) -> None:
    told.refusal = NO_PEER
    told.outcome(BGP, turned=False, announced=False, refusal=NO_PEER)
    await told.clock.advance(4.9)
    assert told.recorder.said == []
    await told.clock.advance(0.2)
    assert told.recorder.said == [f"web announceFailed: {NO_PEER}"]
    told.outcome(BGP, turned=False, announced=False, refusal=NO_PEER)
    await told.clock.advance(6.0)
    assert len(told.recorder.said) == 1
    told.outcome(BGP, turned=False, announced=True)
    told.outcome(BGP, turned=False, announced=False, refusal=NO_PEER)
    await told.clock.advance(6.0)
    assert len(told.recorder.said) == 2
