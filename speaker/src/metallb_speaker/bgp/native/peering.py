"""All BGP sessions of this node: which there are, and what each is told.

- One peer, one session, one task. Nothing that a peer does, and no bug that it finds, reaches another session: a task that fails is
  started again with a delay that grows, and its session begins anew with all routes.
- Level-triggered: `configure` gets every peer that there should be. An equal wish leaves its session alone, a changed one restarts that
  session only, one that is gone ends its session with Cease, Peer De-configured (RFC 4486).
- Routes are kept here by peer, session or not, so that a session which starts, restarts or fails has them all at once. A peer that is
  configured without routes has none: whoever configures says `replace` next.
- All methods are for the event loop's thread, and none waits, but `run` and `wait_stopped`.
"""

import asyncio
import dataclasses
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from metallb_core.domain import addresses, peers, reasons, routes
from metallb_core.runtime import backoff, log
from metallb_core.runtime import clock as clocks
from metallb_speaker.bgp import fsm, outputs, session
from metallb_speaker.bgp.native import runner

_LOG: Final = log.get("bgp")
# How long all sessions together may take over their goodbyes, beyond the drain: for a peer that is slow to take its withdrawals, and for
# connections to end.
_GOODBYE_SECONDS: Final = session.WITHDRAW_LIMIT + 1.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One session that there should be.

    - `peer`: its `password` is in clear, `password_secret` is not looked at.
    - `router_id`: what is said of us in OPEN where the peer object names none; None takes the IPv4 address of the session or of its interface,
      else `Peering`'s fallback.
    - `bfd`: BFD watches the path. Without word from it the session runs; after `bfd_down` it is down until `bfd_up`.
    """

    peer: peers.Peer
    router_id: addresses.Address | None = None
    bfd: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """What there is to know about a session at one moment. Counters start at zero when the peer is configured, and survive reconnecting.

    - `remote`: `address:port`, or the interface, as metrics name the peer.
    - `since`: monotonic seconds of the last change of `state`.
    - `problem`: why it is not Established; None where it is, or where nothing went wrong yet.
    - `announced`: prefixes that the peer was told and not told to forget. `pending`: those that it is still to be told, or to forget.
    - `withheld`: prefixes that this session cannot carry: their family was not agreed on, or there is no next hop of ours for it.
    - `received`: prefixes that the peer told us, counted and used for nothing.
    - `router`: the peer's address as configured, or as found on its interface; None while it is not found.
    """

    name: str
    remote: str
    state: fsm.State
    since: float
    problem: reasons.Refusal | None
    announced: int
    pending: int
    withheld: int
    received: int
    updates_sent: int
    updates_received: int
    messages_sent: int
    messages_received: int
    established: int
    router: addresses.Address | None = None


class Peering:
    """See the module. `node` is this node's name: its CRC-32 is the router id of last resort (as MetalLB's).

    `restarting`: the process begins on a node that may have had sessions before; sessions configured before `initial_complete` say so in OPEN.

    Callbacks, all in the event loop and none may raise:
    - `on_state(name)`: the session's state or problem changed; read `session(name)`.
    - `on_advertised(name)`: what the peer has been told changed (coalesced); read `has`, or `session(name)`.
    """

    def __init__(
        self,
        *,
        clock: clocks.Clock,
        random: backoff.Random,
        node: str,
        restarting: bool = False,
        on_state: Callable[[str], None] = lambda name: None,
        on_advertised: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._clock = clock
        self._hooks = runner.Hooks(
            time=clock,
            random=random,
            fallback=addresses.Address(addresses.Family.IPV4, zlib.crc32(node.encode()) or 1),
            on_state=on_state,
            on_advertised=on_advertised,
        )
        self._restarting = restarting
        self._complete = False
        self._wanted: dict[str, Wanted] = {}
        self._runners: dict[str, runner.Runner] = {}
        # One task for each runner, also for those that are ending; by name the last one, which the next of that name waits for.
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._all: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._stopped = asyncio.Event()

    def configure(self, wanted: Mapping[str, Wanted]) -> None:
        """The sessions that there should be, by peer name."""
        if self._stopping:
            return
        for name in [name for name in self._runners if name not in wanted]:
            del self._wanted[name]
            self._runners.pop(name).stop(outputs.Stop.DECONFIGURED)
            _LOG.info("session removed", peer=name)
        for name, each in wanted.items():
            before = self._wanted.get(name)
            if before == each:
                continue
            self._wanted[name] = each
            if before is None:
                _LOG.info("session added", peer=name, remote=each.peer.remote)
                self._start(name, each, restarting=self._restarting and not self._complete, desired={})
            else:
                _LOG.info("session restarts with other settings", peer=name, remote=each.peer.remote)
                self._replace_runner(name, before, each)

    def _replace_runner(self, name: str, before: Wanted, after: Wanted) -> None:
        old = self._runners.pop(name)
        desired = dict(old.session.desired)
        # Where the router will take the new session for the old one's successor, it keeps the routes meanwhile (RFC 4724 section 4.1).
        kept = _keeps_routes(old) and after.peer.graceful_restart and _identity(before) == _identity(after)
        if kept:
            old.leave()
        else:
            old.stop(outputs.Stop.CONFIGURATION_CHANGE)
        self._start(name, after, restarting=kept, desired=desired)

    def _start(
        self, name: str, wanted: Wanted, *, restarting: bool, desired: Mapping[routes.Prefix, routes.Attributes]
    ) -> None:
        peer = wanted.peer
        if peer.router_id is None and wanted.router_id is not None:
            peer = dataclasses.replace(peer, router_id=wanted.router_id)
        made = runner.Runner(peer, self._hooks, restarting=restarting, complete=self._complete, desired=desired)
        self._runners[name] = made
        task = asyncio.get_running_loop().create_task(self._run_after(self._tasks.get(name), made), name=f"bgp {name}")
        self._tasks[name] = task
        self._all.add(task)
        task.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: str, task: "asyncio.Task[None]") -> None:
        self._all.discard(task)
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("a session ended that should not have", peer=name, error=error)

    @staticmethod
    async def _run_after(predecessor: "asyncio.Task[None] | None", made: runner.Runner) -> None:
        # Two connections of one peer would collide, and the router would have to choose.
        if predecessor is not None:
            await asyncio.wait({predecessor})
        await made.run()

    def change(self, name: str, changes: Mapping[routes.Prefix, routes.Attributes | None]) -> None:
        """Routes of one peer that changed; None withdraws. A peer that is not configured is told nothing, and nothing is kept."""
        if (each := self._runners.get(name)) is not None:
            each.change(changes)

    def replace(self, name: str, desired: Mapping[routes.Prefix, routes.Attributes]) -> None:
        """All routes of one peer."""
        if (each := self._runners.get(name)) is not None:
            each.replace(desired)

    def initial_complete(self) -> None:
        """Everything that was there at the start has been said: sessions may send End-of-RIB (RFC 4724). Called once; later calls do nothing."""
        if self._complete:
            return
        self._complete = True
        for each in self._runners.values():
            each.initial_complete()

    def bfd_down(self, name: str) -> None:
        """BFD says that the path is down: the session ends with Cease, BFD Down (RFC 9384), and waits for `bfd_up`."""
        self._bfd(name, down=True)

    def bfd_up(self, name: str) -> None:
        """BFD says that the path is up, or nothing of it any more: a session that waited connects now."""
        self._bfd(name, down=False)

    def _bfd(self, name: str, *, down: bool) -> None:
        wanted = self._wanted.get(name)
        if wanted is not None and wanted.bfd:
            self._runners[name].bfd(down=down)

    def session(self, name: str) -> SessionView | None:
        """One session as it is now; None if there is none of that name."""
        each = self._runners.get(name)
        if each is None:
            return None
        state, counters = each.state, each.session.counters
        return SessionView(
            name=name,
            remote=each.peer.remote,
            state=state,
            since=each.since,
            problem=None if state is fsm.State.ESTABLISHED else each.problem,
            announced=0 if each.failed else len(each.session.told),
            pending=each.session.pending,
            withheld=each.session.withheld,
            received=counters.prefixes_received,
            updates_sent=counters.updates_sent,
            updates_received=counters.updates_received,
            messages_sent=counters.total_sent,
            messages_received=counters.total_received,
            established=counters.established,
            router=each.router,
        )

    def sessions(self) -> dict[str, SessionView]:
        """All sessions as they are now, by peer name."""
        return {name: view for name in self._runners if (view := self.session(name)) is not None}

    def has(self, name: str, prefix: routes.Prefix) -> bool:
        """Whether the session is Established and the peer was told `prefix`."""
        each = self._runners.get(name)
        return each is not None and each.has(prefix)

    async def run(self) -> None:
        """Run sessions until `wait_stopped`; a part of the process. Cancelling it drops all connections at once."""
        try:
            await self._stopped.wait()
        finally:
            self._stopping = True
            await self._drop_all()

    async def wait_stopped(self, drain_seconds: float = 0.0, text: str = "") -> None:
        """End all sessions, each for itself: with graceful restart agreed on it just leaves (the peer keeps the routes), otherwise routes are
        advertised with GRACEFUL_SHUTDOWN for `drain_seconds` (0: not at all), then withdrawn, then Cease, Administrative Shutdown with `text`
        (RFC 9003)."""
        self._stopping = True
        for each in self._runners.values():
            # A peer that does not keep the routes of one that restarts (RFC 4724) is better told.
            if _keeps_routes(each):
                each.leave()
            else:
                each.shutdown(drain_seconds, text)
        if self._all:
            ended = asyncio.ensure_future(asyncio.wait(set(self._all)))
            await clocks.wait_done(self._clock, ended, drain_seconds + _GOODBYE_SECONDS)
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)
        await self._drop_all()
        self._stopped.set()

    async def _drop_all(self) -> None:
        left = set(self._all)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _keeps_routes(each: runner.Runner) -> bool:
    """Whether both ends agreed on graceful restart."""
    negotiated = each.session.negotiated
    return each.peer.graceful_restart and negotiated is not None and negotiated.graceful_restart is not None


def _identity(wanted: Wanted) -> tuple[object, ...]:
    """What a router knows the session by: where it comes from, where to, and between which systems."""
    peer = wanted.peer
    return (
        peer.address,
        peer.interface,
        peer.vrf,
        peer.port,
        peer.source_address,
        peer.my_asn,
        peer.local_asn,
        peer.peer_asn,
    )
