"""The layers around messages in one packet, outermost first: label, encryption, checksum, compression, compound.

- An empty label of ours refuses labelled packets and writes none, as a Go peer without a label does.
- With keys, what does not decrypt is refused, unless `verify_incoming` is off: then it is taken for plaintext.
- A checksum is written only to peers of protocol version 5 and up, and checked wherever it stands outermost.
- Compression is written only where it saves bytes. Compounds and compression may nest, to a bounded depth, and one packet
  may stand for a bounded number of bytes.
"""

import binascii
import dataclasses

from metallb_speaker.membership import encryption, lzw, malformed, messages, msgpack

_DEPTH_LIMIT = 4
_EXPANDED_LIMIT = 1 << 18
COMPOUND_LIMIT = 255
CHECKSUM_VERSION = 5
COMPOUND_HEADER = 2
COMPOUND_ENTRY = 2
_CHECKSUM_HEADER = 5
_LABEL_LIMIT = 255


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """How packets are wrapped and unwrapped now; replaced as a whole when the keys change."""

    label: bytes = b""
    keyring: encryption.Keyring | None = None
    verify_incoming: bool = True
    verify_outgoing: bool = True
    compression: bool = False

    def __post_init__(self) -> None:
        if len(self.label) > _LABEL_LIMIT:
            raise ValueError(f"the label has {len(self.label)} bytes, more than {_LABEL_LIMIT}")

    def room(self, size: int) -> int:
        """How many bytes of a packet of `size` are left for messages and the compound around them."""
        room = size - COMPOUND_HEADER - (len(self.label) + 2 if self.label else 0) - _CHECKSUM_HEADER
        if self.keyring is not None:
            room -= self.keyring.sealed_size(size) - size
        return room

    def sealing_key(self, heard: int | None) -> int | None:
        """The number of the key for whoever was `heard` with that one (None: in plaintext, or never); None for plaintext."""
        if self.keyring is None:
            return None
        return heard if heard is not None else 0 if self.verify_outgoing else None

    def wrap(self, parts: list[bytes], checksum: bool, heard: int | None = None) -> bytes:
        """One packet of 1 to 255 serialised messages, for a member that was `heard` last with the key of that number."""
        data = parts[0] if len(parts) == 1 else join(parts)
        if self.compression:
            smaller = compress(data)
            if len(smaller) < len(data):
                data = smaller
        if checksum:
            data = bytes((messages.Kind.CHECKSUM,)) + binascii.crc32(data).to_bytes(4, "big") + data
        key = self.sealing_key(heard)
        if self.keyring is not None and key is not None:
            data = self.keyring.seal(data, self.label, key)
        if self.label:
            data = bytes((messages.Kind.LABEL, len(self.label))) + self.label + data
        return data

    def unwrap(self, packet: bytes) -> list[bytes]:
        """The serialised messages in a packet, in order. Raises MalformedError."""
        return self.unwrap_sealed(packet)[0]

    def unwrap_sealed(self, packet: bytes) -> tuple[list[bytes], int | None]:
        """What `unwrap` gives, and the number of the key that sealed it, None for plaintext. Raises MalformedError."""
        key: int | None = None
        label, data = split_label(packet)
        if label != self.label:
            raise malformed.MalformedError(f"the packet's label {label!r} is not ours")
        if self.keyring is not None:
            try:
                data, key = self.keyring.open(data, label)
            except malformed.MalformedError:
                if self.verify_incoming:
                    raise
        if len(data) >= _CHECKSUM_HEADER and data[0] == messages.Kind.CHECKSUM:
            expected = int.from_bytes(data[1:5], "big")
            data = data[5:]
            if binascii.crc32(data) != expected:
                raise malformed.MalformedError("the packet's checksum is wrong")
        found: list[bytes] = []
        _flatten(data, 0, _EXPANDED_LIMIT, found)
        return found, key


def split_label(data: bytes) -> tuple[bytes, bytes]:
    """The label in front of `data`, empty if there is none, and what follows. TruncatedError when it ends too early."""
    if not data or data[0] != messages.Kind.LABEL:
        return b"", data
    if len(data) < 2:
        raise malformed.TruncatedError("the label ends too early")
    end = 2 + data[1]
    if end == 2:
        raise malformed.MalformedError("the label is announced, and empty")
    if len(data) < end:
        raise malformed.TruncatedError("the label ends too early")
    return data[2:end], data[end:]


def compress(data: bytes) -> bytes:
    """`data` as a message that holds it compressed."""
    return messages.serialise(messages.Compressed(data=lzw.compress(data)))


def decompress(compressed: messages.Compressed, limit: int) -> bytes:
    """What the message holds, at most `limit` bytes. Raises MalformedError."""
    if compressed.algorithm != 0:
        raise malformed.MalformedError(f"compression algorithm {compressed.algorithm} is unknown")
    return lzw.decompress(compressed.data, limit)


def join(parts: list[bytes]) -> bytes:
    """A compound of 1 to 255 messages: type, their number, their lengths, they."""
    if not 1 <= len(parts) <= COMPOUND_LIMIT:
        raise ValueError(f"a compound holds 1 to {COMPOUND_LIMIT} messages, not {len(parts)}")
    lengths = b"".join(len(part).to_bytes(2, "big") for part in parts)
    return bytes((messages.Kind.COMPOUND, len(parts))) + lengths + b"".join(parts)


def _flatten(data: bytes, depth: int, budget: int, found: list[bytes]) -> int:
    """Append the plain messages of `data` to `found`; the part of the budget that is left."""
    if depth > _DEPTH_LIMIT:
        raise malformed.MalformedError(f"messages nested deeper than {_DEPTH_LIMIT}")
    if not data:
        raise malformed.TruncatedError("a message without its type")
    if data[0] == messages.Kind.COMPRESSED:
        plain = decompress(messages.parse(messages.Compressed, msgpack.Reader(data, 1)), budget)
        return _flatten(plain, depth + 1, budget - len(plain), found)
    if data[0] != messages.Kind.COMPOUND:
        found.append(data)
        return budget
    reader = msgpack.Reader(data, 1)
    count = reader.take(1)[0]
    lengths = reader.take(2 * count)
    for index in range(count):
        size = int.from_bytes(lengths[2 * index : 2 * index + 2], "big")
        if reader.position + size > len(data):
            # A Go peer also keeps the whole messages of a packet that was cut short.
            break
        budget = _flatten(reader.take(size), depth + 1, budget, found)
    return budget
