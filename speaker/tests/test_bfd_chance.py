"""A session that is told anything in any order: it raises nothing, never spins, and what it says keeps the rules of RFC 5880."""

import os
import random

import pytest

from metallb_core.domain import addresses
from metallb_speaker.bfd import packets, session, settings

S = packets.State
PEER = addresses.Address.parse("192.0.2.2")


def any_config(chance: random.Random) -> settings.Config:
    return settings.Config(
        key="k",
        peer=PEER,
        transmit_interval=chance.choice([10, 100, 300, 2000, 60_000]),
        receive_interval=chance.choice([10, 100, 300, 2000, 60_000]),
        multiplier=chance.choice([1, 2, 3, 255]),
        echo=chance.random() < 0.5,
        echo_interval=chance.choice([10, 50, 60_000]),
        passive=chance.random() < 0.3,
        multihop=chance.random() < 0.2,
    )


def any_packet(chance: random.Random, discriminator: int) -> packets.Control:
    intervals = [0, 1, 10_000, 300_000, 1_000_000, 2**32 - 1]
    return packets.Control(
        state=chance.choice(list(S)),
        diagnostic=chance.randrange(32),
        poll=chance.random() < 0.3,
        final=chance.random() < 0.3,
        control_plane_independent=chance.random() < 0.1,
        authenticated=chance.random() < 0.02,
        demand=chance.random() < 0.2,
        multiplier=chance.choice([1, 3, 255]),
        my_discriminator=chance.choice([1, 2, 2**32 - 1]),
        your_discriminator=discriminator,
        desired_min_tx=chance.choice(intervals),
        required_min_rx=chance.choice(intervals),
        required_min_echo_rx=chance.choice(intervals),
    )


def check(made: session.Session, said: list[packets.Control], heard: packets.Control | None) -> None:
    assert not any(packet.poll and packet.final for packet in said)
    assert not any(packet.demand or packet.authenticated for packet in said)
    for packet in said:
        assert packets.Control.parse(packet.serialise()) == packet or packet.your_discriminator == 0
        if packet.state is not S.UP:
            assert packet.desired_min_tx >= session.SLOW
    finals = [packet for packet in said if packet.final]
    assert len(finals) == (1 if heard is not None and heard.poll else 0)
    if made.config.passive and made.remote_discriminator == 0:
        assert made.next_deadline() is None


def live(seed: int, steps: int) -> None:
    chance = random.Random(seed)
    now = 100.0
    made = session.Session(any_config(chance), 5, random.Random(seed + 1), now)
    spoken: float | None = None
    for _ in range(steps):
        heard: packets.Control | None = None
        match chance.randrange(6):
            case 0 | 1:
                heard = any_packet(chance, made.discriminator)
                if not made.receive(heard, now):
                    heard = None
            case 2 | 3:
                deadline = made.next_deadline()
                if deadline is not None and deadline - now < 1e6:
                    now = max(now, deadline) + chance.choice([0.0, 0.0, 0.01, 5.0])
                    made.advance(now)
                    again = made.next_deadline()
                    assert again is None or again > now, "nothing is left to do at this moment"
            case 4:
                made.configure(any_config(chance), now)
                made.offer_echo(chance.random() < 0.5, now)
            case _:
                for echo in made.echoes:
                    made.echo_returned(echo if chance.random() < 0.8 else packets.Echo(5, 0, 1), now)
                now += chance.choice([0.001, 0.1])
        said, made.outgoing = made.outgoing, []
        made.echoes = made.echoes[-3:]
        check(made, said, heard)
        if said:
            spoken = now
    assert spoken is not None or made.config.passive
    made.shut_down(now)
    for _ in range(5):
        deadline = made.next_deadline()
        if deadline is None:
            break
        made.advance(deadline)
    assert made.finished
    assert made.next_deadline() is None


@pytest.mark.parametrize("seed", range(40))
def test_anything_in_any_order(seed: int) -> None:
    live(seed, 50)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_much_in_any_order() -> None:
    for seed in range(int(os.environ.get("METALLB_FUZZ", "100000")) // 100):
        live(seed, 100)
