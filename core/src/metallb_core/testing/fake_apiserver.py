"""An API server in memory, for tests of what talks to one: real HTTP on loopback, real watches, and faults on demand.

It does what the tests compare it in with a real one: list with pages, watch with bookmarks, create, merge patch (also strategic), apply,
delete, the status subresource, resource versions, 409, 410, labels and fields in selectors (equality only). It knows no schema: any group and
kind is accepted.

Faults: `fail` makes the next requests fail; `close_watches` ends them as the server would; `freeze` holds all connections open in silence;
`stop` and `start` take the server away and bring it back on its port with its data, as `kill -9` does; `compact` forgets history.
"""

import asyncio
import contextlib
import copy
import dataclasses
import datetime
import json
import random
import uuid
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from aiohttp import web

# Kinds of the core whose status subresource lets metadata through, as the real one does for Services.
METADATA_WITH_STATUS: Final = frozenset({("", "services"), ("", "nodes"), ("", "pods")})
# Groups whose kinds know a strategic merge patch.
BUILT_IN: Final = frozenset({"", "apps", "discovery.k8s.io", "coordination.k8s.io"})
# Lists that such a patch merges item by item, and the key of their items; any other list is replaced.
MERGED_LISTS: Final = {"conditions": "type"}


_PORTS_TRIED: Final = 20


class _Place(NamedTuple):
    """What a path names."""

    group: str
    version: str
    namespace: str
    plural: str
    name: str
    subresource: str

    @property
    def collection(self) -> tuple[str, str]:
        return self.group, self.plural


class Seen(NamedTuple):
    """A request that came in; `verb` is its HTTP method, or WATCH."""

    verb: str
    path: str
    query: dict[str, str]


class _Change(NamedTuple):
    version: int
    collection: tuple[str, str]
    type: str
    before: dict[str, Any] | None
    after: dict[str, Any]


@dataclasses.dataclass(slots=True)
class _Fault:
    times: int
    status: int
    retry_after: int | None
    verb: str | None
    plural: str | None


class Refused(Exception):  # noqa: N818 - what the server says, not what went wrong in here
    """A request that ends in a Status."""

    def __init__(self, code: int, reason: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after

    def answer(self) -> web.Response:
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else {}
        return web.json_response(self.status(), status=self.code, headers=headers)

    def status(self) -> dict[str, Any]:
        details = {"retryAfterSeconds": self.retry_after} if self.retry_after is not None else {}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "details": details,
            "code": self.code,
        }


