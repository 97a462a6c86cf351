"""Why a session is not Established, for people: a closed table from what happened to a reason.

- A sentence names the peer, what happened and what to look at. Whoever happens upon it needs no other line of the log.
- Nothing here ever holds a password. The words of a peer's operator (RFC 9003) come cleaned from the codec.
- A NOTIFICATION that has no row of its own is B308 when the peer sent it and B309 when we did.
- That a password differs only the shell can suspect: a router drops what is signed wrongly, and the attempt times out.
"""

from metallb_core.domain import peers, reasons
from metallb_speaker.bgp.wire import malformed, notifications

_Code = notifications.Code
_OPEN = notifications.Open
_CEASE = notifications.Cease

# (code, subcode), None for every subcode: the reason and what to do.
RECEIVED: dict[tuple[int, int | None], tuple[reasons.Reason, str]] = {
    (_Code.OPEN_MESSAGE, _OPEN.BAD_PEER_AS): (
        reasons.Reason.BGP_AS_MISMATCH,
        "the router expects another AS of this node; compare spec.myASN (or spec.localASN) with the router's neighbour statement",
    ),
    (_Code.OPEN_MESSAGE, _OPEN.UNSUPPORTED_OPTIONAL_PARAMETER): (
        reasons.Reason.BGP_NOTIFICATION_RECEIVED,
        "the router knows no capabilities; the next attempt does without them if it can: over IPv4, with AS numbers below 65536",
    ),
    (_Code.OPEN_MESSAGE, _OPEN.AUTHENTICATION_FAILURE): (
        reasons.Reason.BGP_AUTH_MISMATCH,
        "compare spec.password or spec.passwordSecret with the router's",
    ),
    (_Code.OPEN_MESSAGE, _OPEN.UNSUPPORTED_CAPABILITY): (
        reasons.Reason.BGP_NO_COMMON_FAMILY,
        "activate the address family of the session for this neighbour on the router",
    ),
    (_Code.OPEN_MESSAGE, _OPEN.BAD_BGP_IDENTIFIER): (
        reasons.Reason.BGP_NOTIFICATION_RECEIVED,
        "the router refuses this node's router id; set spec.routerID to one that nobody else has",
    ),
    (_Code.OPEN_MESSAGE, _OPEN.UNACCEPTABLE_HOLD_TIME): (
        reasons.Reason.BGP_NOTIFICATION_RECEIVED,
        "the router refuses the hold time; raise spec.holdTime",
    ),
    (_Code.HOLD_TIMER_EXPIRED, None): (
        reasons.Reason.BGP_HOLD_EXPIRED,
        "the router heard nothing from this node for the hold time; look for packet loss, or a node that was stalled",
    ),
    (_Code.CEASE, _CEASE.MAXIMUM_NUMBER_OF_PREFIXES_REACHED): (
        reasons.Reason.BGP_NOTIFICATION_RECEIVED,
        "the router takes fewer prefixes than there are; raise its limit, or aggregate by spec.aggregationLength",
    ),
    (_Code.CEASE, _CEASE.CONNECTION_REJECTED): (
        reasons.Reason.BGP_NOTIFICATION_RECEIVED,
        "the router refuses this neighbour; it may not have this node's address configured as one",
    ),
    (_Code.CEASE, _CEASE.PEER_DE_CONFIGURED): (
        reasons.Reason.BGP_NOTIFICATION_RECEIVED,
        "the router does not have this node as a neighbour any more",
    ),
    (_Code.CEASE, _CEASE.ADMINISTRATIVE_SHUTDOWN): (
        reasons.Reason.BGP_NOTIFICATION_RECEIVED,
        "the session was shut down on the router",
    ),
    (_Code.CEASE, _CEASE.BFD_DOWN): (
        reasons.Reason.BGP_BFD_DOWN,
        "the router's BFD lost this node",
    ),
}
SENT: dict[tuple[int, int | None], tuple[reasons.Reason, str]] = {
    (_Code.OPEN_MESSAGE, _OPEN.BAD_PEER_AS): (
        reasons.Reason.BGP_AS_MISMATCH,
        "correct spec.peerASN, or the router's AS for this neighbour",
    ),
    (_Code.OPEN_MESSAGE, _OPEN.UNSUPPORTED_CAPABILITY): (
        reasons.Reason.BGP_NO_COMMON_FAMILY,
        "activate that address family for this neighbour on the router, or change spec.dualStackAddressFamily",
    ),
    (_Code.HOLD_TIMER_EXPIRED, None): (
        reasons.Reason.BGP_HOLD_EXPIRED,
        "the router went silent; look at the router and the path to it",
    ),
    (_Code.CEASE, _CEASE.BFD_DOWN): (
        reasons.Reason.BGP_BFD_DOWN,
        "the path to the router is broken, or BFD is not running there",
    ),
}
_RECEIVED_OTHER = (reasons.Reason.BGP_NOTIFICATION_RECEIVED, "the router's log says why")
_SENT_OTHER = (reasons.Reason.BGP_PROTOCOL_ERROR, "please report it with the router's make and version")


