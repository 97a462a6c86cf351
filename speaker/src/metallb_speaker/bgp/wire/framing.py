"""Messages from a stream of bytes: RFC 4271 sections 4.1 and 6.1, RFC 8654 section 4.

- Bytes come in pieces of any size. A message is read as soon as its last byte is there; a header is judged as soon as it is whole, so that
  nobody waits for the rest of 65 kB that will not come.
- Messages are handed out one by one, and `context` may change between two of them: an UPDATE may come in one piece with the OPEN that says how
  it is to be read.
- After an error the stream is lost: the reader only repeats it.
"""

from collections.abc import Iterator

from metallb_speaker.bgp.wire import context as wire_context
from metallb_speaker.bgp.wire import header, malformed, messages, notifications

_TYPES = {int(kind): kind for kind in header.Type}
# Lengths allowed whatever the content (RFC 4271 section 6.1). ROUTE-REFRESH has errors of its own, which need the whole message.
_MINIMUM = {
    header.Type.OPEN: 29,
    header.Type.UPDATE: 23,
    header.Type.NOTIFICATION: 21,
    header.Type.KEEPALIVE: 19,
    header.Type.ROUTE_REFRESH: 19,
}
# These two stay short on every session (RFC 8654 section 4).
_MAXIMUM = {header.Type.OPEN: wire_context.MAXIMUM_LENGTH, header.Type.KEEPALIVE: header.LENGTH}


class Reader:
    """Takes messages from a stream. `context` is read anew for each message."""

    __slots__ = ("_buffer", "_error", "_offset", "context")

    def __init__(self, context: wire_context.Context = wire_context.BEFORE_OPEN) -> None:
        self.context = context
        self._buffer = bytearray()
        self._offset = 0
        self._error: malformed.MalformedError | None = None

    def feed(self, data: bytes) -> Iterator[messages.Message]:
        """Take bytes in; the messages that are whole now, each read when it is asked for. What is not asked for comes with the next call.

        The iterator raises MalformedError in place of the first message that is wrong.
        """
        self._buffer += data
        return iter(self.next_message, None)

    @property
    def buffered(self) -> int:
        """Bytes taken in and not handed out; never more than one message and what `feed` was given since."""
        return len(self._buffer) - self._offset

    def next_message(self) -> messages.Message | None:
        """The next message, None while it is not whole. Raises MalformedError."""
        if self._error is not None:
            raise self._error.with_traceback(None)
        try:
            return self._take()
        except malformed.MalformedError as error:
            self._error = error
            self._buffer.clear()
            self._offset = 0
            raise

    def _take(self) -> messages.Message | None:
        start = self._offset
        if len(self._buffer) - start < header.LENGTH:
            self._drop_taken()
            return None
        head = bytes(self._buffer[start : start + header.LENGTH])
        length = _check(head, self.context.maximum_length)
        if len(self._buffer) - start < length:
            self._drop_taken()
            return None
        self._offset = start + length
        body = bytes(self._buffer[start + header.LENGTH : self._offset])
        return messages.parse(head[18], body, self.context)

    def _drop_taken(self) -> None:
        # Once for each piece, not for each message: moving the rest forward costs its length.
        if self._offset:
            del self._buffer[: self._offset]
            self._offset = 0


def _check(head: bytes, maximum: int) -> int:
    """The length of the message, if its header may be believed."""
    if head[:16] != header.MARKER:
        raise _error(notifications.Header.CONNECTION_NOT_SYNCHRONIZED, b"", "the marker is not all ones")
    length, kind = int.from_bytes(head[16:18], "big"), head[18]
    if not header.LENGTH <= length <= maximum:
        raise _error(
            notifications.Header.BAD_MESSAGE_LENGTH,
            head[16:18],
            f"a message of {length} bytes; it has {header.LENGTH} to {maximum}",
        )
    known = _TYPES.get(kind)
    if known is None:
        raise _error(notifications.Header.BAD_MESSAGE_TYPE, head[18:], f"message type {kind} is not known")
    if not _MINIMUM[known] <= length <= _MAXIMUM.get(known, maximum):
        raise _error(notifications.Header.BAD_MESSAGE_LENGTH, head[16:18], f"{known.name} of {length} bytes")
    return length


def _error(subcode: notifications.Header, data: bytes, text: str) -> malformed.MalformedError:
    return malformed.MalformedError(notifications.Code.MESSAGE_HEADER, subcode, data, text)
