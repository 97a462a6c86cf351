"""Classic BPF programs that let through only the ARP and neighbour messages about our addresses.

- The question "is this word, or these four, inside one of n intervals" is a binary search over the sorted edges of the intervals, unrolled
  into jumps: the cost in the kernel is O(log n), where a list of compares would be O(n).
- A jump of classic BPF reaches 255 instructions, so every far jump goes through a `ja`, whose offset has 32 bits.
- A program holds 4,096 instructions. Above MAX_INTERVALS the smallest gaps between intervals are closed: the filter may let through more than
  it must, never less. Whoever reads the socket checks the address anyway.
- A load beyond the packet ends the program with "drop" (Linux, Documentation/networking/filter.rst), so lengths need no check.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from metallb_core.domain import addresses

MAX_INSTRUCTIONS = 4096
MAX_INTERVALS = {addresses.Family.IPV4: 256, addresses.Family.IPV6: 128}
ACCEPT_ALL = 0xFFFFFFFF

LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30  # BPF_LD | BPF_ABS, by size
JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL = 0x05, 0x15, 0x25, 0x35  # BPF_JMP, the operand in k
RETURN = 0x06

_LAYOUT = struct.Struct("=HBBI")


class MalformedProgramError(ValueError):
    """Bytes that are not a sequence of whole BPF instructions."""


class Instruction(NamedTuple):
    """`struct sock_filter`: opcode, offsets taken if true and if false (0-255), and a 32-bit operand."""

    code: int
    if_true: int
    if_false: int
    operand: int


Program = tuple[Instruction, ...]

_DROP = Instruction(RETURN, 0, 0, 0)
_ACCEPT = Instruction(RETURN, 0, 0, ACCEPT_ALL)


def serialise(program: Program) -> bytes:
    """The program as the array of `struct sock_filter` that SO_ATTACH_FILTER takes, in host byte order."""
    return b"".join(_LAYOUT.pack(*instruction) for instruction in program)


def parse(data: bytes) -> Program:
    """Read what `serialise` wrote. Raises MalformedProgramError."""
    if len(data) % _LAYOUT.size:
        raise MalformedProgramError(f"{len(data)} bytes are not whole instructions of {_LAYOUT.size}")
    return tuple(Instruction(*fields) for fields in _LAYOUT.iter_unpack(data))


def merge(intervals: Iterable[addresses.Interval], limit: int) -> list[tuple[int, int]]:
    """Disjoint (first, last) pairs in order that cover `intervals`, all of one family; at most `limit` of them.

    Touching and overlapping intervals become one. If more than `limit` remain, the smallest gaps are closed.
    """
    merged: list[tuple[int, int]] = []
    for first, last in sorted((interval.first, interval.last) for interval in intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    if len(merged) <= limit:
        return merged
    gaps = sorted(range(1, len(merged)), key=lambda index: merged[index][0] - merged[index - 1][1])
    kept = sorted(gaps[len(merged) - limit :])
    starts = [0, *kept]
    ends = [*(index - 1 for index in kept), len(merged) - 1]
    return [(merged[start][0], merged[end][1]) for start, end in zip(starts, ends, strict=True)]


def _at_least(edge: int, offset: int | None) -> list[Instruction]:
    """Fall through to the next instruction if the number is at least `edge`, to the one after it if not.

    `offset` None: the number is the accumulator. Else it is the four words from `offset` on.
    """
    if offset is None:
        return [Instruction(JUMP_GREATER_EQUAL, 0, 1, edge)]
    code: list[Instruction] = []
    words = struct.unpack("!4I", edge.to_bytes(16, "big"))
    for index, word in enumerate(words[:3]):
        to_end = 3 * (3 - index)  # from either compare of this word to the verdict it decides
        code += (
            Instruction(LOAD_WORD, 0, 0, offset + 4 * index),
            Instruction(JUMP_GREATER, to_end, 0, word),
            Instruction(JUMP_EQUAL, 0, to_end, word),
        )
    code += (
        Instruction(LOAD_WORD, 0, 0, offset + 12),
        Instruction(JUMP_GREATER_EQUAL, 0, 1, words[3]),
    )
    return code


def _search(edges: Sequence[int], inside: bool, offset: int | None) -> list[Instruction | None]:
    """Accept if an odd number of `edges` is at or below the number, given `inside` before the first; None falls off the end."""
    if not edges:
        return [_ACCEPT if inside else None]
    middle = len(edges) // 2
    below = _search(edges[:middle], inside, offset)
    above = _search(edges[middle + 1 :], inside ^ (middle % 2 == 0), offset)
    return [*_at_least(edges[middle], offset), Instruction(JUMP, 0, 0, len(below)), *below, *above]


def _membership(merged: Sequence[tuple[int, int]], bits: int, offset: int | None) -> list[Instruction]:
    """Accept if the number is inside, else run on after the last instruction."""
    edges = [edge for first, last in merged for edge in (first, last + 1)]
    if edges and edges[-1] == 1 << bits:
        edges.pop()  # an interval up to the last address has no edge above it
    code = _search(edges, False, offset)
    return [
        Instruction(JUMP, 0, 0, len(code) - index - 1) if instruction is None else instruction
        for index, instruction in enumerate(code)
    ]


def _require(load: int, offset: int, *values: int) -> list[Instruction]:
    """Drop unless what is loaded is one of `values`."""
    count = len(values)
    compares = [Instruction(JUMP_EQUAL, count - index, 0, value) for index, value in enumerate(values)]
    return [Instruction(load, 0, 0, offset), *compares, _DROP]


def arp(intervals: Iterable[addresses.Interval]) -> Program:
    """Let through ARP requests and replies whose target or sender is inside one of the IPv4 `intervals`.

    The target is what a request asks for; the sender is what a station claims (RFC 5227 section 2.4). For a socket of type SOCK_RAW bound
    to ETH_P_ARP. Intervals of the other family are ignored.
    """
    family = addresses.Family.IPV4
    merged = merge((each for each in intervals if each.family == family), MAX_INTERVALS[family])
    if not merged:
        return (_DROP,)
    return (
        *_require(LOAD_WORD, 14, 0x00010800),
        *_require(LOAD_HALF, 18, 0x0604),
        *_require(LOAD_HALF, 20, 1, 2),
        Instruction(LOAD_WORD, 0, 0, 38),
        *_membership(merged, 32, None),
        Instruction(LOAD_WORD, 0, 0, 28),
        *_membership(merged, 32, None),
        _DROP,
    )


def ndp(intervals: Iterable[addresses.Interval]) -> Program:
    """Let through neighbour solicitations and advertisements whose target is inside one of the IPv6 `intervals`.

    For a socket of type SOCK_RAW bound to ETH_P_IPV6. Intervals of the other family are ignored.
    """
    family = addresses.Family.IPV6
    merged = merge((each for each in intervals if each.family == family), MAX_INTERVALS[family])
    if not merged:
        return (_DROP,)
    return (
        *_require(LOAD_BYTE, 20, 58),
        *_require(LOAD_BYTE, 21, 255),
        *_require(LOAD_HALF, 54, 135 << 8, 136 << 8),
        *_membership(merged, 128, 62),
        _DROP,
    )