def name(peer: peers.Peer) -> str:
    """The peer as messages name it."""
    return f"peer {peer.name!r} ({peer.remote})"


def received(peer: peers.Peer, notification: notifications.Notification) -> reasons.Refusal:
    """The peer ended the session with a NOTIFICATION."""
    inner = notification.inner or notification
    reason, advice = _row(RECEIVED, inner.code, inner.subcode, _RECEIVED_OTHER)
    return reasons.Refusal(reason, f"{name(peer)} ended the session: {notification}; {advice}")


def sent(peer: peers.Peer, error: malformed.MalformedError) -> reasons.Refusal:
    """We ended the session because of what the peer sent."""
    reason, advice = _row(SENT, error.code, error.subcode, _SENT_OTHER)
    return reasons.Refusal(
        reason, f"{name(peer)}: {error} [{notifications.describe(error.code, error.subcode)}]; {advice}"
    )


def hold_expired(peer: peers.Peer, seconds: float) -> reasons.Refusal:
    """We heard nothing for the hold time."""
    reason, advice = SENT[_Code.HOLD_TIMER_EXPIRED, None]
    return reasons.Refusal(reason, f"{name(peer)}: no message for the hold time of {seconds:.0f} s; {advice}")


def bfd_down(peer: peers.Peer) -> reasons.Refusal:
    """BFD lost the path."""
    reason, advice = SENT[_Code.CEASE, _CEASE.BFD_DOWN]
    return reasons.Refusal(reason, f"{name(peer)}: BFD is down; {advice}")


def unexpected(peer: peers.Peer, what: str, state: str) -> reasons.Refusal:
    """A message that does not belong into the state."""
    return reasons.Refusal(_SENT_OTHER[0], f"{name(peer)} sent {what} in state {state}; {_SENT_OTHER[1]}")


def not_connected(peer: peers.Peer, why: str) -> reasons.Refusal:
    """No TCP connection."""
    return reasons.Refusal(
        reasons.Reason.BGP_CONNECT_FAILED,
        f"{name(peer)}: {why}; check that the router is up, listens on this port and lets this node in",
    )


def timed_out(peer: peers.Peer, seconds: float) -> reasons.Refusal:
    """Nobody answered our attempt to connect."""
    if peer.password:
        return reasons.Refusal(
            reasons.Reason.BGP_AUTH_MISMATCH,
            f"{name(peer)}: no answer within {seconds:.0f} s; a router that has another password, or none, stays silent: compare"
            " spec.password or spec.passwordSecret with the router's, then check that the router is up and can be reached",
        )
    return not_connected(peer, f"no answer within {seconds:.0f} s")


def no_answer(peer: peers.Peer, seconds: float) -> reasons.Refusal:
    """The peer took the connection and sent no OPEN."""
    return reasons.Refusal(
        reasons.Reason.BGP_CONNECT_FAILED,
        f"{name(peer)} took the connection and sent no OPEN within {seconds:.0f} s; check that it is a BGP router and not overloaded",
    )


def closed_early(peer: peers.Peer, why: str) -> reasons.Refusal:
    """The peer took the connection and closed it without a word."""
    return reasons.Refusal(
        reasons.Reason.BGP_CONNECTION_LOST,
        f"{name(peer)} closed the connection before it sent an OPEN ({why}); it may not have this node's address configured as a neighbour",
    )


def lost(peer: peers.Peer, why: str) -> reasons.Refusal:
    """The connection of a session ended without NOTIFICATION."""
    return reasons.Refusal(
        reasons.Reason.BGP_CONNECTION_LOST,
        f"{name(peer)}: the connection ended without a NOTIFICATION ({why}); the router may have restarted",
    )


def _row(
    table: dict[tuple[int, int | None], tuple[reasons.Reason, str]],
    code: int,
    subcode: int,
    other: tuple[reasons.Reason, str],
) -> tuple[reasons.Reason, str]:
    return table.get((code, subcode)) or table.get((code, None)) or other
