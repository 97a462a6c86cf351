"""What the probe calls silence: time in which it asked and was not answered, and none in which it stood still itself."""

import pytest

from demo import probe

INTERVAL = 0.02


def silence(answers: list[float], stalls: probe.Stalls) -> tuple[float, float]:
    """The longest gap of ten seconds from 100 on, and when it began."""
    series = probe.Series()
    series.answers += answers
    report = series.report(100.0, 110.0, stalls)
    return report["silence"], report["from"]


@pytest.mark.parametrize(
    ("answers", "stalls", "expected"),
    [
        pytest.param([], [], (10.0, 0.0), id="nobody"),
        pytest.param([103.0, 107.0], [], (4.0, 3.0), id="in-the-middle"),
        pytest.param([102.0], [], (8.0, 2.0), id="until-the-end"),
        pytest.param([102.5, 107.5], [(102.6, 107.4)], (2.5, 7.5), id="standing-still-is-no-silence"),
        pytest.param([103.0, 107.0], [(102.0, 103.5)], (3.5, 3.0), id="only-what-falls-into-the-gap"),
        pytest.param([103.0, 107.0], [(103.5, 103.7), (104.5, 105.0)], (3.3, 3.0), id="two-stalls"),
        pytest.param([103.0, 107.0], [(99.0, 102.9), (103.0, 103.2)], (3.8, 3.0), id="stalls-of-several-gaps"),
    ],
)
def test_silence(answers: list[float], stalls: probe.Stalls, expected: tuple[float, float]) -> None:
    assert silence(answers, stalls) == pytest.approx(expected)


def test_who_is_in_time_keeps_the_rhythm() -> None:
    stalls: probe.Stalls = []
    assert probe.next_due(100.0, 100.019, INTERVAL, stalls) == pytest.approx(100.02)
    assert stalls == []


def test_who_stood_still_does_not_catch_up() -> None:
    stalls: probe.Stalls = []
    assert probe.next_due(100.0, 100.5, INTERVAL, stalls) == pytest.approx(100.52)
    assert stalls == [(100.0, 100.5)]
