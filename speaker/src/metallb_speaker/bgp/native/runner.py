"""The task of one session: it carries out what the session says, and tells the session what happened.

- Only this task reads, writes, connects and closes; others add routes and ask it to end. All of it is one loop: read, tick, take, wait.
- Reading is bounded by turn, and by share: after a piece of input that filled its buffer the task stays away for as long as the input took to
  digest. A peer that floods gets half of the loop at most, and its own window full.
- Routes are taken from the session only when the connection has room, so that those which a slow peer has not taken yet can still change.
- A failure that is our own, anywhere in here or in the session, ends the connection and begins a new session with the same routes, after a
  delay that grows. With it nothing of the old session is trusted but its routes.
"""

import asyncio
import collections
import contextlib
import dataclasses
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from metallb_core.domain import addresses, peers, reasons, routes
from metallb_core.runtime import backoff, clock, log
from metallb_speaker.bgp import fsm, outputs, problems, session
from metallb_speaker.bgp.native import dialling, interfaces, neighbours, sockets

_LOG: Final = log.get("bgp")
_READ_BYTES: Final = 32768
_ROOM_BYTES: Final = sockets.UNSENT_BYTES
_RESTARTS: Final = backoff.Policy(first=1.0, limit=60.0)
# A session that ran for so long before it failed again failed for a reason of its own.
_STEADY_SECONDS: Final = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the owner of the sessions lends to each. `fallback` is the router id of last resort."""

    time: clock.Clock
    random: backoff.Random
    fallback: addresses.Address
    on_state: Callable[[str], None]
    on_advertised: Callable[[str], None]


class Runner:
    """See the module. `peer` has its password in clear and its router id decided, where there is one."""

    def __init__(
        self,
        peer: peers.Peer,
        hooks: Hooks,
        *,
        restarting: bool = False,
        complete: bool = False,
        desired: Mapping[routes.Prefix, routes.Attributes] | None = None,
    ) -> None:
        self.peer = peer
        self._hooks = hooks
        self._time = hooks.time
        self._complete = complete
        self._bfd_down = False
        self._ending: Callable[[], None] | None = None
        self._broken: BaseException | None = None
        # Routes that a broken session did not take, complete, for the one that follows it.
        self._missed: dict[routes.Prefix, routes.Attributes] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._woken = False
        self._attempts: dict[int, asyncio.Task[None]] = {}
        self._arrived: collections.deque[tuple[int, sockets.Connection | sockets.ConnectError | Exception]] = (
            collections.deque()
        )
        self._connections: dict[int, sockets.Connection] = {}
        self._lingering: set[asyncio.Task[None]] = set()
        self._neighbour = (
            neighbours.Neighbour(peer.interface, self._time, self._note_neighbour) if peer.interface else None
        )
        self._stopped = False
        # A bug was met: the session is not to be believed, and a new one begins soon.
        self.failed = False
        # What the log said last: None that the session is up, a reason why it is not; at first nothing.
        self._logged: reasons.Reason | str | None = ""
        self.since = self._time.monotonic()
        self.session = self._new_session(restarting, desired or {})

    def _new_session(self, restarting: bool, desired: Mapping[routes.Prefix, routes.Attributes]) -> session.Session:
        made = session.Session(self.peer, self._hooks.random, restarting=restarting)
        made.replace(desired)
        if self._complete:
            made.initial_complete()
        return made

    @property
    def router(self) -> addresses.Address | None:
        """Where the peer is: as configured, or as found on its interface, None while it is not."""
        return self.peer.address if self._neighbour is None else self._neighbour.router

    # What others ask for. None of it waits, and none of it raises: a bug that it meets is this session's alone.

    def change(self, changes: Mapping[routes.Prefix, routes.Attributes | None]) -> None:
        """Some routes of the peer; None withdraws."""
        with self._own_failure():
            if self._missed is not None:
                # The session is broken and about to be replaced: its successor begins with these.
                _change(self._missed, changes)
                return
            before = self.session
            try:
                for prefix, attributes in changes.items():
                    before.change(prefix, attributes)
            except Exception:
                self._missed = dict(before.desired)
                _change(self._missed, changes)
                raise

    def replace(self, desired: Mapping[routes.Prefix, routes.Attributes]) -> None:
        """All routes of the peer."""
        with self._own_failure():
            if self._missed is not None:
                self._missed = dict(desired)
                return
            try:
                self.session.replace(desired)
            except Exception:
                self._missed = dict(desired)
                raise

    def initial_complete(self) -> None:
        """All routes that there were at the start have been said."""
        self._complete = True
        with self._own_failure():
            self.session.initial_complete()

    def bfd(self, *, down: bool) -> None:
        """BFD lost, or has, the path."""
        if self._bfd_down == down:
            return
        self._bfd_down = down
        with self._own_failure():
            now = self._time.monotonic()
            self.session.bfd_down(now) if down else self.session.bfd_up(now)

    def stop(self, why: outputs.Stop) -> None:
        """End with Cease; `run` returns after it."""
        self._end(lambda: self.session.stop(self._time.monotonic(), why))

    def leave(self) -> None:
        """End for a restart: the peer is told nothing and keeps the routes; `run` returns after it."""
        self._end(lambda: self.session.leave(self._time.monotonic()))

    def shutdown(self, drain_seconds: float, text: str) -> None:
        """End politely; `run` returns after it."""
        self._end(lambda: self.session.shutdown(self._time.monotonic(), drain_seconds, text))

    def _end(self, how: Callable[[], None]) -> None:
        if self._ending is None:
            self._ending = how
            with self._own_failure():
                how()

    @contextlib.contextmanager
    def _own_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._broken = error
        self._wake()

    @property
    def state(self) -> fsm.State:
        """The session's state."""
        return fsm.State.IDLE if self.failed else self.session.state

    def has(self, prefix: routes.Prefix) -> bool:
        """Whether the peer was told `prefix`."""
        return not self.failed and self.session.has(prefix)

    @property
    def problem(self) -> reasons.Refusal | None:
        """Why the session is not Established, if something is wrong."""
        if self.failed:
            return reasons.Refusal(
                reasons.Reason.BGP_PROTOCOL_ERROR,
                f"{problems.name(self.peer)}: this speaker failed over the session and begins it anew; its log has the details",
            )
        if self._neighbour is not None and self._neighbour.router is None:
            return reasons.Refusal(
                reasons.Reason.BGP_INTERFACE, f"{problems.name(self.peer)}: {self._neighbour.problem}"
            )
        return self.session.problem

    # The task.

    async def run(self) -> None:
        """Run until stopped. Raises nothing; cancelling closes everything at once."""
        restarts = backoff.Backoff(_RESTARTS, self._hooks.random)
        finding = asyncio.create_task(self._neighbour.run()) if self._neighbour is not None else None
        try:
            while self._ending is None:
                began = self._time.monotonic()
                try:
                    if self.failed:
                        self._begin_anew()
                    await self._serve()
                    break
                except Exception as error:
                    trace = "".join(traceback.format_exception(error))
                    _LOG.error("a session failed and is begun anew", peer=self.peer.name, error=error, trace=trace)
                if self._time.monotonic() - began >= _STEADY_SECONDS:
                    restarts.reset()
                self.failed = True
                self._drop_all()
                self._note_state()
                again = self._time.monotonic() + restarts.next()
                while self._ending is None and self._time.monotonic() < again:
                    await self._wait(again)
            if self._lingering:
                await asyncio.gather(*self._lingering, return_exceptions=True)
        finally:
            self._stopped = True
            if finding is not None:
                finding.cancel()
            self._drop_all()
            left = [*self._lingering, *([finding] if finding is not None else [])]
            for each in self._lingering:
                each.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _begin_anew(self) -> None:
        self._broken = None
        # If this fails too, nothing of it is lost for the next time.
        self.session = self._new_session(True, dict(self.session.desired) if self._missed is None else self._missed)
        self._missed = None
        self.failed = False
        if self._bfd_down:
            self.session.bfd_down(self._time.monotonic())
        self._note_state()

    async def _serve(self) -> None:
        self.session.start(self._time.monotonic())
        while not self._stopped:
            if self._broken is not None:
                raise self._broken
            away = self._read()
            self._admit()
            now = self._time.monotonic()
            self.session.tick(now)
            ready = all(each.ready for each in self._connections.values())
            self._apply(self.session.take(now, _ROOM_BYTES if ready else 0))
            if away is not None:
                await self._time.sleep(away)
                for each in self._connections.values():
                    each.resume()
            elif not self._stopped:
                await self._wait(self.session.next_deadline())

    def _wake(self) -> None:
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, deadline: float | None) -> None:
        """Until something happened, or the time has come. Always gives others a turn."""
        if self._woken:
            self._woken = False
            await asyncio.sleep(0)
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            if deadline is None:
                await self._waiter
            else:
                await clock.wait_done(self._time, self._waiter, deadline - self._time.monotonic())
        finally:
            self._waiter = None
            self._woken = False

    def _read(self) -> float | None:
        """One piece of input from each connection; seconds to stay away where it filled its buffer, to be fair to others."""
        away: float | None = None
        for number, connection in list(self._connections.items()):
            before = self._time.monotonic()
            try:
                connection.flush()
                data = connection.receive(_READ_BYTES)
            except sockets.LostError as error:
                self._lost(number, str(error))
                continue
            if data is None:
                continue
            if not data:
                self._lost(number, "the peer closed the connection")
                continue
            self.session.receive(number, data, before)
            if len(data) == _READ_BYTES:
                connection.pause()
                away = max(away or 0.0, self._time.monotonic() - before)
            else:
                self._woken = True  # there may be more
        return away

    def _lost(self, number: int, why: str) -> None:
        connection = self._connections.pop(number)
        last = connection.last_words()
        connection.abort()
        now = self._time.monotonic()
        if last:
            self.session.receive(number, last, now)
        self.session.closed(number, why, now)

    # Connecting.

    async def _attempt(self, number: int) -> None:
        outcome: sockets.Connection | sockets.ConnectError | Exception
        try:
            outcome = await sockets.open_connection(await self._wait_target(), self._time, self._wake)
        except Exception as error:
            outcome = error
        self._arrived.append((number, outcome))
        self._wake()

    async def _wait_target(self) -> sockets.Target:
        address = self.peer.address if self._neighbour is None else await self._neighbour.wait_found()
        assert address is not None, "a peer has an address or an interface"
        return dialling.target(self.peer, address)

    def _admit(self) -> None:
        """Tell the session how its attempts came out."""
        while self._arrived:
            number, outcome = self._arrived.popleft()
            if self._attempts.pop(number, None) is None:
                if isinstance(outcome, sockets.Connection):
                    outcome.abort()
                continue
            now = self._time.monotonic()
            if isinstance(outcome, sockets.Connection):
                self._connections[number] = outcome
                self.session.connected(number, self._endpoints(outcome), now)
            elif isinstance(outcome, sockets.ConnectError):
                if self._neighbour is not None:
                    self._neighbour.reject()
                self.session.connect_failed(number, dialling.refusal(self.peer, outcome), now)
            else:
                raise outcome

    def _endpoints(self, connection: sockets.Connection) -> outputs.Endpoints:
        try:
            ours = interfaces.held()
        except OSError as error:
            _LOG.error("addresses of this node are not known", peer=self.peer.name, error=error)
            ours = ()
        return interfaces.endpoints(
            local=connection.local,
            remote=connection.remote,
            ours=ours,
            index=0 if self._neighbour is None else self._neighbour.index,
            fallback=self._hooks.fallback,
        )

    # What the session wants done.

    def _apply(self, wanted: list[outputs.Output]) -> None:
        told = False
        for each in wanted:
            match each:
                case outputs.Send(connection=number, data=data):
                    if number in self._connections:
                        try:
                            self._connections[number].send(data)
                        except sockets.LostError as error:
                            self._lost(number, str(error))
                            self._woken = True
                case outputs.Told():
                    told = True
                case outputs.Connect(connection=number):
                    self._attempts[number] = asyncio.create_task(self._attempt(number))
                case outputs.Close(connection=number):
                    self._close(number)
                case outputs.StateChanged(new=new):
                    self._note_state()
                    if new is fsm.State.ESTABLISHED and self.session.hold_time is not None:
                        for connection in self._connections.values():
                            connection.set_user_timeout(self.session.hold_time)
                case outputs.Stopped():
                    # A session that BFD holds down is stopped too, but not by us.
                    self._stopped = self._ending is not None
        if told:
            self._call(self._hooks.on_advertised)

    def _note_state(self) -> None:
        self.since = self._time.monotonic()
        self._tell()
        self._call(self._hooks.on_state)

    def _call(self, hook: Callable[[str], None]) -> None:
        """A listener that fails is no reason to end a session."""
        try:
            hook(self.peer.name)
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            _LOG.error("news of a session were not taken", peer=self.peer.name, error=error, trace=trace)

    def _note_neighbour(self) -> None:
        if self.state is not fsm.State.ESTABLISHED:
            self._tell()
            self._call(self._hooks.on_state)

    def _tell(self) -> None:
        """A line in the log where the session comes up or goes down, or where the reason for its being down is another one."""
        up, problem = self.state is fsm.State.ESTABLISHED, self.problem
        if up and self._logged is not None:
            _LOG.info(
                "session is up", peer=self.peer.name, remote=self.peer.remote, hold_seconds=self.session.hold_time
            )
            self._logged = None
        elif not up and problem is not None and problem.reason is not self._logged:
            _LOG.info("session is down", peer=self.peer.name, remote=self.peer.remote, problem=str(problem))
            self._logged = problem.reason

    def _close(self, number: int) -> None:
        attempt = self._attempts.pop(number, None)
        if attempt is not None:
            attempt.cancel()
            self._linger(attempt)
        connection = self._connections.pop(number, None)
        if connection is not None and (lingering := connection.close()) is not None:
            self._linger(lingering)

    def _linger(self, task: "asyncio.Task[None]") -> None:
        """Keep a task that ends by itself until it has."""
        self._lingering.add(task)
        task.add_done_callback(self._lingering.discard)

    def _drop_all(self) -> None:
        for attempt in self._attempts.values():
            attempt.cancel()
            self._linger(attempt)
        self._attempts.clear()
        for connection in self._connections.values():
            connection.abort()
        self._connections.clear()
        for _, outcome in self._arrived:
            if isinstance(outcome, sockets.Connection):
                outcome.abort()
        self._arrived.clear()


def _change(
    table: dict[routes.Prefix, routes.Attributes], changes: Mapping[routes.Prefix, routes.Attributes | None]
) -> None:
    for prefix, attributes in changes.items():
        if attributes is None:
            table.pop(prefix, None)
        else:
            table[prefix] = attributes
