"""BGP communities as values: standard (RFC 1997) and large (RFC 8092).

- Text is `high:low` for a standard community and `large:global:local1:local2` for a large one, in decimal, as MetalLB has it.
- Both order numerically; a set of them is sent in that order, so that equal sets are equal bytes.
"""

from typing import NamedTuple, Self


class CommunityError(ValueError):
    """Text that is no community. The message names the text and what was expected."""


class UnknownCommunityError(CommunityError):
    """Text of neither form: if it was meant as an alias, no Community object defines it."""


class Standard(NamedTuple):
    """Two numbers of 16 bits each (RFC 1997)."""

    high: int
    low: int

    @classmethod
    def from_int(cls, value: int) -> Self:
        """From the 32 bits it is on the wire."""
        return cls(value >> 16, value & 0xFFFF)

    def to_int(self) -> int:
        """The 32 bits it is on the wire."""
        return self.high << 16 | self.low

    def __str__(self) -> str:
        return f"{self.high}:{self.low}"


class Large(NamedTuple):
    """Three numbers of 32 bits each (RFC 8092 section 3)."""

    global_administrator: int
    local_1: int
    local_2: int

    def __str__(self) -> str:
        return f"large:{self.global_administrator}:{self.local_1}:{self.local_2}"


Community = Standard | Large

# RFC 8326 section 4.2: the neighbour lowers its preference for a route that carries it, ahead of its withdrawal.
GRACEFUL_SHUTDOWN = Standard(0xFFFF, 0x0000)


def parse(text: str) -> Community:
    """Read a community. Raises UnknownCommunityError where the text has the form of none, CommunityError where a part of it is wrong."""
    parts = text.split(":")
    if len(parts) == 2:
        return Standard(_number(text, parts[0], 16), _number(text, parts[1], 16))
    if len(parts) == 4:
        if parts[0] != "large":
            raise CommunityError(
                f"expected community to be of format large: {text!r} has four parts and must begin with 'large:'"
            )
        return Large(*(_number(text, part, 32) for part in parts[1:]))
    raise UnknownCommunityError(
        f"invalid community format: {text}; write high:low, large:global:local1:local2, or the name of an alias that a"
        " Community object defines"
    )


def _number(text: str, part: str, bits: int) -> int:
    if not (part.isascii() and part.isdigit()) or len(part) > 10 or int(part) >= 1 << bits:
        raise CommunityError(
            f'invalid community value: invalid section "{part}" of {text!r}; it takes a number from 0 to {(1 << bits) - 1}'
        )
    return int(part)
