"""Addresses and intervals of addresses, as integers.

- An address is a pair (family, value); everything is compared, hashed and counted as integers, so a /8 costs what a /30 costs.
- Text is read as Go's `netip` reads it, since users' files were written for MetalLB: an IPv4-mapped IPv6 address is an IPv4 address; zone
  ids, leading zeros and surrounding rubbish are refused.
- Text is written in canonical form (RFC 5952 section 4): the election hashes that text, so it is part of the wire contract.
- `Address` is a NamedTuple, not a dataclass: it is the key of every hot dictionary, and a tuple hashes in C.
"""

import dataclasses
import enum
import ipaddress
from collections.abc import Iterator
from typing import NamedTuple, Self


class AddressError(ValueError):
    """Text that is not an address, prefix or range. The message names the text and what was expected."""


class Family(enum.IntEnum):
    """An address family; the value is the IP version."""

    IPV4 = 4
    IPV6 = 6

    @property
    def bits(self) -> int:
        """Bits in an address: 32 or 128."""
        return 32 if self is Family.IPV4 else 128

    @property
    def kubernetes_name(self) -> str:
        """`IPv4` or `IPv6`, as `spec.ipFamilies` spells it."""
        return "IPv4" if self is Family.IPV4 else "IPv6"


class Address(NamedTuple):
    """One IP address. Orders by family, then by value."""

    family: Family
    value: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address as `netip.ParseAddr` and `Unmap` do. Raises AddressError."""
        if "%" in text:
            raise AddressError(f"{text!r} carries a zone; write the address without it")
        try:
            parsed = ipaddress.ip_address(text)
        except ValueError:
            raise AddressError(f"{text!r} is not an IP address") from None
        if isinstance(parsed, ipaddress.IPv6Address):
            mapped = parsed.ipv4_mapped
            if mapped is not None:
                return cls(Family.IPV4, int(mapped))
            return cls(Family.IPV6, int(parsed))
        return cls(Family.IPV4, int(parsed))

    @classmethod
    def from_packed(cls, packed: bytes) -> Self:
        """An address from its 4 or 16 bytes in network order; IPv4-mapped bytes stay IPv6. Raises AddressError."""
        if len(packed) == 4:
            return cls(Family.IPV4, int.from_bytes(packed, "big"))
        if len(packed) == 16:
            return cls(Family.IPV6, int.from_bytes(packed, "big"))
        raise AddressError(f"{len(packed)} bytes are not an IP address; expected 4 or 16")

    def packed(self) -> bytes:
        """The address as 4 or 16 bytes in network order."""
        return self.value.to_bytes(4 if self.family == 4 else 16, "big")

    def __str__(self) -> str:
        """Canonical text (RFC 5952 section 4)."""
        if self.family == 4:
            value = self.value
            return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
        return str(ipaddress.IPv6Address(self.value))

    def is_buggy(self) -> bool:
        """Whether some old equipment drops it: an IPv4 address that ends in .0 or .255 (`avoidBuggyIPs`)."""
        return self.family == 4 and (self.value & 255) in (0, 255)


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Interval:
    """All addresses from `first` to `last`, both included, of one family. `first` <= `last` always."""

    family: Family
    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last < 1 << self.family.bits:
            raise AddressError(
                f"{self.first}..{self.last} is not an interval of {self.family.kubernetes_name} addresses"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `a/n` (host bits are masked off) or `a-b`, blanks around the dash allowed. Raises AddressError."""
        stripped = text.strip()
        if "-" in stripped:
            return cls._parse_range(stripped)
        if "/" not in stripped:
            raise AddressError(
                f"{text!r} is neither a prefix nor a range; write {text}/32 for a single IPv4 address, {text}/128 for IPv6,"
                " or first-last for a range"
            )
        host, _, length_text = stripped.partition("/")
        try:
            address = Address.parse(host)
        except AddressError as error:
            raise AddressError(f"invalid prefix {text!r}: {error}") from None
        bits = address.family.bits
        if ":" in host and address.family is Family.IPV4:
            raise AddressError(
                f"invalid prefix {text!r}: an IPv4-mapped IPv6 prefix is not supported; write it as IPv4"
            )
        if (
            not (length_text.isascii() and length_text.isdigit())
            or len(length_text) > 3
            or str(int(length_text)) != length_text
        ):
            raise AddressError(f"invalid prefix {text!r}: {length_text!r} is not a prefix length")
        length = int(length_text)
        if length > bits:
            raise AddressError(f"invalid prefix {text!r}: the length must be at most {bits}")
        host_mask = (1 << (bits - length)) - 1
        first = address.value & ~host_mask
        return cls(address.family, first, first | host_mask)

    @classmethod
    def _parse_range(cls, text: str) -> Self:
        first_text, _, last_text = text.partition("-")
        try:
            first, last = Address.parse(first_text.strip()), Address.parse(last_text.strip())
        except AddressError as error:
            raise AddressError(f"invalid range {text!r}: {error}") from None
        if first.family is not last.family:
            raise AddressError(f"invalid range {text!r}: both ends must be of one family, IPv4 or IPv6")
        if first.value > last.value:
            raise AddressError(f"invalid range {text!r}: the first address is after the last; write {last}-{first}")
        return cls(first.family, first.value, last.value)

    @property
    def size(self) -> int:
        """How many addresses it holds; exact, however large."""
        return self.last - self.first + 1

    def __contains__(self, address: object) -> bool:
        return (
            isinstance(address, Address) and address.family == self.family and self.first <= address.value <= self.last
        )

    def overlaps(self, other: "Interval") -> bool:
        """Whether any address is in both."""
        return self.family == other.family and self.first <= other.last and other.first <= self.last

    def prefixes(self) -> Iterator[tuple[int, int]]:
        """The fewest prefixes that cover exactly this interval, as (value, length), in address order."""
        first, bits = self.first, self.family.bits
        while first <= self.last:
            alignment = (first & -first).bit_length() - 1 if first else bits
            span = (self.last - first + 1).bit_length() - 1
            host_bits = min(alignment, span)
            yield first, bits - host_bits
            first += 1 << host_bits

    def __str__(self) -> str:
        """`a/n` where one prefix covers it, else `a-b`."""
        covering = list(self.prefixes())
        if len(covering) == 1:
            value, length = covering[0]
            return f"{Address(self.family, value)}/{length}"
        return f"{Address(self.family, self.first)}-{Address(self.family, self.last)}"
