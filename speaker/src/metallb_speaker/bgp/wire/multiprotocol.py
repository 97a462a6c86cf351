"""MP_REACH_NLRI and MP_UNREACH_NLRI: RFC 4760 sections 3 and 4, with the IPv6 next hops of RFC 2545 section 3 and RFC 8950 section 3.

- They are read only for families that the session agreed on; of others nothing is known, so nothing in them can be wrong.
- An IPv6 next hop is 16 bytes, or 32 with a link-local address behind it.
- An error in one ends the session: where its routes begin or end is then unknown (RFC 7606 section 7.11).
"""

import dataclasses

from metallb_core.domain import addresses, routes
from metallb_speaker.bgp.wire import context as wire_context
from metallb_speaker.bgp.wire import families as wire_families
from metallb_speaker.bgp.wire import prefixes as wire_prefixes

_REACH_FIXED, _UNREACH_FIXED = 5, 3


class MultiprotocolError(ValueError):
    """The value is no MP_REACH_NLRI or MP_UNREACH_NLRI; the message says why."""


def _family(value: bytes, fixed: int) -> wire_families.Family:
    if len(value) < fixed:
        raise MultiprotocolError(f"{len(value)} bytes instead of at least {fixed}")
    return wire_families.Family(int.from_bytes(value[:2], "big"), value[2])


def _prefixes(data: bytes, family: addresses.Family) -> tuple[routes.Prefix, ...]:
    try:
        return wire_prefixes.parse_all(data, family)
    except wire_prefixes.PrefixError as error:
        raise MultiprotocolError(str(error)) from None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Routes of a family and their next hop (RFC 4760 section 3)."""

    family: wire_families.Family
    next_hop: addresses.Address
    link_local: addresses.Address | None = None
    prefixes: tuple[routes.Prefix, ...]

    @classmethod
    def parse(cls, value: bytes, context: wire_context.Context) -> "Reach | None":
        """The attribute's value; None where the family was not agreed on. Raises MultiprotocolError."""
        family = _family(value, _REACH_FIXED)
        kind = wire_families.PREFIXES_OF.get(family)
        if kind is None or family not in context.families:
            return None
        length = value[3]
        ipv6_hop = kind is addresses.Family.IPV6 or family in context.extended_next_hop
        allowed = ((4,) if kind is addresses.Family.IPV4 else ()) + ((16, 32) if ipv6_hop else ())
        if length not in allowed:
            sizes = " or ".join(map(str, allowed))
            raise MultiprotocolError(f"a next hop of {length} bytes for {family}; it has {sizes} on this session")
        end = 4 + length
        if len(value) <= end:
            raise MultiprotocolError("the value ends within its next hop")
        # The byte behind the next hop is reserved, and ignored.
        return cls(
            family=family,
            next_hop=addresses.Address.from_packed(value[4 : min(end, 20)]),
            link_local=addresses.Address.from_packed(value[20:end]) if length == 32 else None,
            prefixes=_prefixes(value[end + 1 :], kind),
        )

    def serialise_head(self) -> bytes:
        """The value up to its prefixes."""
        hop = self.next_hop.packed() + (b"" if self.link_local is None else self.link_local.packed())
        return self.family.afi.to_bytes(2, "big") + bytes((self.family.safi, len(hop))) + hop + b"\0"

    def serialise(self) -> bytes:
        """The attribute's value."""
        return self.serialise_head() + wire_prefixes.serialise_all(self.prefixes)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unreach:
    """Routes of a family that are gone (RFC 4760 section 4); with none it is the End-of-RIB of the family (RFC 4724 section 2)."""

    family: wire_families.Family
    prefixes: tuple[routes.Prefix, ...] = ()

    @classmethod
    def parse(cls, value: bytes, context: wire_context.Context) -> "Unreach | None":
        """The attribute's value; None where the family was not agreed on. Raises MultiprotocolError."""
        family = _family(value, _UNREACH_FIXED)
        kind = wire_families.PREFIXES_OF.get(family)
        if kind is None or family not in context.families:
            return None
        return cls(family=family, prefixes=_prefixes(value[_UNREACH_FIXED:], kind))

    def serialise_head(self) -> bytes:
        """The value up to its prefixes."""
        return self.family.afi.to_bytes(2, "big") + bytes((self.family.safi,))

    def serialise(self) -> bytes:
        """The attribute's value."""
        return self.serialise_head() + wire_prefixes.serialise_all(self.prefixes)
