"""Path attributes as values, and their bytes: RFC 4271 section 4.3 and 5, RFC 1997, RFC 8092, RFC 6793.

- Written in ascending order of their types, each with exactly the flags that its RFC gives it, and the long form of the length only above 255
  bytes. Communities are written in numerical order, so that equal values are equal bytes.
- MP_REACH_NLRI and MP_UNREACH_NLRI are not here: they carry routes, and `updates` has them.
- Towards a peer with AS numbers of 2 bytes a larger one becomes AS_TRANS, and AS4_PATH and AS4_AGGREGATOR carry the truth past it.
"""

import dataclasses
import enum
import struct
from collections.abc import Iterable
from typing import NamedTuple

from metallb_core.domain import addresses, routes
from metallb_core.domain import communities as domain_communities

OPTIONAL, TRANSITIVE, PARTIAL, EXTENDED_LENGTH = 0x80, 0x40, 0x20, 0x10
AS_TRANS = 23456
SEGMENT_MAXIMUM = 255
DEFAULT_LOCAL_PREF = 100


class Type(enum.IntEnum):
    """Numbers of the attributes that are read here."""

    ORIGIN = 1
    AS_PATH = 2
    NEXT_HOP = 3
    MULTI_EXIT_DISC = 4
    LOCAL_PREF = 5
    ATOMIC_AGGREGATE = 6
    AGGREGATOR = 7
    COMMUNITIES = 8
    ORIGINATOR_ID = 9
    CLUSTER_LIST = 10
    MP_REACH_NLRI = 14
    MP_UNREACH_NLRI = 15
    EXTENDED_COMMUNITIES = 16
    AS4_PATH = 17
    AS4_AGGREGATOR = 18
    LARGE_COMMUNITIES = 32


# Well-known attributes are transitive; the Partial bit is nobody's to judge.
FLAGS: dict[int, int] = {
    Type.ORIGIN: TRANSITIVE,
    Type.AS_PATH: TRANSITIVE,
    Type.NEXT_HOP: TRANSITIVE,
    Type.MULTI_EXIT_DISC: OPTIONAL,
    Type.LOCAL_PREF: TRANSITIVE,
    Type.ATOMIC_AGGREGATE: TRANSITIVE,
    Type.AGGREGATOR: OPTIONAL | TRANSITIVE,
    Type.COMMUNITIES: OPTIONAL | TRANSITIVE,
    Type.ORIGINATOR_ID: OPTIONAL,
    Type.CLUSTER_LIST: OPTIONAL,
    Type.MP_REACH_NLRI: OPTIONAL,
    Type.MP_UNREACH_NLRI: OPTIONAL,
    Type.EXTENDED_COMMUNITIES: OPTIONAL | TRANSITIVE,
    Type.AS4_PATH: OPTIONAL | TRANSITIVE,
    Type.AS4_AGGREGATOR: OPTIONAL | TRANSITIVE,
    Type.LARGE_COMMUNITIES: OPTIONAL | TRANSITIVE,
}


class Origin(enum.IntEnum):
    """Where a route comes from (RFC 4271 section 5.1.1)."""

    IGP = 0
    EGP = 1
    INCOMPLETE = 2


class SegmentType(enum.IntEnum):
    """Kinds of AS_PATH segments (RFC 4271 section 4.3). Those of confederations are no part of a path between us and anybody."""

    AS_SET = 1
    AS_SEQUENCE = 2


class Segment(NamedTuple):
    """A part of an AS_PATH: AS numbers of 32 bits, the nearest first in a sequence."""

    kind: SegmentType
    asns: tuple[int, ...]


AsPath = tuple[Segment, ...]


class Aggregator(NamedTuple):
    """Who formed an aggregate: its AS and its address (RFC 4271 section 5.1.7)."""

    asn: int
    address: addresses.Address


class Unknown(NamedTuple):
    """An attribute that is not interpreted, as it came; the flags without that of the extended length."""

    type: int
    flags: int
    value: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PathAttributes:
    """The attributes of an UPDATE but for the routes in it. None, False and empty: absent. An empty `as_path` is present, and empty."""

    origin: Origin | None = None
    as_path: AsPath | None = None
    next_hop: addresses.Address | None = None
    med: int | None = None
    local_pref: int | None = None
    atomic_aggregate: bool = False
    aggregator: Aggregator | None = None
    communities: frozenset[domain_communities.Community] = frozenset()
    unknown: tuple[Unknown, ...] = ()


NONE = PathAttributes()


