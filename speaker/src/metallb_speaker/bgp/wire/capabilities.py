"""Capabilities, the part of an OPEN that says what a speaker can do: RFC 5492.

- One that is not known is kept as it came: a peer must not be refused for what it can do besides.
- A known one of the wrong length counts as unknown, but for the two that the meaning of later bytes hangs on (multiprotocol, AS numbers).
- Several of one code are allowed (RFC 5492 section 4); order is kept.
"""

import dataclasses
import enum
import struct
from collections.abc import Callable
from typing import NamedTuple

from metallb_speaker.bgp.wire import families as wire_families
from metallb_speaker.bgp.wire import malformed, notifications

_EXTENDED_NEXT_HOP = struct.Struct("!HHH")
_FAMILY_AND_FLAGS = struct.Struct("!HBB")
_RESTARTING, _NOTIFICATION, _FORWARDING = 0x8000, 0x4000, 0x80
RESTART_TIME_MAXIMUM = 0x0FFF


class Code(enum.IntEnum):
    """Numbers of the capabilities that are understood here."""

    MULTIPROTOCOL = 1
    ROUTE_REFRESH = 2
    EXTENDED_NEXT_HOP = 5
    EXTENDED_MESSAGE = 6
    GRACEFUL_RESTART = 64
    FOUR_OCTET_AS = 65
    ENHANCED_ROUTE_REFRESH = 70


@dataclasses.dataclass(frozen=True, slots=True)
class MultiProtocol:
    """Routes of one family can be exchanged (RFC 4760 section 8)."""

    family: wire_families.Family

    def value(self) -> tuple[int, bytes]:
        """Code and value."""
        return Code.MULTIPROTOCOL, struct.pack("!HBB", self.family.afi, 0, self.family.safi)


@dataclasses.dataclass(frozen=True, slots=True)
class RouteRefresh:
    """ROUTE-REFRESH is understood (RFC 2918 section 2)."""

    def value(self) -> tuple[int, bytes]:
        """Code and value."""
        return Code.ROUTE_REFRESH, b""


@dataclasses.dataclass(frozen=True, slots=True)
class EnhancedRouteRefresh:
    """The begin and the end of a refresh are marked (RFC 7313 section 3.1)."""

    def value(self) -> tuple[int, bytes]:
        """Code and value."""
        return Code.ENHANCED_ROUTE_REFRESH, b""


class NextHopEncoding(NamedTuple):
    """Prefixes of `family` may have a next hop of the AFI `next_hop_afi`."""

    family: wire_families.Family
    next_hop_afi: int


