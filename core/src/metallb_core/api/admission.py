"""AdmissionReview (admission.k8s.io/v1): the API server asks whether an object may be stored, and how its answer is written."""

from typing import Any, Final, TypeVar

import msgspec

from metallb_core.api import meta

T = TypeVar("T")

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"


class GroupVersionKind(meta.Wire, frozen=True):
    group: str = ""
    version: str = ""
    kind: str = ""


class AdmissionRequest(meta.Wire, frozen=True):
    """`object` is what would be stored, `old_object` what is stored now, both as they came: `null` or nothing where there is none."""

    uid: str
    kind: GroupVersionKind = GroupVersionKind()
    name: str = ""
    namespace: str = ""
    operation: str = ""
    object: msgspec.Raw = msgspec.Raw()
    old_object: msgspec.Raw = msgspec.Raw()


class AdmissionStatus(meta.Wire, frozen=True):
    """Status (meta/v1) of a refusal."""

    message: str
    code: int
    reason: str


class AdmissionResponse(meta.Wire, frozen=True, omit_defaults=False):
    """`warnings` are shown to whoever writes, whatever the answer."""

    uid: str
    allowed: bool
    status: AdmissionStatus | msgspec.UnsetType = msgspec.UNSET
    warnings: list[str] | msgspec.UnsetType = msgspec.UNSET


class AdmissionReview(meta.Wire, frozen=True):
    """Question and answer are one kind (admission.k8s.io/v1)."""

    api_version: str = ""
    kind: str = ""
    request: AdmissionRequest | None = None
    response: AdmissionResponse | None = None


class UnreadableError(ValueError):
    """Not what was expected. The message says where."""


_REVIEW: Final = msgspec.json.Decoder(AdmissionReview)
_ENCODER: Final = msgspec.json.Encoder()
_decoders: Final[dict[Any, Any]] = {}


def parse(body: bytes) -> AdmissionRequest:
    """The question in a request's body. Raises UnreadableError."""
    try:
        found = _REVIEW.decode(body)
    except msgspec.MsgspecError as error:
        raise UnreadableError(f"this is no {KIND}: {error}") from None
    if found.api_version != API_VERSION or found.kind != KIND or found.request is None:
        raise UnreadableError(f"expected a {KIND} of {API_VERSION} with a request")
    return found.request


def read(kind: type[T], raw: msgspec.Raw) -> T:
    """An object of a question. Raises UnreadableError."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        found: T = decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise UnreadableError(str(error)) from None
    return found


def allowed(asked: AdmissionRequest, warnings: tuple[str, ...] = ()) -> AdmissionReview:
    """It may be stored."""
    return _answer(AdmissionResponse(uid=asked.uid, allowed=True, warnings=list(warnings) or msgspec.UNSET))


def refused(asked: AdmissionRequest, status: AdmissionStatus, warnings: tuple[str, ...] = ()) -> AdmissionReview:
    """It may not."""
    return _answer(
        AdmissionResponse(uid=asked.uid, allowed=False, status=status, warnings=list(warnings) or msgspec.UNSET)
    )


def serialise(answer: AdmissionReview) -> bytes:
    """The body of an answer."""
    return _ENCODER.encode(answer)


def _answer(response: AdmissionResponse) -> AdmissionReview:
    return AdmissionReview(api_version=API_VERSION, kind=KIND, response=response)
