"""What a line of the log looks like, and what never stands in one."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from metallb_core.domain import services
from metallb_core.runtime import clock as clocks
from metallb_core.runtime import log
from metallb_core.testing import clock as fake_clock


@pytest.fixture
def output() -> Iterator[io.BytesIO]:
    stream = io.BytesIO()
    root = logging.getLogger()
    level = root.level
    log.configure("info", stream=stream, clock=fake_clock.FakeClock())
    yield stream
    log.configure("info", clock=clocks.SystemClock())
    root.removeHandler(log._BRIDGE)
    root.setLevel(level)


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line(output: io.BytesIO) -> None:
    log.get("world").info("synchronised", count=3, service=services.ServiceKey("ns", "a"))
    (line,) = lines(output)
    assert list(line) == ["level", "ts", "caller", "component", "msg", "count", "service"]
    caller = line.pop("caller")
    assert caller.startswith("test_runtime_log.py:")
    assert line == {
        "level": "info",
        "ts": "2026-01-01T00:00:00.000Z",
        "component": "world",
        "msg": "synchronised",
        "count": 3,
        "service": "ns/a",
    }


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("all", ["debug", "info", "warn", "error"]),
        ("debug", ["debug", "info", "warn", "error"]),
        ("info", ["info", "warn", "error"]),
        ("warn", ["warn", "error"]),
        ("error", ["error"]),
        ("none", []),
    ],
)
def test_levels(output: io.BytesIO, level: str, written: list[str]) -> None:
    log.configure(level, stream=output)
    logger = log.get()
    for each in ("debug", "info", "warn", "error"):
        getattr(logger, each)("x")
        assert logger.enabled(each) == (each in written)
    assert [line["level"] for line in lines(output)] == written


def test_an_unknown_level_is_our_mistake() -> None:
    with pytest.raises(KeyError):
        log.configure("loud")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"password": "hunter2"}, id="by-name"),
        pytest.param({"Token": "hunter2"}, id="any-case"),
        pytest.param({"key": log.Secret("hunter2")}, id="wrapped"),
        pytest.param({"nested": {"a": [log.Secret("hunter2")]}}, id="nested"),
        pytest.param({"error": ValueError(f"bad {log.Secret('hunter2')}")}, id="formatted"),
    ],
)
def test_secrets_never_appear(output: io.BytesIO, fields: dict[str, object]) -> None:
    log.get().info("connecting", **fields)
    assert b"hunter2" not in output.getvalue()
    assert log.RETRACTED.encode() in output.getvalue()


def test_a_secret_is_known_to_its_holder_only() -> None:
    secret = log.Secret("x")
    assert secret.reveal() == "x"
    assert f"{secret} {secret!r}" == f"{log.RETRACTED} {log.RETRACTED}"
    assert secret == log.Secret("x")
    assert secret != "x"
    assert len({secret, log.Secret("x")}) == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(ValueError("odd"), "ValueError: odd", id="error"),
        pytest.param({"b", "a"}, ["a", "b"], id="set"),
        pytest.param(services.FamilyPolicy.SINGLE_STACK, "SingleStack", id="enum"),
        pytest.param(object, "<class 'object'>", id="anything"),
        pytest.param(None, None, id="none"),
        pytest.param((1, 2), [1, 2], id="tuple"),
    ],
)
def test_values(output: io.BytesIO, value: object, shown: object) -> None:
    log.get().info("x", value=value)
    assert lines(output)[0]["value"] == shown


@pytest.mark.parametrize("value", ["\ud800", {(1, 2): 3}, 2**100], ids=["surrogate", "odd-key", "huge"])
def test_odd_values_do_not_stop_anything(output: io.BytesIO, value: object) -> None:
    log.get().info("still here", value=value)
    assert "still here" in lines(output)[0]["msg"]


def test_bound_fields(output: io.BytesIO) -> None:
    log.get("c").bind(node="n").info("x", a=1)
    (line,) = lines(output)
    assert (line["node"], line["a"], line["component"]) == ("n", 1, "c")


def test_lines_of_libraries_have_the_same_form(output: io.BytesIO) -> None:
    logger = logging.getLogger("some.library")
    logger.info("not this")
    try:
        raise ValueError("odd")
    except ValueError:
        logger.exception("broken %s", "thing")
    logger.warning("careful")
    first, second = lines(output)
    assert (first["level"], first["component"], first["msg"], first["error"]) == (
        "error",
        "some.library",
        "broken thing",
        "ValueError: odd",
    )
    assert second["level"] == "warn"
