"""The filters, run by a small interpreter of classic BPF that follows the kernel's documentation."""

import itertools
import random
import struct

import hypothesis
import pytest
from hypothesis import strategies

from metallb_core.domain import addresses
from metallb_speaker.packets import arp, bpf, ethernet, ndp

IPV4, IPV6 = addresses.Family.IPV4, addresses.Family.IPV6
SIZES = {bpf.LOAD_WORD: 4, bpf.LOAD_HALF: 2, bpf.LOAD_BYTE: 1}


def run(program: bpf.Program, packet: bytes) -> int:
    """How many bytes of `packet` pass. Every program must end: jumps only go forward."""
    accumulator, counter = 0, 0
    while True:
        code, if_true, if_false, operand = program[counter]
        counter += 1
        if code in SIZES:
            size = SIZES[code]
            if operand + size > len(packet):
                return 0
            accumulator = int.from_bytes(packet[operand : operand + size], "big")
        elif code == bpf.JUMP:
            counter += operand
        elif code == bpf.JUMP_EQUAL:
            counter += if_true if accumulator == operand else if_false
        elif code == bpf.JUMP_GREATER:
            counter += if_true if accumulator > operand else if_false
        elif code == bpf.JUMP_GREATER_EQUAL:
            counter += if_true if accumulator >= operand else if_false
        elif code == bpf.RETURN:
            return operand
        else:
            raise AssertionError(f"unknown opcode {code:#x}")


def _arp_frame(target: int, sender: int = 1, operation: int = arp.REQUEST) -> bytes:
    packet = arp.Packet(
        operation=operation,
        sender_mac=b"\2" * 6,
        sender=addresses.Address(IPV4, sender),
        target_mac=bytes(6),
        target=addresses.Address(IPV4, target),
    )
    return ethernet.Frame(
        destination=ethernet.BROADCAST, source=b"\2" * 6, ethertype=ethernet.TYPE_ARP, payload=packet.serialise()
    ).serialise()


def _ns_frame(target: int) -> bytes:
    packet = ndp.Solicitation(
        source=addresses.Address(IPV6, 1), destination=ndp.ALL_NODES, target=addresses.Address(IPV6, target)
    )
    return ethernet.Frame(
        destination=b"\x33" * 6, source=b"\2" * 6, ethertype=ethernet.TYPE_IPV6, payload=packet.serialise()
    ).serialise()


def _intervals(family: addresses.Family, pairs: list[tuple[int, int]]) -> list[addresses.Interval]:
    return [addresses.Interval(family, min(pair), max(pair)) for pair in pairs]


def _numbers(bits: int) -> strategies.SearchStrategy[int]:
    near = strategies.integers(0, 40)
    return strategies.one_of(
        near,
        near.map(lambda value: 2**bits - 1 - value),
        strategies.integers(0, 2**bits - 1),
        near.map(lambda v: v << 16),
    )


@hypothesis.given(
    pairs=strategies.lists(strategies.tuples(_numbers(32), _numbers(32)), max_size=20),
    probe=_numbers(32),
    edge=_numbers(8),
)
@hypothesis.settings(max_examples=400)
def test_arp_filter_equals_membership(pairs: list[tuple[int, int]], probe: int, edge: int) -> None:
    intervals = _intervals(IPV4, pairs)
    program = bpf.arp(intervals)
    candidates = {probe, *(n for pair in pairs for n in (*pair, max(0, min(pair) - 1), min(2**32 - 1, max(pair) + 1)))}
    for number in candidates:
        inside = any(i.first <= number <= i.last for i in intervals)
        assert bool(run(program, _arp_frame(number, sender=number))) == inside
        one_side = inside or any(i.first <= edge <= i.last for i in intervals)
        assert bool(run(program, _arp_frame(number, sender=edge))) == one_side
        assert bool(run(program, _arp_frame(edge, sender=number, operation=arp.REPLY))) == one_side


