"""TokenReview (authentication.k8s.io/v1) and SubjectAccessReview (authorization.k8s.io/v1): whose token it is, and what that user may do."""

import msgspec

from metallb_core.api import meta


class TokenReviewSpec(meta.Wire, frozen=True):
    token: str = ""


class UserInfo(meta.Wire, frozen=True):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class TokenReviewStatus(meta.Wire, frozen=True):
    authenticated: bool = False
    user: UserInfo = msgspec.field(default_factory=UserInfo)
    error: str = ""


class TokenReview(meta.Wire, frozen=True):
    metadata: meta.ObjectMeta = msgspec.field(default_factory=meta.ObjectMeta)
    spec: TokenReviewSpec = msgspec.field(default_factory=TokenReviewSpec)
    status: TokenReviewStatus = msgspec.field(default_factory=TokenReviewStatus)


class NonResourceAttributes(meta.Wire, frozen=True):
    path: str = ""
    verb: str = ""


class SubjectAccessReviewSpec(meta.Wire, frozen=True):
    non_resource_attributes: NonResourceAttributes | None = None
    user: str = ""
    groups: list[str] | None = None
    uid: str = ""
    extra: dict[str, list[str]] | None = None


class SubjectAccessReviewStatus(meta.Wire, frozen=True):
    allowed: bool = False
    denied: bool = False
    reason: str = ""


class SubjectAccessReview(meta.Wire, frozen=True):
    metadata: meta.ObjectMeta = msgspec.field(default_factory=meta.ObjectMeta)
    spec: SubjectAccessReviewSpec = msgspec.field(default_factory=SubjectAccessReviewSpec)
    status: SubjectAccessReviewStatus = msgspec.field(default_factory=SubjectAccessReviewStatus)
