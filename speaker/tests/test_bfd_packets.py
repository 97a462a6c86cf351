"""The control packet, the echo payload and the echo datagram: golden bytes, round trips, garbage."""

import contextlib
import os
import random

import hypothesis
import pytest
from hypothesis import strategies

from metallb_core.domain import addresses
from metallb_speaker.bfd import datagrams, neighbours, packets, settings
from metallb_speaker.packets import bpf

# Written by hand from the layout of RFC 5880 section 4.1: version 1, diagnostic 3, Up, P and D set, multiplier 3.
GOLDEN = bytes.fromhex("23 e2 03 18 00000001 fffffffe 000493e0 0007a120 0000c350")
PACKET = packets.Control(
    state=packets.State.UP,
    diagnostic=packets.Diagnostic.NEIGHBOR_SIGNALED_DOWN,
    poll=True,
    demand=True,
    multiplier=3,
    my_discriminator=1,
    your_discriminator=0xFFFFFFFE,
    desired_min_tx=300_000,
    required_min_rx=500_000,
    required_min_echo_rx=50_000,
)

words = strategies.integers(0, 2**32 - 1)
controls = strategies.builds(
    packets.Control,
    state=strategies.sampled_from(packets.State),
    diagnostic=strategies.integers(0, 31),
    poll=strategies.booleans(),
    final=strategies.booleans(),
    control_plane_independent=strategies.booleans(),
    demand=strategies.booleans(),
    multiplier=strategies.integers(1, 255),
    my_discriminator=strategies.integers(1, 2**32 - 1),
    your_discriminator=strategies.integers(1, 2**32 - 1),
    desired_min_tx=words,
    required_min_rx=words,
    required_min_echo_rx=words,
)
ours = strategies.one_of(
    strategies.integers(0, 2**32 - 1).map(lambda value: addresses.Address(addresses.Family.IPV4, value)),
    strategies.integers(0, 2**128 - 1).map(lambda value: addresses.Address(addresses.Family.IPV6, value)),
)


def test_golden_bytes() -> None:
    assert packets.Control.parse(GOLDEN) == PACKET
    assert PACKET.serialise() == GOLDEN
    assert packets.Control.parse(GOLDEN + b"trailer") == PACKET


@hypothesis.given(controls)
def test_control_packets_survive_the_way(packet: packets.Control) -> None:
    assert packets.Control.parse(packet.serialise()) == packet


def changed(position: int, value: int) -> bytes:
    return GOLDEN[:position] + bytes([value]) + GOLDEN[position + 1 :]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"", "too short", id="nothing"),
        pytest.param(GOLDEN[:-1], "too short", id="a byte too few"),
        pytest.param(changed(0, 0x03), "version 0", id="version 0"),
        pytest.param(changed(0, 0x43), "version 2", id="version 2"),
        pytest.param(changed(3, 23), "length 23", id="length below the least"),
        pytest.param(changed(3, 25), "length 25", id="length above the datagram"),
        pytest.param(changed(1, 0xE6), "length 24", id="authentication announced but no room for it"),
        pytest.param(changed(2, 0), "multiplier", id="multiplier 0"),
        pytest.param(changed(1, 0xE3), "multipoint", id="multipoint"),
        pytest.param(GOLDEN[:4] + bytes(4) + GOLDEN[8:], "discriminator is zero", id="no discriminator"),
        pytest.param(GOLDEN[:8] + bytes(4) + GOLDEN[12:], "state UP", id="up without our discriminator"),
        pytest.param(changed(1, 0x80)[:8] + bytes(4) + GOLDEN[12:], "state INIT", id="init without our discriminator"),
    ],
)
def test_what_a_receiver_discards(data: bytes, why: str) -> None:
    with pytest.raises(packets.MalformedPacketError, match=why):
        packets.Control.parse(data)


@pytest.mark.parametrize("state", [packets.State.DOWN, packets.State.ADMIN_DOWN], ids=lambda state: state.name)
def test_a_peer_that_is_down_need_not_know_our_discriminator(state: packets.State) -> None:
    parsed = packets.Control.parse(changed(1, state << 6)[:8] + bytes(4) + GOLDEN[12:])
    assert (parsed.state, parsed.your_discriminator) == (state, 0)


def test_authentication_is_told_and_never_sent() -> None:
    parsed = packets.Control.parse(changed(1, 0xE4)[:3] + bytes([26]) + GOLDEN[4:] + bytes(2))
    assert parsed.authenticated
    with pytest.raises(ValueError, match="authentication"):
        parsed.serialise()


