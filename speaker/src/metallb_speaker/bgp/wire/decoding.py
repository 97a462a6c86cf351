"""Reading path attributes: RFC 4271 section 6.3 as revised by RFC 7606, with RFC 6793, RFC 7607 and RFC 8092.

- A bad attribute costs its routes (treat-as-withdraw) or only itself (discard), as `RULES` and the readers say; MP_REACH_NLRI and
  MP_UNREACH_NLRI cost the session.
- Every problem keeps the NOTIFICATION that RFC 4271 had for it: one without routes to withdraw ends the session after all (`updates`).
- Of an attribute that appears twice the first counts. A list that does not add up ends where it stops making sense.
"""

import dataclasses
import enum
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from metallb_core.domain import addresses
from metallb_core.domain import communities as domain_communities
from metallb_speaker.bgp.wire import attributes as wire_attributes
from metallb_speaker.bgp.wire import context as wire_context
from metallb_speaker.bgp.wire import four_octet, malformed, multiprotocol, notifications

_Type = wire_attributes.Type
_Subcode = notifications.Update
_CONFEDERATION_SEGMENTS = (3, 4)


class Outcome(enum.Enum):
    """What became of something that could not be used, the mildest first."""

    IGNORED = "ignored"
    DISCARDED = "attribute discarded"
    TREAT_AS_WITHDRAW = "treated as withdrawn"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing in an UPDATE that could not be used.

    `attribute` is its type, None for a field of the message; `subcode` and `data` are those of RFC 4271 section 6.3.
    """

    outcome: Outcome
    attribute: int | None
    subcode: int
    data: bytes
    text: str

    def error(self) -> malformed.MalformedError:
        """The end of the session that RFC 4271 had for it."""
        return malformed.MalformedError(notifications.Code.UPDATE_MESSAGE, self.subcode, self.data, self.text)

    def __str__(self) -> str:
        return f"{self.text}: {self.outcome.value}"


class _WrongError(Exception):
    """A value that breaks its rule; `outcome` None is the rule's own."""

    def __init__(self, subcode: _Subcode, text: str, outcome: Outcome | None = None) -> None:
        super().__init__(text)
        self.subcode = subcode
        self.outcome = outcome


@dataclasses.dataclass(slots=True)
class Draft:
    """What was read so far. `seen`: types that appeared, whole or not."""

    seen: set[int] = dataclasses.field(default_factory=set)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    reach: multiprotocol.Reach | None = None
    unreach: multiprotocol.Unreach | None = None
    # Whether an MP_REACH_NLRI of a family that is not read was there: its routes are unknown, but they are routes.
    foreign_reach: bool = False
    origin: wire_attributes.Origin | None = None
    as_path: wire_attributes.AsPath | None = None
    as4_path: wire_attributes.AsPath | None = None
    next_hop: addresses.Address | None = None
    med: int | None = None
    local_pref: int | None = None
    atomic_aggregate: bool = False
    aggregator: wire_attributes.Aggregator | None = None
    as4_aggregator: wire_attributes.Aggregator | None = None
    communities: list[domain_communities.Community] = dataclasses.field(default_factory=list)
    unknown: list[wire_attributes.Unknown] = dataclasses.field(default_factory=list)

    def attributes(self) -> wire_attributes.PathAttributes:
        """The attributes as one value."""
        return wire_attributes.PathAttributes(
            origin=self.origin,
            as_path=self.as_path,
            next_hop=self.next_hop,
            med=self.med,
            local_pref=self.local_pref,
            atomic_aggregate=self.atomic_aggregate,
            aggregator=self.aggregator,
            communities=frozenset(self.communities),
            unknown=tuple(self.unknown),
        )


def _length(value: bytes, expected: int) -> None:
    if len(value) != expected:
        raise _WrongError(_Subcode.ATTRIBUTE_LENGTH_ERROR, f"{len(value)} bytes instead of {expected}")


def _multiple(value: bytes, unit: int) -> None:
    if not value or len(value) % unit:
        raise _WrongError(
            _Subcode.OPTIONAL_ATTRIBUTE_ERROR, f"{len(value)} bytes, which is no positive multiple of {unit}"
        )


