"""One connection pool to the API server and the verbs we use.

- No throttle on our side. When the server sheds load (429, 503) its Retry-After is honoured, a few times and with jitter.
- A repeat must be harmless: reads are repeated after a transport failure too, writes only when the server said that it did nothing. After
  Unreachable the caller decides, since it alone can read and compare.
- Lists come in pages, so that neither side holds ten thousand objects as text. Watches end by themselves, and a silent one ends too: a bookmark
  is due every minute or two, so no byte for `SILENCE` means that nobody is at the other end.
"""

import asyncio
import contextlib
import random as _random
import socket
import ssl
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

import aiohttp
import msgspec

from metallb_core.kube import codec, connection, errors, resources
from metallb_core.runtime import backoff, clock

W = TypeVar("W", bound=resources.Object)
T = TypeVar("T")

PAGE: Final = 500
# A real server's bookmarks come every 60 s, the first one of a quiet watch after 120 s (measured on 1.34).
SILENCE: Final = 200.0
# Objects are at most about 1.5 MiB in etcd; a line longer than this is no watch event.
LONGEST_LINE: Final = 16 * 2**20
ATTEMPTS: Final = 5
RETRY: Final = backoff.Policy(first=0.1, limit=5.0)
LONGEST_RETRY_AFTER: Final = 10.0
# Turns of the event loop that a connection needs to end after its socket was shut down: three; the rest is margin.
CLOSING_TURNS: Final = 20
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
_READ_BUFFER: Final = 2**21

OnRequest = Callable[[str, str, int, float], None]


