"""Neighbour Solicitation and Advertisement: RFC 4861, whole IPv6 packets.

- A message is parsed with its IPv6 header, since the hop limit, the checksum and half of the validity rules live there.
- Parsing applies the validity rules of RFC 4861 sections 7.1.1 and 7.1.2: what fails them is malformed, and is dropped in silence.
- A packet with an extension header is malformed here: no neighbour sends one, and RFC 6980 forbids the dangerous one.
- Options other than the link-layer address are skipped, whatever they hold, as section 4.6 asks.
"""

import dataclasses
import struct

from metallb_core.domain import addresses
from metallb_speaker.packets import ethernet

SOLICITATION = 135
ADVERTISEMENT = 136
ICMPV6 = 58
HOP_LIMIT = 255
HEADER_LENGTH = 40
_BODY_LENGTH = 24
_OPTION_SOURCE = 1
_OPTION_TARGET = 2
_FLAG_ROUTER, _FLAG_SOLICITED, _FLAG_OVERRIDE = 0x80, 0x40, 0x20
_WORDS = {24: struct.Struct("!12H"), 32: struct.Struct("!16H")}
_HEADER = struct.Struct("!IHBB16s16s")
_BODY = struct.Struct("!BBHB3x16s")

ALL_NODES = addresses.Address.parse("ff02::1")
UNSPECIFIED = addresses.Address(addresses.Family.IPV6, 0)
_SOLICITED_NODE = addresses.Address.parse("ff02::1:ff00:0").value


class MalformedNdpError(ValueError):
    """Bytes that are not a valid Neighbour Solicitation or Advertisement."""


def solicited_node(address: addresses.Address) -> addresses.Address:
    """The multicast group in which `address` is asked for (RFC 4291 section 2.7.1)."""
    return addresses.Address(addresses.Family.IPV6, _SOLICITED_NODE | address.value & 0xFFFFFF)


