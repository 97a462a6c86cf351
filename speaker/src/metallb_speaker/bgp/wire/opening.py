"""OPEN: RFC 4271 section 4.2 and 6.2, with the longer optional parameters of RFC 9072.

- Whether the AS number, the identifier and the capabilities suit a configured peer is the session's to say; here only what is wrong for any.
- An identifier is any number but zero (RFC 6286 section 2.1), not necessarily an address of the speaker.
- Capabilities are written in one optional parameter. Where they do not fit 255 bytes the form of RFC 9072 is used.
"""

import dataclasses
import struct

from metallb_core.domain import addresses
from metallb_speaker.bgp.wire import attributes as wire_attributes
from metallb_speaker.bgp.wire import capabilities as wire_capabilities
from metallb_speaker.bgp.wire import header, malformed, notifications

VERSION = 4
AS_TRANS = wire_attributes.AS_TRANS
TWO_OCTET_MAXIMUM = 0xFFFF
"""The highest AS number that needs no capability to be told (RFC 6793)."""
MINIMUM_BODY = 10
MINIMUM_HOLD_TIME = 3
_FIXED = struct.Struct("!BHHIB")
_PARAMETER_CAPABILITIES = 2
_EXTENDED = 255


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """OPEN message (RFC 4271 section 4.2).

    `my_as` is the field of 2 bytes; `asn` is what it means together with the capabilities. `hold_time` is in seconds, 0 for no timers.
    `router_id` is an IPv4 address whatever it is made from.
    """

    my_as: int
    hold_time: int
    router_id: addresses.Address
    capabilities: tuple[wire_capabilities.Capability, ...] = ()
    version: int = VERSION

    @classmethod
    def of(
        cls,
        *,
        asn: int,
        hold_time: int,
        router_id: addresses.Address,
        capabilities: tuple[wire_capabilities.Capability, ...] = (),
    ) -> "Open":
        """An OPEN of the AS `asn` (32 bits); the capability that says so is added (RFC 6793 section 4.1)."""
        return cls(
            my_as=asn if asn <= TWO_OCTET_MAXIMUM else AS_TRANS,
            hold_time=hold_time,
            router_id=router_id,
            capabilities=(*capabilities, wire_capabilities.FourOctetAS(asn)),
        )

    @property
    def four_octet_as(self) -> bool:
        """Whether the sender writes AS numbers of 4 bytes, if the other side does too."""
        return any(isinstance(each, wire_capabilities.FourOctetAS) for each in self.capabilities)

    @property
    def asn(self) -> int:
        """The sender's AS: of the capability where there is one (RFC 6793 section 4.1)."""
        for each in self.capabilities:
            if isinstance(each, wire_capabilities.FourOctetAS):
                return each.asn
        return self.my_as

    @classmethod
    def parse(cls, body: bytes) -> "Open":
        """The part after the header (RFC 4271 section 4.2). Raises MalformedError (1/2, 2/x)."""
        if len(body) < MINIMUM_BODY:
            raise malformed.MalformedError(
                notifications.Code.MESSAGE_HEADER,
                notifications.Header.BAD_MESSAGE_LENGTH,
                (header.LENGTH + len(body)).to_bytes(2, "big"),
                f"an OPEN of {len(body)} bytes after its header lacks fixed fields",
            )
        version, my_as, hold_time, router_id, _ = _FIXED.unpack_from(body)
        if version != VERSION:
            # The data is the version that would have been accepted.
            raise _error(
                notifications.Open.UNSUPPORTED_VERSION_NUMBER,
                f"BGP version {version} instead of {VERSION}",
                VERSION.to_bytes(2, "big"),
            )
        if my_as == 0:
            raise _error(notifications.Open.BAD_PEER_AS, "the AS number is 0")
        if hold_time in range(1, MINIMUM_HOLD_TIME):
            raise _error(
                notifications.Open.UNACCEPTABLE_HOLD_TIME, f"a hold time of {hold_time} s; it is 0 or at least 3"
            )
        if router_id == 0:
            raise _error(notifications.Open.BAD_BGP_IDENTIFIER, "the BGP identifier is 0")
        return cls(
            my_as=my_as,
            hold_time=hold_time,
            router_id=addresses.Address(addresses.Family.IPV4, router_id),
            capabilities=tuple(_parse_parameters(body[MINIMUM_BODY - 1 :])),
            version=version,
        )

    def serialise(self) -> bytes:
        """The whole message."""
        value = b"".join(wire_capabilities.serialise(each) for each in self.capabilities)
        if not value:
            parameters = b"\0"
        elif len(value) + 2 < _EXTENDED:
            parameters = bytes((len(value) + 2, _PARAMETER_CAPABILITIES, len(value))) + value
        else:
            parameters = struct.pack(
                "!BBHBH", _EXTENDED, _EXTENDED, len(value) + 3, _PARAMETER_CAPABILITIES, len(value)
            )
            parameters += value
        fixed = _FIXED.pack(self.version, self.my_as, self.hold_time, self.router_id.value, 0)[:-1]
        return header.enclose(header.Type.OPEN, fixed + parameters)


def _error(subcode: notifications.Open, text: str, data: bytes = b"") -> malformed.MalformedError:
    return malformed.MalformedError(notifications.Code.OPEN_MESSAGE, subcode, data, text)


def _parse_parameters(data: bytes) -> list[wire_capabilities.Capability]:
    """Capabilities of all optional parameters; `data` begins with their length (RFC 4271 section 4.2, RFC 9072 section 2)."""
    total, offset, size = data[0], 1, 1
    # The longer form is told by a first parameter of type 255, whatever the short length, but for 0, says.
    if total != 0 and len(data) > 1 and data[1] == _EXTENDED:
        if len(data) < 4:
            raise _error(notifications.Open.UNSPECIFIC, "the length of the optional parameters is cut off")
        total, offset, size = int.from_bytes(data[2:4], "big"), 4, 2
    if offset + total != len(data):
        raise _error(
            notifications.Open.UNSPECIFIC,
            f"optional parameters of {total} bytes in a message that holds {len(data) - offset}",
        )
    found: list[wire_capabilities.Capability] = []
    while offset < len(data):
        start = offset + 1 + size
        end = start + int.from_bytes(data[offset + 1 : start], "big")
        if start > len(data) or end > len(data):
            raise _error(notifications.Open.UNSPECIFIC, f"optional parameter {data[offset]} ends after the message")
        if data[offset] != _PARAMETER_CAPABILITIES:
            raise _error(
                notifications.Open.UNSUPPORTED_OPTIONAL_PARAMETER, f"optional parameter {data[offset]} is not known"
            )
        found += wire_capabilities.parse_all(data[start:end])
        offset = end
    return found