class Client:
    """See the module. `on_request(verb, resource, status, seconds)` hears of each answer; status 0 means there was none."""

    def __init__(
        self,
        connection: connection.Connection,
        *,
        user_agent: str,
        on_request: OnRequest | None = None,
        pool: int = 32,
        timeout: float = 30.0,
        clock: clock.Clock | None = None,
        random: backoff.Random | None = None,
    ) -> None:
        self.connection = connection
        self._user_agent = user_agent
        self._on_request = on_request
        self._pool = pool
        self._timeout = timeout
        self._clock = clock if clock is not None else _system_clock()
        self._random: backoff.Random = random if random is not None else _random.Random()
        self._session: aiohttp.ClientSession | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        context = self.connection.ssl_context()
        connector = aiohttp.TCPConnector(
            limit=self._pool,
            ssl=context if context is not None else True,
            socket_factory=self._socket,
            # Well below the server's own idle limit, so that we never write into a connection it is closing.
            keepalive_timeout=60,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            read_bufsize=_READ_BUFFER,
            headers={"User-Agent": self._user_agent, "Accept": "application/json"},
            auto_decompress=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
            await self._wait_closed()

    async def _wait_closed(self) -> None:
        """End what is left of connections that were given up earlier: TLS says goodbye and waits half a minute for the answer."""
        for _ in range(CLOSING_TURNS):
            left = [each for each in self._sockets if each.fileno() != -1]
            if not left:
                return
            for each in left:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            await asyncio.sleep(0)

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        made = _socket(info)
        self._sockets.add(made)
        return made

    @overload
    async def get(self, resource: resources.Resource[W, Any, Any], name: str, namespace: str | None = None) -> W: ...

    @overload
    async def get(
        self, resource: resources.Resource[Any, Any, Any], name: str, namespace: str | None = None, *, type: type[T]
    ) -> T: ...

    async def get(
        self,
        resource: resources.Resource[Any, Any, Any],
        name: str,
        namespace: str | None = None,
        *,
        type: Any = None,  # noqa: A002
    ) -> Any:
        """One object, decoded as the resource's struct or as `type` (a struct with more fields, or dict). Raises ApiError, Unreachable."""
        body = await self._request("get", resource, resource.path(namespace, name))
        return codec.decode(type if type is not None else resource.wire, body)

    async def list(
        self,
        resource: resources.Resource[W, Any, Any],
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        *,
        limit: int | None = PAGE,
    ) -> AsyncIterator[codec.Page[W]]:
        """All objects, page by page; always one page, perhaps empty. `limit` None asks for a single page. Raises ApiError, Unreachable.

        The list is consistent: it shows what was stored when it began, not what a cache remembers.
        """
        query = _selection(label_selector, field_selector)
        if limit is not None:
            query["limit"] = str(limit)
        path = resource.path(namespace)
        while True:
            body = await self._request("list", resource, path, query=query)
            page = codec.decode_page(resource.wire, body)
            yield page
            if not page.continue_token:
                return
            query["continue"] = page.continue_token

    async def create(
        self,
        resource: resources.Resource[W, Any, Any],
        body: msgspec.Struct | Mapping[str, Any],
        namespace: str | None = None,
    ) -> W:
        """Create; a Struct gets its apiVersion and kind here. Raises ApiError (already_exists), Unreachable."""
        answer = await self._request(
            "create", resource, resource.path(namespace), body=_typed(resource, body), content="application/json"
        )
        return codec.decode(resource.wire, answer)

    async def merge_patch(
        self,
        resource: resources.Resource[W, Any, Any],
        name: str,
        namespace: str | None,
        body: msgspec.Struct | Mapping[str, Any],
        *,
        subresource: str | None = None,
    ) -> W:
        """Merge (RFC 7396): what `body` names is set, null removes. With `metadata.resourceVersion` in it, only if unchanged since.

        Raises ApiError (conflict, not_found), Unreachable.
        """
        path = resource.path(namespace, name, subresource)
        answer = await self._request("patch", resource, path, body=codec.encode(body), content=MERGE)
        return codec.decode(resource.wire, answer)

    async def strategic_patch(
        self,
        resource: resources.Resource[W, Any, Any],
        name: str,
        namespace: str | None,
        body: msgspec.Struct | Mapping[str, Any],
        *,
        subresource: str | None = None,
    ) -> W:
        """As `merge_patch`, for kinds of Kubernetes itself: a list whose items have a key (conditions: their type) is merged item by item, so
        that those of other writers stay; an item with `$patch: delete` goes. Custom resources know no such patch.
        """
        path = resource.path(namespace, name, subresource)
        answer = await self._request("patch", resource, path, body=codec.encode(body), content=STRATEGIC)
        return codec.decode(resource.wire, answer)

    async def apply(
        self,
        resource: resources.Resource[W, Any, Any],
        name: str,
        namespace: str | None,
        body: msgspec.Struct | Mapping[str, Any],
        *,
        field_manager: str,
        force: bool = True,
        subresource: str | None = None,
    ) -> W:
        """Server-side apply: the object has exactly these fields of ours afterwards, created if need be. Raises ApiError, Unreachable."""
        query = {"fieldManager": field_manager, "force": "true" if force else "false"}
        path = resource.path(namespace, name, subresource)
        encoded = _typed(resource, body, name)
        answer = await self._request("apply", resource, path, method="PATCH", query=query, body=encoded, content=APPLY)
        return codec.decode(resource.wire, answer)

    async def delete(
        self,
        resource: resources.Resource[Any, Any, Any],
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        missing_ok: bool = True,
    ) -> bool:
        """Delete; with `uid` only that very object. True if it was there. Raises ApiError (conflict if the uid differs), Unreachable."""
        body = (
            codec.encode({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}) if uid else None
        )
        try:
            await self._request(
                "delete",
                resource,
                resource.path(namespace, name),
                body=body,
                content="application/json" if body else None,
            )
        except errors.ApiError as error:
            if error.not_found and missing_ok:
                return False
            raise
        return True

    async def watch(
        self,
        resource: resources.Resource[Any, Any, Any],
        resource_version: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        *,
        timeout_seconds: float = 300,
        silence: float = SILENCE,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[codec.Event, None]:
        """What happened after `resource_version`, until the server ends it (about `timeout_seconds`). Raises ApiError (gone), Unreachable.

        `silence`: seconds without a byte after which the other end counts as dead. `on_open` is called once the server has accepted.
        """
        query = _selection(label_selector, field_selector)
        query |= {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(timeout_seconds))),
        }
        # A watch that outlives its own limit by this much is held by something that is not the server.
        overall = timeout_seconds + max(5.0, timeout_seconds * 0.1)
        timeout = aiohttp.ClientTimeout(total=overall, sock_connect=10, sock_read=silence)
        started = self._clock.monotonic()
        status = 0
        try:
            headers = {**self._headers(), "Accept-Encoding": "identity"}
            async with self._open().get(
                self._url(resource.path(namespace)),
                params=query,
                headers=headers,
                timeout=timeout,
                server_hostname=self.connection.server_name,
            ) as answer:
                status = answer.status
                self._note("watch", resource, status, started)
                if status != 200:
                    if status == 401:
                        self.connection.credentials.invalidate()
                    raise codec.decode_error(status, await answer.read(), answer.headers.get("Retry-After"))
                if on_open is not None:
                    on_open()
                async for line in _lines(answer.content):
                    yield codec.decode_event(resource.wire, line)
        except (aiohttp.ClientError, OSError, ssl.SSLError, TimeoutError) as error:
            if not status:
                self._note("watch", resource, 0, started)
            raise self._unreachable(error) from error

    async def _request(
        self,
        verb: str,
        resource: resources.Resource[Any, Any, Any],
        path: str,
        *,
        method: str | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content: str | None = None,
    ) -> bytes:
        """One request with its repeats; see the module for which."""
        method = method or _METHODS[verb]
        reading = method == "GET"
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            try:
                return await self._once(verb, resource, method, path, query, body, content)
            except errors.ApiError as error:
                if error.status == 401 and attempt == 1:
                    self.connection.credentials.invalidate()
                    continue
                # 503 may come from halfway, so a creation, which is not idempotent, is not repeated.
                harmless = error.status == 429 or (error.status == 503 and verb != "create")
                if not harmless or last:
                    raise
                wait = min(error.retry_after or 0.0, LONGEST_RETRY_AFTER) + RETRY.delay(attempt, self._random)
            except errors.Unreachable:
                # Twice is enough: whoever asked has a back-off of its own.
                if not reading or attempt >= 2:
                    raise
                wait = RETRY.delay(attempt, self._random)
            await self._clock.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self,
        verb: str,
        resource: resources.Resource[Any, Any, Any],
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None,
        content: str | None,
    ) -> bytes:
        headers = self._headers()
        headers["Accept-Encoding"] = "gzip" if verb == "list" else "identity"
        if content is not None:
            headers["Content-Type"] = content
        timeout = aiohttp.ClientTimeout(total=self._timeout, sock_connect=10)
        started = self._clock.monotonic()
        status = 0
        try:
            async with self._open().request(
                method,
                self._url(path),
                params=query,
                data=body,
                headers=headers,
                timeout=timeout,
                server_hostname=self.connection.server_name,
            ) as answer:
                received = await answer.read()
                status = answer.status
                retry_after = answer.headers.get("Retry-After")
        except (aiohttp.ClientError, OSError, ssl.SSLError, TimeoutError) as error:
            raise self._unreachable(error) from error
        finally:
            self._note(verb, resource, status, started)
        if status >= 300:
            raise codec.decode_error(status, received, retry_after)
        return received

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open; use `async with`")
        return self._session

    def _url(self, path: str) -> str:
        return self.connection.server + path

    def _headers(self) -> dict[str, str]:
        authorization = self.connection.credentials.authorization()
        return {"Authorization": authorization} if authorization is not None else {}

    def _note(self, verb: str, resource: resources.Resource[Any, Any, Any], status: int, started: float) -> None:
        if self._on_request is not None:
            self._on_request(verb, resource.label, status, self._clock.monotonic() - started)

    def _unreachable(self, error: BaseException) -> errors.Unreachable:
        text = str(error) or type(error).__name__
        return errors.Unreachable(f"no answer from {self.connection.server}: {text}")


