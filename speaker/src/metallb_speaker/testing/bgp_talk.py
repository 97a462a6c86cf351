"""One BGP session whose peer is the test: it hears the bytes that the test says, and keeps what it wrote.

- The clock stands at 0 unless the test says otherwise.
- Whatever a builder fills in by itself is right: an OPEN that is accepted, a route that is well formed.
- The peers here are what a BGPPeer compiles to, one for each way of finding the peer's AS number and its family.
"""

import dataclasses
import random
from typing import Final

from metallb_core.domain import addresses, peers, reasons, routes
from metallb_speaker.bgp import fsm, outputs, session
from metallb_speaker.bgp.wire import attributes, capabilities, context, families, framing, messages, packing


def address(text: str) -> addresses.Address:
    """An address as people write it."""
    return addresses.Address.parse(text)


PASSWORD: Final = "hunter2-is-secret"
PEER: Final = peers.Peer(name="tor", my_asn=64500, peer_asn=64501, address=address("192.0.2.1"), password=PASSWORD)
PEER6: Final = dataclasses.replace(PEER, address=address("2001:db8::1"))
DYNAMIC_IN: Final = dataclasses.replace(PEER, peer_asn=0, dynamic_asn=peers.DynamicASN.INTERNAL)
DYNAMIC_OUT: Final = dataclasses.replace(PEER, peer_asn=0, dynamic_asn=peers.DynamicASN.EXTERNAL)
INTERNAL: Final = dataclasses.replace(PEER, peer_asn=64500)
ENDS: Final = outputs.Endpoints(
    local=address("192.0.2.2"), remote=address("192.0.2.1"), router_id=address("192.0.2.2"), next_hop_v6=None
)
ENDS6: Final = outputs.Endpoints(
    local=address("2001:db8::2"), remote=address("2001:db8::1"), router_id=address("192.0.2.2")
)
MP4: Final = capabilities.MultiProtocol(families.IPV4_UNICAST)
MP6: Final = capabilities.MultiProtocol(families.IPV6_UNICAST)
EXTENDED: Final = capabilities.ExtendedNextHop(
    (capabilities.NextHopEncoding(families.IPV4_UNICAST, families.AFI_IPV6),)
)
THEIR_ID: Final = address("192.0.2.1")
# The OPEN of a peer that knows neither capabilities nor AS numbers of four octets.
TWO_BYTES: Final = messages.Open(my_as=64501, hold_time=90, router_id=THEIR_ID)
KEEPALIVE: Final = messages.Keepalive().serialise()
V4: Final = routes.Prefix(address("203.0.113.7"), 32)
V6: Final = routes.Prefix(address("2001:db8:7::7"), 128)


def open_of(
    asn: int = 64501, *found: capabilities.Capability, router_id: addresses.Address = THEIR_ID
) -> messages.Open:
    """The peer's OPEN, with the capabilities `found`, or with both families."""
    return messages.Open.of(asn=asn, hold_time=90, router_id=router_id, capabilities=found or (MP4, MP6))


def route(asn: int = 64501) -> bytes:
    """The UPDATE by which the peer announces `V4`."""
    made = packing.announce(
        [V4],
        family=families.IPV4_UNICAST,
        attributes=attributes.originated(routes.PLAIN, asn=asn, ibgp=False),
        next_hop=address("192.0.2.1"),
    )
    return b"".join(made)


class Talk:
    """A session, and what it wrote. It is at `now` 0, connected, and has sent its OPEN."""

    def __init__(self, peer: peers.Peer = PEER, ends: outputs.Endpoints = ENDS) -> None:
        self.session = session.Session(peer, random.Random(1))
        self.ends = ends
        self.written = b""
        self.reading = context.Context(families=frozenset({families.IPV4_UNICAST, families.IPV6_UNICAST}))
        self.session.start(0.0)
        self.take()
        self.session.connected(1, ends, 0.0)
        self.take()

    def take(self) -> list[outputs.Output]:
        """What the session wants done; what it wants sent is kept as written."""
        taken = self.session.take(0.0)
        self.written += b"".join(each.data for each in taken if isinstance(each, outputs.Send))
        return taken

    def hear(self, *data: bytes, now: float = 0.0) -> list[outputs.Output]:
        """Let the session receive `data`; what it wants done then."""
        for each in data:
            self.session.receive(1, each, now)
        return self.take()

    def establish(self, theirs: messages.Open | None = None) -> "Talk":
        """Itself, once Established by the peer's OPEN and KEEPALIVE."""
        self.hear((theirs or open_of()).serialise(), KEEPALIVE)
        assert self.session.state is fsm.State.ESTABLISHED, str(self.session.problem)
        negotiated = self.session.negotiated
        assert negotiated is not None
        self.reading = negotiated.context
        return self

    def sent(self) -> list[messages.Message]:
        """What was written, as the peer reads it."""
        return list(framing.Reader(self.reading).feed(self.written))

    def updates(self) -> list[messages.Update]:
        """The UPDATEs that were written."""
        return [each for each in self.sent() if isinstance(each, messages.Update)]

    def notification(self) -> messages.Notification | None:
        """What was written last, if that is a NOTIFICATION."""
        last = self.sent()[-1]
        return last if isinstance(last, messages.Notification) else None

    def reason(self) -> reasons.Reason | None:
        """Why the session is not Established, if it says."""
        return None if self.session.problem is None else self.session.problem.reason