@hypothesis.given(
    pairs=strategies.lists(strategies.tuples(_numbers(128), _numbers(128)), max_size=12), probe=_numbers(128)
)
@hypothesis.settings(max_examples=400)
def test_ndp_filter_equals_membership(pairs: list[tuple[int, int]], probe: int) -> None:
    intervals = _intervals(IPV6, pairs)
    program = bpf.ndp(intervals)
    top = 2**128 - 1
    candidates = {probe, *(n for pair in pairs for n in (*pair, max(0, min(pair) - 1), min(top, max(pair) + 1)))}
    for number in candidates:
        assert bool(run(program, _ns_frame(number))) == any(i.first <= number <= i.last for i in intervals)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(_arp_frame(10)[:41], id="cut"),
        pytest.param(_arp_frame(10, operation=3), id="reverse ARP"),
        pytest.param(_arp_frame(10)[:14] + b"\0\6" + _arp_frame(10)[16:], id="another hardware"),
        pytest.param(_arp_frame(10)[:18] + b"\x08\4" + _arp_frame(10)[20:], id="another length"),
        pytest.param(_ns_frame(10), id="IPv6"),
    ],
)
def test_arp_filter_drops(frame: bytes) -> None:
    assert run(bpf.arp([addresses.Interval(IPV4, 0, 2**32 - 1)]), frame) == 0


def _changed(offset: int, value: int) -> bytes:
    frame = bytearray(_ns_frame(10))
    frame[offset] = value
    return bytes(frame)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(_ns_frame(10)[:77], id="cut"),
        pytest.param(_changed(20, 17), id="UDP"),
        pytest.param(_changed(21, 64), id="hop limit"),
        pytest.param(_changed(54, 134), id="router advertisement"),
        pytest.param(_changed(55, 1), id="code"),
    ],
)
def test_ndp_filter_drops(frame: bytes) -> None:
    assert run(bpf.ndp([addresses.Interval(IPV6, 0, 2**128 - 1)]), frame) == 0


@pytest.mark.parametrize("family", [pytest.param(IPV4, id="IPv4"), pytest.param(IPV6, id="IPv6")])
@pytest.mark.parametrize("count", [pytest.param(n, id=str(n)) for n in (1, 2, 80, 128, 256, 5000)])
def test_programs_fit_the_kernels_limits(family: addresses.Family, count: int) -> None:
    source = random.Random(count)
    chosen = [source.randrange(2**family.bits) for _ in range(count)]
    build, frame = (bpf.arp, _arp_frame) if family is IPV4 else (bpf.ndp, _ns_frame)
    program = build([addresses.Interval(family, value, value) for value in chosen])
    assert len(program) <= bpf.MAX_INSTRUCTIONS
    assert all(each.if_true <= 255 and each.if_false <= 255 for each in program)
    assert bpf.parse(bpf.serialise(program)) == program
    for value in chosen[:300]:
        assert run(program, frame(value)), "an address of ours must always pass, however coarse the filter is"


def test_an_address_costs_the_logarithm_of_the_intervals() -> None:
    intervals = [addresses.Interval(IPV4, value << 20, (value << 20) + 5) for value in range(1, 257)]
    steps = 0
    program = bpf.arp(intervals)

    class Counting(tuple[bpf.Instruction, ...]):
        def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
            nonlocal steps
            steps += 1
            return super().__getitem__(index)

    assert run(Counting(program), _arp_frame(77, sender=77)) == 0
    assert steps < 60


def test_no_intervals_drop_everything() -> None:
    assert bpf.arp([]) == bpf.ndp([]) == (bpf.Instruction(bpf.RETURN, 0, 0, 0),)
    assert bpf.arp([addresses.Interval(IPV6, 0, 1)]) == bpf.arp([])


@hypothesis.given(
    pairs=strategies.lists(strategies.tuples(_numbers(32), _numbers(32)), max_size=30), limit=strategies.integers(1, 10)
)
def test_merge_covers_in_order_within_the_limit(pairs: list[tuple[int, int]], limit: int) -> None:
    intervals = _intervals(IPV4, pairs)
    merged = bpf.merge(intervals, limit)
    assert len(merged) <= limit
    assert all(left[1] + 1 < right[0] for left, right in itertools.pairwise(merged))
    assert all(any(first <= i.first and i.last <= last for first, last in merged) for i in intervals)


def test_merge_closes_the_smallest_gap() -> None:
    intervals = _intervals(IPV4, [(0, 10), (12, 20), (100, 110)])
    assert bpf.merge(intervals, 2) == [(0, 20), (100, 110)]


def test_parse_refuses_a_broken_instruction() -> None:
    with pytest.raises(bpf.MalformedProgramError):
        bpf.parse(bytes(7))


def test_serialised_layout_is_struct_sock_filter() -> None:
    assert bpf.serialise((bpf.Instruction(6, 1, 2, 3),)) == struct.pack("=HBBI", 6, 1, 2, 3)
