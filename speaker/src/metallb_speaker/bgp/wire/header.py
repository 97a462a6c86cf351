"""The header that every message begins with: RFC 4271 section 4.1.

16 bytes of ones, the length of the whole message, its type. The lengths allowed for each type are those of section 6.1.
"""

import enum
import struct

LENGTH = 19
MARKER = b"\xff" * 16
_TAIL = struct.Struct("!HB")


class Type(enum.IntEnum):
    """Types of message (RFC 4271 section 4.1, RFC 2918 section 3)."""

    OPEN = 1
    UPDATE = 2
    NOTIFICATION = 3
    KEEPALIVE = 4
    ROUTE_REFRESH = 5


def enclose(kind: Type, body: bytes) -> bytes:
    """The message of `body`."""
    return MARKER + _TAIL.pack(LENGTH + len(body), kind) + body