def _internal_only(context: wire_context.Context) -> None:
    if not context.ibgp:
        raise _WrongError(_Subcode.OPTIONAL_ATTRIBUTE_ERROR, "sent by an external peer", Outcome.DISCARDED)


def _origin(draft: Draft, value: bytes, context: wire_context.Context) -> None:
    _length(value, 1)
    if value[0] > wire_attributes.Origin.INCOMPLETE:
        raise _WrongError(_Subcode.INVALID_ORIGIN_ATTRIBUTE, f"the undefined value {value[0]}")
    draft.origin = wire_attributes.Origin(value[0])


def _segments(value: bytes, size: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Types and AS numbers of all segments (RFC 4271 section 4.3), AS numbers of `size` bytes."""
    offset = 0
    while offset < len(value):
        count = value[offset + 1] if offset + 2 <= len(value) else 0
        if count == 0:
            raise _WrongError(_Subcode.MALFORMED_AS_PATH, f"an empty or cut off segment at offset {offset}")
        start, end = offset + 2, offset + 2 + count * size
        if end > len(value):
            raise _WrongError(_Subcode.MALFORMED_AS_PATH, f"a segment of {count} AS numbers ends after the attribute")
        asns: tuple[int, ...] = struct.unpack(f"!{count}{'I' if size == 4 else 'H'}", value[start:end])
        if 0 in asns:  # RFC 7607 section 2.
            raise _WrongError(_Subcode.MALFORMED_AS_PATH, "AS number 0")
        yield value[offset], asns
        offset = end


def _as_path(draft: Draft, value: bytes, context: wire_context.Context) -> None:
    path: list[wire_attributes.Segment] = []
    for kind, asns in _segments(value, 4 if context.four_octet_as else 2):
        # Segments of a confederation never leave it (RFC 5065 section 5), and we are in none.
        if kind not in (wire_attributes.SegmentType.AS_SET, wire_attributes.SegmentType.AS_SEQUENCE):
            raise _WrongError(_Subcode.MALFORMED_AS_PATH, f"a segment of type {kind}")
        path.append(wire_attributes.Segment(wire_attributes.SegmentType(kind), asns))
    draft.as_path = tuple(path)


def _as4_path(draft: Draft, value: bytes, context: wire_context.Context) -> None:
    if context.four_octet_as:
        raise _WrongError(_Subcode.OPTIONAL_ATTRIBUTE_ERROR, "sent by a peer whose AS_PATH has 4 bytes a number")
    path: list[wire_attributes.Segment] = []
    for kind, asns in _segments(value, 4):
        if kind in _CONFEDERATION_SEGMENTS:  # Dropped, and the rest used: RFC 6793 section 6.
            continue
        if kind not in (wire_attributes.SegmentType.AS_SET, wire_attributes.SegmentType.AS_SEQUENCE):
            raise _WrongError(_Subcode.OPTIONAL_ATTRIBUTE_ERROR, f"a segment of type {kind}")
        path.append(wire_attributes.Segment(wire_attributes.SegmentType(kind), asns))
    draft.as4_path = tuple(path)


def _next_hop(draft: Draft, value: bytes, context: wire_context.Context) -> None:
    _length(value, 4)
    address = addresses.Address.from_packed(value)
    # No host: this network (0/8), loopback (127/8), multicast and reserved (224/3).
    if value[0] in (0, 127) or value[0] >= 224:
        raise _WrongError(_Subcode.INVALID_NEXT_HOP_ATTRIBUTE, f"{address} is no address of a host")
    draft.next_hop = address


def _med(draft: Draft, value: bytes, context: wire_context.Context) -> None:
    _length(value, 4)
    draft.med = int.from_bytes(value, "big")


def _local_pref(draft: Draft, value: bytes, context: wire_context.Context) -> None:
    _internal_only(context)
    _length(value, 4)
    draft.local_pref = int.from_bytes(value, "big")


def _atomic_aggregate(draft: Draft, value: bytes, context: wire_context.Context) -> None:
    _length(value, 0)
    draft.atomic_aggregate = True


def _read_aggregator(value: bytes, size: int) -> wire_attributes.Aggregator:
    _length(value, size + 4)
    asn = int.from_bytes(value[:size], "big")
    if asn == 0:  # RFC 7607 section 2.
        raise _WrongError(_Subcode.OPTIONAL_ATTRIBUTE_ERROR, "AS number 0")
    return wire_attributes.Aggregator(asn, addresses.Address.from_packed(value[size:]))


def _aggregator(draft: Draft, value: bytes, context: wire_context.Context) -> None:
    draft.aggregator = _read_aggregator(value, 4 if context.four_octet_as else 2)


def _as4_aggregator(draft: Draft, value: bytes, context: wire_context.Context) -> None:
    if context.four_octet_as:
        raise _WrongError(_Subcode.OPTIONAL_ATTRIBUTE_ERROR, "sent by a peer whose AGGREGATOR has 4 bytes a number")
    draft.as4_aggregator = _read_aggregator(value, 4)


def _communities(draft: Draft, value: bytes, context: wire_context.Context) -> None:
    _multiple(value, 4)
    draft.communities += (domain_communities.Standard(*each) for each in struct.iter_unpack("!HH", value))


def _large_communities(draft: Draft, value: bytes, context: wire_context.Context) -> None:
    _multiple(value, 12)
    draft.communities += (domain_communities.Large(*each) for each in struct.iter_unpack("!III", value))


def _kept(kind: _Type, unit: int, *, exact: bool = False, internal: bool = False) -> "_Reader":
    """A reader of what is only checked: it is kept as it came."""

    def read(draft: Draft, value: bytes, context: wire_context.Context) -> None:
        if internal:
            _internal_only(context)
        if exact:
            _length(value, unit)
        _multiple(value, unit)
        draft.unknown.append(wire_attributes.Unknown(kind, wire_attributes.FLAGS[kind], value))

    return read


_Reader = Callable[[Draft, bytes, wire_context.Context], None]


class Rule(NamedTuple):
    """How an attribute is read, and what an error in it costs unless the reader knows better."""

    read: _Reader
    outcome: Outcome = Outcome.TREAT_AS_WITHDRAW


# RFC 7606 sections 7.1 to 7.10 and 7.14; RFC 6793 section 6; RFC 8092.
RULES: dict[int, Rule] = {
    _Type.ORIGIN: Rule(_origin),
    _Type.AS_PATH: Rule(_as_path),
    _Type.NEXT_HOP: Rule(_next_hop),
    _Type.MULTI_EXIT_DISC: Rule(_med),
    _Type.LOCAL_PREF: Rule(_local_pref),
    _Type.ATOMIC_AGGREGATE: Rule(_atomic_aggregate, Outcome.DISCARDED),
    _Type.AGGREGATOR: Rule(_aggregator, Outcome.DISCARDED),
    _Type.COMMUNITIES: Rule(_communities),
    _Type.ORIGINATOR_ID: Rule(_kept(_Type.ORIGINATOR_ID, 4, exact=True, internal=True)),
    _Type.CLUSTER_LIST: Rule(_kept(_Type.CLUSTER_LIST, 4, internal=True)),
    _Type.EXTENDED_COMMUNITIES: Rule(_kept(_Type.EXTENDED_COMMUNITIES, 8)),
    _Type.AS4_PATH: Rule(_as4_path, Outcome.DISCARDED),
    _Type.AS4_AGGREGATOR: Rule(_as4_aggregator, Outcome.DISCARDED),
    _Type.LARGE_COMMUNITIES: Rule(_large_communities),
}
_MULTIPROTOCOL = (_Type.MP_REACH_NLRI, _Type.MP_UNREACH_NLRI)


def name(kind: int) -> str:
    """`ORIGIN`, or `attribute 99`."""
    try:
        return _Type(kind).name
    except ValueError:
        return f"attribute {kind}"


def decode(data: bytes, context: wire_context.Context) -> Draft:
    """Read the path attributes of an UPDATE. Raises MalformedError (3/1, 3/2, 3/9) where the session must end."""
    draft = Draft()
    offset = 0
    while offset < len(data):
        # Fewer than a header, or a length beyond the end: the rest is lost (RFC 7606 section 4).
        start = offset + (4 if data[offset] & wire_attributes.EXTENDED_LENGTH else 3)
        end = start + int.from_bytes(data[offset + 2 : start], "big")
        if start > len(data) or end > len(data):
            text = f"the attribute at offset {offset} ends after the list of attributes"
            draft.problems.append(
                Problem(
                    outcome=Outcome.TREAT_AS_WITHDRAW,
                    attribute=None,
                    subcode=_Subcode.MALFORMED_ATTRIBUTE_LIST,
                    data=b"",
                    text=text,
                )
            )
            break
        _decode_one(draft, data[offset:end], data[start:end], context)
        offset = end
    if not context.four_octet_as:
        draft.as_path, draft.aggregator = four_octet.merge(
            draft.as_path, draft.as4_path, draft.aggregator, draft.as4_aggregator
        )
    return draft


def _decode_one(draft: Draft, whole: bytes, value: bytes, context: wire_context.Context) -> None:
    flags, kind = whole[0], whole[1]
    if kind in draft.seen:
        if kind in _MULTIPROTOCOL:
            raise malformed.MalformedError(
                notifications.Code.UPDATE_MESSAGE,
                _Subcode.MALFORMED_ATTRIBUTE_LIST,
                b"",
                f"{name(kind)} appears twice",
            )
        _note(draft, Outcome.DISCARDED, _Subcode.MALFORMED_ATTRIBUTE_LIST, whole, "appears twice; the first one counts")
        return
    draft.seen.add(kind)
    expected = wire_attributes.FLAGS.get(kind)
    if expected is None:
        if not flags & wire_attributes.OPTIONAL:
            raise malformed.MalformedError(
                notifications.Code.UPDATE_MESSAGE,
                _Subcode.UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE,
                whole,
                f"{name(kind)} claims to be well known, and is not",
            )
        draft.unknown.append(wire_attributes.Unknown(kind, flags & ~wire_attributes.EXTENDED_LENGTH, value))
        return
    wrong_flags = (flags ^ expected) & (wire_attributes.OPTIONAL | wire_attributes.TRANSITIVE)
    if wrong_flags:
        _note(
            draft,
            Outcome.TREAT_AS_WITHDRAW,
            _Subcode.ATTRIBUTE_FLAGS_ERROR,
            whole,
            f"flags {flags:#04x} contradict {expected:#04x}",
        )
    if kind in _MULTIPROTOCOL:
        _decode_multiprotocol(draft, whole, value, context)
        return
    if wrong_flags:
        return
    rule = RULES[kind]
    try:
        rule.read(draft, value, context)
    except _WrongError as error:
        _note(draft, error.outcome or rule.outcome, error.subcode, whole, str(error))


def _note(draft: Draft, outcome: Outcome, subcode: _Subcode, whole: bytes, text: str) -> None:
    # RFC 4271 section 6.3 gives the attribute as data, but for a malformed AS_PATH and a malformed list.
    bare = subcode in (_Subcode.MALFORMED_AS_PATH, _Subcode.MALFORMED_ATTRIBUTE_LIST)
    draft.problems.append(
        Problem(
            outcome=outcome,
            attribute=whole[1],
            subcode=subcode,
            data=b"" if bare else whole,
            text=f"{name(whole[1])}: {text}",
        )
    )


def _decode_multiprotocol(draft: Draft, whole: bytes, value: bytes, context: wire_context.Context) -> None:
    kind = whole[1]
    try:
        if kind == _Type.MP_REACH_NLRI:
            draft.reach = multiprotocol.Reach.parse(value, context)
            draft.foreign_reach = draft.reach is None
        else:
            draft.unreach = multiprotocol.Unreach.parse(value, context)
    except multiprotocol.MultiprotocolError as error:
        raise malformed.MalformedError(
            notifications.Code.UPDATE_MESSAGE, _Subcode.OPTIONAL_ATTRIBUTE_ERROR, whole, f"{name(kind)}: {error}"
        ) from None
    if (draft.reach if kind == _Type.MP_REACH_NLRI else draft.unreach) is None:
        draft.unknown.append(wire_attributes.Unknown(kind, whole[0] & ~wire_attributes.EXTENDED_LENGTH, value))
        _note(draft, Outcome.IGNORED, _Subcode.OPTIONAL_ATTRIBUTE_ERROR, whole, "of a family that was not agreed on")
