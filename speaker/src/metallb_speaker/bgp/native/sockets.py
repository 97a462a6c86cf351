"""The TCP connection to a router: how it is opened, and what an open one gives and takes.

- Everything that a router checks before the first byte is set before connecting: source address, time to live, TCP MD5 (RFC 2385), device.
- A directly connected external router gets packets with a time to live of 1, as FRR and BIRD send and expect by default; all others 255, so
  that a router which was told to insist on it (RFC 5082) accepts us too. We insist on nothing.
- The kernel gives a connection up when what was sent is not acknowledged within the hold time (RFC 5482's TCP_USER_TIMEOUT); without it a
  router that lost power would be written to for a quarter of an hour.
- The kernel asks every few seconds whether the other end still knows the connection (RFC 9293 section 3.8.4). A router that dropped the
  session while the link was away answers with a reset, and we connect again, rather than at the next KEEPALIVE, half a minute later.
- A `Connection` never waits. It says through `wake` that there may be something to read, or room to write.
- Room means room: bytes that are still ours can be replaced by newer ones, bytes that the kernel holds cannot. So it is asked to call itself
  full early (TCP_NOTSENT_LOWAT), and whoever fills it asks `ready` first.
"""

import asyncio
import contextlib
import dataclasses
import enum
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from metallb_core.domain import addresses
from metallb_core.runtime import clock

# Linux numbers that the socket module does not know.
_TCP_MD5SIG: Final = 14
_TCP_NOTSENT_LOWAT: Final = 25
MD5_KEY_BYTES: Final = 80
_CLASS_CS6: Final = 0xC0  # RFC 4594 section 3.1: network control
UNSENT_BYTES: Final = 65536
CONNECT_SECONDS: Final = 10.0
_PROBE_SECONDS: Final = 3
_PROBES_AT_MOST: Final = 127
# How long a closed connection waits for the other end's goodbye; see `Connection.close`.
_LINGER_SECONDS: Final = 1.0
_LINGER_READS: Final = 64


class Failure(enum.Enum):
    """What kept a connection from coming about."""

    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed out"
    SOURCE = "sourceAddress"
    DEVICE = "device"
    PASSWORD = "password"
    SYSTEM = "system"


