"""What both sides agreed on and a parser must know: the same bytes mean other things on another session."""

import dataclasses

from metallb_speaker.bgp.wire import families as wire_families

MAXIMUM_LENGTH = 4096
EXTENDED_MAXIMUM_LENGTH = 65535


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """How the messages of one session are read; `BEFORE_OPEN` holds until both OPENs are known.

    - `four_octet_as`: both sides sent the capability, so AS numbers are 4 bytes wide (RFC 6793 section 4).
    - `ibgp`: the peer is internal; decides about LOCAL_PREF (RFC 7606 section 7.5).
    - `families`: those that both sides announced. Routes of any other are ignored.
    - `extended_next_hop`: families whose next hop may be an IPv6 address though their prefixes are IPv4 (RFC 8950).
    - `maximum_length` of a message in bytes: 65535 once both sides sent the Extended Message capability (RFC 8654).
    """

    four_octet_as: bool = True
    ibgp: bool = False
    families: frozenset[wire_families.Family] = frozenset({wire_families.IPV4_UNICAST})
    extended_next_hop: frozenset[wire_families.Family] = frozenset()
    maximum_length: int = MAXIMUM_LENGTH


BEFORE_OPEN = Context()
