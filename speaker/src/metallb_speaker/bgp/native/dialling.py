"""From a peer to a connection: what the peer object means for the socket, and what a failure means for people.

- A directly connected external peer is sent a time to live of 1, every other one 255; see `sockets`.
- What only the shell can know has a reason of its own here; a plain failure to connect is a text, which the session gives its reason.
"""

from typing import Final

from metallb_core.domain import addresses, peers, reasons
from metallb_speaker.bgp import problems, timers
from metallb_speaker.bgp.native import sockets

# The session gives an attempt up by itself; what we know about it must be there before.
_EARLIER_SECONDS: Final = 0.5
_REASONS: Final = {
    sockets.Failure.SOURCE: reasons.Reason.BGP_SOURCE_ADDRESS,
    sockets.Failure.DEVICE: reasons.Reason.BGP_INTERFACE,
    sockets.Failure.PASSWORD: reasons.Reason.BGP_AUTH_MISMATCH,
}


def target(peer: peers.Peer, address: addresses.Address) -> sockets.Target:
    """Where to connect for `peer`, whose router is at `address`, and how."""
    patience = timers.CONNECT_TIMEOUT if peer.connect_time is None else min(timers.CONNECT_TIMEOUT, peer.connect_time)
    hold = timers.DEFAULT_HOLD if peer.hold_time is None else peer.hold_time
    return sockets.Target(
        address=address,
        port=peer.port,
        interface=peer.interface,
        source=peer.source_address,
        device=peer.vrf,
        password=peer.password,
        hops=255 if peer.is_internal or peer.multihop else 1,
        user_timeout=hold,
        connect_timeout=max(_EARLIER_SECONDS, patience - _EARLIER_SECONDS),
    )


def refusal(peer: peers.Peer, error: sockets.ConnectError) -> reasons.Refusal | str:
    """The reason that a failure to connect stands for; a text where the session's own will do."""
    reason = _REASONS.get(error.failure)
    if error.failure is sockets.Failure.TIMED_OUT and peer.password:
        reason = reasons.Reason.BGP_AUTH_MISMATCH
    return str(error) if reason is None else reasons.Refusal(reason, f"{problems.name(peer)}: {error}")