@dataclasses.dataclass(frozen=True, slots=True)
class ExtendedNextHop:
    """Prefixes of one family with next hops of another (RFC 8950 section 4)."""

    encodings: tuple[NextHopEncoding, ...]

    def value(self) -> tuple[int, bytes]:
        """Code and value."""
        return Code.EXTENDED_NEXT_HOP, b"".join(
            _EXTENDED_NEXT_HOP.pack(each.family.afi, each.family.safi, each.next_hop_afi) for each in self.encodings
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ExtendedMessage:
    """Messages of up to 65535 bytes are understood (RFC 8654 section 3)."""

    def value(self) -> tuple[int, bytes]:
        """Code and value."""
        return Code.EXTENDED_MESSAGE, b""


class RestartFamily(NamedTuple):
    """A family whose routes are kept over a restart; `forwarding_preserved`: packets went on being forwarded in the last one."""

    family: wire_families.Family
    forwarding_preserved: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GracefulRestart:
    """Graceful restart (RFC 4724 section 3; the N bit: RFC 8538 section 2). `restart_time` is in seconds, 0 to 4095.

    `restarting`: the speaker has restarted, so the other side sends its routes without waiting for End-of-RIB.
    `notification`: a NOTIFICATION, too, keeps the routes.
    """

    restarting: bool = False
    notification: bool = False
    restart_time: int = 0
    families: tuple[RestartFamily, ...] = ()

    def value(self) -> tuple[int, bytes]:
        """Code and value."""
        if not 0 <= self.restart_time <= RESTART_TIME_MAXIMUM:
            raise ValueError(f"a restart time of {self.restart_time} s is not 0 to {RESTART_TIME_MAXIMUM}")
        first = _RESTARTING * self.restarting | _NOTIFICATION * self.notification | self.restart_time
        return Code.GRACEFUL_RESTART, first.to_bytes(2, "big") + b"".join(
            _FAMILY_AND_FLAGS.pack(family.afi, family.safi, _FORWARDING * preserved)
            for family, preserved in self.families
        )


@dataclasses.dataclass(frozen=True, slots=True)
class FourOctetAS:
    """AS numbers of 32 bits, and the speaker's own (RFC 6793 section 3)."""

    asn: int

    def value(self) -> tuple[int, bytes]:
        """Code and value."""
        return Code.FOUR_OCTET_AS, self.asn.to_bytes(4, "big")


@dataclasses.dataclass(frozen=True, slots=True)
class Unknown:
    """Any other, as it came."""

    code: int
    data: bytes = b""

    def value(self) -> tuple[int, bytes]:
        """Code and value."""
        return self.code, self.data


Capability = (
    MultiProtocol
    | RouteRefresh
    | EnhancedRouteRefresh
    | ExtendedNextHop
    | ExtendedMessage
    | GracefulRestart
    | FourOctetAS
    | Unknown
)


def serialise(capability: Capability) -> bytes:
    """Code, length, value (RFC 5492 section 4)."""
    code, value = capability.value()
    if len(value) > 255:
        raise ValueError(f"capability {code} of {len(value)} bytes is longer than 255")
    return bytes((code, len(value))) + value


def parse_all(data: bytes) -> list[Capability]:
    """All capabilities in the value of an optional parameter (RFC 5492 section 4). Raises MalformedError (2/0, 2/2)."""
    found: list[Capability] = []
    offset = 0
    while offset < len(data):
        end = offset + 2 + data[offset + 1] if offset + 2 <= len(data) else len(data) + 1
        if end > len(data):
            raise _unspecific(f"a capability at offset {offset} is longer than the parameter that holds it")
        found.append(_parse_one(data[offset], data[offset + 2 : end]))
        offset = end
    return found


def _unspecific(text: str) -> malformed.MalformedError:
    return malformed.MalformedError(notifications.Code.OPEN_MESSAGE, notifications.Open.UNSPECIFIC, b"", text)


def _parse_one(code: int, value: bytes) -> Capability:
    reader = _READERS.get(code)
    return (None if reader is None else reader(value)) or Unknown(code, value)


# Each takes a value, and gives None for one of the wrong length.


def _multiprotocol(value: bytes) -> MultiProtocol:
    if len(value) != 4:
        raise _unspecific(f"the multiprotocol capability has {len(value)} bytes instead of 4")
    return MultiProtocol(wire_families.Family(int.from_bytes(value[:2], "big"), value[3]))


def _four_octet_as(value: bytes) -> FourOctetAS:
    if len(value) != 4:
        raise _unspecific(f"the 4-octet AS number capability has {len(value)} bytes instead of 4")
    asn = int.from_bytes(value, "big")
    if asn == 0:  # RFC 7607 section 2.
        raise malformed.MalformedError(
            notifications.Code.OPEN_MESSAGE, notifications.Open.BAD_PEER_AS, b"", "the AS number is 0"
        )
    return FourOctetAS(asn)


def _extended_next_hop(value: bytes) -> ExtendedNextHop | None:
    # The SAFI of an encoding is 16 bits wide on the wire, of which the upper ones are never used.
    if len(value) % 6 or any(value[2::6]):
        return None
    return ExtendedNextHop(
        tuple(
            NextHopEncoding(wire_families.Family(afi, safi), next_hop)
            for afi, safi, next_hop in _EXTENDED_NEXT_HOP.iter_unpack(value)
        )
    )


def _graceful_restart(value: bytes) -> GracefulRestart | None:
    if len(value) % 4 != 2:
        return None
    first = int.from_bytes(value[:2], "big")
    return GracefulRestart(
        restarting=bool(first & _RESTARTING),
        notification=bool(first & _NOTIFICATION),
        restart_time=first & RESTART_TIME_MAXIMUM,
        families=tuple(
            RestartFamily(wire_families.Family(afi, safi), bool(flags & _FORWARDING))
            for afi, safi, flags in _FAMILY_AND_FLAGS.iter_unpack(value[2:])
        ),
    )


_READERS: dict[int, Callable[[bytes], Capability | None]] = {
    Code.MULTIPROTOCOL: _multiprotocol,
    Code.ROUTE_REFRESH: lambda value: None if value else RouteRefresh(),
    Code.EXTENDED_NEXT_HOP: _extended_next_hop,
    Code.EXTENDED_MESSAGE: lambda value: None if value else ExtendedMessage(),
    Code.GRACEFUL_RESTART: _graceful_restart,
    Code.FOUR_OCTET_AS: _four_octet_as,
    Code.ENHANCED_ROUTE_REFRESH: lambda value: None if value else EnhancedRouteRefresh(),
}