def originated(
    asked: routes.Attributes, *, asn: int, ibgp: bool, default_local_pref: int = DEFAULT_LOCAL_PREF
) -> PathAttributes:
    """The attributes of a route of our own; the next hop is missing, since it hangs on the family.

    To an internal peer an empty AS_PATH and always a LOCAL_PREF (RFC 4271 section 5.1.5); to an external one the sequence of `asn` alone,
    and no LOCAL_PREF.
    """
    if not ibgp:
        path = (Segment(SegmentType.AS_SEQUENCE, (asn,)),)
        return PathAttributes(origin=Origin.IGP, as_path=path, communities=asked.communities)
    return PathAttributes(
        origin=Origin.IGP,
        as_path=(),
        local_pref=default_local_pref if asked.local_pref is None else asked.local_pref,
        communities=asked.communities,
    )


def enclose(kind: int, flags: int, value: bytes) -> bytes:
    """One attribute: flags, type, length, value (RFC 4271 section 4.3)."""
    if len(value) > 255:
        return struct.pack("!BBH", flags | EXTENDED_LENGTH, kind, len(value)) + value
    return bytes((flags & ~EXTENDED_LENGTH, kind, len(value))) + value


def _path(path: AsPath, size: int) -> bytes:
    """Segments with AS numbers of `size` bytes; one of more than 255 is written as several (RFC 4271 section 5.1.2)."""
    parts: list[bytes] = []
    for kind, asns in path:
        for start in range(0, len(asns), SEGMENT_MAXIMUM):
            part = asns[start : start + SEGMENT_MAXIMUM]
            parts.append(bytes((kind, len(part))) + b"".join(_asn(asn, size) for asn in part))
    return b"".join(parts)


def _asn(asn: int, size: int) -> bytes:
    return (asn if size == 4 or asn <= 0xFFFF else AS_TRANS).to_bytes(size, "big")


def _communities(found: Iterable[domain_communities.Community]) -> list[tuple[int, bytes]]:
    # The two kinds are tuples of different lengths, which order among themselves only.
    standard = sorted(each for each in found if isinstance(each, domain_communities.Standard))
    large = sorted(each for each in found if isinstance(each, domain_communities.Large))
    parts: list[tuple[int, bytes]] = []
    if standard:
        parts.append((Type.COMMUNITIES, b"".join(struct.pack("!HH", *each) for each in standard)))
    if large:
        parts.append((Type.LARGE_COMMUNITIES, b"".join(struct.pack("!III", *each) for each in large)))
    return parts


def serialise(attributes: PathAttributes, *, four_octet_as: bool = True) -> bytes:
    """All attributes in order of type. ValueError, OverflowError: a field does not fit its place."""
    size = 4 if four_octet_as else 2
    values: list[tuple[int, bytes]] = []
    if attributes.origin is not None:
        values.append((Type.ORIGIN, bytes((attributes.origin,))))
    if attributes.as_path is not None:
        values.append((Type.AS_PATH, _path(attributes.as_path, size)))
        if size == 2 and any(asn > 0xFFFF for segment in attributes.as_path for asn in segment.asns):
            values.append((Type.AS4_PATH, _path(attributes.as_path, 4)))
    if attributes.next_hop is not None:
        if attributes.next_hop.family is not addresses.Family.IPV4:
            raise ValueError(f"NEXT_HOP cannot hold {attributes.next_hop}; an IPv6 next hop goes into MP_REACH_NLRI")
        values.append((Type.NEXT_HOP, attributes.next_hop.packed()))
    if attributes.med is not None:
        values.append((Type.MULTI_EXIT_DISC, attributes.med.to_bytes(4, "big")))
    if attributes.local_pref is not None:
        values.append((Type.LOCAL_PREF, attributes.local_pref.to_bytes(4, "big")))
    if attributes.atomic_aggregate:
        values.append((Type.ATOMIC_AGGREGATE, b""))
    if attributes.aggregator is not None:
        asn, address = attributes.aggregator
        values.append((Type.AGGREGATOR, _asn(asn, size) + address.packed()))
        if size == 2 and asn > 0xFFFF:
            values.append((Type.AS4_AGGREGATOR, _asn(asn, 4) + address.packed()))
    values += _communities(attributes.communities)
    flagged = [Unknown(kind, FLAGS[kind], value) for kind, value in values]
    flagged += attributes.unknown
    flagged.sort(key=lambda each: each.type)
    return b"".join(enclose(*each) for each in flagged)
