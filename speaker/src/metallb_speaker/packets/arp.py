"""ARP for IPv4 over Ethernet: RFC 826, with the announcements of RFC 5227.

- One shape only: hardware type 1, protocol 0x0800, lengths 6 and 4. Anything else is malformed here, whatever it is elsewhere.
- The operation is kept as it is read, known or not: a caller decides what it answers.
- Padding after the 28 bytes is ignored, as every short Ethernet frame carries some.
"""

import dataclasses
import struct

from metallb_core.domain import addresses
from metallb_speaker.packets import ethernet

REQUEST = 1
REPLY = 2
LENGTH = 28
_LAYOUT = struct.Struct("!HHBBH6s4s6s4s")
_NO_IP = addresses.Address(addresses.Family.IPV4, 0)


class MalformedArpError(ValueError):
    """Bytes that are not an ARP packet for IPv4 over Ethernet."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One ARP packet. Hardware addresses are 6 bytes; both IP addresses are IPv4."""

    operation: int
    sender_mac: bytes
    sender: addresses.Address
    target_mac: bytes
    target: addresses.Address

    @classmethod
    def parse(cls, data: bytes) -> "Packet":
        """Read the payload of an Ethernet frame (RFC 826, "Packet format"). Raises MalformedArpError."""
        if len(data) < LENGTH:
            raise MalformedArpError(f"{len(data)} bytes are too short for ARP, which takes {LENGTH}")
        hardware, protocol, mac_length, ip_length, operation, sender_mac, sender, target_mac, target = (
            _LAYOUT.unpack_from(data)
        )
        if (hardware, protocol, mac_length, ip_length) != (1, 0x0800, 6, 4):
            raise MalformedArpError(
                f"hardware {hardware}, protocol {protocol:#06x}, lengths {mac_length} and {ip_length}:"
                " not IPv4 over Ethernet"
            )
        return cls(
            operation=operation,
            sender_mac=sender_mac,
            sender=addresses.Address.from_packed(sender),
            target_mac=target_mac,
            target=addresses.Address.from_packed(target),
        )

    def serialise(self) -> bytes:
        """The 28 bytes that follow the Ethernet header."""
        return _LAYOUT.pack(
            1,
            0x0800,
            6,
            4,
            self.operation,
            self.sender_mac,
            self.sender.packed(),
            self.target_mac,
            self.target.packed(),
        )

    @property
    def is_probe(self) -> bool:
        """Whether it asks if an address is free: no sender address (RFC 5227 section 1.1)."""
        return self.operation == REQUEST and self.sender == _NO_IP

    @property
    def is_announcement(self) -> bool:
        """Whether it says "this address is mine" to all: sender and target address equal (RFC 5227 section 1.1)."""
        return self.sender == self.target


def reply(request: Packet, mac: bytes) -> ethernet.Frame:
    """The answer of the station `mac` to `request`, sent to the asking station alone (RFC 826)."""
    answer = Packet(
        operation=REPLY,
        sender_mac=mac,
        sender=request.target,
        target_mac=request.sender_mac,
        target=request.sender,
    )
    return ethernet.Frame(
        destination=request.sender_mac, source=mac, ethertype=ethernet.TYPE_ARP, payload=answer.serialise()
    )


def announcements(address: addresses.Address, mac: bytes) -> tuple[ethernet.Frame, ethernet.Frame]:
    """Both forms of a gratuitous ARP, to broadcast (RFC 5227 section 3 discusses which equipment heeds which).

    The request form leaves the target hardware address empty, the reply form names the sender there (RFC 5944 section 4.6).
    """
    request = Packet(operation=REQUEST, sender_mac=mac, sender=address, target_mac=ethernet.NO_MAC, target=address)
    answer = Packet(operation=REPLY, sender_mac=mac, sender=address, target_mac=mac, target=address)
    return (
        ethernet.Frame(
            destination=ethernet.BROADCAST,
            source=mac,
            ethertype=ethernet.TYPE_ARP,
            payload=request.serialise(),
        ),
        ethernet.Frame(
            destination=ethernet.BROADCAST,
            source=mac,
            ethertype=ethernet.TYPE_ARP,
            payload=answer.serialise(),
        ),
    )
