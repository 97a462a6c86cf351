"""The messages members exchange: one record each, and one table that both reads and writes them.

- A message is its type byte and a MessagePack map keyed by the names Go gives the fields. Order does not matter, an unknown
  key is skipped, a missing one is the zero value.
- Addresses are 4 or 16 bytes in network order, kept as received: a Go peer compares them byte by byte, so a message passed
  on must carry the very bytes that came.
- Sequence and incarnation numbers are unsigned 32 bit.

Facts: hashicorp/memberlist v0.5.1, protocol versions 1 to 5.
"""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from metallb_speaker.membership import malformed, msgpack

NAME_LIMIT = 1024
META_LIMIT = 512
PACKET_LIMIT = 65536
UINT16 = 0xFFFF
UINT32 = 0xFFFFFFFF


class Kind(enum.IntEnum):
    """The first byte of a message."""

    PING = 0
    INDIRECT_PING = 1
    ACK = 2
    SUSPECT = 3
    ALIVE = 4
    DEAD = 5
    PUSH_PULL = 6
    COMPOUND = 7
    USER = 8
    COMPRESSED = 9
    ENCRYPTED = 10
    NACK = 11
    CHECKSUM = 12
    ERROR = 13
    LABEL = 244


class _Type(enum.Enum):
    UNSIGNED = enum.auto()
    RAW = enum.auto()
    TEXT = enum.auto()
    BOOLEAN = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    """One entry of a message's map; `limit` is the largest number or the longest text, `optional` leaves out a zero value."""

    key: str
    attribute: str
    type: _Type
    limit: int = 0
    optional: bool = False


_NO_KIND = -1
_SOURCE = (
    _Field("SourceAddr", "source_address", _Type.RAW, 16, optional=True),
    _Field("SourcePort", "source_port", _Type.UNSIGNED, UINT16, optional=True),
    _Field("SourceNode", "source_node", _Type.TEXT, NAME_LIMIT, optional=True),
)
_SEQUENCE = _Field("SeqNo", "sequence", _Type.UNSIGNED, UINT32)
_INCARNATION = _Field("Incarnation", "incarnation", _Type.UNSIGNED, UINT32)
_NODE = _Field("Node", "node", _Type.TEXT, NAME_LIMIT)
_ACCUSATION = (_INCARNATION, _NODE, _Field("From", "accuser", _Type.TEXT, NAME_LIMIT))
_ADDRESS = (_Field("Addr", "address", _Type.RAW, 16), _Field("Port", "port", _Type.UNSIGNED, UINT16))
_META = _Field("Meta", "meta", _Type.RAW, META_LIMIT)
_VERSIONS = _Field("Vsn", "versions", _Type.RAW, 16)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Are you there, and are you `node`? The answer goes to the source when one is given, else to the packet's sender."""

    KIND: ClassVar[int] = Kind.PING
    FIELDS: ClassVar[tuple[_Field, ...]] = (_SEQUENCE, _NODE, *_SOURCE)
    sequence: int = 0
    node: str = ""
    source_address: bytes = b""
    source_port: int = 0
    source_node: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IndirectPing:
    """Ping `node` at `target` for me; with `nack`, tell me when it does not answer."""

    KIND: ClassVar[int] = Kind.INDIRECT_PING
    FIELDS: ClassVar[tuple[_Field, ...]] = (
        _SEQUENCE,
        _Field("Target", "target", _Type.RAW, 16),
        _Field("Port", "port", _Type.UNSIGNED, UINT16),
        _NODE,
        _Field("Nack", "nack", _Type.BOOLEAN),
        *_SOURCE,
    )
    sequence: int = 0
    target: bytes = b""
    port: int = 0
    node: str = ""
    nack: bool = False
    source_address: bytes = b""
    source_port: int = 0
    source_node: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The answer to a ping, direct or passed on."""

    KIND: ClassVar[int] = Kind.ACK
    FIELDS: ClassVar[tuple[_Field, ...]] = (_SEQUENCE, _Field("Payload", "payload", _Type.RAW, PACKET_LIMIT))
    sequence: int = 0
    payload: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Nack:
    """I pinged for you and heard nothing: my side works."""

    KIND: ClassVar[int] = Kind.NACK
    FIELDS: ClassVar[tuple[_Field, ...]] = (_SEQUENCE,)
    sequence: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """`accuser` has no answer from `node`."""

    KIND: ClassVar[int] = Kind.SUSPECT
    FIELDS: ClassVar[tuple[_Field, ...]] = _ACCUSATION
    incarnation: int = 0
    node: str = ""
    accuser: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """`node` is gone: by the accuser's verdict, or of its own will when both are the same."""

    KIND: ClassVar[int] = Kind.DEAD
    FIELDS: ClassVar[tuple[_Field, ...]] = _ACCUSATION
    incarnation: int = 0
    node: str = ""
    accuser: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """`node` is here, at this address. `versions`: protocol least, most, spoken; delegate least, most, spoken; or empty."""

    KIND: ClassVar[int] = Kind.ALIVE
    FIELDS: ClassVar[tuple[_Field, ...]] = (_INCARNATION, _NODE, *_ADDRESS, _META, _VERSIONS)
    incarnation: int = 0
    node: str = ""
    address: bytes = b""
    port: int = 0
    meta: bytes = b""
    versions: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """On a stream: why the other end cannot go on."""

    KIND: ClassVar[int] = Kind.ERROR
    FIELDS: ClassVar[tuple[_Field, ...]] = (_Field("Error", "text", _Type.TEXT, PACKET_LIMIT),)
    text: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PushPullHeader:
    """On a stream: how many member states and how many bytes of user state follow."""

    KIND: ClassVar[int] = Kind.PUSH_PULL
    FIELDS: ClassVar[tuple[_Field, ...]] = (
        _Field("Nodes", "nodes", _Type.UNSIGNED, UINT16),
        _Field("UserStateLen", "user_state_length", _Type.UNSIGNED, UINT32),
        _Field("Join", "join", _Type.BOOLEAN),
    )
    nodes: int = 0
    user_state_length: int = 0
    join: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemberState:
    """On a stream: one member as the sender sees it. `state`: 0 alive, 1 suspect, 2 dead, 3 left."""

    KIND: ClassVar[int] = _NO_KIND
    FIELDS: ClassVar[tuple[_Field, ...]] = (
        _Field("Name", "node", _Type.TEXT, NAME_LIMIT),
        *_ADDRESS,
        _META,
        _INCARNATION,
        _Field("State", "state", _Type.UNSIGNED, 3),
        _VERSIONS,
    )
    node: str = ""
    address: bytes = b""
    port: int = 0
    meta: bytes = b""
    incarnation: int = 0
    state: int = 0
    versions: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UserHeader:
    """On a stream: the length of the user message that follows."""

    KIND: ClassVar[int] = Kind.USER
    FIELDS: ClassVar[tuple[_Field, ...]] = (_Field("UserMsgLen", "length", _Type.UNSIGNED, UINT32),)
    length: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Compressed:
    """A message in compressed form; algorithm 0 is LZW, the only one."""

    KIND: ClassVar[int] = Kind.COMPRESSED
    FIELDS: ClassVar[tuple[_Field, ...]] = (
        _Field("Algo", "algorithm", _Type.UNSIGNED, 255),
        _Field("Buf", "data", _Type.RAW, UINT32),
    )
    algorithm: int = 0
    data: bytes = b""


