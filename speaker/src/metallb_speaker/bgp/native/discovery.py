"""Messages by which routers on a link find each other: Router Solicitation and Router Advertisement (RFC 4861 sections 4.1 and 4.2).

- ICMPv6 alone: the IPv6 header and the checksum are the kernel's, on a raw socket (RFC 3542 section 3.1).
- What we advertise has a router lifetime of 0: we are a neighbour that speaks BGP, and nobody's default router.
- Options are checked for sound lengths, as a receiver must, and not otherwise looked at.
"""

from typing import Final

from metallb_core.domain import addresses

SOLICITATION: Final = 133
ADVERTISEMENT: Final = 134
HOP_LIMIT: Final = 255
_OPTION_SOURCE: Final = 1
_ADVERTISEMENT_BYTES: Final = 16
_SOLICITATION_BYTES: Final = 8


def solicitation(mac: bytes) -> bytes:
    """A Router Solicitation; `mac`, 6 bytes or none, is its source link-layer address option."""
    return bytes((SOLICITATION, 0)) + bytes(6) + _source(mac)


def advertisement(mac: bytes) -> bytes:
    """A Router Advertisement that says nothing but that we are there: no lifetime, hop limit, timers or prefixes."""
    return bytes((ADVERTISEMENT, 0)) + bytes(14) + _source(mac)


def _source(mac: bytes) -> bytes:
    return bytes((_OPTION_SOURCE, 1)) + mac if len(mac) == 6 else b""


def is_advertisement(message: bytes, source: addresses.Address, hop_limit: int) -> bool:
    """Whether this is a valid Router Advertisement from a router on the link (RFC 4861 section 6.1.2)."""
    return (
        len(message) >= _ADVERTISEMENT_BYTES
        and message[0] == ADVERTISEMENT
        and message[1] == 0
        and hop_limit == HOP_LIMIT
        and source.value >> 118 == 0xFE80 >> 6
        and _sound(message, _ADVERTISEMENT_BYTES)
    )


def is_solicitation(message: bytes, hop_limit: int) -> bool:
    """Whether this is a valid Router Solicitation (RFC 4861 section 6.1.1)."""
    return (
        len(message) >= _SOLICITATION_BYTES
        and message[0] == SOLICITATION
        and message[1] == 0
        and hop_limit == HOP_LIMIT
        and _sound(message, _SOLICITATION_BYTES)
    )


def _sound(message: bytes, offset: int) -> bool:
    while offset < len(message):
        length = message[offset + 1] * 8 if offset + 1 < len(message) else 0
        if length == 0 or offset + length > len(message):
            return False
        offset += length
    return True
