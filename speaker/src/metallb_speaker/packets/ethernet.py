"""Ethernet II frames and hardware addresses.

- A hardware address is six bytes; text exists only at the edges, where netlink and people use it.
- No VLAN tag is read or written: an AF_PACKET socket on a VLAN interface sees frames the kernel has untagged.
- Nothing is padded: the driver pads a short frame, and trailing padding is ignored by whoever parses the payload.
"""

import dataclasses

HEADER_LENGTH = 14
TYPE_ARP = 0x0806
TYPE_IPV6 = 0x86DD
BROADCAST = b"\xff" * 6
NO_MAC = bytes(6)


class MalformedFrameError(ValueError):
    """Bytes that are not an Ethernet II frame, or text that is not a hardware address."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One Ethernet II frame: two 6-byte hardware addresses, a 16-bit type, and the payload with any padding."""

    destination: bytes
    source: bytes
    ethertype: int
    payload: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Frame":
        """Read a frame (IEEE 802.3 clause 3). Raises MalformedFrameError."""
        if len(data) < HEADER_LENGTH:
            raise MalformedFrameError(f"{len(data)} bytes are too short for an Ethernet header of {HEADER_LENGTH}")
        return cls(
            destination=data[0:6],
            source=data[6:12],
            ethertype=int.from_bytes(data[12:14], "big"),
            payload=data[HEADER_LENGTH:],
        )

    def serialise(self) -> bytes:
        """The frame as it goes to an AF_PACKET socket."""
        return self.destination + self.source + self.ethertype.to_bytes(2, "big") + self.payload


def is_multicast(mac: bytes) -> bool:
    """Whether the group bit is set; true for broadcast too."""
    return bool(mac[0] & 1)


def is_station(mac: bytes) -> bool:
    """Whether it can be the address of one station: neither a group nor all zeros."""
    return not mac[0] & 1 and mac != NO_MAC


def ipv6_group_mac(group: bytes) -> bytes:
    """The hardware group of an IPv6 multicast address of 16 bytes (RFC 2464 section 7)."""
    return b"\x33\x33" + group[12:16]


def parse_mac(text: str) -> bytes:
    """Read `aa:bb:cc:dd:ee:ff`. Raises MalformedFrameError."""
    try:
        mac = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        mac = b""
    if len(mac) != 6:
        raise MalformedFrameError(f"{text!r} is not an Ethernet address of six bytes")
    return mac


def format_mac(mac: bytes) -> str:
    """`aa:bb:cc:dd:ee:ff`."""
    return mac.hex(":")