class ConnectError(Exception):
    """No connection. The text is a sentence for a person, without a final stop; it names the field to look at, and never a password."""

    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to connect, and how. Times in seconds.

    - `interface`: of a link-local `address`, by name. `device`: the VRF that the socket is bound to; empty for neither.
    - `hops`: time to live of what is sent.
    - `user_timeout`: 0 leaves it to the kernel.
    """

    address: addresses.Address
    port: int
    interface: str = ""
    source: addresses.Address | None = None
    device: str = ""
    password: str = dataclasses.field(default="", repr=False)
    hops: int = 255
    user_timeout: float = 0.0
    connect_timeout: float = CONNECT_SECONDS

    def __str__(self) -> str:
        host = str(self.address) + (f"%{self.interface}" if self.interface else "")
        return f"[{host}]:{self.port}" if self.address.family is addresses.Family.IPV6 else f"{host}:{self.port}"


async def open_connection(target: Target, time: clock.Clock, wake: Callable[[], None]) -> "Connection":
    """Connect. Raises ConnectError. Cancelling closes the socket."""
    family = socket.AF_INET if target.address.family is addresses.Family.IPV4 else socket.AF_INET6
    try:
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise ConnectError(Failure.SYSTEM, f"no socket for {target}: {_why(error)}") from error
    try:
        _prepare(made, target)
        await _connect(made, target, time)
        return Connection(made, target.address, asyncio.get_running_loop(), time, wake)
    except OSError as error:
        made.close()
        raise _refused(target, error) from error
    except BaseException:
        made.close()
        raise


def _prepare(made: socket.socket, target: Target) -> None:
    ipv6 = target.address.family is addresses.Family.IPV6
    if is_link_local(target.address) and not target.interface:
        raise ConnectError(
            Failure.DEVICE,
            f"peerAddress {target.address} means something on one link only; name the link by interface instead",
        )
    device = target.device or target.interface
    if device:
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
        except OSError as error:
            field = "vrf" if target.device else "interface"
            raise ConnectError(Failure.DEVICE, f"{field} {device!r} cannot be used: {_why(error)}") from error
    if target.source is not None:
        _bind(made, target.source, target)
    if ipv6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, target.hops)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _CLASS_CS6)
    else:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, target.hops)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _CLASS_CS6)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_SECONDS)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS)
    # The user timeout says when to give up; without one (no hold time) as late as can be.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES_AT_MOST)
    if target.user_timeout > 0:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(target.user_timeout * 1000))
    if target.password:
        set_md5(made, target.address, target.password)


def _bind(made: socket.socket, source: addresses.Address, target: Target) -> None:
    if source.family is not target.address.family:
        raise ConnectError(
            Failure.SOURCE,
            f"sourceAddress {source} is {source.family.kubernetes_name}, the peer's address {target.address} is not;"
            " give both of one family",
        )
    scope = _scope(source, target)
    try:
        made.bind((str(source), 0) if source.family is addresses.Family.IPV4 else (str(source), 0, 0, scope))
    except OSError as error:
        raise ConnectError(
            Failure.SOURCE,
            f"sourceAddress {source} cannot be used: {_why(error)}; it must be an address of this node"
            " (use nodeSelectors where it is another node's), or leave it out",
        ) from error


def _scope(address: addresses.Address, target: Target) -> int:
    """The interface index that a link-local address needs, 0 for others."""
    if not is_link_local(address) or not target.interface:
        return 0
    try:
        return socket.if_nametoindex(target.interface)
    except OSError as error:
        raise ConnectError(Failure.DEVICE, f"interface {target.interface!r} cannot be used: {_why(error)}") from error


def is_link_local(address: addresses.Address) -> bool:
    """Whether an IPv6 address means something on its link only (RFC 4291 section 2.5.6)."""
    return address.family is addresses.Family.IPV6 and address.value >> 118 == 0xFE80 >> 6


def set_md5(made: socket.socket, address: addresses.Address, password: str) -> None:
    """Sign every segment to and from `address` (RFC 2385). Raises ConnectError where key or kernel do not allow it."""
    key = password.encode()
    if len(key) > MD5_KEY_BYTES:
        raise ConnectError(
            Failure.PASSWORD, f"the password has {len(key)} bytes; TCP MD5 takes at most {MD5_KEY_BYTES}"
        )
    # struct tcp_md5sig: sockaddr_storage, flags, prefix length, key length, interface index, key.
    if address.family is addresses.Family.IPV4:
        where = struct.pack("=HH4s120x", socket.AF_INET, 0, address.packed())
    else:
        where = struct.pack("=HHI16sI100x", socket.AF_INET6, 0, 0, address.packed(), 0)
    try:
        made.setsockopt(
            socket.IPPROTO_TCP, _TCP_MD5SIG, where + struct.pack(f"=BBHi{MD5_KEY_BYTES}s", 0, 0, len(key), 0, key)
        )
    except OSError as error:
        raise ConnectError(
            Failure.PASSWORD, f"the password cannot be used: this node's kernel has no TCP MD5 ({_why(error)})"
        ) from error


async def _connect(made: socket.socket, target: Target, time: clock.Clock) -> None:
    address = str(target.address)
    where: tuple[str, int] | tuple[str, int, int, int] = (address, target.port)
    if target.address.family is addresses.Family.IPV6:
        where = (address, target.port, 0, _scope(target.address, target))
    attempt = asyncio.ensure_future(asyncio.get_running_loop().sock_connect(made, where))
    try:
        if not await clock.wait_done(time, attempt, target.connect_timeout):
            raise ConnectError(Failure.TIMED_OUT, _timed_out(target))
        attempt.result()
    finally:
        attempt.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await attempt


def _timed_out(target: Target) -> str:
    text = f"{target} did not answer within {target.connect_timeout:g} s"
    if target.password:
        # A router drops segments with a wrong signature without a word, which looks the same.
        text += "; that is also what a password looks like which the router does not share"
    return text + _too_far(target)


def _too_far(target: Target) -> str:
    # The kernel does not say that a time to live ran out on the way.
    return "; a router that is not directly connected needs ebgpMultiHop" if target.hops == 1 else ""


def _refused(target: Target, error: OSError) -> ConnectError:
    if error.errno == errno.ECONNREFUSED:
        return ConnectError(
            Failure.REFUSED,
            f"{target} refused the connection; no BGP runs there, or it does not know this node as a neighbour",
        )
    if error.errno == errno.ETIMEDOUT:
        return ConnectError(Failure.TIMED_OUT, _timed_out(target))
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN):
        return ConnectError(Failure.UNREACHABLE, f"{target} cannot be reached: {_why(error)}{_too_far(target)}")
    if error.errno == errno.ECONNRESET:
        return ConnectError(Failure.REFUSED, f"{target} reset the connection")
    return ConnectError(Failure.SYSTEM, f"no connection to {target}: {_why(error)}")


def _why(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)


class LostError(Exception):
    """The connection is gone. The text says how, for a person, without a final stop."""


class Connection:
    """An open connection. It belongs to one task, is read by `receive` and written by `send` and `flush`; both may raise LostError."""

    def __init__(
        self,
        made: socket.socket,
        remote: addresses.Address,
        loop: asyncio.AbstractEventLoop,
        time: clock.Clock,
        wake: Callable[[], None],
    ) -> None:
        self._socket = made
        self._loop = loop
        self._time = time
        self._wake = wake
        self._unsent = bytearray()
        self._room = True
        self._reading = False
        self.local = _address(made.getsockname()[0])
        # Given, not asked of the socket: one that was reset already has no peer, but may have its last words.
        self.remote = remote
        self.resume()

    def receive(self, limit: int) -> bytes | None:
        """At most `limit` bytes; None where nothing has come, empty where the other end has closed."""
        try:
            return self._socket.recv(limit)
        except BlockingIOError:
            return None
        except OSError as error:
            raise LostError(_lost(error)) from error

    def last_words(self) -> bytes:
        """What came before the connection was lost: where writing fails, a NOTIFICATION may still be there to read."""
        try:
            return self._socket.recv(UNSENT_BYTES)
        except OSError:
            return b""

    def pause(self) -> None:
        """Do not wake for what can be read; the peer finds its window full after a while."""
        if self._reading:
            self._loop.remove_reader(self._socket)
            self._reading = False

    def resume(self) -> None:
        """Wake for what can be read."""
        if not self._reading:
            self._loop.add_reader(self._socket, self._wake)
            self._reading = True

    @property
    def ready(self) -> bool:
        """Whether more may be sent that can as well wait: nothing is left over, and the kernel has room."""
        return self._room and not self._unsent

    def send(self, data: bytes) -> None:
        """Send, or keep what does not fit. Not bounded here: what can wait is asked for only when `ready`."""
        self._unsent += data
        self.flush()

    def flush(self) -> None:
        """Hand on to the kernel what it takes; `wake` is called when it takes more."""
        if not self._unsent:
            return
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise LostError(_lost(error)) from error
        del self._unsent[:sent]
        # Whether there is room beyond UNSENT_BYTES is not said by `send`, only by polling.
        self._room = False
        self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket)
        self._room = True
        self._wake()

    def set_user_timeout(self, seconds: float) -> None:
        """Let the kernel give up when what was sent is not acknowledged for so long; 0 leaves it to the kernel's own patience."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))

    def close(self) -> "asyncio.Task[None] | None":
        """Stop using it. The task, if one is given, sees the goodbye through: hold it until it is done, or cancel it.

        A socket that is closed with unread bytes sends a reset, and the reset overtakes what was sent before, a NOTIFICATION say. So our
        half is closed first, and the rest read and thrown away until the other half is closed too, or a second has passed.
        """
        self._let_go()
        with contextlib.suppress(OSError):
            if self._unsent:
                self._socket.send(self._unsent)
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._socket.close()
            return None
        lingering = self._loop.create_task(self._linger())
        # Not in the task itself: one that is cancelled before its first step runs no `finally`.
        lingering.add_done_callback(lambda _: self._socket.close())
        return lingering

    def abort(self) -> None:
        """Close at once, whatever is on its way. Does nothing to one that is closed."""
        if self._socket.fileno() >= 0:
            self._let_go()
            self._socket.close()

    def _let_go(self) -> None:
        self.pause()
        self._loop.remove_writer(self._socket)

    async def _linger(self) -> None:
        draining = asyncio.ensure_future(self._drain())
        try:
            await clock.wait_done(self._time, draining, _LINGER_SECONDS)
        finally:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)

    async def _drain(self) -> None:
        with contextlib.suppress(OSError):
            for _ in range(_LINGER_READS):
                if not await self._loop.sock_recv(self._socket, UNSENT_BYTES):
                    return
                await asyncio.sleep(0)


def _address(text: str) -> addresses.Address:
    return addresses.Address.parse(text.partition("%")[0])


def _lost(error: OSError) -> str:
    if error.errno == errno.ETIMEDOUT:
        return "the peer stopped acknowledging what was sent"
    if error.errno in (errno.ECONNRESET, errno.EPIPE):
        return "the peer reset the connection"
    return f"the connection failed: {_why(error)}"
