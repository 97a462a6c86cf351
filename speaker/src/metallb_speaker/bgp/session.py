"""One BGP session, without I/O: what happened goes in with the time, what is to be done comes out as values.

The shell's loop:

    session.start(now)
    for each thing that happens: connected, connect_failed, receive, closed, tick, change ...
    then `for output in session.take(now, room)`: do it; again while `has_updates` and the socket has room
    then wait for the socket, or until next_deadline()

- Everything but UPDATEs comes out of `take` at once; UPDATEs up to about `room` bytes, so that routes which a slow peer has not taken yet can
  still change.
- Read before `tick`: bytes that wait in the socket are a sign of life, and a stall of ours is not the peer's.
- `connection` is the number from Connect, or from `incoming`. What is said about one that is not in use any more does nothing.
- Routes are kept over reconnects. A change costs the same whatever their number, `replace` costs in proportion to it.
- Going away has three ways: `stop` (Cease at once), `shutdown` (RFC 8326, then withdraw, then Cease), `leave` (a restart, RFC 4724).
"""

import dataclasses
import enum
from collections.abc import Collection, Mapping

from metallb_core.domain import addresses, communities, peers, reasons, routes
from metallb_speaker.bgp import collision, fsm, machine, negotiation, outputs, problems, rib_out, timers
from metallb_speaker.bgp.wire import attributes as wire_attributes
from metallb_speaker.bgp.wire import families, messages, notifications, packing

# Bytes of the longest prefix in an UPDATE: what turns room for bytes into room for prefixes.
_PREFIX_BYTES = 17
# Prefixes at a time: about one full message of IPv4, and few enough that `room` is not overrun by far where each has attributes of its own.
_PREFIXES_AT_ONCE = 800
# A peer that does not take its withdrawals for this long is not waited for.
WITHDRAW_LIMIT = 5.0
_State = fsm.State
_Event = fsm.Event


class _Phase(enum.Enum):
    """How far the way out is."""

    RUNNING = "the session is kept up"
    DRAINING = "routes carry GRACEFUL_SHUTDOWN"
    WITHDRAWING = "routes are being withdrawn"
    STOPPED = "nothing is done until start"


