"""Every BGP message by one name, its parser and its writer: RFC 4271 section 4.

- A message is a value; `serialise()` of each gives the whole message, header included.
- `parse` takes what follows the header. Only an UPDATE is read differently from session to session, hence the context.
"""

import dataclasses
import struct

from metallb_speaker.bgp.wire import context as wire_context
from metallb_speaker.bgp.wire import families as wire_families
from metallb_speaker.bgp.wire import header, malformed, notifications, opening, updates

REFRESH_NORMAL, REFRESH_BEGIN, REFRESH_END = 0, 1, 2
_REFRESH = struct.Struct("!HBB")
_MARKED_REFRESHES = (REFRESH_BEGIN, REFRESH_END)


@dataclasses.dataclass(frozen=True, slots=True)
class Keepalive:
    """KEEPALIVE message (RFC 4271 section 4.4)."""

    @classmethod
    def parse(cls, body: bytes) -> "Keepalive":
        """The part after the header: nothing. Raises MalformedError (1/2)."""
        if body:
            raise _bad_length("KEEPALIVE", body)
        return cls()

    def serialise(self) -> bytes:
        """The whole message."""
        return header.enclose(header.Type.KEEPALIVE, b"")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RouteRefresh:
    """ROUTE-REFRESH message (RFC 2918 section 3): the routes of `family` are to be sent again.

    `subtype` 1 and 2 mark the begin and the end of that (RFC 7313 section 3.2); receivers ignore what they do not know.
    """

    family: wire_families.Family
    subtype: int = REFRESH_NORMAL

    @classmethod
    def parse(cls, body: bytes) -> "RouteRefresh":
        """The part after the header. Raises MalformedError (1/2; 7/1 for the marks of RFC 7313 section 5)."""
        if len(body) != _REFRESH.size:
            if len(body) > 2 and body[2] in _MARKED_REFRESHES:
                raise malformed.MalformedError(
                    notifications.Code.ROUTE_REFRESH_MESSAGE,
                    notifications.Refresh.INVALID_MESSAGE_LENGTH,
                    header.enclose(header.Type.ROUTE_REFRESH, body),
                    f"a ROUTE-REFRESH of {len(body)} bytes after its header instead of {_REFRESH.size}",
                )
            raise _bad_length("ROUTE-REFRESH", body)
        afi, subtype, safi = _REFRESH.unpack(body)
        return cls(family=wire_families.Family(afi, safi), subtype=subtype)

    def serialise(self) -> bytes:
        """The whole message."""
        body = _REFRESH.pack(self.family.afi, self.subtype, self.family.safi)
        return header.enclose(header.Type.ROUTE_REFRESH, body)


def _bad_length(name: str, body: bytes) -> malformed.MalformedError:
    length = header.LENGTH + len(body)
    return malformed.MalformedError(
        notifications.Code.MESSAGE_HEADER,
        notifications.Header.BAD_MESSAGE_LENGTH,
        length.to_bytes(2, "big"),
        f"a {name} of {length} bytes",
    )


Open = opening.Open
Update = updates.Update
Notification = notifications.Notification
Message = Open | Update | Notification | Keepalive | RouteRefresh


def parse(kind: int, body: bytes, context: wire_context.Context = wire_context.BEFORE_OPEN) -> Message:
    """The message of type `kind` whose bytes after the header are `body`. Raises MalformedError, and nothing else."""
    if kind == header.Type.UPDATE:
        return Update.parse(body, context)
    if kind == header.Type.KEEPALIVE:
        return Keepalive.parse(body)
    if kind == header.Type.OPEN:
        return Open.parse(body)
    if kind == header.Type.NOTIFICATION:
        return Notification.parse(body)
    if kind == header.Type.ROUTE_REFRESH:
        return RouteRefresh.parse(body)
    raise malformed.MalformedError(
        notifications.Code.MESSAGE_HEADER,
        notifications.Header.BAD_MESSAGE_TYPE,
        bytes((kind,)),
        f"message type {kind} is not known",
    )