@hypothesis.given(words, strategies.integers(0, 2**64 - 1), words)
def test_echo_payloads_survive_the_way(discriminator: int, token: int, sequence: int) -> None:
    packet = packets.Echo(discriminator, token, sequence)
    assert packets.Echo.parse(packet.serialise() + b"padding") == packet


@pytest.mark.parametrize(
    "data", [b"", packets.Echo(1, 2, 3).serialise()[:-1], b"FRR!" + bytes(16)], ids=["nothing", "short", "another's"]
)
def test_an_echo_of_somebody_else_is_refused(data: bytes) -> None:
    with pytest.raises(packets.MalformedPacketError):
        packets.Echo.parse(data)


@hypothesis.given(ours, strategies.integers(1, 65535), strategies.binary(max_size=64))
def test_echo_datagrams_survive_the_way_and_padding(address: addresses.Address, port: int, payload: bytes) -> None:
    data = datagrams.serialise(address, port, payload)
    assert datagrams.parse(data + bytes(18)) == (address, payload)


def test_echo_datagram_golden_bytes() -> None:
    # tcpdump -vv calls both checksums correct.
    data = datagrams.serialise(addresses.Address.parse("192.0.2.10"), 50000, b"abc")
    assert data == bytes.fromhex("45c0001f 00004000 ff11f6f8 c000020a c000020a c3500ec9 000be546 616263")
    assert data[8] == 255


def run_filter(program: bpf.Program, data: bytes) -> int:
    """What the kernel would return (a small interpreter of the instructions used here)."""
    accumulator = 0
    position = 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        if code == bpf.LOAD_BYTE:
            accumulator = data[operand]
        elif code == bpf.LOAD_HALF:
            accumulator = int.from_bytes(data[operand : operand + 2], "big")
        elif code == bpf.JUMP_EQUAL:
            position += if_true if accumulator == operand else if_false
        else:
            assert code == bpf.RETURN
            return operand


@pytest.mark.parametrize("text", ["192.0.2.10", "2001:db8::10"])
def test_the_filter_lets_echo_through_and_nothing_else(text: str) -> None:
    address = addresses.Address.parse(text)
    program = datagrams.filter_of(address.family)
    data = datagrams.serialise(address, 50000, b"abc")
    assert run_filter(program, data)
    header = 20 if address.family is addresses.Family.IPV4 else 40
    other_port = data[: header + 2] + settings.SINGLE_HOP_PORT.to_bytes(2, "big") + data[header + 4 :]
    assert not run_filter(program, other_port)
    protocol = 9 if header == 20 else 6
    assert not run_filter(program, data[:protocol] + b"\x06" + data[protocol + 1 :])


def fuzz(rounds: int) -> None:
    chance = random.Random(5880)
    seeds = (
        GOLDEN,
        GOLDEN + bytes(28),
        packets.Echo(1, 2, 3).serialise(),
        datagrams.serialise(addresses.Address.parse("192.0.2.10"), 50000, packets.Echo(1, 2, 3).serialise()),
        datagrams.serialise(addresses.Address.parse("2001:db8::10"), 50000, packets.Echo(1, 2, 3).serialise()),
        neighbours.request(addresses.Address.parse("192.0.2.10"), 2),
    )
    for _ in range(rounds):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        mutated = bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.3 else data)
        with contextlib.suppress(packets.MalformedPacketError):
            packets.Control.parse(mutated)
        with contextlib.suppress(packets.MalformedPacketError):
            packets.Echo.parse(mutated)
        with contextlib.suppress(datagrams.MalformedDatagramError):
            datagrams.parse(mutated)
        neighbours.hardware_address(mutated)


def test_garbage_raises_nothing_else() -> None:
    fuzz(2_000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_much_garbage_raises_nothing_else() -> None:
    fuzz(int(os.environ.get("METALLB_FUZZ", "100000")))


# Written by hand from rtnetlink(7): 192.0.2.1 on link 2, reachable at 02:00:00:00:00:99.
NEIGHBOUR = bytes.fromhex(
    "30000000 1c000000 01000000 00000000 02000000 02000000 0200 00 01 08000100 c0000201 0a000200 020000000099 0000"
)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(NEIGHBOUR, bytes.fromhex("020000000099"), id="reachable"),
        pytest.param(NEIGHBOUR[:24] + b"\x20\x00" + NEIGHBOUR[26:], None, id="resolution failed"),
        pytest.param(NEIGHBOUR[:4] + b"\x02\x00" + NEIGHBOUR[6:], None, id="an error"),
        pytest.param(NEIGHBOUR[:36], None, id="no hardware address"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_what_the_kernel_says_of_a_neighbour(answer: bytes, expected: bytes | None) -> None:
    assert neighbours.hardware_address(answer) == expected
