"""A stream socket on an event loop, for both ends.

- Bytes come in pieces of whatever the kernel holds, so that everything said at once is handled at once.
- Writing never blocks: what the kernel does not take now waits here. `congested` tells a sender of facts to keep them until `on_drained`, so
  that a peer which does not read costs a bounded amount of memory.
- The end of the stream, or any error on it, is one call of `on_end`.
"""

import asyncio
import socket
from collections.abc import Callable

_CONGESTED = 256 << 10
_PIECE = 256 << 10


class Channel:
    """Owns `sock`, a connected stream socket. All calls come from the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        on_data: Callable[[bytes], None],
        on_end: Callable[[], None],
        on_drained: Callable[[], None] | None = None,
    ) -> None:
        self._loop = loop
        self._socket: socket.socket | None = sock
        self._on_data = on_data
        self._on_end = on_end
        self._on_drained = on_drained
        self._pending = bytearray()
        sock.setblocking(False)
        loop.add_reader(sock, self._readable)

    @property
    def congested(self) -> bool:
        """Whether the peer is far behind in reading."""
        return len(self._pending) > _CONGESTED

    def send(self, data: bytes) -> None:
        """Send, now or when the peer has read enough; nothing after the end."""
        if self._socket is None:
            return
        if not self._pending:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                self._end()
                return
            if not data:
                return
            self._loop.add_writer(self._socket, self._writable)
        self._pending += data

    def close(self) -> None:
        """Close without calling back. Idempotent. What is pending is lost."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None

    def _end(self) -> None:
        if self._socket is not None:
            self.close()
            self._on_end()

    def _readable(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._on_data(data)
        else:
            self._end()

    def _writable(self) -> None:
        if self._socket is None:
            return
        try:
            sent = self._socket.send(self._pending)
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        del self._pending[:sent]
        if not self._pending:
            self._loop.remove_writer(self._socket)
            if self._on_drained is not None:
                self._on_drained()
