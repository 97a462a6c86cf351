"""Every cell of the state machine's tables, written out a second time from RFC 5880 section 6.2's diagram and section 6.8.6's text."""

import itertools

import pytest

from metallb_speaker.bfd import machine, packets

S = packets.State
NONE = None
SIGNALED = packets.Diagnostic.NEIGHBOR_SIGNALED_DOWN
EXPIRED = packets.Diagnostic.DETECTION_TIME_EXPIRED
ECHO = packets.Diagnostic.ECHO_FAILED

RECEIVED = """
            ADMIN_DOWN       DOWN             INIT   UP
ADMIN_DOWN  ADMIN_DOWN       ADMIN_DOWN       ADMIN_DOWN ADMIN_DOWN
DOWN        DOWN             INIT             UP     DOWN
INIT        DOWN/SIGNALED    INIT             UP     UP
UP          DOWN/SIGNALED    DOWN/SIGNALED    UP     UP
"""


def cells() -> list[tuple[packets.State, packets.State, machine.Step]]:
    head, *rows = [line.split() for line in RECEIVED.strip().splitlines()]
    found = []
    for state, *cell_texts in rows:
        for received, text in zip(head, cell_texts, strict=True):
            after, _, signaled = text.partition("/")
            step = machine.Step(packets.State[after], SIGNALED if signaled else None)
            found.append((packets.State[state], packets.State[received], step))
    return found


@pytest.mark.parametrize(
    ("state", "received", "expected"), cells(), ids=lambda value: value.name if isinstance(value, S) else ""
)
def test_cell(state: packets.State, received: packets.State, expected: machine.Step) -> None:
    assert machine.RECEIVED[state, received] == expected


def test_no_cell_is_missing() -> None:
    assert set(machine.RECEIVED) == set(itertools.product(S, S))
    assert set(machine.EXPIRED) == set(machine.ECHO_LOST) == set(S)


@pytest.mark.parametrize(
    ("state", "after", "diagnostic"),
    [(S.ADMIN_DOWN, S.ADMIN_DOWN, NONE), (S.DOWN, S.DOWN, NONE), (S.INIT, S.DOWN, EXPIRED), (S.UP, S.DOWN, EXPIRED)],
    ids=[state.name for state in S],
)
def test_no_packet_within_the_detection_time(state: packets.State, after: packets.State, diagnostic: object) -> None:
    assert machine.EXPIRED[state] == machine.Step(after, diagnostic)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "after", "diagnostic"),
    [(S.ADMIN_DOWN, S.ADMIN_DOWN, NONE), (S.DOWN, S.DOWN, NONE), (S.INIT, S.INIT, NONE), (S.UP, S.DOWN, ECHO)],
    ids=[state.name for state in S],
)
def test_echo_lost(state: packets.State, after: packets.State, diagnostic: object) -> None:
    assert machine.ECHO_LOST[state] == machine.Step(after, diagnostic)  # type: ignore[arg-type]
