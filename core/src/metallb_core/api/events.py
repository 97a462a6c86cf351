"""Event (core/v1), as the legacy recorder of client-go fills it, which is what `kubectl describe` reads."""

import msgspec

from metallb_core.api import meta


class ObjectReference(meta.Wire, frozen=True):
    """The object an Event is about."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class EventSource(meta.Wire, frozen=True):
    component: str = ""
    host: str = ""


class Event(meta.Wire, frozen=True):
    """`type` is Normal or Warning; times are RFC 3339 in whole seconds."""

    metadata: meta.ObjectMeta
    involved_object: ObjectReference
    reason: str = ""
    message: str = ""
    source: EventSource = msgspec.field(default_factory=EventSource)
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    count: int = 0
    type: str = ""
    reporting_component: str = ""
    reporting_instance: str = ""
