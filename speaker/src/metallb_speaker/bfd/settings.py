"""What a session should be, what it is, and what it counted: the words that the reconciler and the deadline process share.

- A key is the caller's name for a session; it means nothing here.
- A state that is None is unknown, which is not Down: nobody watches the path at this moment (the deadline process is being started), and
  whoever asked for the session should neither trust the path nor give it up for that.
- `remote_state` AdminDown beside our Down says that the peer switched the session off, which is no failure of the path (RFC 5882 section 3.2).
"""

import dataclasses
from typing import NamedTuple

from metallb_core.domain import addresses, bfd
from metallb_speaker.bfd import packets

SINGLE_HOP_PORT = 3784
MULTIHOP_PORT = 4784
ECHO_PORT = 3785
FIRST_SOURCE_PORT, LAST_SOURCE_PORT = 49152, 65535  # RFC 5881 section 4
HOPS = 255  # sent always, and required of single-hop packets (RFC 5881 section 5)
LEAST_HOPS = 254  # of a packet that was forwarded once


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One session. Intervals are in milliseconds.

    `local` None lets the kernel choose the source. `interface` is where the peer is, and needed for a link-local one; `vrf` is the name of a
    VRF device, empty for the default. `minimum_ttl` applies to multihop sessions, `echo` to the others.
    """

    key: str
    peer: addresses.Address
    local: addresses.Address | None = None
    interface: str = ""
    vrf: str = ""
    multihop: bool = False
    transmit_interval: int = 300
    receive_interval: int = 300
    multiplier: int = 3
    echo: bool = False
    echo_interval: int = 50
    passive: bool = False
    minimum_ttl: int = 254

    @property
    def endpoints(self) -> tuple[addresses.Address, addresses.Address | None, str, str, bool]:
        """What makes it this session and not another; everything else can change while it is up."""
        return self.peer, self.local, self.interface, self.vrf, self.multihop


def from_profile(
    key: str,
    peer: addresses.Address,
    profile: bfd.BFDProfile,
    *,
    local: addresses.Address | None = None,
    interface: str = "",
    vrf: str = "",
    multihop: bool = False,
) -> Config:
    """The session that a peer with this profile gets."""
    return Config(
        key=key,
        peer=peer,
        local=local,
        interface=interface,
        vrf=vrf,
        multihop=multihop,
        transmit_interval=profile.transmit_interval,
        receive_interval=profile.receive_interval,
        multiplier=profile.detect_multiplier,
        echo=profile.echo_mode and not multihop,
        echo_interval=profile.echo_interval,
        passive=profile.passive_mode,
        minimum_ttl=profile.minimum_ttl,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a session is. The states are None while they are unknown; `diagnostic` says why it left Up last (RFC 5880 section 4.1)."""

    state: packets.State | None
    diagnostic: int = packets.Diagnostic.NONE
    remote_state: packets.State | None = None

    @property
    def up(self) -> bool:
        """Whether the path is known to work."""
        return self.state is packets.State.UP

    @property
    def failed(self) -> bool:
        """Whether a path that worked does not any more: down, and neither end was told to be.

        A session that was never up is like this too, and means only that the peer has no BFD yet.
        """
        return (
            self.state in (packets.State.DOWN, packets.State.INIT) and self.remote_state is not packets.State.ADMIN_DOWN
        )


UNKNOWN = Status(state=None)


class Counters(NamedTuple):
    """Packets and events of a session since some moment; MetalLB's metrics have these names."""

    control_packet_input: int = 0
    control_packet_output: int = 0
    echo_packet_input: int = 0
    echo_packet_output: int = 0
    session_up_events: int = 0
    session_down_events: int = 0

    def plus(self, other: "Counters") -> "Counters":
        """The sum, field by field."""
        return Counters(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def minus(self, other: "Counters") -> "Counters":
        """The difference, field by field."""
        return Counters(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))
