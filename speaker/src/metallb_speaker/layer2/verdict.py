"""What to do about one received frame. PURE.

- A request is answered if its target is held here and it was sent to all or to us (ARP: broadcast; NDP: a group; both: our own address).
- A claim is another station's word that an address held here is its own (RFC 5227 section 2.4; RFC 4861 section 7.2.5). It is never answered
  by itself: whoever reads the verdict decides when to defend.
- A probe (ARP without a sender, RFC 5227 section 2.1.1; NDP without a source, RFC 4862 section 5.4.3) claims nothing and is answered, which
  is what makes the prober give the address up.
- ARP is answered by copying fields of the request into a template; decoding it whole costs several times as much. NDP needs a checksum
  anyway and goes through the codec.
- Whatever is malformed gets no verdict.
"""

from collections.abc import Container
from typing import NamedTuple

from metallb_core.domain import addresses
from metallb_speaker.packets import arp, ethernet, ndp

_ARP_SHAPE = b"\x00\x01\x08\x00\x06\x04"
_ARP_REPLY_HEAD = b"\x08\x06" + _ARP_SHAPE + b"\x00\x02"
_ARP_FRAME_LENGTH = ethernet.HEADER_LENGTH + arp.LENGTH
_REQUEST, _REPLY = b"\x00\x01", b"\x00\x02"


class Answer(NamedTuple):
    """Send `frame`; it answers for `address`, 4 or 16 bytes."""

    address: bytes
    frame: bytes


class Claim(NamedTuple):
    """The station `mac` says that `address`, 4 or 16 bytes, is its own."""

    address: bytes
    mac: bytes


def on_arp(frame: bytes, mac: bytes, held: Container[bytes], own: Container[bytes]) -> Answer | Claim | None:
    """Judge a frame from an ARP socket. `mac` is the link's address, `held` the packed addresses announced there, `own` every link's address."""
    if len(frame) < _ARP_FRAME_LENGTH or frame[14:20] != _ARP_SHAPE:
        return None
    operation = frame[20:22]
    sender_mac = frame[22:28]
    sender = frame[28:32]
    if not ethernet.is_station(sender_mac) or operation not in (_REQUEST, _REPLY):
        return None
    if sender in held:
        return None if sender_mac in own else Claim(sender, sender_mac)
    target = frame[38:42]
    if operation == _REQUEST and target in held:
        destination = frame[0:6]
        if destination in (ethernet.BROADCAST, mac):
            return Answer(target, sender_mac + mac + _ARP_REPLY_HEAD + mac + target + sender_mac + sender)
    return None


def on_ndp(frame: bytes, mac: bytes, held: Container[bytes], own: Container[bytes]) -> Answer | Claim | None:
    """Judge a frame from an NDP socket. Arguments as for `on_arp`."""
    if len(frame) < ethernet.HEADER_LENGTH or frame[62:78] not in held:
        return None
    try:
        message = ndp.parse(frame[ethernet.HEADER_LENGTH :])
    except ndp.MalformedNdpError:
        return None
    target = frame[62:78]
    destination, source_mac = frame[0:6], frame[6:12]
    if isinstance(message, ndp.Advertisement):
        claimant = message.target_mac or source_mac
        return None if claimant in own or not ethernet.is_station(claimant) else Claim(target, claimant)
    asker = message.source_mac or source_mac
    if not ethernet.is_station(asker) or not (ethernet.is_multicast(destination) or destination == mac):
        return None
    return Answer(target, ndp.reply(message, asker, mac).serialise())


def announcement_frames(address: addresses.Address, mac: bytes) -> list[bytes]:
    """What announces `address` at the station `mac`: two frames for IPv4, one for IPv6."""
    if address.family == addresses.Family.IPV4:
        return [frame.serialise() for frame in arp.announcements(address, mac)]
    return [ndp.announcement(address, mac).serialise()]
