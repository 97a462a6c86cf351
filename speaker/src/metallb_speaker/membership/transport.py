"""The sockets, timers and tasks around `swim`: one UDP socket, one TCP listener, one timer.

- Packets that wait are read before a timer is served, so that answers that came while we did not run count in time.
- Everything happens on the event loop that called `start`; nothing here is safe to call from a thread.
- A send that the kernel refuses is counted and forgotten: the protocol expects loss.
- TCP connections have a deadline and a bound on their number, whatever the other side does.
"""

import asyncio
import dataclasses
import os
import random
import socket
from collections.abc import Callable, Coroutine, Iterable

from metallb_speaker.membership import aead, encryption, envelope, malformed, messages, outputs, settings, streams, swim

_PACKET_SIZE = 65536
_RECEIVE_BUFFER = 2 * 1024 * 1024
_CHUNK = 65536
_STREAMS_LIMIT = 128
_JOINS_AT_ONCE = 8
_PORT_TRIES = 16
_BACKLOG = 128


class StreamError(Exception):
    """A TCP exchange with a member failed; the message says how."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One member. `bind_address` may carry a scope (fe80::1%eth0); without `advertise_address` it must not be a wildcard.

    `keys`: the first encrypts, all decrypt; none means plaintext. Port 0 takes a free one.
    """

    name: str
    bind_address: str
    bind_port: int = 7946
    advertise_address: str = ""
    timings: settings.Settings = settings.FAST
    keys: tuple[bytes, ...] = ()
    label: str = ""
    meta: bytes = b""
    protocol: int = swim.PROTOCOL_SPOKEN


@dataclasses.dataclass(slots=True, kw_only=True)
class Counters:
    """What the sockets saw."""

    send_errors: int = 0
    streams_accepted: int = 0
    streams_refused: int = 0
    streams_failed: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


