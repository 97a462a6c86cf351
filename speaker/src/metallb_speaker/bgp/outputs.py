"""What a session wants done, and what it tells of itself. It does nothing itself.

`connection` numbers the TCP connections of one session: the shell echoes it with everything that concerns a connection, so that late
bytes of a connection that was given up are told apart from those of its successor.
"""

import dataclasses
import enum

from metallb_core.domain import addresses, reasons, routes
from metallb_speaker.bgp import fsm


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """What is known of a TCP connection once it stands.

    - `local`, `remote`: its two ends; IPv4-mapped addresses are given as IPv4.
    - `router_id`: the IPv4 address that stands for us in OPEN where the peer object names none.
    - `next_hop_v4`, `next_hop_v6`: an address of ours for routes of the family that the session itself does not have. Without one, IPv6 routes
      cannot be told over IPv4, and IPv4 routes over IPv6 have the session's IPv6 address as next hop, if the peer can (RFC 8950).
    - `link_local`: ours on a directly connected link, sent beside a global IPv6 next hop (RFC 2545 section 3).
    """

    local: addresses.Address
    remote: addresses.Address
    router_id: addresses.Address
    next_hop_v4: addresses.Address | None = None
    next_hop_v6: addresses.Address | None = None
    link_local: addresses.Address | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Open a TCP connection to the peer, then say `connected` or `connect_failed`."""

    connection: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Write these bytes, after those before."""

    connection: int
    data: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Write what there is to write if that goes at once, then close. An attempt to connect is given up. Nothing needs to be said back.

    With `abandon` it is a restart: close without the peer being told anything (RFC 4724 section 4).
    """

    connection: int
    abandon: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged:
    """The session's state is another one now. `problem`: why it is not Established, if something went wrong."""

    old: fsm.State
    new: fsm.State
    problem: reasons.Refusal | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """With the Send before it, the peer was told these prefixes, and told to forget those. What leaves Established has told nothing."""

    advertised: tuple[routes.Prefix, ...] = ()
    withdrawn: tuple[routes.Prefix, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The session was stopped, by `stop`, `leave` or at the end of `shutdown`, and does nothing more until `start`."""


Output = Connect | Send | Close | StateChanged | Told | Stopped


class Stop(enum.Enum):
    """Why we end a session: the subcode of Cease (RFC 4486; RFC 9384 for BFD)."""

    SHUTDOWN = 2
    DECONFIGURED = 3
    RESET = 4
    CONFIGURATION_CHANGE = 6
    BFD_DOWN = 10


@dataclasses.dataclass(slots=True, kw_only=True)
class Counters:
    """What happened since the session object was made; survives reconnecting.

    `prefixes_received` and `withdrawals_received` count what UPDATEs carried, also the same prefix again: nothing of it is kept.
    """

    opens_sent: int = 0
    opens_received: int = 0
    notifications_sent: int = 0
    notifications_received: int = 0
    updates_sent: int = 0
    updates_received: int = 0
    keepalives_sent: int = 0
    keepalives_received: int = 0
    route_refresh_sent: int = 0
    route_refresh_received: int = 0
    prefixes_received: int = 0
    withdrawals_received: int = 0
    malformed_updates: int = 0
    established: int = 0

    @property
    def total_sent(self) -> int:
        """All messages sent."""
        return (
            self.opens_sent
            + self.notifications_sent
            + self.updates_sent
            + self.keepalives_sent
            + self.route_refresh_sent
        )

    @property
    def total_received(self) -> int:
        """All messages received."""
        return (
            self.opens_received
            + self.notifications_received
            + self.updates_received
            + self.keepalives_received
            + self.route_refresh_received
        )
