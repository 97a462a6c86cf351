"""When a condition is news, and when its date moves."""

import dataclasses
import datetime

import pytest

from metallb_core.api import conditions as wires
from metallb_core.api import meta
from metallb_core.domain import conditions
from metallb_core.runtime import clock

TRUE, FALSE = conditions.Status.TRUE, conditions.Status.FALSE
HELD = conditions.Condition(type="x/A", status=TRUE, reason="Fine", message="all is well", since="then")
NEWS = [
    pytest.param({}, None, id="same-is-no-news"),
    pytest.param({"message": "still well"}, "then", id="message-keeps-the-date"),
    pytest.param({"reason": "Better"}, "then", id="reason-keeps-the-date"),
    pytest.param({"status": FALSE}, "now", id="status-moves-the-date"),
    pytest.param({"type": "x/B"}, "now", id="new-one-begins-now"),
]


@pytest.mark.parametrize(("change", "since"), NEWS)
def test_news(change: dict[str, object], since: str | None) -> None:
    wanted = dataclasses.replace(HELD, since="", **change)  # type: ignore[arg-type]
    found = conditions.changed([wanted], [HELD], "now")
    assert found == (() if since is None else (dataclasses.replace(wanted, since=since),))


def test_a_held_one_without_a_date_gets_one() -> None:
    assert conditions.dated(HELD, dataclasses.replace(HELD, since=""), "now").since == "now"


def test_a_date_is_in_whole_seconds() -> None:
    at = datetime.datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=datetime.UTC)
    assert clock.rfc3339(at) == "2026-03-04T05:06:07Z"


@pytest.mark.parametrize("length", [9, 10, 11, 500])
def test_a_long_message_is_cut(length: int) -> None:
    found = conditions.shortened("x" * length, 10)
    assert len(found) <= 10
    assert found.endswith("...") == (length > 10)


def test_those_of_others_and_odd_ones_are_not_read() -> None:
    wire = [
        meta.Condition(type="x/A", status="True", last_transition_time="then", reason="Fine", message="all is well"),
        meta.Condition(type="y/A", status="True"),
        meta.Condition(type="x/B", status="Perhaps"),
    ]
    assert wires.read(wire, "x/") == (HELD,)
    assert wires.read(None) == ()
    assert wires.write(HELD)["lastTransitionTime"] == "then"
