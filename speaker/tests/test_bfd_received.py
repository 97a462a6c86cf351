"""One session whose peer is made by hand: what each packet that it receives leads to.

- A poll is answered in every state but AdminDown, whatever it says; an authenticated packet counts for nothing.
- A peer hears only as much as it wants to: demand mode, an interval of zero, a passive end that has lost it.
"""

import random
from typing import Any

import pytest

from metallb_speaker.bfd import packets, session
from metallb_speaker.testing import bfd_link

S = packets.State


class Hand:
    """A session whose peer is the test."""

    def __init__(self, **changes: Any) -> None:
        self.now = 100.0
        self.session = session.Session(bfd_link.config(**changes), 5, random.Random(4), self.now)

    def say(self, state: packets.State, **fields: Any) -> list[packets.Control]:
        yours = {"your_discriminator": 5}
        self.session.receive(packets.Control(**{**bfd_link.CONTROL, **yours, "state": state, **fields}), self.now)
        return self.heard()

    def heard(self) -> list[packets.Control]:
        found, self.session.outgoing = self.session.outgoing, []
        return found

    def wait(self, seconds: float) -> list[packets.Control]:
        """Let time pass; what was sent meanwhile."""
        found: list[packets.Control] = []
        end = self.now + seconds
        while (deadline := self.session.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.session.advance(self.now)
            found += self.heard()
        self.now = end
        return found

    def up(self) -> "Hand":
        self.say(S.DOWN)
        self.say(S.UP)
        self.say(S.UP, final=True)
        assert self.session.state is S.UP
        return self


def prepared(state: packets.State) -> Hand:
    made = Hand()
    match state:
        case S.UP:
            made.up()
        case S.INIT:
            made.say(S.DOWN)
        case S.ADMIN_DOWN:
            made.session.shut_down(made.now)
        case _:
            pass
    made.heard()
    assert made.session.state is state
    return made


@pytest.mark.parametrize("state", S, ids=lambda state: state.name)
@pytest.mark.parametrize("received", S, ids=lambda received: f"hears {received.name}")
@pytest.mark.parametrize("poll", [False, True], ids=["", "poll"])
def test_a_poll_is_answered_in_every_state_but_admin_down(
    state: packets.State, received: packets.State, poll: bool
) -> None:
    made = prepared(state)
    said = made.say(received, poll=poll)
    finals = [packet for packet in said if packet.final]
    assert len(finals) == (1 if poll and state is not S.ADMIN_DOWN else 0)
    assert not any(packet.poll for packet in finals)
    assert all(packet.your_discriminator == 77 for packet in said)
    if state is not S.ADMIN_DOWN:
        assert made.session.remote_state is received
        changed = made.session.state is not state
        assert changed == any(packet.state is made.session.state for packet in said if not packet.final)


def test_authenticated_packets_are_discarded() -> None:
    made = Hand()
    assert made.say(S.DOWN, authenticated=True) == []
    assert made.session.state is S.DOWN
    assert made.session.counters.control_packet_input == 0


def test_a_packet_that_is_read_before_the_deadline_is_judged_counts() -> None:
    made = Hand().up()
    made.now += 5.0  # a pause of this process; the packet came meanwhile and waits in the socket
    made.say(S.UP)
    made.session.advance(made.now)
    assert made.session.state is S.UP
    assert [packet.state for packet in made.heard()] == [S.UP], "and what is overdue is sent once"


def test_a_peer_in_demand_mode_hears_only_polls_and_answers() -> None:
    made = Hand().up()
    made.say(S.UP, demand=True)
    assert made.wait(0.8) == []
    (final,) = made.say(S.UP, demand=True, poll=True)
    assert final.final
    made.session.configure(bfd_link.config(transmit_interval=500), made.now)
    made.heard()
    polled = made.wait(0.8)
    assert polled
    assert all(packet.poll for packet in polled)
    made.say(S.UP, demand=True, final=True)
    assert made.wait(0.8) == []
    made.say(S.UP)
    assert made.wait(0.8) != []


def test_a_peer_that_wants_no_packets_gets_none_but_answers() -> None:
    made = Hand().up()
    made.say(S.UP, required_min_rx=0)
    assert made.wait(0.85) == []
    assert len(made.say(S.UP, required_min_rx=0, poll=True)) == 1
    made.say(S.UP)
    assert made.wait(0.5) != []


def test_a_passive_session_falls_silent_when_the_peer_is_gone() -> None:
    made = Hand(passive=True)
    assert made.wait(10) == []
    made.up()
    made.heard()
    said = made.wait(0.95)
    assert said[-1].state is S.DOWN, "what happened is told once, for the path may be cut in one direction only"
    assert made.wait(10) == []


def test_the_peers_discriminator_is_forgotten_while_down_too() -> None:
    made = Hand()
    made.say(S.UP, your_discriminator=5)
    assert made.session.remote_discriminator == 77
    made.wait(3.1)
    assert made.session.remote_discriminator == 0
