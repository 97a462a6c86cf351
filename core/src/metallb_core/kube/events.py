"""Events of Kubernetes: what users see in `kubectl describe`.

- `emit` never blocks and never fails: Events are dropped when the queue is full or the server does not want them, and counted.
- The same words about the same object within ten minutes raise the count of the Event there is, rather than making another.
- One object gets at most 25 Events at once and one more each five minutes, so that a flapping Service cannot fill the server's store. These
  numbers, and the fields filled, are those of client-go's recorder, which users and their tools know.
"""

import asyncio
import collections
import dataclasses
import datetime
from typing import Final

from metallb_core.api import events as wire
from metallb_core.api import meta
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import errors, resources
from metallb_core.runtime import clock, log

ObjectRef = wire.ObjectReference

QUEUE: Final = 10_000
REMEMBERED: Final = 4096
REPEAT_SECONDS: Final = 600.0
BURST: Final = 25.0
SECONDS_PER_TOKEN: Final = 300.0
LONGEST_MESSAGE: Final = 1024
# Another replica may have made an Event of our name in the same microsecond.
_NAMES_TRIED: Final = 3

_LOG: Final = log.get("events")
_Key = tuple[ObjectRef, str, str, str]


@dataclasses.dataclass(slots=True)
class _Sent:
    """An Event that is on the server."""

    name: str
    count: int
    last: float


@dataclasses.dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Occurrence:
    regarding: ObjectRef
    type: str
    reason: str
    message: str
    at: datetime.datetime


def service_reference(service: services.Service) -> ObjectRef:
    """A Service as an Event names it."""
    return ObjectRef(
        api_version="v1", kind="Service", namespace=service.key.namespace, name=service.key.name, uid=service.uid
    )


class EventRecorder:
    """See the module. `component` and `host` go into `source`."""

    def __init__(self, client: clients.Client, component: str, host: str, clock: clock.Clock) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock
        self._queue: asyncio.Queue[_Occurrence] = asyncio.Queue(QUEUE)
        self._sent: collections.OrderedDict[_Key, _Sent] = collections.OrderedDict()
        self._buckets: collections.OrderedDict[tuple[str, str, str, str], _Bucket] = collections.OrderedDict()
        self._serial = 0
        self.dropped = 0

    def emit(self, regarding: ObjectRef, type: str, reason: str, message: str) -> None:  # noqa: A002
        """Tell the user; `type` is Normal or Warning, `reason` one word for machines. Returns at once."""
        text = message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 3] + "..."
        try:
            self._queue.put_nowait(_Occurrence(regarding, type, reason, text, self._clock.now()))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Send what was emitted, one after the other, for ever."""
        while True:
            occurrence = await self._queue.get()
            try:
                await self._send(occurrence)
            except (errors.ApiError, errors.Unreachable) as error:
                self.dropped += 1
                _LOG.debug("event not sent", reason=occurrence.reason, object=occurrence.regarding.name, error=error)
            finally:
                self._queue.task_done()

    async def wait_sent(self) -> None:
        """Wait until everything emitted was sent or dropped."""
        await self._queue.join()

    async def _send(self, occurrence: _Occurrence) -> None:
        regarding = occurrence.regarding
        # The version changes with each write of ours; the object stays the same.
        subject = ObjectRef(
            api_version=regarding.api_version,
            kind=regarding.kind,
            name=regarding.name,
            namespace=regarding.namespace,
            uid=regarding.uid,
        )
        if not self._may_speak(subject):
            self.dropped += 1
            return
        key = (subject, occurrence.type, occurrence.reason, occurrence.message)
        known = self._sent.get(key)
        if known is not None and self._clock.monotonic() - known.last <= REPEAT_SECONDS:
            try:
                await self._repeat(known, occurrence)
            except errors.ApiError as error:
                if not error.not_found:
                    raise
                # It expired on the server (events live an hour there) or somebody deleted it.
            else:
                self._sent.move_to_end(key)
                return
        name = await self._create(occurrence)
        self._sent[key] = _Sent(name, 1, self._clock.monotonic())
        self._sent.move_to_end(key)
        if len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)

    async def _repeat(self, known: _Sent, occurrence: _Occurrence) -> None:
        body = {"count": known.count + 1, "lastTimestamp": _timestamp(occurrence.at)}
        await self._client.merge_patch(resources.EVENTS, known.name, _namespace(occurrence.regarding), body)
        known.count += 1
        known.last = self._clock.monotonic()

    async def _create(self, occurrence: _Occurrence) -> str:
        at = _timestamp(occurrence.at)
        for attempt in range(_NAMES_TRIED):
            name = self._name(occurrence)
            event = wire.Event(
                metadata=meta.ObjectMeta(name=name, namespace=_namespace(occurrence.regarding)),
                involved_object=occurrence.regarding,
                reason=occurrence.reason,
                message=occurrence.message,
                source=wire.EventSource(component=self._component, host=self._host),
                first_timestamp=at,
                last_timestamp=at,
                count=1,
                type=occurrence.type,
                reporting_component=self._component,
            )
            try:
                await self._client.create(resources.EVENTS, event, _namespace(occurrence.regarding))
                return name
            except errors.ApiError as error:
                if not error.already_exists or attempt == _NAMES_TRIED - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _name(self, occurrence: _Occurrence) -> str:
        """The object's name and the time in hexadecimal, as client-go does it."""
        self._serial += 1
        since = occurrence.at - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        nanoseconds = (since // datetime.timedelta(microseconds=1)) * 1000 + self._serial % 1000
        # Names of objects may be 253 long; the suffix takes 17 of them.
        return f"{occurrence.regarding.name[:230].rstrip('.')}.{nanoseconds:x}"

    def _may_speak(self, subject: ObjectRef) -> bool:
        key = (subject.kind, subject.namespace, subject.name, subject.uid)
        now = self._clock.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(BURST, now)
            if len(self._buckets) > REMEMBERED:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.filled) / SECONDS_PER_TOKEN)
        bucket.filled = now
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True


def _namespace(regarding: ObjectRef) -> str:
    """Events about cluster-scoped objects live in `default`."""
    return regarding.namespace or "default"


def _timestamp(at: datetime.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
