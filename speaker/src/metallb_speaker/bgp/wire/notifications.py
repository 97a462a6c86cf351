"""NOTIFICATION: why a session ends, in numbers and in words.

Sources: RFC 4271 section 4.5 and 6; RFC 4486 (Cease); RFC 5492 (2/7); RFC 6608 (FSM errors); RFC 7313 (ROUTE-REFRESH errors); RFC 8203 and
9003 (words of the operator); RFC 8538 (hard reset); RFC 9234 (2/11); RFC 9384 (BFD); RFC 9687 (8/0).

- Any code and subcode is carried: a peer may know some that are not listed here.
- A shutdown communication is somebody else's text. It is decoded leniently and its control characters are replaced, since it goes to logs.
"""

import dataclasses
import enum

from metallb_speaker.bgp.wire import header, malformed

MINIMUM_BODY = 2
SHUTDOWN_TEXT_MAXIMUM = 255  # Bytes of UTF-8, RFC 9003 section 2; RFC 8203 allowed 128.


class Code(enum.IntEnum):
    """What kind of error."""

    MESSAGE_HEADER = 1
    OPEN_MESSAGE = 2
    UPDATE_MESSAGE = 3
    HOLD_TIMER_EXPIRED = 4
    FINITE_STATE_MACHINE = 5
    CEASE = 6
    ROUTE_REFRESH_MESSAGE = 7
    SEND_HOLD_TIMER_EXPIRED = 8


class Header(enum.IntEnum):
    """Subcodes of 1 (RFC 4271 section 6.1)."""

    CONNECTION_NOT_SYNCHRONIZED = 1
    BAD_MESSAGE_LENGTH = 2
    BAD_MESSAGE_TYPE = 3


class Open(enum.IntEnum):
    """Subcodes of 2 (RFC 4271 section 6.2, RFC 5492 section 5, RFC 9234 section 4.2)."""

    UNSPECIFIC = 0
    UNSUPPORTED_VERSION_NUMBER = 1
    BAD_PEER_AS = 2
    BAD_BGP_IDENTIFIER = 3
    UNSUPPORTED_OPTIONAL_PARAMETER = 4
    AUTHENTICATION_FAILURE = 5  # Deprecated by RFC 4271; old peers send it.
    UNACCEPTABLE_HOLD_TIME = 6
    UNSUPPORTED_CAPABILITY = 7
    ROLE_MISMATCH = 11


class Update(enum.IntEnum):
    """Subcodes of 3 (RFC 4271 section 6.3)."""

    MALFORMED_ATTRIBUTE_LIST = 1
    UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE = 2
    MISSING_WELL_KNOWN_ATTRIBUTE = 3
    ATTRIBUTE_FLAGS_ERROR = 4
    ATTRIBUTE_LENGTH_ERROR = 5
    INVALID_ORIGIN_ATTRIBUTE = 6
    AS_ROUTING_LOOP = 7  # Deprecated by RFC 4271; old peers send it.
    INVALID_NEXT_HOP_ATTRIBUTE = 8
    OPTIONAL_ATTRIBUTE_ERROR = 9
    INVALID_NETWORK_FIELD = 10
    MALFORMED_AS_PATH = 11


class StateMachine(enum.IntEnum):
    """Subcodes of 5 (RFC 6608 section 3): a message that does not belong into this state."""

    UNSPECIFIED = 0
    UNEXPECTED_IN_OPEN_SENT = 1
    UNEXPECTED_IN_OPEN_CONFIRM = 2
    UNEXPECTED_IN_ESTABLISHED = 3


class Cease(enum.IntEnum):
    """Subcodes of 6 (RFC 4486 section 3, RFC 8538 section 3.1, RFC 9384 section 3)."""

    MAXIMUM_NUMBER_OF_PREFIXES_REACHED = 1
    ADMINISTRATIVE_SHUTDOWN = 2
    PEER_DE_CONFIGURED = 3
    ADMINISTRATIVE_RESET = 4
    CONNECTION_REJECTED = 5
    OTHER_CONFIGURATION_CHANGE = 6
    CONNECTION_COLLISION_RESOLUTION = 7
    OUT_OF_RESOURCES = 8
    HARD_RESET = 9
    BFD_DOWN = 10


class Refresh(enum.IntEnum):
    """Subcodes of 7 (RFC 7313 section 5)."""

    INVALID_MESSAGE_LENGTH = 1