_METHODS: Final = {"get": "GET", "list": "GET", "create": "POST", "patch": "PATCH", "delete": "DELETE"}


def _system_clock() -> clock.Clock:
    return clock.SystemClock()


def _socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that notices within half a minute that the machine at the other end is gone, even while nothing is written."""
    family, kind, protocol, _, _ = info
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000)
    return made


def _selection(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    query = {}
    if label_selector:
        query["labelSelector"] = label_selector
    if field_selector:
        query["fieldSelector"] = field_selector
    return query


def _typed(
    resource: resources.Resource[Any, Any, Any], body: msgspec.Struct | Mapping[str, Any], name: str | None = None
) -> bytes:
    """The body with its apiVersion and kind, which the Structs leave out since the resource knows them, and with its name if given."""
    fields: dict[str, Any] = dict(msgspec.to_builtins(body)) if isinstance(body, msgspec.Struct) else dict(body)
    if name is not None:
        fields["metadata"] = {**fields.get("metadata", {}), "name": name}
    return codec.encode({"apiVersion": resource.api_version, "kind": resource.kind, **fields})


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream, without their ends. Raises Unreachable when one is absurdly long."""
    pending: list[bytes] = []
    held = 0
    async for chunk in content.iter_any():
        if b"\n" not in chunk:
            pending.append(chunk)
            held += len(chunk)
            if held > LONGEST_LINE:
                raise errors.Unreachable(f"a watch event is longer than {LONGEST_LINE} bytes")
            continue
        *lines, rest = (b"".join((*pending, chunk)) if pending else chunk).split(b"\n")
        pending, held = ([rest], len(rest)) if rest else ([], 0)
        for line in lines:
            if line:
                yield line