class FakeApiServer:
    """See the module. Use `async with`, or `start` and `stop`. `url` is valid once started and stays the same."""

    def __init__(self, *, bookmark_seconds: float = 60.0) -> None:
        self._objects: dict[tuple[str, str], dict[tuple[str, str], dict[str, Any]]] = {}
        self._history: list[_Change] = []
        self._version = 1000
        self._oldest = 0
        self._applied: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._watchers: set[asyncio.Queue[_Change | None]] = set()
        self._streams: set[web.StreamResponse] = set()
        self._faults: list[_Fault] = []
        self._frozen: asyncio.Event | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.bookmark_seconds = bookmark_seconds
        # A watch ends by itself after this many events, if set.
        self.events_before_close: int | None = None
        self.slowness = 0.0
        self.requests: list[Seen] = []
        # Called with each request before it is answered.
        self.on_request: Callable[[Seen], None] | None = None
        self.headers: list[dict[str, str]] = []
        # Answers of create for kinds that are questions (reviews), by plural.
        self.answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}

    async def __aenter__(self) -> "FakeApiServer":
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def version(self) -> str:
        """The newest resource version."""
        return str(self._version)

    @property
    def watches(self) -> int:
        """Watches that are open."""
        return len(self._watchers)

    async def start(self) -> None:
        """Listen, on the port of before if there was one."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._runner = runner
        if self._port:
            await web.TCPSite(runner, "127.0.0.1", self._port, reuse_address=True).start()
            return
        # Below the ports that the kernel gives to outgoing connections, lest one of them takes ours while we are away.
        for attempt in range(_PORTS_TRIED):
            port = random.randrange(10240, 32768)
            try:
                await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
            except OSError:
                if attempt == _PORTS_TRIED - 1:
                    raise
            else:
                self._port = port
                return

    async def stop(self) -> None:
        """Go away: connections break, data stays. Stopping twice is fine."""
        self.thaw()
        for stream in tuple(self._streams):
            transport = stream._req.transport if stream._req is not None else None
            if transport is not None:
                transport.abort()
        self.close_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def fail(
        self,
        status: int,
        *,
        times: int = 1,
        retry_after: int | None = None,
        verb: str | None = None,
        plural: str | None = None,
    ) -> None:
        """Make the next `times` requests (of that HTTP method or `WATCH`, of that plural) fail with `status`."""
        self._faults.append(_Fault(times, status, retry_after, verb, plural))

    def close_watches(self) -> None:
        """End all watches as the server does when their time is up."""
        for watcher in self._watchers:
            watcher.put_nowait(None)

    def freeze(self) -> None:
        """Answer nothing any more, connections stay open."""
        self._frozen = asyncio.Event()

    def thaw(self) -> None:
        """Undo `freeze`."""
        if self._frozen is not None:
            self._frozen.set()
            self._frozen = None

    def compact(self) -> None:
        """Forget history: a watch from before now gets 410."""
        self._history.clear()
        self._oldest = self._version

    # Direct access, for arranging and asserting.

    def put(self, group: str, plural: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create or replace an object; its uid stays if it is there."""
        held = self._objects.setdefault((group, plural), {})
        key = (body["metadata"].get("namespace", ""), body["metadata"]["name"])
        before = held.get(key)
        body = copy.deepcopy(body)
        metadata = body["metadata"]
        metadata["uid"] = before["metadata"]["uid"] if before else metadata.get("uid") or str(uuid.uuid4())
        metadata.setdefault("creationTimestamp", datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
        self._commit((group, plural), "MODIFIED" if before else "ADDED", before, body)
        held[key] = body
        return body

    def get(self, group: str, plural: str, name: str, namespace: str = "") -> dict[str, Any] | None:
        """The object as it is, or None."""
        return self._objects.get((group, plural), {}).get((namespace, name))

    def all(self, group: str, plural: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        return list(self._objects.get((group, plural), {}).values())

    def remove(self, group: str, plural: str, name: str, namespace: str = "") -> None:
        """Delete an object that is there."""
        before = self._objects[(group, plural)].pop((namespace, name))
        self._commit((group, plural), "DELETED", before, copy.deepcopy(before))

    def _commit(
        self, collection: tuple[str, str], kind: str, before: dict[str, Any] | None, after: dict[str, Any]
    ) -> None:
        self._version += 1
        after["metadata"]["resourceVersion"] = str(self._version)
        change = _Change(self._version, collection, kind, before, after)
        self._history.append(change)
        for watcher in self._watchers:
            watcher.put_nowait(change)

    # HTTP.

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        verb = "WATCH" if request.query.get("watch") in ("1", "true") else request.method
        seen = Seen(verb, request.path, dict(request.query))
        self.requests.append(seen)
        if self.on_request is not None:
            self.on_request(seen)
        self.headers.append(dict(request.headers))
        try:
            place = _locate(request.path)
            if self._frozen is not None:
                await self._frozen.wait()
            if self.slowness:
                await asyncio.sleep(self.slowness)
            self._misbehave(verb, place)
            match verb:
                case "WATCH":
                    return await self._watch(request, place)
                case "GET" if place.name:
                    return web.json_response(self._existing(place))
                case "GET":
                    return self._list(request, place)
                case "POST":
                    return self._create(place, await request.json())
                case "PATCH":
                    return self._patch(request, place, json.loads(await request.read()))
                case "DELETE":
                    return self._delete(place, await request.read())
                case _:
                    raise Refused(405, "MethodNotAllowed", f"{verb} is not served")
        except Refused as refused:
            return refused.answer()

    def _misbehave(self, verb: str, place: _Place) -> None:
        for fault in self._faults:
            if fault.verb in (None, verb) and fault.plural in (None, place.plural) and fault.times > 0:
                fault.times -= 1
                reasons = {
                    410: "Expired",
                    429: "TooManyRequests",
                    503: "ServiceUnavailable",
                    409: "Conflict",
                    401: "Unauthorized",
                }
                raise Refused(
                    fault.status, reasons.get(fault.status, "InternalError"), "as arranged", fault.retry_after
                )

    def _existing(self, place: _Place) -> dict[str, Any]:
        found = self._objects.get(place.collection, {}).get((place.namespace, place.name))
        if found is None:
            raise Refused(404, "NotFound", f'{place.plural} "{place.name}" not found')
        return found

    def _list(self, request: web.Request, place: _Place) -> web.Response:
        chosen = [
            item
            for key, item in sorted(self._objects.get(place.collection, {}).items())
            if _selected(item, place, request.query)
        ]
        limit = int(request.query.get("limit", "0") or "0")
        version, start = self._version, 0
        if "continue" in request.query:
            version, start = map(int, request.query["continue"].split("."))
            if version < self._oldest:
                raise Refused(410, "Expired", "The provided continue parameter is too old")
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        items = chosen[start:]
        if limit and len(items) > limit:
            metadata["continue"] = f"{version}.{start + limit}"
            items = items[:limit]
        response = web.json_response(
            {"kind": "List", "apiVersion": _api_version(place), "metadata": metadata, "items": items}
        )
        if len(items) > 100:
            response.enable_compression()
        return response

    def _create(self, place: _Place, body: dict[str, Any]) -> web.Response:
        answer = self.answers.get(place.plural)
        if answer is not None:
            return web.json_response(answer(body), status=201)
        metadata = body.setdefault("metadata", {})
        if place.namespace:
            metadata["namespace"] = place.namespace
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise Refused(422, "Invalid", "name or generateName is required")
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        if metadata.get("resourceVersion"):
            raise Refused(400, "BadRequest", "resourceVersion should not be set on objects to be created")
        if self.get(place.group, place.plural, metadata["name"], place.namespace) is not None:
            raise Refused(409, "AlreadyExists", f'{place.plural} "{metadata["name"]}" already exists')
        return web.json_response(self.put(place.group, place.plural, body), status=201)

    def _patch(self, request: web.Request, place: _Place, body: dict[str, Any]) -> web.Response:
        kind = request.headers.get("Content-Type", "")
        if kind.startswith("application/apply-patch"):
            return self._apply(request, place, body)
        strategic = kind.startswith("application/strategic-merge-patch") and place.group in BUILT_IN
        if not kind.startswith("application/merge-patch") and not strategic:
            raise Refused(415, "UnsupportedMediaType", f"{kind} is not served")
        before = self._existing(place)
        wanted = (body.get("metadata") or {}).get("resourceVersion")
        if wanted and wanted != before["metadata"]["resourceVersion"]:
            raise Refused(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {place.plural} "{place.name}": the object has been modified',
            )
        after = _strategically_merged(before, body) if strategic else _merged(before, body)
        return web.json_response(self._replace(place, before, after))

    def _apply(self, request: web.Request, place: _Place, body: dict[str, Any]) -> web.Response:
        manager = request.query.get("fieldManager", "")
        if not manager:
            raise Refused(400, "BadRequest", "fieldManager is required for apply patch")
        if (body.get("metadata") or {}).get("name") != place.name:
            raise Refused(400, "BadRequest", f"the name of the object ({place.name} based on URL) was undeterminable")
        owner = (*place, manager)
        before = self._objects.get(place.collection, {}).get((place.namespace, place.name))
        previous = self._applied.get(owner, {})
        self._applied[owner] = copy.deepcopy(body)
        if before is None:
            return self._create(place, copy.deepcopy(body))
        after = _strategically_merged(_without(before, previous, body), body)
        return web.json_response(self._replace(place, before, after))

    def _replace(self, place: _Place, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
        """Store `after` as far as the subresource lets it, if that changes anything."""
        chosen = copy.deepcopy(before)
        if place.subresource == "status":
            if "status" in after:
                chosen["status"] = after["status"]
            if place.collection in METADATA_WITH_STATUS:
                for field in ("annotations", "labels"):
                    if field in after["metadata"]:
                        chosen["metadata"][field] = after["metadata"][field]
        else:
            status = chosen.get("status")
            chosen = after
            if status is not None and place.collection != ("", "events"):
                chosen["status"] = status
        for field in ("uid", "name", "namespace", "resourceVersion"):
            if field in before["metadata"]:
                chosen["metadata"][field] = before["metadata"][field]
        if chosen == before:
            return before
        return self.put(place.group, place.plural, chosen)

    def _delete(self, place: _Place, body: bytes) -> web.Response:
        found = self._existing(place)
        wanted = (json.loads(body).get("preconditions") or {}).get("uid") if body else None
        if wanted and wanted != found["metadata"]["uid"]:
            raise Refused(409, "Conflict", "the UID in the precondition does not match")
        self.remove(place.group, place.plural, place.name, place.namespace)
        return web.json_response({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})

    async def _watch(self, request: web.Request, place: _Place) -> web.StreamResponse:
        since = int(request.query.get("resourceVersion", "0") or "0")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._streams.add(response)
        watcher: asyncio.Queue[_Change | None] = asyncio.Queue()
        try:
            if since < self._oldest:
                status = Refused(410, "Expired", f"too old resource version: {since} ({self._oldest})").status()
                await _send(response, {"type": "ERROR", "object": status})
                return response
            for change in self._history:
                if change.version > since:
                    watcher.put_nowait(change)
            self._watchers.add(watcher)
            await self._stream(request, place, response, watcher)
        except (ConnectionError, RuntimeError):
            pass  # The client is gone.
        finally:
            self._watchers.discard(watcher)
            self._streams.discard(response)
        return response

    async def _stream(
        self,
        request: web.Request,
        place: _Place,
        response: web.StreamResponse,
        watcher: "asyncio.Queue[_Change | None]",
    ) -> None:
        loop = asyncio.get_running_loop()
        bookmarks = request.query.get("allowWatchBookmarks") == "true"
        end = loop.time() + float(request.query.get("timeoutSeconds", "1800"))
        sent = 0
        while (left := end - loop.time()) > 0:
            if self.events_before_close is not None and sent >= self.events_before_close:
                return
            change: _Change | None = None
            try:
                async with asyncio.timeout(min(left, self.bookmark_seconds)):
                    change = await watcher.get()
            except TimeoutError:
                if self._frozen is not None:
                    await self._frozen.wait()
                if bookmarks:
                    await _send(response, _bookmark(place, self._version))
                continue
            if change is None:
                return
            if self._frozen is not None:
                await self._frozen.wait()
            event = _seen(change, place, request.query)
            if event is not None:
                await _send(response, event)
                sent += 1


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    with contextlib.suppress(ConnectionResetError):
        await response.write(json.dumps(event).encode() + b"\n")


def _bookmark(place: _Place, version: int) -> dict[str, Any]:
    metadata = {"resourceVersion": str(version), "creationTimestamp": None}
    return {"type": "BOOKMARK", "object": {"apiVersion": _api_version(place), "metadata": metadata}}


def _seen(change: _Change, place: _Place, query: Any) -> dict[str, Any] | None:
    """The change as a watcher with a selection sees it: leaving the selection is a deletion, entering it an addition."""
    if change.collection != place.collection:
        return None
    now = change.type != "DELETED" and _selected(change.after, place, query)
    was = change.before is not None and _selected(change.before, place, query)
    if not now and not was:
        return None
    kind = "DELETED" if not now else "MODIFIED" if was else "ADDED"
    return {"type": kind, "object": change.after}


def _locate(path: str) -> _Place:
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise Refused(404, "NotFound", f"the server could not find the requested resource {path}")
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    return _Place(
        group, version, namespace, rest[0], rest[1] if len(rest) > 1 else "", rest[2] if len(rest) > 2 else ""
    )


def _api_version(place: _Place) -> str:
    return f"{place.group}/{place.version}" if place.group else place.version


def _selected(item: dict[str, Any], place: _Place, query: Any) -> bool:
    metadata = item["metadata"]
    if place.namespace and metadata.get("namespace") != place.namespace:
        return False
    for term in filter(None, query.get("labelSelector", "").split(",")):
        name, _, value = term.replace("==", "=").partition("=")
        if (metadata.get("labels") or {}).get(name) != value:
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        name, _, value = term.replace("==", "=").partition("=")
        found: Any = item
        for part in name.split("."):
            found = found.get(part, "") if isinstance(found, dict) else ""
        if found != value:
            return False
    return True


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(copy.deepcopy(target)) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def _strategically_merged(target: Any, patch: Any) -> Any:
    """As `_merged`, but lists of MERGED_LISTS by the key of their items; new items come first, as with the real one."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(copy.deepcopy(target)) if isinstance(target, dict) else {}
    for name, value in patch.items():
        key = MERGED_LISTS.get(name)
        if value is None:
            result.pop(name, None)
        elif key is not None and isinstance(value, list):
            held = {item[key]: item for item in result.get(name) or []}
            new = []
            for item in value:
                if item.get("$patch") == "delete":
                    held.pop(item[key], None)
                elif item[key] in held:
                    held[item[key]] = _strategically_merged(held[item[key]], item)
                else:
                    new.append(copy.deepcopy(item))
            result[name] = [*new, *held.values()]
            if not result[name]:
                del result[name]
        else:
            result[name] = _strategically_merged(result.get(name), value)
    return result


def _without(target: Any, previous: Any, now: Any) -> Any:
    """`target` less the fields that `previous` owned and `now` does not mention."""
    if not isinstance(target, dict) or not isinstance(previous, dict):
        return target
    result = dict(target)
    for name, value in previous.items():
        if name not in result:
            continue
        key = MERGED_LISTS.get(name)
        if key is not None and isinstance(value, list):
            keeps = {item[key] for item in (now.get(name) or () if isinstance(now, dict) else ())}
            lost = {item[key] for item in value} - keeps
            result[name] = [item for item in result[name] if item[key] not in lost]
        elif not isinstance(now, dict) or name not in now:
            del result[name]
        elif isinstance(value, dict):
            result[name] = _without(result[name], value, now[name])
    return result