_CODE_NAMES = {
    Code.MESSAGE_HEADER: "message header error",
    Code.OPEN_MESSAGE: "OPEN message error",
    Code.UPDATE_MESSAGE: "UPDATE message error",
    Code.HOLD_TIMER_EXPIRED: "hold timer expired",
    Code.FINITE_STATE_MACHINE: "finite state machine error",
    Code.CEASE: "cease",
    Code.ROUTE_REFRESH_MESSAGE: "ROUTE-REFRESH message error",
    Code.SEND_HOLD_TIMER_EXPIRED: "send hold timer expired",
}
SUBCODES: dict[Code, type[enum.IntEnum]] = {
    Code.MESSAGE_HEADER: Header,
    Code.OPEN_MESSAGE: Open,
    Code.UPDATE_MESSAGE: Update,
    Code.FINITE_STATE_MACHINE: StateMachine,
    Code.CEASE: Cease,
    Code.ROUTE_REFRESH_MESSAGE: Refresh,
}
# Names that the member's own does not spell as people write it; by the member's name, since members of different codes are equal numbers.
_SUBCODE_NAMES = {
    "BAD_PEER_AS": "bad peer AS",
    "BAD_BGP_IDENTIFIER": "bad BGP identifier",
    "UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE": "unrecognized well-known attribute",
    "MISSING_WELL_KNOWN_ATTRIBUTE": "missing well-known attribute",
    "INVALID_ORIGIN_ATTRIBUTE": "invalid ORIGIN attribute",
    "AS_ROUTING_LOOP": "AS routing loop",
    "INVALID_NEXT_HOP_ATTRIBUTE": "invalid NEXT_HOP attribute",
    "MALFORMED_AS_PATH": "malformed AS_PATH",
    "UNEXPECTED_IN_OPEN_SENT": "unexpected message in OpenSent state",
    "UNEXPECTED_IN_OPEN_CONFIRM": "unexpected message in OpenConfirm state",
    "UNEXPECTED_IN_ESTABLISHED": "unexpected message in Established state",
    "PEER_DE_CONFIGURED": "peer de-configured",
    "BFD_DOWN": "BFD down",
}
_WITH_SHUTDOWN_TEXT = (Cease.ADMINISTRATIVE_SHUTDOWN, Cease.ADMINISTRATIVE_RESET)


def describe(code: int, subcode: int) -> str:
    """`cease: administrative shutdown (6/2)`; numbers alone where they have no name."""
    try:
        known = Code(code)
    except ValueError:
        return f"unknown error ({code}/{subcode})"
    subcodes = SUBCODES.get(known)
    member = None if subcodes is None else next((each for each in subcodes if each == subcode), None)
    if member is None:
        return f"{_CODE_NAMES[known]} ({code}/{subcode})"
    name = _SUBCODE_NAMES.get(member.name, member.name.lower().replace("_", " "))
    return f"{_CODE_NAMES[known]}: {name} ({code}/{subcode})"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """NOTIFICATION message (RFC 4271 section 4.5). After it the connection is closed."""

    code: int
    subcode: int = 0
    data: bytes = b""

    @classmethod
    def of(cls, error: malformed.MalformedError) -> "Notification":
        """What the sender of a malformed message is told."""
        return cls(code=error.code, subcode=error.subcode, data=error.data)

    @classmethod
    def parse(cls, body: bytes) -> "Notification":
        """The part after the header (RFC 4271 section 4.5). Raises MalformedError when shorter than code and subcode."""
        if len(body) < MINIMUM_BODY:
            raise malformed.MalformedError(
                Code.MESSAGE_HEADER,
                Header.BAD_MESSAGE_LENGTH,
                (header.LENGTH + len(body)).to_bytes(2, "big"),
                f"a NOTIFICATION of {len(body)} bytes after its header has no room for code and subcode",
            )
        return cls(code=body[0], subcode=body[1], data=body[2:])

    def serialise(self) -> bytes:
        """The whole message, data cut to what fits in 4096 bytes: it may quote a message that was longer than any we may send."""
        room = 4096 - header.LENGTH - MINIMUM_BODY
        return header.enclose(header.Type.NOTIFICATION, bytes((self.code, self.subcode)) + self.data[:room])

    @property
    def is_hard_reset(self) -> bool:
        """Whether routes may not be kept though graceful restart was agreed on (RFC 8538 section 3.1)."""
        return (self.code, self.subcode) == (Code.CEASE, Cease.HARD_RESET)

    @property
    def inner(self) -> "Notification | None":
        """What a hard reset encloses (RFC 8538 section 3.1); None for others, or where it encloses nothing readable."""
        if not self.is_hard_reset or len(self.data) < MINIMUM_BODY:
            return None
        return Notification(code=self.data[0], subcode=self.data[1], data=self.data[2:])

    @property
    def text(self) -> str:
        """The operator's words of an administrative shutdown or reset (RFC 9003 section 2), fit for one line of a log; else empty."""
        if self.code != Code.CEASE or self.subcode not in _WITH_SHUTDOWN_TEXT or not self.data:
            return ""
        # A length that does not fit is an error of the peer's that ends nothing more than the session that is ending anyway: show what is there.
        words = self.data[1 : 1 + self.data[0]].decode("utf-8", "replace")
        return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)

    def __str__(self) -> str:
        """For people, in one line."""
        described = describe(self.code, self.subcode)
        inner = self.inner
        if inner is not None and not inner.is_hard_reset:
            return f"{described}, for {inner}"
        return f"{described}: {self.text!r}" if self.text else described


def cease(subcode: Cease, text: str = "") -> Notification:
    """A Cease (RFC 4486). `text` is for shutdown and reset only, cut between characters to 255 bytes of UTF-8 (RFC 9003 section 2)."""
    if not text or subcode not in _WITH_SHUTDOWN_TEXT:
        return Notification(code=Code.CEASE, subcode=subcode)
    words = text.encode("utf-8", "replace")[:SHUTDOWN_TEXT_MAXIMUM].decode("utf-8", "ignore").encode()
    return Notification(code=Code.CEASE, subcode=subcode, data=bytes((len(words),)) + words)


def hard_reset(inner: Notification) -> Notification:
    """`inner` enclosed, so that a peer with graceful restart drops the routes at once (RFC 8538 section 3.1)."""
    return Notification(code=Code.CEASE, subcode=Cease.HARD_RESET, data=bytes((inner.code, inner.subcode)) + inner.data)
