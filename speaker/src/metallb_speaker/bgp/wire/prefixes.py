"""Prefixes on the wire: a length in bits, and as many bytes as hold it (RFC 4271 section 4.3, RFC 4760 section 5).

Bits behind the length mean nothing and are cleared. A length that the family cannot have, or that the bytes do not hold, leaves the reader
unable to tell any prefix after it: there is no withdrawal to treat such routes as (RFC 7606 section 5.3).
"""

from collections.abc import Iterable

from metallb_core.domain import addresses, routes


class PrefixError(ValueError):
    """The bytes are no list of prefixes. Who reads them knows which NOTIFICATION that is."""


def serialise(prefix: routes.Prefix) -> bytes:
    """One prefix."""
    (family, value), length = prefix
    whole = value.to_bytes(4 if family == 4 else 16, "big")
    return bytes((length,)) + whole[: (length + 7) >> 3]


def serialise_all(prefixes: Iterable[routes.Prefix]) -> bytes:
    """Several, one after the other."""
    return b"".join(map(serialise, prefixes))


def parse_all(data: bytes, family: addresses.Family) -> tuple[routes.Prefix, ...]:
    """All prefixes of `data`. Raises PrefixError."""
    bits = family.bits
    found: list[routes.Prefix] = []
    offset, end = 0, len(data)
    while offset < end:
        length = data[offset]
        if length > bits:
            raise PrefixError(f"a prefix of {length} bits at offset {offset}; {family.kubernetes_name} has {bits}")
        start = offset + 1
        offset = start + (length + 7 >> 3)
        if offset > end:
            raise PrefixError(f"a prefix of {length} bits at offset {start - 1} ends after the field")
        have = (offset - start) << 3
        value = int.from_bytes(data[start:offset], "big") >> (have - length) << (bits - length)
        found.append(routes.Prefix(addresses.Address(family, value), length))
    return tuple(found)
