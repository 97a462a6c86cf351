"""What members say over TCP: one message each way, however the bytes are cut.

- The one who connects writes the label, if there is one; the answer carries none but is bound to it when encrypted.
- An encrypted stream is the type byte, the length in 4 bytes and one envelope, all authenticated with the label.
- A push/pull is a header, that many member states, then the user state; states are read as they come, never twice.
- Sizes are bounded before anything is collected.
"""

import dataclasses

from metallb_speaker.membership import envelope, malformed, messages, msgpack

_STREAM_LIMIT = 20 * 1024 * 1024
_EXPANDED_LIMIT = 4 * 1024 * 1024
_FRAME_HEADER = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PushPull:
    """The whole state of one side. `join`: the other side is told that this is a first contact."""

    join: bool
    states: tuple[messages.MemberState, ...]
    user_state: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A message between applications; members here have none to send."""

    body: bytes


Message = PushPull | User | messages.Ping | messages.Ack | messages.Error


def serialise(message: Message) -> bytes:
    """The plain bytes of a message, type byte first."""
    if isinstance(message, PushPull):
        header = messages.PushPullHeader(
            nodes=len(message.states), user_state_length=len(message.user_state), join=message.join
        )
        return b"".join((messages.serialise(header), *map(messages.serialise, message.states), message.user_state))
    if isinstance(message, User):
        return messages.serialise(messages.UserHeader(length=len(message.body))) + message.body
    return messages.serialise(message)


def wrap(message: Message, wrapping: envelope.Envelope, connected: bool, heard: int | None = None) -> bytes:
    """The bytes to write; `connected` when this side opened the connection and so has to name the label.

    `heard`: the number of the key that the other side was heard with last.
    """
    data = serialise(message)
    if wrapping.compression:
        smaller = envelope.compress(data)
        if len(smaller) < len(data):
            data = smaller
    key = wrapping.sealing_key(heard)
    if wrapping.keyring is not None and key is not None:
        size = wrapping.keyring.sealed_size(len(data))
        header = bytes((messages.Kind.ENCRYPTED,)) + size.to_bytes(4, "big")
        data = header + wrapping.keyring.seal(data, header + wrapping.label, key)
    if connected and wrapping.label:
        data = bytes((messages.Kind.LABEL, len(wrapping.label))) + wrapping.label + data
    return data


class StreamReader:
    """Collects one message. `accepted` when the other side opened the connection and so may have named a label.

    `key` is the number of the key that sealed the message, None for plaintext.
    """

    def __init__(self, wrapping: envelope.Envelope, accepted: bool) -> None:
        self.key: int | None = None
        self._wrapping = wrapping
        self._data = bytearray()
        self._labelled = not accepted
        self._unwrapped = False
        self._complete = False
        self._header: messages.PushPullHeader | None = None
        self._states: list[messages.MemberState] = []
        self._consumed = 0

    def feed(self, data: bytes) -> Message | None:
        """Take more bytes; the message once it is whole, None while it is not. Raises MalformedError."""
        if len(self._data) + len(data) > _STREAM_LIMIT + _FRAME_HEADER:
            raise malformed.MalformedError(f"a stream of more than {_STREAM_LIMIT} bytes")
        self._data += data
        try:
            return self._advance()
        except malformed.TruncatedError:
            if self._complete:
                # The layers said how much there is, so nothing more can come.
                raise
            return None

    def _advance(self) -> Message | None:
        if not self._labelled:
            if not self._data:
                return None
            label, rest = envelope.split_label(bytes(self._data[: 2 + 255]))
            if label != self._wrapping.label:
                raise malformed.MalformedError(f"the stream's label {label!r} is not ours")
            del self._data[: min(len(self._data), 2 + 255) - len(rest)]
            self._labelled = True
        if not self._unwrapped and not self._unwrap():
            return None
        return self._read()

    def _unwrap(self) -> bool:
        """Take off encryption and compression; whether they are off."""
        if not self._data:
            return False
        keyring = self._wrapping.keyring
        if not self._complete and self._data[0] == messages.Kind.ENCRYPTED:
            if keyring is None:
                raise malformed.MalformedError("the stream is encrypted and we have no key")
            if len(self._data) < _FRAME_HEADER:
                return False
            size = int.from_bytes(self._data[1:_FRAME_HEADER], "big")
            if size > _STREAM_LIMIT:
                raise malformed.MalformedError(f"a stream of {size} bytes, more than {_STREAM_LIMIT}")
            if len(self._data) < _FRAME_HEADER + size:
                return False
            header = bytes(self._data[:_FRAME_HEADER])
            sealed = bytes(self._data[_FRAME_HEADER : _FRAME_HEADER + size])
            plain, self.key = keyring.open(sealed, header + self._wrapping.label)
            self._replace(plain)
        elif not self._complete and keyring is not None and self._wrapping.verify_incoming:
            raise malformed.MalformedError("the stream is not encrypted and we have a key")
        if self._data and self._data[0] == messages.Kind.COMPRESSED:
            compressed = messages.parse(messages.Compressed, msgpack.Reader(bytes(self._data), 1))
            self._replace(envelope.decompress(compressed, _EXPANDED_LIMIT))
        if not self._data:
            raise malformed.TruncatedError("a stream that holds no message")
        self._unwrapped = True
        return True

    def _replace(self, plain: bytes) -> None:
        self._data = bytearray(plain)
        self._complete = True

    def _read(self) -> Message | None:
        kind = self._data[0]
        if kind == messages.Kind.PUSH_PULL:
            return self._read_push_pull()
        reader = msgpack.Reader(bytes(self._data), 1)
        if kind == messages.Kind.PING:
            return messages.parse(messages.Ping, reader)
        if kind == messages.Kind.ACK:
            return messages.parse(messages.Ack, reader)
        if kind == messages.Kind.ERROR:
            return messages.parse(messages.Error, reader)
        if kind == messages.Kind.USER:
            length = messages.parse(messages.UserHeader, reader).length
            if length > _STREAM_LIMIT:
                raise malformed.MalformedError(f"a user message of {length} bytes")
            return User(body=reader.take(length))
        raise malformed.MalformedError(f"message type {kind} on a stream")

    def _read_push_pull(self) -> PushPull:
        reader = msgpack.Reader(bytes(self._data), self._consumed or 1)
        if self._header is None:
            self._header = messages.parse(messages.PushPullHeader, reader)
            self._consumed = reader.position
            if self._header.user_state_length > _STREAM_LIMIT:
                raise malformed.MalformedError(f"a user state of {self._header.user_state_length} bytes")
        while len(self._states) < self._header.nodes:
            self._states.append(messages.parse(messages.MemberState, reader))
            self._consumed = reader.position
        user_state = reader.take(self._header.user_state_length)
        return PushPull(join=self._header.join, states=tuple(self._states), user_state=user_state)