Packet = Ping | IndirectPing | Ack | Nack | Suspect | Dead | Alive
Record = Packet | Error | PushPullHeader | MemberState | UserHeader | Compressed
RecordT = TypeVar("RecordT", bound=Record)

# What may arrive in a packet of its own, by type byte.
PACKETS: Mapping[int, type[Packet]] = {
    message.KIND: message for message in (Ping, IndirectPing, Ack, Nack, Suspect, Dead, Alive)
}
# Go writes the keys in this order, and nothing depends on it but byte-for-byte comparison with what Go writes.
_IN_ORDER: Mapping[type, tuple[_Field, ...]] = {
    record: tuple(sorted(record.FIELDS, key=lambda field: field.key))
    for record in (*PACKETS.values(), Error, PushPullHeader, MemberState, UserHeader, Compressed)
}
_BY_KEY: Mapping[type, Mapping[bytes, _Field]] = {
    record: {field.key.encode(): field for field in fields} for record, fields in _IN_ORDER.items()
}
_KEY_LIMIT = 64
_ENTRIES_LIMIT = 64


def serialise(record: Record) -> bytes:
    """The type byte, if the record has one, and its map."""
    out = bytearray() if record.KIND == _NO_KIND else bytearray((record.KIND,))
    entries = [(field, getattr(record, field.attribute)) for field in _IN_ORDER[type(record)]]
    written = [(field, value) for field, value in entries if value or not field.optional]
    msgpack.append_map_header(out, len(written))
    for field, value in written:
        msgpack.append_raw(out, field.key.encode())
        if field.type is _Type.UNSIGNED:
            msgpack.append_unsigned(out, value)
        elif field.type is _Type.TEXT:
            msgpack.append_raw(out, value.encode())
        elif field.type is _Type.BOOLEAN:
            msgpack.append_boolean(out, value)
        elif value:
            msgpack.append_raw(out, value)
        else:
            msgpack.append_nil(out)
    return bytes(out)


def parse(record: type[RecordT], reader: msgpack.Reader) -> RecordT:
    """The record whose map begins at the reader's position, which is its end afterwards. Raises MalformedError."""
    by_key = _BY_KEY[record]
    values: dict[str, Any] = {}
    entries = reader.read_map_header()
    if entries > _ENTRIES_LIMIT:
        raise malformed.MalformedError(f"{entries} fields in one message")
    for _ in range(entries):
        field = by_key.get(reader.read_raw(_KEY_LIMIT))
        if field is None:
            reader.skip()
        elif field.type is _Type.UNSIGNED:
            values[field.attribute] = reader.read_unsigned(field.limit)
        elif field.type is _Type.TEXT:
            values[field.attribute] = reader.read_text(field.limit)
        elif field.type is _Type.BOOLEAN:
            values[field.attribute] = reader.read_boolean()
        else:
            values[field.attribute] = reader.read_raw(field.limit)
    return record(**values)


def parse_packet(data: bytes) -> Packet | None:
    """The message in `data`, type byte first; None for a user message, which we have no use for. Raises MalformedError."""
    if not data:
        raise malformed.TruncatedError("a message without its type")
    record = PACKETS.get(data[0])
    if record is None:
        if data[0] == Kind.USER:
            return None
        raise malformed.MalformedError(f"message type {data[0]} in a packet")
    return parse(record, msgpack.Reader(data, 1))
