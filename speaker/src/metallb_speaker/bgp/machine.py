"""One connection and its state machine in operation: the table of `fsm`, with timers, messages and the OPEN that was agreed on.

- An event runs the actions of its cell in order, then the state is the cell's. Nothing else sets the state.
- What went wrong is noted before the event that it causes, so that whoever hears of the new state finds the reason beside it.
- After an event that ended the connection nothing more of what was read from it is looked at.
- What concerns the peer and not the connection (which routes, which of two connections stays) is the session's, reached by `Owner`.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

from metallb_core.domain import addresses, peers, reasons
from metallb_speaker.bgp import fsm, negotiation, outputs, problems, timers
from metallb_speaker.bgp.wire import families, framing, malformed, messages, notifications

_State = fsm.State
_Event = fsm.Event
_Action = fsm.Action

# Which event an error of the codec is, by the code of its NOTIFICATION; ROUTE-REFRESH has errors of its own (RFC 7313) and no event.
_ERRORS = {
    notifications.Code.MESSAGE_HEADER: _Event.HEADER_ERROR,
    notifications.Code.OPEN_MESSAGE: _Event.OPEN_ERROR,
    notifications.Code.UPDATE_MESSAGE: _Event.UPDATE_ERROR,
    notifications.Code.ROUTE_REFRESH_MESSAGE: _Event.HEADER_ERROR,
}
_MESSAGES = {
    messages.Keepalive: (_Event.KEEPALIVE, "KEEPALIVE"),
    messages.Update: (_Event.UPDATE, "an UPDATE"),
    messages.RouteRefresh: (_Event.ROUTE_REFRESH, "a ROUTE-REFRESH"),
}
# The subcodes of an unexpected message (RFC 6608 section 3).
_UNEXPECTED = {
    _State.OPEN_SENT: notifications.StateMachine.UNEXPECTED_IN_OPEN_SENT,
    _State.OPEN_CONFIRM: notifications.StateMachine.UNEXPECTED_IN_OPEN_CONFIRM,
    _State.ESTABLISHED: notifications.StateMachine.UNEXPECTED_IN_ESTABLISHED,
}
_OPEN_ERROR = notifications.Code.OPEN_MESSAGE
# More timers than this cannot expire at one moment, whatever the events do.
_EXPIRIES_AT_ONCE = 8


@dataclasses.dataclass(slots=True, kw_only=True)
class Shared:
    """What the connections to one peer have in common."""

    peer: peers.Peer
    random: timers.Random
    damping: timers.Damping
    restarting: bool
    counters: outputs.Counters = dataclasses.field(default_factory=outputs.Counters)
    outbox: list[outputs.Output] = dataclasses.field(default_factory=list)
    problem: reasons.Refusal | None = None
    connections: int = 0
    # The peer refused capabilities; until then it is offered none.
    bare_until: float | None = None

    def new_connection(self) -> int:
        """The number of another connection."""
        self.connections += 1
        return self.connections


class CollisionError(Exception):
    """Another connection to the same peer stays, this one does not (RFC 4271 section 6.8). Never leaves the session."""


class Owner(Protocol):
    """What a machine asks of its session."""

    def judge(self, machine: "Machine", ours: messages.Open, theirs: messages.Open) -> negotiation.Negotiated:
        """What the peer's OPEN leads to. Raises MalformedError to refuse it, CollisionError to close this connection for another one."""
        ...

    def refresh(self, family: addresses.Family) -> None:
        """The peer wants the routes of the family again."""
        ...

    def changed(self, now: float) -> None:
        """The state of a machine may be another one."""
        ...


