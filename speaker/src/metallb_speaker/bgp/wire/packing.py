"""Many routes in few messages: what Adj-RIB-Out sends.

- Routes of one call share everything but their prefix. Each message is filled up to its maximum length, and holds one kind of route:
  withdrawn or announced, of one family (RFC 7606 section 5.1).
- IPv4 routes with an IPv4 next hop use the fields of RFC 4271; everything else uses MP_REACH_NLRI.
- The order of the prefixes is kept.
"""

import dataclasses
from collections.abc import Iterable, Iterator

from metallb_core.domain import addresses, routes
from metallb_speaker.bgp.wire import attributes as wire_attributes
from metallb_speaker.bgp.wire import context as wire_context
from metallb_speaker.bgp.wire import families as wire_families
from metallb_speaker.bgp.wire import header, multiprotocol, updates
from metallb_speaker.bgp.wire import prefixes as wire_prefixes

_EMPTY = header.LENGTH + updates.MINIMUM_BODY
_ATTRIBUTE_HEAD = 4
_Type = wire_attributes.Type


def announce(
    prefixes: Iterable[routes.Prefix],
    *,
    family: wire_families.Family,
    attributes: wire_attributes.PathAttributes,
    next_hop: addresses.Address,
    link_local: addresses.Address | None = None,
    four_octet_as: bool = True,
    maximum_length: int = wire_context.MAXIMUM_LENGTH,
) -> list[bytes]:
    """UPDATEs that announce `prefixes`, all of `family`, each at most `maximum_length` bytes.

    `next_hop` replaces that of `attributes`. An IPv6 one may be followed by the `link_local` address of the same interface (RFC 2545
    section 3); for IPv4 routes it takes what RFC 8950 calls extended next hop, which both sides must have agreed on.
    ValueError: IPv6 routes with an IPv4 next hop; attributes that leave no room for a prefix.
    """
    if next_hop.family is addresses.Family.IPV4:
        if family != wire_families.IPV4_UNICAST:
            raise ValueError(f"{next_hop} cannot be the next hop of {family} routes; give an IPv6 address")
        common = wire_attributes.serialise(_with_next_hop(attributes, next_hop), four_octet_as=four_octet_as)
        room = maximum_length - _EMPTY - len(common)
        return [updates.assemble(b"", common, chunk) for chunk in _chunks(prefixes, room)]
    common = wire_attributes.serialise(_with_next_hop(attributes, None), four_octet_as=four_octet_as)
    head = multiprotocol.Reach(family=family, next_hop=next_hop, link_local=link_local, prefixes=()).serialise_head()
    room = maximum_length - _EMPTY - len(common) - _ATTRIBUTE_HEAD - len(head)
    return [
        updates.assemble(b"", _enclose(_Type.MP_REACH_NLRI, head + chunk) + common, b"")
        for chunk in _chunks(prefixes, room)
    ]


def withdraw(
    prefixes: Iterable[routes.Prefix],
    *,
    family: wire_families.Family,
    multi_protocol: bool = False,
    maximum_length: int = wire_context.MAXIMUM_LENGTH,
) -> list[bytes]:
    """UPDATEs that withdraw `prefixes`, all of `family`.

    IPv4 ones use the field of RFC 4271 unless `multi_protocol` asks for MP_UNREACH_NLRI.
    """
    if family == wire_families.IPV4_UNICAST and not multi_protocol:
        return [updates.assemble(chunk, b"", b"") for chunk in _chunks(prefixes, maximum_length - _EMPTY)]
    head = multiprotocol.Unreach(family=family).serialise_head()
    room = maximum_length - _EMPTY - _ATTRIBUTE_HEAD - len(head)
    return [
        updates.assemble(b"", _enclose(_Type.MP_UNREACH_NLRI, head + chunk), b"") for chunk in _chunks(prefixes, room)
    ]


def end_of_rib(family: wire_families.Family) -> bytes:
    """All routes of `family` have been sent (RFC 4724 section 2)."""
    if family == wire_families.IPV4_UNICAST:
        return updates.assemble(b"", b"", b"")
    head = multiprotocol.Unreach(family=family).serialise_head()
    return updates.assemble(b"", _enclose(_Type.MP_UNREACH_NLRI, head), b"")


def _with_next_hop(
    attributes: wire_attributes.PathAttributes, next_hop: addresses.Address | None
) -> wire_attributes.PathAttributes:
    return dataclasses.replace(attributes, next_hop=next_hop)


def _enclose(kind: wire_attributes.Type, value: bytes) -> bytes:
    return wire_attributes.enclose(kind, wire_attributes.FLAGS[kind], value)


def _chunks(prefixes: Iterable[routes.Prefix], room: int) -> Iterator[bytes]:
    """Prefixes as bytes, as many at a time as fit in `room`."""
    parts: list[bytes] = []
    size = 0
    for prefix in prefixes:
        part = wire_prefixes.serialise(prefix)
        size += len(part)
        if size > room:
            if not parts:
                raise ValueError(f"no room for {prefix} beside the attributes; use fewer communities")
            yield b"".join(parts)
            parts, size = [], len(part)
            if size > room:
                raise ValueError(f"no room for {prefix} beside the attributes; use fewer communities")
        parts.append(part)
    if parts:
        yield b"".join(parts)
