"""How lists and watch events decode. One object that does not is set aside with its name and the reason; the others go on.

A page is decoded as a whole, which is fastest; only when that fails is it decoded object by object to find the odd ones. Decoders are made
once for each type, since making one costs more than using it.
"""

import dataclasses
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from metallb_core.api import meta
from metallb_core.kube import errors, resources

W = TypeVar("W", bound=resources.Object)
T = TypeVar("T")


class Invalid(NamedTuple):
    """An object that could not be read: its metadata, as far as there is any, and what is wrong, with the field's path."""

    metadata: meta.ObjectMeta
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[W]):
    """Part of a list. `continue_token` is empty on the last page; `resource_version` is the same on all of them."""

    items: list[W]
    invalid: tuple[Invalid, ...]
    resource_version: str
    continue_token: str


class Event(NamedTuple):
    """A watch event: ADDED, MODIFIED or DELETED with an object or what is wrong with it, or BOOKMARK with neither.

    A NamedTuple, since tens of thousands are made in a second.
    """

    type: str
    object: Any
    invalid: Invalid | None
    resource_version: str


class _List(meta.Wire, Generic[W], frozen=True):
    items: list[W] | None = None
    metadata: meta.ListMeta = msgspec.field(default_factory=meta.ListMeta)


class _Envelope(meta.Wire, frozen=True):
    type: str
    object: msgspec.Raw


class _Identity(meta.Wire, frozen=True):
    """The part of metadata without which an object cannot even be set aside; read apart, since another part may be what is odd.

    A bookmark, for one, has no creationTimestamp but null.
    """

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _Anything(meta.Wire, frozen=True):
    """Any object, its identity only."""

    metadata: _Identity = msgspec.field(default_factory=_Identity)


class _StatusDetails(meta.Wire, frozen=True):
    retry_after_seconds: float | None = None


class _Status(meta.Wire, frozen=True):
    """Status (meta/v1)."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: _StatusDetails | None = None


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_STATUS: Final = msgspec.json.Decoder(_Status)
_ANYTHING: Final = msgspec.json.Decoder(_Anything)
_ENCODER: Final = msgspec.json.Encoder()
# Lists of untyped objects, each still as bytes.
_RAW_LIST: Final = msgspec.json.Decoder(_List[msgspec.Raw])  # type: ignore[type-var]


_decoders: Final[dict[Any, Any]] = {}
_list_decoders: Final[dict[Any, Any]] = {}


def decoder_of(wire: Any) -> "msgspec.json.Decoder[Any]":
    """The decoder of one object."""
    found: msgspec.json.Decoder[Any] | None = _decoders.get(wire)
    if found is None:
        found = _decoders[wire] = msgspec.json.Decoder(wire)
    return found


def _list_decoder_of(wire: Any) -> "msgspec.json.Decoder[Any]":
    found: msgspec.json.Decoder[Any] | None = _list_decoders.get(wire)
    if found is None:
        found = _list_decoders[wire] = msgspec.json.Decoder(_List[wire])
    return found


def encode(body: object) -> bytes:
    """An object as JSON."""
    return _ENCODER.encode(body)


def decode(kind: type[T], body: bytes) -> T:
    """One object as any type msgspec knows. Raises Unreachable if it is none."""
    try:
        found: T = decoder_of(kind).decode(body)
        return found
    except msgspec.MsgspecError as error:
        raise errors.Unreachable(f"the answer is no {kind.__name__}: {error}") from None


def decode_page(wire: type[W], body: bytes) -> Page[W]:
    """One page. Raises Unreachable if it is none."""
    try:
        found = _list_decoder_of(wire).decode(body)
        return Page(found.items or [], (), found.metadata.resource_version, found.metadata.continue_ or "")
    except msgspec.MsgspecError:
        return _decode_singly(wire, body)


def _decode_singly(wire: type[W], body: bytes) -> Page[W]:
    try:
        found = _RAW_LIST.decode(body)
    except msgspec.MsgspecError as error:
        raise errors.Unreachable(f"the answer is no list: {error}") from None
    items: list[W] = []
    invalid: list[Invalid] = []
    for raw in found.items or ():
        try:
            items.append(decoder_of(wire).decode(raw))
        except msgspec.MsgspecError as error:
            invalid.append(Invalid(metadata_of(raw), str(error)))
    return Page(items, tuple(invalid), found.metadata.resource_version, found.metadata.continue_ or "")


def decode_event(wire: type[Any], line: bytes) -> Event:
    """One line of a watch. Raises ApiError for an ERROR event, Unreachable for what is no event."""
    try:
        envelope = _ENVELOPE.decode(line)
    except msgspec.MsgspecError as error:
        raise errors.Unreachable(f"the answer is no watch event: {error}") from None
    if envelope.type == "ERROR":
        raise decode_error(0, bytes(envelope.object))
    if envelope.type == "BOOKMARK":
        return Event("BOOKMARK", None, None, metadata_of(envelope.object).resource_version)
    try:
        found = decoder_of(wire).decode(envelope.object)
    except msgspec.MsgspecError as error:
        metadata = metadata_of(envelope.object)
        return Event(envelope.type, None, Invalid(metadata, str(error)), metadata.resource_version)
    return Event(envelope.type, found, None, found.metadata.resource_version)


def metadata_of(raw: msgspec.Raw | bytes) -> meta.ObjectMeta:
    """Name, namespace, uid and version of any object, and no more of its metadata; empty if even that is odd."""
    try:
        found = _ANYTHING.decode(raw).metadata
    except msgspec.MsgspecError:
        return meta.ObjectMeta()
    return meta.ObjectMeta(
        name=found.name, namespace=found.namespace, uid=found.uid, resource_version=found.resource_version
    )


def decode_error(status: int, body: bytes, retry_after: str | None = None) -> errors.ApiError:
    """What a refusal says: the Status object, or the bare text that proxies and overloaded servers send instead."""
    found = _Status()
    try:
        found = _STATUS.decode(body)
    except msgspec.MsgspecError:
        found = _Status(message=body[:200].decode(errors="replace").strip())
    seconds = found.details.retry_after_seconds if found.details is not None else None
    if retry_after is not None and retry_after.strip().isdigit():
        seconds = float(retry_after)
    code = status or found.code
    return errors.ApiError(code, found.reason or "Unknown", found.message or f"status {code}", seconds)