class Machine:
    """See the module. `incoming`: the connection was opened by the peer."""

    def __init__(self, shared: Shared, owner: Owner) -> None:
        self.state = _State.IDLE
        self.incoming = False
        self.connection: int | None = None
        self.negotiated: negotiation.Negotiated | None = None
        self.endpoints: outputs.Endpoints | None = None
        self.ours: messages.Open | None = None
        self._shared = shared
        self._owner = owner
        self._timers = timers.Timers()
        self._reader = framing.Reader()
        self._agreed: negotiation.Negotiated | None = None
        self._notification: notifications.Notification | None = None
        self._update: messages.Update | None = None
        self._refresh: families.Family | None = None
        self._actions: dict[fsm.Action, Callable[[float], None]] = {
            _Action.INITIATE: self._initiate,
            _Action.DROP: self._drop,
            _Action.ABANDON: self._abandon,
            _Action.SEND_OPEN: self._send_open,
            _Action.SEND_KEEPALIVE: self._send_keepalive,
            _Action.SEND_CEASE: self._send_notification,
            _Action.SEND_ERROR: self._send_notification,
            _Action.SEND_HOLD_EXPIRED: self._send_hold_expired,
            _Action.SEND_FSM_ERROR: self._send_fsm_error,
            _Action.START_CONNECT_RETRY: self._start_connect_retry,
            _Action.START_RETRY_DELAY: self._start_retry_delay,
            _Action.STOP_CONNECT_RETRY: self._stop_connect_retry,
            _Action.START_OPEN_HOLD: self._start_open_hold,
            _Action.START_HOLD: self._start_hold,
            _Action.START_KEEPALIVE: self._start_keepalive,
            _Action.START_IDLE_HOLD: self._start_idle_hold,
            _Action.RESET_DAMPING: self._reset_damping,
            _Action.ADOPT: self._adopt,
            _Action.ESTABLISH: self._establish,
            _Action.ROUTES: self._count_routes,
            _Action.REFRESH: self._ask_refresh,
            _Action.RELEASE: self._release,
        }

    # What happens.

    def handle(self, event: fsm.Event, now: float, notification: notifications.Notification | None = None) -> None:
        """Run the event's cell. `notification` is what SEND_CEASE and SEND_ERROR send."""
        actions, state = fsm.TABLE[self.state, event]
        self._notification = notification
        for action in actions:
            self._actions[action](now)
        self.state = state
        self._owner.changed(now)

    def await_incoming(self) -> None:
        """Be where the peer's connection is welcome; for a machine that never tried to connect by itself."""
        if self.state is not _State.IDLE or self.connection is not None:
            raise ValueError(f"a machine in {self.state.label} cannot begin anew")
        self.state = _State.ACTIVE

    def connected(self, connection: int, endpoints: outputs.Endpoints, now: float, *, incoming: bool) -> None:
        """A TCP connection stands."""
        self.connection = connection
        self.endpoints = endpoints
        self.incoming = incoming
        self._reader = framing.Reader()
        self.handle(_Event.TCP_CONFIRMED, now)

    def receive(self, data: bytes, now: float) -> None:
        """Bytes of the connection."""
        connection = self.connection
        try:
            for message in self._reader.feed(data):
                self._message(message, now)
                if self.connection != connection:
                    return
        except malformed.MalformedError as error:
            self._malformed(error, now)

    def closed(self, why: str, now: float) -> None:
        """The connection ended without our doing."""
        if self.state is _State.OPEN_SENT:
            self._shared.problem = problems.closed_early(self._shared.peer, why)
        else:
            self._shared.problem = problems.lost(self._shared.peer, why)
        self.handle(_Event.TCP_FAILS, now)

    def tick(self, now: float) -> None:
        """Timers that have expired by now."""
        for _ in range(_EXPIRIES_AT_ONCE):
            event = self._timers.due(now)
            if event is None:
                return
            self._note_expiry(event)
            self.handle(event, now)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._timers.next()

    def spoke(self, count: int, now: float) -> None:
        """`count` UPDATEs were sent: each stands for a KEEPALIVE (RFC 4271 section 4.4)."""
        self._shared.counters.updates_sent += count
        self._start_keepalive(now)

    def _message(self, message: messages.Message, now: float) -> None:
        self._count(message)
        if isinstance(message, messages.Notification):
            self._shared.problem = problems.received(self._shared.peer, message)
            said = (message.code, message.subcode)
            about_version = said == (_OPEN_ERROR, notifications.Open.UNSUPPORTED_VERSION_NUMBER)
            if said == (_OPEN_ERROR, notifications.Open.UNSUPPORTED_OPTIONAL_PARAMETER):
                self._forgo_capabilities(now)
            self.handle(_Event.NOTIFICATION_VERSION if about_version else _Event.NOTIFICATION, now)
        elif isinstance(message, messages.Open):
            self._open(message, now)
        else:
            event, what = _MESSAGES[type(message)]
            if _Action.SEND_FSM_ERROR in fsm.TABLE[self.state, event][0]:
                self._shared.problem = problems.unexpected(self._shared.peer, what, self.state.label)
            self._update = message if isinstance(message, messages.Update) else None
            self._refresh = None
            if isinstance(message, messages.RouteRefresh) and message.subtype == messages.REFRESH_NORMAL:
                self._refresh = message.family
            self.handle(event, now)

    def _forgo_capabilities(self, now: float) -> None:
        """The answer to an OPEN that has them (RFC 5492 section 3); to another one it is about something else."""
        peer, endpoints, ours = self._shared.peer, self.endpoints, self.ours
        if self.state is _State.ESTABLISHED or endpoints is None or ours is None or not ours.capabilities:
            return
        if not negotiation.needs_capabilities(peer, endpoints):
            self._shared.bare_until = now + timers.WITHOUT_CAPABILITIES

    def _open(self, theirs: messages.Open, now: float) -> None:
        if self.state is not _State.OPEN_SENT or self.ours is None:
            self._shared.problem = problems.unexpected(self._shared.peer, "an OPEN", self.state.label)
            self.handle(_Event.OPEN, now)
            return
        try:
            self._agreed = self._owner.judge(self, self.ours, theirs)
        except CollisionError:
            collision = notifications.cease(notifications.Cease.CONNECTION_COLLISION_RESOLUTION)
            self.handle(_Event.COLLISION_DUMP, now, collision)
        else:
            self.handle(_Event.OPEN, now)

    def _malformed(self, error: malformed.MalformedError, now: float) -> None:
        event = _ERRORS[notifications.Code(error.code)]
        if _Action.SEND_ERROR in fsm.TABLE[self.state, event][0]:
            self._shared.problem = problems.sent(self._shared.peer, error)
        else:
            self._shared.problem = problems.unexpected(self._shared.peer, "an UPDATE", self.state.label)
        self.handle(event, now, notifications.Notification.of(error))

    def _note_expiry(self, event: fsm.Event) -> None:
        peer = self._shared.peer
        if event is _Event.HOLD_EXPIRES:
            if self.state is _State.OPEN_SENT:
                self._shared.problem = problems.no_answer(peer, timers.OPEN_HOLD)
            elif self.negotiated is not None:
                self._shared.problem = problems.hold_expired(peer, self.negotiated.hold_time)
        elif event is _Event.CONNECT_RETRY_EXPIRES and self.state is _State.CONNECT:
            self._shared.problem = problems.timed_out(peer, self._shared.damping.attempt_timeout())

    def _count(self, message: messages.Message) -> None:
        counters = self._shared.counters
        if isinstance(message, messages.Keepalive):
            counters.keepalives_received += 1
        elif isinstance(message, messages.Update):
            counters.updates_received += 1
        elif isinstance(message, messages.Open):
            counters.opens_received += 1
        elif isinstance(message, messages.Notification):
            counters.notifications_received += 1
        else:
            counters.route_refresh_received += 1

    # Actions: towards the network.

    def _initiate(self, now: float) -> None:
        self.connection = self._shared.new_connection()
        self.incoming = False
        self._shared.outbox.append(outputs.Connect(connection=self.connection))

    def _drop(self, now: float) -> None:
        self._close(abandon=False)

    def _abandon(self, now: float) -> None:
        self._close(abandon=True)

    def _close(self, *, abandon: bool) -> None:
        if self.connection is not None:
            self._shared.outbox.append(outputs.Close(connection=self.connection, abandon=abandon))
            self.connection = None

    def _send(self, data: bytes) -> None:
        if self.connection is None:
            raise ValueError(f"a machine in {self.state.label} has no connection to send on")
        self._shared.outbox.append(outputs.Send(connection=self.connection, data=data))

    def _send_open(self, now: float) -> None:
        if self.endpoints is None:
            raise ValueError("OPEN needs to know the ends of the connection")
        shared = self._shared
        if shared.bare_until is not None and now >= shared.bare_until:
            shared.bare_until = None
        self.ours = negotiation.offer(
            shared.peer, self.endpoints, restarting=shared.restarting, with_capabilities=shared.bare_until is None
        )
        self._shared.counters.opens_sent += 1
        self._send(self.ours.serialise())

    def _send_keepalive(self, now: float) -> None:
        self._shared.counters.keepalives_sent += 1
        self._send(messages.Keepalive().serialise())

    def _send_notification(self, now: float) -> None:
        notification = self._notification
        if notification is None:
            raise ValueError("the event came without the NOTIFICATION that it sends")
        self._shared.counters.notifications_sent += 1
        self._send(notification.serialise())

    def _send_hold_expired(self, now: float) -> None:
        self._notification = notifications.Notification(code=notifications.Code.HOLD_TIMER_EXPIRED)
        self._send_notification(now)

    def _send_fsm_error(self, now: float) -> None:
        subcode = _UNEXPECTED.get(self.state, notifications.StateMachine.UNSPECIFIED)
        code = notifications.Code.FINITE_STATE_MACHINE
        self._notification = notifications.Notification(code=code, subcode=subcode)
        self._send_notification(now)

    # Actions: timers.

    def _start_connect_retry(self, now: float) -> None:
        self._timers.idle_hold = None
        self._timers.connect_retry = now + self._shared.damping.attempt_timeout()

    def _start_retry_delay(self, now: float) -> None:
        self._timers.connect_retry = now + self._shared.damping.delay(now, timers.CONNECT_LIMIT)

    def _stop_connect_retry(self, now: float) -> None:
        self._timers.connect_retry = None

    def _start_open_hold(self, now: float) -> None:
        self._timers.hold = now + timers.OPEN_HOLD

    def _start_hold(self, now: float) -> None:
        hold = 0 if self.negotiated is None else self.negotiated.hold_time
        self._timers.hold = now + hold if hold else None

    def _start_keepalive(self, now: float) -> None:
        seconds = 0.0 if self.negotiated is None else self.negotiated.keepalive_time
        self._timers.keepalive = now + timers.jittered(seconds, self._shared.random) if seconds else None

    def _start_idle_hold(self, now: float) -> None:
        self._timers.idle_hold = now + self._shared.damping.delay(now)

    def _reset_damping(self, now: float) -> None:
        self._shared.damping.reset()

    # Actions: the session.

    def _adopt(self, now: float) -> None:
        self.negotiated = self._agreed
        if self.negotiated is not None:
            self._reader.context = self.negotiated.context

    def _establish(self, now: float) -> None:
        self._shared.damping.established(now)
        self._shared.counters.established += 1
        self._shared.problem = None

    def _count_routes(self, now: float) -> None:
        update = self._update
        if update is None:
            return
        counters = self._shared.counters
        counters.prefixes_received += len(update.announced)
        counters.withdrawals_received += len(update.gone)
        counters.malformed_updates += bool(update.problems)

    def _ask_refresh(self, now: float) -> None:
        if self._refresh in families.PREFIXES_OF:
            self._owner.refresh(families.PREFIXES_OF[self._refresh])

    def _release(self, now: float) -> None:
        self._timers.stop()
        self.negotiated = self._agreed = None
        self.ours = None
        self._reader = framing.Reader()
        self._update = None