class Session:
    """See the module.

    `restarting`: this process starts on a node whose peers may still have its routes (RFC 4724 section 4.1); said until every End-of-RIB
    is sent.
    """

    def __init__(self, peer: peers.Peer, random: timers.Random, *, restarting: bool = False) -> None:
        self.peer = peer
        self._shared = machine.Shared(
            peer=peer, random=random, damping=timers.Damping(peer.connect_time, random), restarting=restarting
        )
        self._main = machine.Machine(self._shared, self)
        # The second connection while there are two (RFC 4271 section 6.8), and the one that is to be closed for another.
        self._other: machine.Machine | None = None
        self._loser: machine.Machine | None = None
        self._state = _State.IDLE
        self._rib = rib_out.RibOut()
        self._refreshes: set[addresses.Family] = set()
        self._phase = _Phase.STOPPED
        self._phase_until = 0.0
        self._text = ""
        self._held_down = False

    # What there is to know.

    @property
    def state(self) -> fsm.State:
        """The state of the furthest connection."""
        return self._state

    @property
    def problem(self) -> reasons.Refusal | None:
        """Why it is not Established; None where it is, or where nothing went wrong yet. Names the peer, never a password."""
        # A second connection that fails beside one that is Established is no problem of the session's.
        return None if self._state is _State.ESTABLISHED else self._shared.problem

    @property
    def counters(self) -> outputs.Counters:
        """What happened since the object was made."""
        return self._shared.counters

    @property
    def negotiated(self) -> negotiation.Negotiated | None:
        """What holds for the furthest connection, from OpenConfirm on."""
        return self._furthest().negotiated

    @property
    def hold_time(self) -> float | None:
        """Seconds that were agreed on, 0 for none; None before that. What TCP_USER_TIMEOUT should be."""
        negotiated = self.negotiated
        return None if negotiated is None else float(negotiated.hold_time)

    @property
    def stopped(self) -> bool:
        """Whether it does nothing until `start`."""
        return self._phase is _Phase.STOPPED

    @property
    def desired(self) -> Mapping[routes.Prefix, routes.Attributes]:
        """The routes that the peer shall have; a live view, not to be changed."""
        return self._rib.desired

    @property
    def told(self) -> Collection[routes.Prefix]:
        """The prefixes that the peer was told and not told to forget; empty unless Established. A live view."""
        return self._rib.told

    @property
    def pending(self) -> int:
        """Prefixes that are to be announced or withdrawn on this session; 0 unless Established."""
        return self._rib.pending

    @property
    def withheld(self) -> int:
        """Prefixes that this session cannot tell: their family was not agreed on, or we have no next hop for it. 0 unless Established."""
        if self._state is not _State.ESTABLISHED:
            return 0
        return self._rib.withheld

    @property
    def has_updates(self) -> bool:
        """Whether `take` would give UPDATEs, had it room."""
        return bool(self._refreshes) or self._rib.has_work

    def has(self, prefix: routes.Prefix) -> bool:
        """Whether the peer was told `prefix`: it was handed to a connection that still stands."""
        return prefix in self._rib.told

    # Life.

    def start(self, now: float) -> None:
        """Connect, and keep the session up. Does nothing to one that was started."""
        if self._phase is not _Phase.STOPPED:
            return
        self._phase = _Phase.RUNNING
        if not self._held_down:
            self._main.handle(_Event.MANUAL_START, now)

    def stop(self, now: float, why: outputs.Stop = outputs.Stop.DECONFIGURED, text: str = "") -> None:
        """End it with Cease, and stay Idle. Outputs: NOTIFICATION and Close where there is a connection, Stopped.

        `text` is for people at the other end, with SHUTDOWN and RESET (RFC 9003).
        """
        self._end(_Event.MANUAL_STOP, now, notifications.cease(notifications.Cease(why.value), text))

    def leave(self, now: float) -> None:
        """End it for a restart: neither NOTIFICATION nor withdrawal, so that the peer keeps the routes (RFC 4724). Outputs: Close, Stopped."""
        self._end(_Event.LEAVE, now, None)

    def shutdown(self, now: float, wait: float, text: str = "") -> None:
        """Go away politely. Outputs: over time what `stop` gives.

        For `wait` seconds every route carries GRACEFUL_SHUTDOWN, to an internal peer with LOCAL_PREF 0 too (RFC 8326 section 4), so that
        others find another way; 0 leaves that out. Then all routes are withdrawn, then Cease, Administrative Shutdown, with `text`. A change
        of routes is followed until they are withdrawn.
        """
        if self._phase in (_Phase.DRAINING, _Phase.WITHDRAWING):
            return
        self._text = text
        if self._state is not _State.ESTABLISHED:
            self.stop(now, outputs.Stop.SHUTDOWN, text)
        elif wait > 0:
            self._phase, self._phase_until = _Phase.DRAINING, now + wait
            self._refreshes.update(self._rib.families)
        else:
            self._withdraw_all(now)

    def bfd_down(self, now: float) -> None:
        """BFD lost the path: Cease, BFD Down (RFC 9384), and Idle until `bfd_up`.

        Not for BFD's AdminDown, which says nothing of the path (RFC 5882 section 3.2), nor for a BFD session that was never up.
        """
        self._held_down = True
        self._shared.problem = problems.bfd_down(self.peer)
        cease = notifications.cease(notifications.Cease.BFD_DOWN)
        if self._phase in (_Phase.DRAINING, _Phase.WITHDRAWING):
            self._end(_Event.AUTOMATIC_STOP, now, cease)
        else:
            self._quit(_Event.AUTOMATIC_STOP, now, cease)

    def bfd_up(self, now: float) -> None:
        """BFD has the path, or does not watch it any more: a session that waits tries at once."""
        self._held_down = False
        if self._phase is _Phase.RUNNING:
            self._main.handle(_Event.AUTOMATIC_START, now)

    # What happens on the network.

    def connected(self, connection: int, endpoints: outputs.Endpoints, now: float) -> None:
        """The attempt that Connect asked for succeeded."""
        found = self._using(connection)
        if found is not None and found.state is _State.CONNECT:
            found.connected(connection, endpoints, now, incoming=False)

    def connect_failed(self, connection: int, why: reasons.Refusal | str, now: float) -> None:
        """The attempt failed. A text becomes B301 ConnectFailed; a Refusal stands as it is."""
        found = self._using(connection)
        if found is not None and found.state is _State.CONNECT:
            refusal = why if isinstance(why, reasons.Refusal) else problems.not_connected(self.peer, why)
            self._shared.problem = refusal
            found.handle(_Event.TCP_FAILS, now)

    def incoming(self, endpoints: outputs.Endpoints, now: float) -> int | None:
        """The peer opened a connection. Its number, or None if it is to be closed at once: we are Idle, or there are two already."""
        if self._main.state is _State.IDLE or self._other is not None or self._phase is not _Phase.RUNNING:
            return None
        taker = self._main
        if self._main.state is not _State.ACTIVE:
            taker = self._other = machine.Machine(self._shared, self)
            taker.await_incoming()
        number = self._shared.new_connection()
        taker.connected(number, endpoints, now, incoming=True)
        return number

    def receive(self, connection: int, data: bytes, now: float) -> None:
        """Bytes that the peer sent. Raises nothing, whatever they are."""
        found = self._using(connection)
        if found is not None:
            found.receive(data, now)

    def closed(self, connection: int, why: str, now: float) -> None:
        """The connection ended, or failed, without our doing. `why` is for people."""
        found = self._using(connection)
        if found is not None:
            found.closed(why, now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        for each in self._machines():
            each.tick(now)
        if self._phase is _Phase.DRAINING and now >= self._phase_until:
            self._withdraw_all(now)
        elif self._phase is _Phase.WITHDRAWING and now >= self._phase_until:
            self._finish(now)

    def next_deadline(self) -> float | None:
        """When `tick` is to be called at the latest; None: nothing is planned."""
        deadlines = [each.next_deadline() for each in self._machines()]
        if self._phase in (_Phase.DRAINING, _Phase.WITHDRAWING):
            deadlines.append(self._phase_until)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # Routes.

    def change(self, prefix: routes.Prefix, attributes: routes.Attributes | None) -> None:
        """The peer shall be told `prefix` with these attributes; None: it shall not have it."""
        if self._phase is not _Phase.WITHDRAWING:
            self._rib.change(prefix, attributes)

    def replace(self, desired: Mapping[routes.Prefix, routes.Attributes]) -> None:
        """The peer shall have exactly these routes."""
        if self._phase is not _Phase.WITHDRAWING:
            self._rib.replace(desired)

    def initial_complete(self) -> None:
        """All routes that there were at the start have been said: End-of-RIB may follow them (RFC 4724), on this session and later ones."""
        self._rib.complete()

    # What is to be done.

    def take(self, now: float, room: int = 65536) -> list[outputs.Output]:
        """Outputs since the last time, in order; with UPDATEs of about `room` bytes: a message or a family more, rather than none."""
        if self._state is _State.ESTABLISHED and room > 0:
            self._tell(now, room)
        if self._phase is _Phase.WITHDRAWING and not self._rib.pending:
            self._finish(now)
        taken, self._shared.outbox = self._shared.outbox, []
        return taken

    # For machines: see machine.Owner.

    def judge(self, candidate: machine.Machine, ours: messages.Open, theirs: messages.Open) -> negotiation.Negotiated:
        """What the peer's OPEN leads to (machine.Owner)."""
        assert candidate.endpoints is not None, "an OPEN comes over a connection"
        negotiated = negotiation.agree(self.peer, candidate.endpoints, ours, theirs)
        rival = self._other if candidate is self._main else self._main
        if rival is not None and rival.negotiated is not None:
            if self._stays(candidate, rival, ours, negotiated):
                self._loser = rival
            else:
                raise machine.CollisionError
        return negotiated

    def refresh(self, family: addresses.Family) -> None:
        """The peer wants the routes of the family again (machine.Owner). However often it asks, they are told once for each `take`."""
        if family in self._rib.families:
            self._refreshes.add(family)

    def changed(self, now: float) -> None:
        """Settle what follows from a machine's new state (machine.Owner)."""
        loser, self._loser = self._loser, None
        if loser is not None:
            self._dismiss(loser, now)
        self._settle_connections(now)
        state = self._furthest().state
        if state is self._state:
            return
        before, self._state = self._state, state
        if before is _State.ESTABLISHED:
            self._rib.close()
            self._refreshes.clear()
        if state is _State.ESTABLISHED:
            negotiated = self.negotiated
            assert negotiated is not None, "Established follows an OPEN"
            self._rib.open(negotiated.next_hops, agreed=negotiated.families)
        self._shared.outbox.append(outputs.StateChanged(old=before, new=state, problem=self.problem))
        if before is _State.ESTABLISHED and self._phase in (_Phase.DRAINING, _Phase.WITHDRAWING):
            # The connection went away before we did: there is nobody left to be polite to.
            self._finish(now)

    # The two connections.

    def _machines(self) -> tuple[machine.Machine, ...]:
        return (self._main,) if self._other is None else (self._main, self._other)

    def _furthest(self) -> machine.Machine:
        return max(self._machines(), key=lambda each: each.state)

    def _using(self, connection: int) -> machine.Machine | None:
        return next((each for each in self._machines() if each.connection == connection), None)

    def _stays(
        self,
        candidate: machine.Machine,
        rival: machine.Machine,
        ours: messages.Open,
        negotiated: negotiation.Negotiated,
    ) -> bool:
        """Whether the candidate, whose OPEN was just read, stays rather than the rival, whose OPEN was read before."""
        if rival.state is _State.ESTABLISHED:
            # A peer that restarts gracefully cannot close its old connection; its new one is the proof (RFC 4724 section 4.2).
            restarts = rival.negotiated is not None and rival.negotiated.graceful_restart is not None
            return restarts and candidate.incoming
        ours_stays = collision.keeps_ours(
            local_id=ours.router_id,
            local_asn=ours.asn,
            peer_id=negotiated.peer_id,
            peer_asn=negotiated.peer_asn,
        )
        return candidate.incoming is not ours_stays

    def _dismiss(self, loser: machine.Machine, now: float) -> None:
        if loser.state is _State.ESTABLISHED:
            loser.handle(_Event.LEAVE, now)
        else:
            cease = notifications.cease(notifications.Cease.CONNECTION_COLLISION_RESOLUTION)
            loser.handle(_Event.COLLISION_DUMP, now, cease)

    def _settle_connections(self, now: float) -> None:
        """Of two machines keep those that have a connection; the last one left is the main one."""
        other = self._other
        if other is None:
            return
        if other.state < _State.OPEN_SENT:
            self._other = None
        elif self._main.state in (_State.IDLE, _State.ACTIVE):
            self._main, self._other = other, None
        elif other.state is _State.ESTABLISHED and self._main.state is _State.CONNECT:
            outgoing, self._main, self._other = self._main, other, None
            outgoing.handle(_Event.LEAVE, now)

    # Telling routes.

    def _tell(self, now: float, room: int) -> None:
        speaker = self._furthest()
        negotiated = speaker.negotiated
        assert negotiated is not None, "Established follows an OPEN"
        assert speaker.connection is not None, "Established has a connection"
        for family in sorted(self._refreshes):
            self._rib.refresh(family)
        self._refreshes.clear()
        link_local = speaker.endpoints.link_local if speaker.endpoints is not None else None
        left = room
        while left > 0 and self._rib.has_work:
            updates: list[bytes] = []
            told: list[outputs.Told] = []
            for piece in self._rib.take(min(_PREFIXES_AT_ONCE, max(1, left // _PREFIX_BYTES))):
                updates += self._pack(piece, negotiated, link_local)
                if isinstance(piece, rib_out.Announce):
                    told.append(outputs.Told(advertised=piece.prefixes))
                elif isinstance(piece, rib_out.Withdraw):
                    told.append(outputs.Told(withdrawn=piece.prefixes))
            data = b"".join(updates)
            left -= len(data)
            speaker.spoke(len(updates), now)
            self._shared.outbox.append(outputs.Send(connection=speaker.connection, data=data))
            self._shared.outbox += told
        if self._rib.ended:
            self._shared.restarting = False

    def _pack(
        self, piece: rib_out.Piece, negotiated: negotiation.Negotiated, link_local: addresses.Address | None
    ) -> list[bytes]:
        family = families.unicast(piece.family)
        if isinstance(piece, rib_out.EndOfRib):
            return [packing.end_of_rib(family)]
        if isinstance(piece, rib_out.Withdraw):
            return packing.withdraw(piece.prefixes, family=family)
        next_hop = negotiated.next_hops[piece.family]
        beside = link_local if next_hop.family is addresses.Family.IPV6 and next_hop != link_local else None
        return packing.announce(
            piece.prefixes,
            family=family,
            attributes=wire_attributes.originated(
                self._said_of(piece.attributes), asn=negotiated.local_asn, ibgp=negotiated.internal
            ),
            next_hop=next_hop,
            link_local=beside,
            four_octet_as=negotiated.four_octet_as,
        )

    def _said_of(self, attributes: routes.Attributes) -> routes.Attributes:
        if self._phase is not _Phase.DRAINING:
            return attributes
        leaving = attributes.communities | {communities.GRACEFUL_SHUTDOWN}
        return dataclasses.replace(attributes, local_pref=0, communities=leaving)

    # The way out.

    def _withdraw_all(self, now: float) -> None:
        self._rib.replace({})
        self._phase, self._phase_until = _Phase.WITHDRAWING, now + WITHDRAW_LIMIT

    def _finish(self, now: float) -> None:
        self.stop(now, outputs.Stop.SHUTDOWN, self._text)

    def _end(self, event: fsm.Event, now: float, cease: notifications.Notification | None) -> None:
        self._phase = _Phase.STOPPED
        self._quit(event, now, cease)
        self._shared.outbox.append(outputs.Stopped())

    def _quit(self, event: fsm.Event, now: float, cease: notifications.Notification | None) -> None:
        for each in self._machines():
            each.handle(event, now, cease)