def checksum(source: bytes, destination: bytes, message: bytes) -> int:
    """ICMPv6 checksum over the pseudo-header (RFC 4443 section 2.3); zero over a message whose checksum is right."""
    padded = message + bytes(len(message) % 2)
    length = len(padded)
    words = _WORDS[length] if length in _WORDS else struct.Struct(f"!{length // 2}H")
    total: int = sum(struct.unpack("!16H", source + destination)) + len(message) + ICMPV6 + sum(words.unpack(padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _packet(source: bytes, destination: bytes, message: bytes) -> bytes:
    summed = message[:2] + checksum(source, destination, message).to_bytes(2, "big") + message[4:]
    return _HEADER.pack(6 << 28, len(summed), ICMPV6, HOP_LIMIT, source, destination) + summed


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Solicitation:
    """Neighbour Solicitation (RFC 4861 section 4.3). `source_mac` is its source link-layer address option, 6 bytes."""

    source: addresses.Address
    destination: addresses.Address
    target: addresses.Address
    source_mac: bytes | None = None

    @property
    def is_probe(self) -> bool:
        """Whether it is duplicate address detection: no source address (RFC 4862 section 5.4.2)."""
        return self.source.value == 0

    def serialise(self) -> bytes:
        """The IPv6 packet."""
        option = b"" if self.source_mac is None else bytes((_OPTION_SOURCE, 1)) + self.source_mac
        message = _BODY.pack(SOLICITATION, 0, 0, 0, self.target.packed()) + option
        return _packet(self.source.packed(), self.destination.packed(), message)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """Neighbour Advertisement (RFC 4861 section 4.4). `target_mac` is its target link-layer address option, 6 bytes."""

    source: addresses.Address
    destination: addresses.Address
    target: addresses.Address
    target_mac: bytes | None = None
    router: bool = False
    solicited: bool = False
    override: bool = False

    def serialise(self) -> bytes:
        """The IPv6 packet."""
        flags = _FLAG_ROUTER * self.router + _FLAG_SOLICITED * self.solicited + _FLAG_OVERRIDE * self.override
        option = b"" if self.target_mac is None else bytes((_OPTION_TARGET, 1)) + self.target_mac
        message = _BODY.pack(ADVERTISEMENT, 0, 0, flags, self.target.packed()) + option
        return _packet(self.source.packed(), self.destination.packed(), message)


def _link_layer_option(options: bytes, wanted: int) -> bytes | None:
    """The first option of type `wanted`; every option's length must be sound."""
    found: bytes | None = None
    offset = 0
    while offset < len(options):
        length = options[offset + 1] * 8 if offset + 1 < len(options) else 0
        if length == 0 or offset + length > len(options):
            raise MalformedNdpError(f"an option at offset {offset} has a length that does not fit")
        if options[offset] == wanted and found is None and length == 8:
            found = options[offset + 2 : offset + 8]
        offset += length
    return found


def parse(data: bytes) -> Solicitation | Advertisement:
    """Read the payload of an Ethernet frame (RFC 4861 sections 7.1.1 and 7.1.2). Raises MalformedNdpError."""
    if len(data) < HEADER_LENGTH + _BODY_LENGTH:
        raise MalformedNdpError(f"{len(data)} bytes are too short for IPv6 and a neighbour message")
    version_class, length, next_header, hop_limit, source, destination = _HEADER.unpack_from(data)
    if version_class >> 28 != 6 or next_header != ICMPV6 or hop_limit != HOP_LIMIT:
        raise MalformedNdpError("not ICMPv6 with a hop limit of 255 straight after an IPv6 header")
    if length < _BODY_LENGTH or length > len(data) - HEADER_LENGTH:
        raise MalformedNdpError(f"a payload length of {length} does not fit")
    message = data[HEADER_LENGTH : HEADER_LENGTH + length]
    kind, code, _, flags, packed_target = _BODY.unpack_from(message)
    if kind not in (SOLICITATION, ADVERTISEMENT) or code != 0:
        raise MalformedNdpError(f"ICMPv6 type {kind}, code {code} is no neighbour message")
    if checksum(source, destination, message) != 0:
        raise MalformedNdpError("wrong ICMPv6 checksum")
    if packed_target[0] == 0xFF:
        raise MalformedNdpError("the target is a multicast address")
    options = message[_BODY_LENGTH:]
    if kind == SOLICITATION:
        mac = _link_layer_option(options, _OPTION_SOURCE)
        if source == bytes(16):
            if destination[:13] != b"\xff\x02" + bytes(9) + b"\x01\xff":
                raise MalformedNdpError("a probe for a duplicate must go to a solicited-node group")
            if mac is not None:
                raise MalformedNdpError("a probe for a duplicate must not carry a source link-layer address")
        return Solicitation(
            source=addresses.Address.from_packed(source),
            destination=addresses.Address.from_packed(destination),
            target=addresses.Address.from_packed(packed_target),
            source_mac=mac,
        )
    if destination[0] == 0xFF and flags & _FLAG_SOLICITED:
        raise MalformedNdpError("an advertisement to a group must not be marked as solicited")
    return Advertisement(
        source=addresses.Address.from_packed(source),
        destination=addresses.Address.from_packed(destination),
        target=addresses.Address.from_packed(packed_target),
        target_mac=_link_layer_option(options, _OPTION_TARGET),
        router=bool(flags & _FLAG_ROUTER),
        solicited=bool(flags & _FLAG_SOLICITED),
        override=bool(flags & _FLAG_OVERRIDE),
    )


def reply(request: Solicitation, asker: bytes, mac: bytes) -> ethernet.Frame:
    """The answer of the station `mac` to a solicitation from the station `asker` (RFC 4861 section 7.2.4).

    A probe for a duplicate has nobody to answer to, so all nodes hear it, with the override flag. An ordinary answer leaves the flag
    clear: of two stations that answer during a hand-over, the one that announced itself last must win.
    """
    if request.is_probe:
        return announcement(request.target, mac)
    answer = Advertisement(
        source=request.target,
        destination=request.source,
        target=request.target,
        target_mac=mac,
        solicited=True,
    )
    return ethernet.Frame(destination=asker, source=mac, ethertype=ethernet.TYPE_IPV6, payload=answer.serialise())


def announcement(address: addresses.Address, mac: bytes) -> ethernet.Frame:
    """An unsolicited advertisement to all nodes, with the override flag (RFC 4861 section 7.2.6)."""
    answer = Advertisement(source=address, destination=ALL_NODES, target=address, target_mac=mac, override=True)
    return ethernet.Frame(
        destination=ethernet.ipv6_group_mac(ALL_NODES.packed()),
        source=mac,
        ethertype=ethernet.TYPE_IPV6,
        payload=answer.serialise(),
    )
