"""A drained node asks to be avoided for a moment, if it advertises; then it does not."""

import asyncio

import pytest

from metallb_core.testing import clock as clocks
from metallb_speaker import draining


class Watched:
    """A Draining and what it said."""

    def __init__(self, seconds: float = 2.0) -> None:
        self.clock = clocks.FakeClock()
        self.said: list[bool] = []
        self.draining = draining.Draining(self.clock, seconds, self.said.append)
        self.running = asyncio.ensure_future(self.draining.run())

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


@pytest.mark.parametrize(
    ("advertises", "seconds", "expected"),
    [
        pytest.param(True, 2.0, [True, False], id="advertises"),
        pytest.param(False, 2.0, [], id="has-nothing-to-hand-over"),
        pytest.param(True, 0.0, [], id="no-moment"),
    ],
)
async def test_a_taint(advertises: bool, seconds: float, expected: list[bool]) -> None:
    node = Watched(seconds)
    node.draining.observe(drained=True, advertises=advertises)
    node.draining.observe(drained=True, advertises=False)
    await node.clock.advance(1.9)
    assert node.said == expected[:1]
    await node.clock.advance(0.2)
    assert node.said == expected
    await node.stop()


async def test_a_taint_that_is_taken_back() -> None:
    node = Watched()
    node.draining.observe(drained=True, advertises=True)
    node.draining.observe(drained=False, advertises=True)
    await node.clock.advance(5.0)
    assert node.said == [True, False]
    await node.stop()


async def test_a_taint_that_comes_again_has_its_whole_moment() -> None:
    node = Watched()
    node.draining.observe(drained=True, advertises=True)
    await node.clock.advance(1.0)
    node.draining.observe(drained=False, advertises=True)
    node.draining.observe(drained=True, advertises=True)
    await node.clock.advance(1.5)
    assert node.said == [True, False, True]
    await node.clock.advance(2.0)
    assert node.said == [True, False, True, False]
    await node.stop()
