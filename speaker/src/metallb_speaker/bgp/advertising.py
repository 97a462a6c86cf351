"""This node's BGP side put together: the wished-for sessions, the book of routes, BFD's verdicts, and what there is to tell of them.

- A configuration becomes sessions by `desired`; a session that is new, or new in its settings, is given all its routes from the book.
- A change of routes touches no session: it goes to those that it concerns as routes.
- BFD takes a session down when a path that worked does not any more, and lets it come back with the path. Silence of BFD, or a router that
  switches it off, takes nothing down; and a router whose BFD never comes back is tried without it after a while, since BGP may be well there.

One owner, the event loop.
"""

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping

from metallb_core.announcement import routes as books
from metallb_core.api import workloads
from metallb_core.config import compiled, problems
from metallb_core.domain import addresses, conditions, reasons, routes, selectors, services
from metallb_core.runtime import backoff, clock, log
from metallb_speaker.bfd import settings
from metallb_speaker.bgp import desired, fsm
from metallb_speaker.bgp.native import interfaces, peering

LOG = log.get("bgp")
CONDITION_PREFIX = "peer.metallb.io/"
FAREWELL = "this speaker stops"
WITHOUT_BFD_SECONDS = 30.0


class Advertising:
    """See the module.

    - `watch(configs)`: have exactly these BFD sessions; their news come to `paths_changed`.
    - `on_session(name, established)`: a session was established or lost. `on_told(name)`: a peer was told routes.
    - `on_conditions()`: `conditions()` may give something else now.
    """

    def __init__(
        self,
        *,
        clock: clock.Clock,
        random: backoff.Random,
        node: str,
        namespace: str,
        book: books.Book,
        watch: Callable[[Iterable[settings.Config]], None],
        on_session: Callable[[str, bool], None] = lambda name, established: None,
        on_told: Callable[[str], None] = lambda name: None,
        on_conditions: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._namespace = namespace
        self._book = book
        self._watch = watch
        self._on_session = on_session
        self._on_conditions = on_conditions
        self._desired = desired.NOTHING
        # What was last said of each session: whether it is established, and what is wrong.
        self._said: dict[str, tuple[bool, reasons.Refusal | None]] = {}
        self._watched: dict[str, settings.Config] = {}
        # Paths that BFD has seen up, until they are anything else.
        self._up: set[str] = set()
        # Sessions that BFD has taken down, each with the task that gives it another chance.
        self._lost: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        # A process that starts cannot know whether its predecessor had sessions. Saying that it had costs nothing (RFC 4724 section 3).
        self._peering = peering.Peering(
            clock=clock,
            random=random,
            node=node,
            restarting=True,
            on_state=self._state_changed,
            on_advertised=on_told,
        )

    # What there should be

    def configure(
        self, config: compiled.Config, labels: selectors.Labels, secrets: Mapping[str, workloads.Secret]
    ) -> None:
        """Have the sessions of a node with `labels`; `secrets` by name."""
        if self._stopping:
            return
        before = self._desired
        now = desired.desired(
            config, labels, secrets, self._namespace, before, is_connected=functools.cache(_is_connected)
        )
        self._desired = now
        for name, refusal in now.refusals.items():
            if before.refusals.get(name) != refusal:
                LOG.warn(
                    "a peer cannot be used as configured", peer=name, reason=refusal.reason.label, detail=refusal.detail
                )
        fresh = [name for name, wanted in now.wanted.items() if before.wanted.get(name) != wanted]
        self._peering.configure(now.wanted)
        self._book.set_peers(now.wanted)
        for name in fresh:
            self._peering.replace(name, self._book.routes_for(name))
        for gone in self._said.keys() - now.wanted.keys():
            was_up, _ = self._said.pop(gone)
            if was_up:
                self._on_session(gone, False)
        self._watch_paths()
        if (before.wanted.keys(), before.refusals) != (now.wanted.keys(), now.refusals):
            self._on_conditions()

    def change(self, peer: str, changes: Mapping[routes.Prefix, routes.Attributes | None]) -> None:
        """Routes of one peer changed; None withdraws."""
        if not self._stopping:
            self._peering.change(peer, changes)

    def initial_complete(self) -> None:
        """All routes that there are at the start have been said."""
        self._peering.initial_complete()

    def problems(self) -> tuple[problems.Problem, ...]:
        """What is wrong with the passwords of peers, as configuration has it."""
        return tuple(
            problems.Problem(
                kind="BGPPeer",
                namespace=self._namespace,
                name=name,
                uid="",
                field="spec.passwordSecret",
                refusal=refusal,
                kept=name in self._desired.wanted,
                dangling=True,
            )
            for name, refusal in sorted(self._desired.refusals.items())
        )

    # BFD

    def _watch_paths(self) -> None:
        """Have the BFD sessions there should be. A router that is found on an interface is watched where it was last found."""
        wanted = dict(self._desired.paths)
        for name, profile in self._desired.profiles.items():
            view, known = self._peering.session(name), self._watched.get(name)
            router = (view.router if view is not None else None) or (known.peer if known is not None else None)
            if router is not None:
                peer = self._desired.wanted[name].peer
                wanted[name] = settings.from_profile(name, router, profile, interface=peer.interface, vrf=peer.vrf)
        if wanted == self._watched:
            return
        before, self._watched = self._watched, wanted
        for name, config in before.items():
            now = wanted.get(name)
            if now is None or now.endpoints != config.endpoints:
                self._up.discard(name)
                self._release(name)
        self._watch(wanted.values())

    def paths_changed(self, statuses: Mapping[str, settings.Status]) -> None:
        """BFD's news, by peer name."""
        for name, status in statuses.items():
            worked = name in self._up
            if status.up:
                self._up.add(name)
                LOG.info("BFD has the path to a peer", peer=name)
            else:
                self._up.discard(name)
            if status.failed and worked:
                LOG.warn("BFD lost the path to a peer", peer=name, diagnostic=int(status.diagnostic))
                self._hold(name)
            elif not status.failed:
                self._release(name)

    def _hold(self, name: str) -> None:
        if name not in self._lost and not self._stopping:
            self._lost[name] = asyncio.get_running_loop().create_task(self._release_later(name), name=f"bfd {name}")
            self._peering.bfd_down(name)

    def _release(self, name: str) -> None:
        waiting = self._lost.pop(name, None)
        if waiting is not None:
            waiting.cancel()
            self._peering.bfd_up(name)

    async def _release_later(self, name: str) -> None:
        await self._clock.sleep(WITHOUT_BFD_SECONDS)
        LOG.warn("BFD does not find a peer again; its session is tried without it", peer=name)
        del self._lost[name]
        self._peering.bfd_up(name)

    # What there is to tell

    def sessions(self) -> Mapping[str, peering.SessionView]:
        """The sessions as they are, by peer name."""
        return self._peering.sessions()

    @property
    def settled(self) -> bool:
        """Whether every established session has been told everything."""
        return all(view.pending == 0 for view in self.sessions().values() if view.state is fsm.State.ESTABLISHED)

    def told(self, key: services.ServiceKey) -> tuple[str, ...]:
        """The peers that have been told a route of the Service and have it now, sorted."""
        return tuple(
            peer
            for peer in self._book.peers
            if any(self._peering.has(peer, prefix) for prefix in self._book.prefixes_for(key, peer))
        )

    def conditions(self) -> tuple[conditions.Condition, ...]:
        """One for each peer of this node: whether its session is established, and if not, why."""
        views = self.sessions()
        names = sorted(views.keys() | self._desired.refusals.keys())
        return tuple(_condition(name, views.get(name), self._desired.refusals.get(name)) for name in names)

    def _state_changed(self, name: str) -> None:
        view = self._peering.session(name)
        if view is None:
            return
        is_up = view.state is fsm.State.ESTABLISHED
        before = self._said.get(name, (False, None))
        if before == (is_up, view.problem):
            return
        self._said[name] = (is_up, view.problem)
        if is_up and name in self._desired.profiles:
            self._watch_paths()
        if is_up != before[0]:
            self._on_session(name, is_up)
        self._on_conditions()

    # Running

    async def run(self) -> None:
        """Run the sessions until `wait_stopped`."""
        try:
            await self._peering.run()
        finally:
            self._stopping = True
            lost, self._lost = self._lost, {}
            for task in lost.values():
                task.cancel()
            await asyncio.gather(*lost.values(), return_exceptions=True)

    async def wait_stopped(self, drain_seconds: float) -> None:
        """End the sessions politely: routes are marked for `drain_seconds`, then withdrawn; peers with graceful restart keep theirs."""
        self._stopping = True
        await self._peering.wait_stopped(drain_seconds if len(self._book) else 0.0, FAREWELL)


def _condition(name: str, view: peering.SessionView | None, refusal: reasons.Refusal | None) -> conditions.Condition:
    kind = f"{CONDITION_PREFIX}{name}"
    if view is not None and view.state is fsm.State.ESTABLISHED:
        message = f"session with {view.remote}" + (f"; {refusal}" if refusal is not None else "")
        return conditions.Condition(type=kind, status=conditions.Status.TRUE, reason="Established", message=message)
    problem = (view.problem if view is not None else None) or refusal
    # The steps of an attempt are not told one by one: they would be writes without news.
    return conditions.Condition(
        type=kind,
        status=conditions.Status.FALSE,
        reason=problem.reason.label if problem is not None else "Connecting",
        message=conditions.shortened(str(problem)) if problem is not None else "no session yet",
    )


def _is_connected(address: addresses.Address) -> bool:
    try:
        return any(each.reaches(address) for each in interfaces.held())
    except OSError:
        return True
