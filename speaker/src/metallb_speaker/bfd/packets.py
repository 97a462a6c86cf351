"""The control packet of RFC 5880, and the payload of our echo packets.

- `parse` makes the checks of section 6.8.6 that need nothing but the packet, in the order given there; a packet that fails one is malformed.
- An authentication section is skipped over and never built: `authenticated` says that there was one, and a session without a key, which is
  every session here, discards such a packet.
- Reserved values of the diagnostic are kept as numbers: a peer may be newer than this table.
"""

import dataclasses
import enum
import struct

VERSION = 1
LENGTH = 24
_LENGTH_WITH_AUTHENTICATION = 26
_LAYOUT = struct.Struct("!BBBBIIIII")
_POLL, _FINAL, _INDEPENDENT, _AUTHENTICATED, _DEMAND, _MULTIPOINT = 0x20, 0x10, 0x08, 0x04, 0x02, 0x01


class MalformedPacketError(ValueError):
    """Bytes that RFC 5880 has a receiver discard, whatever the session."""


class State(enum.IntEnum):
    """The state of a session (RFC 5880 section 4.1, Sta)."""

    ADMIN_DOWN = 0
    DOWN = 1
    INIT = 2
    UP = 3


class Diagnostic(enum.IntEnum):
    """Why a session left the state Up last (RFC 5880 section 4.1, Diag)."""

    NONE = 0
    DETECTION_TIME_EXPIRED = 1
    ECHO_FAILED = 2
    NEIGHBOR_SIGNALED_DOWN = 3
    FORWARDING_PLANE_RESET = 4
    PATH_DOWN = 5
    CONCATENATED_PATH_DOWN = 6
    ADMINISTRATIVELY_DOWN = 7
    REVERSE_CONCATENATED_PATH_DOWN = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control packet. Intervals are in microseconds; discriminators are unsigned 32-bit numbers."""

    state: State
    diagnostic: int = Diagnostic.NONE
    poll: bool = False
    final: bool = False
    control_plane_independent: bool = False
    authenticated: bool = False
    demand: bool = False
    multiplier: int
    my_discriminator: int
    your_discriminator: int = 0
    desired_min_tx: int
    required_min_rx: int
    required_min_echo_rx: int = 0

    @classmethod
    def parse(cls, data: bytes) -> "Control":
        """Read the payload of a UDP datagram (RFC 5880 section 4.1, checks of section 6.8.6). Raises MalformedPacketError."""
        if len(data) < LENGTH:
            raise MalformedPacketError(f"{len(data)} bytes are too short for a control packet, which takes {LENGTH}")
        first, second, multiplier, length, mine, yours, desired, required, echo = _LAYOUT.unpack_from(data)
        if first >> 5 != VERSION:
            raise MalformedPacketError(f"version {first >> 5}; expected {VERSION}")
        least = _LENGTH_WITH_AUTHENTICATION if second & _AUTHENTICATED else LENGTH
        if not least <= length <= len(data):
            raise MalformedPacketError(f"length {length}; expected {least} to {len(data)}")
        if multiplier == 0:
            raise MalformedPacketError("the detection multiplier is zero")
        if second & _MULTIPOINT:
            raise MalformedPacketError("the multipoint bit is set")
        if mine == 0:
            raise MalformedPacketError("the sender's discriminator is zero")
        state = State(second >> 6)
        if yours == 0 and state not in (State.DOWN, State.ADMIN_DOWN):
            raise MalformedPacketError(f"state {state.name} without the receiver's discriminator")
        return cls(
            state=state,
            diagnostic=first & 0x1F,
            poll=bool(second & _POLL),
            final=bool(second & _FINAL),
            control_plane_independent=bool(second & _INDEPENDENT),
            authenticated=bool(second & _AUTHENTICATED),
            demand=bool(second & _DEMAND),
            multiplier=multiplier,
            my_discriminator=mine,
            your_discriminator=yours,
            desired_min_tx=desired,
            required_min_rx=required,
            required_min_echo_rx=echo,
        )

    def serialise(self) -> bytes:
        """The 24 bytes of RFC 5880 section 4.1. Raises ValueError for a packet with an authentication section, which is never sent."""
        if self.authenticated:
            raise ValueError("a control packet with authentication cannot be sent")
        flags = (
            (_POLL if self.poll else 0)
            | (_FINAL if self.final else 0)
            | (_INDEPENDENT if self.control_plane_independent else 0)
            | (_DEMAND if self.demand else 0)
        )
        return _LAYOUT.pack(
            VERSION << 5 | self.diagnostic,
            self.state << 6 | flags,
            self.multiplier,
            LENGTH,
            self.my_discriminator,
            self.your_discriminator,
            self.desired_min_tx,
            self.required_min_rx,
            self.required_min_echo_rx,
        )


_ECHO = struct.Struct("!4sIQI")
_ECHO_MAGIC = b"mlbE"


@dataclasses.dataclass(frozen=True, slots=True)
class Echo:
    """What our echo packets carry; their content is a local matter (RFC 5880 section 4.2).

    `token` is a random number of the session, so that a stranger cannot make up a packet that comes back.
    """

    discriminator: int
    token: int
    sequence: int

    @classmethod
    def parse(cls, data: bytes) -> "Echo":
        """Read one that came back. Raises MalformedPacketError for everybody else's."""
        if len(data) < _ECHO.size:
            raise MalformedPacketError(f"{len(data)} bytes are too short for an echo of ours")
        magic, discriminator, token, sequence = _ECHO.unpack_from(data)
        if magic != _ECHO_MAGIC:
            raise MalformedPacketError("an echo of somebody else")
        return cls(discriminator, token, sequence)

    def serialise(self) -> bytes:
        """The 20 bytes of the payload."""
        return _ECHO.pack(_ECHO_MAGIC, self.discriminator, self.token, self.sequence)