def _describe(error: Exception) -> str:
    """The event loop hides the system's words for a failed connection behind its own; they are the ones worth reading."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


class Membership:
    """A running member. `on_change` gets the present members, ours among them, whenever they or their metadata changed."""

    def __init__(self, config: Config, on_change: Callable[[frozenset[str]], None]) -> None:
        self.counters = Counters()
        self.join_errors: tuple[str, ...] = ()
        self._config = config
        self._on_change = on_change
        self._keys = config.keys
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._departure: asyncio.Event = asyncio.Event()
        self._stopped = False

    async def start(self) -> None:
        """Bind and be a cluster of one. Raises OSError when the address cannot be bound, ValueError when it is none."""
        self._loop = asyncio.get_running_loop()
        found = await self._loop.getaddrinfo(
            self._config.bind_address,
            self._config.bind_port,
            type=socket.SOCK_DGRAM,
            flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST,
        )
        self._family: int = found[0][0]
        bind = found[0][4]
        self._scope = bind[3] if len(bind) == 4 else 0
        advertised = socket.inet_pton(
            self._family, self._config.advertise_address or self._config.bind_address.partition("%")[0]
        )
        if not any(advertised):
            raise ValueError(f"{self._config.bind_address} is not an address others can reach: name one to advertise")
        wrapping = self._envelope()
        self._udp, tcp = self._bind(str(bind[0]))
        self.port: int = self._udp.getsockname()[1]
        try:
            self._swim = swim.Swim(
                name=self._config.name,
                address=advertised,
                port=self.port,
                timings=self._config.timings,
                wrapping=wrapping,
                chance=random.Random(),
                meta=self._config.meta,
                protocol=self._config.protocol,
            )
            self._server = await asyncio.start_server(self._serve, sock=tcp, backlog=_BACKLOG)
        except BaseException:
            self._udp.close()
            tcp.close()
            raise
        self._loop.add_reader(self._udp.fileno(), self._read_packets)
        self._swim.start(self._loop.time())
        self._carry_out()

    async def join(self, addresses: Iterable[str]) -> int:
        """Exchange the whole state with each address ("host" or "host:port"); how many answered.

        Our own address is passed over. `join_errors` says what happened to those that did not answer.
        """
        errors: list[str] = []
        gate = asyncio.Semaphore(_JOINS_AT_ONCE)

        async def contact(address: str) -> bool:
            async with gate:
                try:
                    endpoint = await self._resolve(address)
                    if endpoint is None:
                        return False
                    await self._push_pull(endpoint, join=True)
                except (OSError, ValueError, StreamError, TimeoutError) as error:
                    errors.append(f"{address}: {_describe(error)}")
                    return False
                return True

        answered = await asyncio.gather(*(contact(address) for address in addresses))
        self.join_errors = tuple(errors)
        return sum(answered)

    async def leave(self, timeout: float) -> bool:
        """Tell every member that we go, and wait until that is told, at most `timeout` seconds; whether it was in time."""
        self._swim.leave(self._loop.time())
        self._carry_out()
        try:
            await asyncio.wait_for(self._departure.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Close everything, without a word to the others. May be called twice, or before `start` ended."""
        if self._stopped or not hasattr(self, "_swim"):
            return
        self._stopped = True
        self._loop.remove_reader(self._udp.fileno())
        self._udp.close()
        if self._timer is not None:
            self._timer.cancel()
        if hasattr(self, "_server"):
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def members(self) -> frozenset[str]:
        """The names of those present, ours among them; a suspect is present until judged."""
        return self._swim.present()

    def metadata(self) -> dict[str, bytes]:
        """What each of those present says of itself, empty where it says nothing."""
        return self._swim.metadata()

    def set_metadata(self, meta: bytes) -> None:
        """Say `meta`, at most 512 bytes, of ourselves from now on; the others learn it as fast as they learn of a death."""
        self._swim.set_metadata(meta, self._loop.time())
        self._carry_out()

    def suspects(self) -> frozenset[str]:
        """The names of those under suspicion."""
        return self._swim.suspects()

    def set_keys(self, *keys: bytes) -> None:
        """Encrypt with the first key from now on, decrypt with any; none means plaintext. ValueError for a bad length.

        `encryption.PLAIN` may be one of them: first, nothing is encrypted; elsewhere, plaintext is accepted beside what a key decrypts.
        """
        self._keys = keys
        self._swim.rewrap(self._envelope())

    @property
    def protocol_counters(self) -> outputs.Counters:
        """What the protocol saw."""
        return self._swim.counters

    @property
    def health_score(self) -> int:
        """0 when well; each point makes us slower to accuse others."""
        return self._swim.health_score

    # ------------------------------------------------------------------ packets and timers

    def _bind(self, host: str) -> tuple[socket.socket, socket.socket]:
        """The UDP and the TCP socket, on one port."""
        tries = 1 if self._config.bind_port else _PORT_TRIES
        for left in range(tries - 1, -1, -1):
            udp = socket.socket(self._family, socket.SOCK_DGRAM)
            tcp = socket.socket(self._family, socket.SOCK_STREAM)
            try:
                for each in (udp, tcp):
                    each.setblocking(False)
                    if self._family == socket.AF_INET6:
                        each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
                tcp.bind(self._sockaddr(host, self._config.bind_port))
                udp.bind(self._sockaddr(host, tcp.getsockname()[1]))
            except OSError:
                udp.close()
                tcp.close()
                if not left:
                    raise
                continue
            return udp, tcp
        raise OSError("no port is free for both UDP and TCP")

    def _envelope(self) -> envelope.Envelope:
        timings = self._config.timings
        return envelope.Envelope(
            label=self._config.label.encode(),
            keyring=aead.load_keyring(self._keys, version=0 if self._config.protocol == 1 else 1),
            verify_incoming=timings.gossip_verify_incoming and encryption.PLAIN not in self._keys,
            verify_outgoing=timings.gossip_verify_outgoing and self._keys[:1] != (encryption.PLAIN,),
            compression=timings.enable_compression,
        )

    def _read_packets(self) -> None:
        for _ in range(self._config.timings.handoff_queue_depth):
            try:
                data, source = self._udp.recvfrom(_PACKET_SIZE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # An error of an earlier send, reported here; the socket stays usable.
                self.counters.send_errors += 1
                continue
            self.counters.bytes_received += len(data)
            address = socket.inet_pton(self._family, source[0].partition("%")[0])
            self._swim.receive_packet(data, (address, source[1]), self._loop.time())
        self._carry_out()

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        self._swim.tick(self._loop.time())
        self._carry_out()

    def _carry_out(self) -> None:
        if self._stopped:
            return
        changes: list[outputs.Changed] = []
        for output in self._swim.take_outputs():
            if isinstance(output, outputs.Send):
                self._send(output)
            elif isinstance(output, outputs.DialPing):
                self._spawn(self._ping(output))
            elif isinstance(output, outputs.DialPushPull):
                self._spawn(self._exchange(output.endpoint))
            else:
                changes.append(output)
        deadline = self._swim.next_deadline()
        if deadline != self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            self._timer = None if deadline == float("inf") else self._loop.call_at(deadline, self._tick)
        if self._swim.departed:
            self._departure.set()
        # Last, so that a callback that raises, or calls us, finds everything done.
        for change in changes:
            self._on_change(change.members)

    def _send(self, output: outputs.Send) -> None:
        try:
            self._udp.sendto(output.data, self._destination(output.endpoint))
        except (OSError, ValueError):
            # Full buffers, no route, an address of the other family: lost like any packet.
            self.counters.send_errors += 1
        else:
            self.counters.bytes_sent += len(output.data)

    def _destination(self, endpoint: outputs.Endpoint) -> tuple[str, int] | tuple[str, int, int, int]:
        address, port = endpoint
        if self._family == socket.AF_INET and len(address) == 16:
            address = address[12:] if address.startswith(bytes(10) + b"\xff\xff") else address
        return self._sockaddr(socket.inet_ntop(self._family, address), port)

    def _sockaddr(self, host: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
        if self._family == socket.AF_INET6:
            # The scope matters for link-local addresses only, and those of our own link are the only ones we can reach.
            return host.partition("%")[0], port, 0, self._scope if host.lower().startswith("fe80") else 0
        return host, port

    # ------------------------------------------------------------------ streams

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _resolve(self, address: str) -> outputs.Endpoint | None:
        """The endpoint of "host", "host:port" or "[host]:port"; None if it is ours. ValueError if the port is none."""
        host, port = address, self._config.bind_port or self.port
        if address.startswith("["):
            host, _, rest = address[1:].partition("]")
            port = int(rest.removeprefix(":")) if rest else port
        elif address.count(":") == 1:
            host, _, text = address.partition(":")
            port = int(text)
        found = await self._loop.getaddrinfo(host, port, family=self._family, type=socket.SOCK_STREAM)
        endpoint = socket.inet_pton(self._family, str(found[0][4][0]).partition("%")[0]), port
        return None if endpoint == self._swim.endpoint else endpoint

    async def _ping(self, dial: outputs.DialPing) -> None:
        try:
            async with asyncio.timeout_at(dial.deadline):
                answer = await self._converse(dial.endpoint, dial.ping)
        except (OSError, StreamError, TimeoutError):
            return
        if isinstance(answer, messages.Ack) and answer.sequence == dial.ping.sequence:
            self._swim.answered_by_tcp(dial.ping.sequence, self._loop.time())
            self._carry_out()

    async def _exchange(self, endpoint: outputs.Endpoint) -> None:
        try:
            await self._push_pull(endpoint, join=False)
        except (OSError, StreamError, TimeoutError):
            self.counters.streams_failed += 1

    async def _push_pull(self, endpoint: outputs.Endpoint, join: bool) -> None:
        async with asyncio.timeout(self._config.timings.tcp_timeout):
            answer = await self._converse(endpoint, self._swim.local_state(join))
        if isinstance(answer, messages.Error):
            raise StreamError(f"the member answers: {answer.text}")
        if not isinstance(answer, streams.PushPull):
            raise StreamError(f"the member answers with a {type(answer).__name__}")
        refusal = self._swim.merge(answer, self._loop.time())
        self._carry_out()
        if refusal is not None:
            raise StreamError(refusal)

    async def _converse(self, endpoint: outputs.Endpoint, message: streams.Message) -> streams.Message:
        """Connect, say `message`, and take the answer."""
        wrapping = self._swim.wrapping
        try:
            destination = self._destination(endpoint)
        except ValueError:
            raise StreamError("its address is of the other address family") from None
        connection = socket.socket(self._family, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            await self._loop.sock_connect(connection, destination)
            reader, writer = await asyncio.open_connection(sock=connection)
        except BaseException:
            connection.close()
            raise
        try:
            heard = self._swim.heard_key(endpoint)
            writer.write(streams.wrap(message, wrapping, connected=True, heard=heard))
            await writer.drain()
            return await self._receive(reader, streams.StreamReader(wrapping, accepted=False))
        except malformed.MalformedError as error:
            raise StreamError(str(error)) from None
        finally:
            writer.close()

    async def _receive(self, reader: asyncio.StreamReader, collected: streams.StreamReader) -> streams.Message:
        while True:
            data = await reader.read(_CHUNK)
            if not data:
                raise StreamError("the member closed the connection without an answer")
            message = collected.feed(data)
            if message is not None:
                return message

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            if self._streams >= _STREAMS_LIMIT:
                self.counters.streams_refused += 1
                return
            self._streams += 1
            self.counters.streams_accepted += 1
            try:
                async with asyncio.timeout(self._config.timings.tcp_timeout):
                    await self._answer(reader, writer)
            finally:
                self._streams -= 1
        except (OSError, StreamError, TimeoutError):
            self.counters.streams_failed += 1
        except asyncio.CancelledError:
            # Only `stop` cancels; the server logs a task that ends cancelled.
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wrapping = self._swim.wrapping
        collected = streams.StreamReader(wrapping, accepted=True)
        answer: streams.Message | None = None
        merged: streams.PushPull | None = None
        try:
            message = await self._receive(reader, collected)
        except malformed.MalformedError as error:
            self.counters.streams_failed += 1
            answer = messages.Error(text=str(error))
        else:
            if isinstance(message, messages.Ping):
                answer = self._swim.answer_ping(message)
            elif isinstance(message, streams.PushPull):
                answer = self._swim.local_state(message.join)
                merged = message
        if answer is not None:
            writer.write(streams.wrap(answer, wrapping, connected=False, heard=collected.key))
            await writer.drain()
        if merged is not None:
            self._swim.merge(merged, self._loop.time())
            self._carry_out()
