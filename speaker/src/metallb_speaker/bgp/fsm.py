"""The finite state machine of one connection, as a table (RFC 4271 section 8).

- Every pair of state and event has a cell. An event that changes nothing in a state has a cell that says so.
- A cell is a tuple of actions, in order, and the next state. What an action does is `machine`'s matter; that it is done is the table's.
- Left out of the RFC are the optional attributes that are not used: DelayOpen (events 12, 20), passive establishment (4, 5, 7), and TCP
  state tracking (14, 15). Event 16 is 17 here: for the machine a connection is a connection, whoever opened it.
- DampPeerOscillations is on: leaving for Idle because of an error starts the idle hold timer, whose end (event 13) is AutomaticStart (6).
- A failed attempt leads to Active, not to Idle as the RFC has it without DelayOpen: in Active the peer's own attempt is welcome.
- A NOTIFICATION is not answered with another in any state: RFC 4271 section 6.4 knows no answer to it.
"""

import enum
from collections.abc import Mapping


class State(enum.IntEnum):
    """In the order of coming up."""

    IDLE = 1
    CONNECT = 2
    ACTIVE = 3
    OPEN_SENT = 4
    OPEN_CONFIRM = 5
    ESTABLISHED = 6

    @property
    def label(self) -> str:
        """As RFC 4271 spells it."""
        return _LABELS[self]


_LABELS = {
    State.IDLE: "Idle",
    State.CONNECT: "Connect",
    State.ACTIVE: "Active",
    State.OPEN_SENT: "OpenSent",
    State.OPEN_CONFIRM: "OpenConfirm",
    State.ESTABLISHED: "Established",
}


class Event(enum.Enum):
    """What happens to a session; the value is the number in RFC 4271 section 8.1, or a name where that has none."""

    MANUAL_START = 1
    MANUAL_STOP = 2
    AUTOMATIC_START = 6
    AUTOMATIC_STOP = 8
    CONNECT_RETRY_EXPIRES = 9
    HOLD_EXPIRES = 10
    KEEPALIVE_EXPIRES = 11
    TCP_CONFIRMED = 17
    TCP_FAILS = 18
    OPEN = 19
    HEADER_ERROR = 21
    OPEN_ERROR = 22
    COLLISION_DUMP = 23
    NOTIFICATION_VERSION = 24
    NOTIFICATION = 25
    KEEPALIVE = 26
    UPDATE = 27
    UPDATE_ERROR = 28
    # RFC 2918: a message like UPDATE, which only Established takes.
    ROUTE_REFRESH = "route refresh"
    # RFC 4724: we restart. The connection ends and nobody is told, so that the peer keeps the routes.
    LEAVE = "leave"


class Action(enum.Enum):
    """What a cell has done."""

    # Towards the network.
    INITIATE = "open a TCP connection"
    DROP = "close the TCP connection"
    ABANDON = "close the TCP connection as a process that dies does"
    SEND_OPEN = "send OPEN"
    SEND_KEEPALIVE = "send KEEPALIVE"
    SEND_CEASE = "send NOTIFICATION Cease with the subcode that the event came with"
    SEND_ERROR = "send the NOTIFICATION that the error demands"
    SEND_HOLD_EXPIRED = "send NOTIFICATION Hold Timer Expired"
    SEND_FSM_ERROR = "send NOTIFICATION Finite State Machine Error with the subcode of the state (RFC 6608)"
    # Timers.
    START_CONNECT_RETRY = "start the connect retry timer for an attempt under way"
    START_RETRY_DELAY = "start the connect retry timer for the time until the next attempt"
    STOP_CONNECT_RETRY = "stop the connect retry timer"
    START_OPEN_HOLD = "start the hold timer with the time that a peer has for its OPEN"
    START_HOLD = "start the hold timer with the negotiated time"
    START_KEEPALIVE = "start the keepalive timer"
    START_IDLE_HOLD = "start the idle hold timer, longer each time"
    RESET_DAMPING = "forget earlier failures"
    # The session.
    ADOPT = "take what the OPEN negotiated into force"
    ESTABLISH = "begin to tell routes"
    ROUTES = "count what the UPDATE carries"
    REFRESH = "tell the family's routes again"
    RELEASE = "stop all timers and forget the connection and what was told over it"


Cell = tuple[tuple[Action, ...], State]

_A = Action
# An error or the end of a connection: be silent for the idle hold time, then start by itself.
_DAMP = (_A.RELEASE, _A.DROP, _A.START_IDLE_HOLD)
# The operator's or BFD's end: nothing starts by itself.
_REST = (_A.RELEASE, _A.DROP, _A.RESET_DAMPING)


def _table() -> dict[tuple[State, Event], Cell]:
    table: dict[tuple[State, Event], Cell] = {}
    messages = (Event.OPEN, Event.KEEPALIVE, Event.UPDATE, Event.UPDATE_ERROR, Event.ROUTE_REFRESH)

    def row(state: State, cells: Mapping[Event, Cell]) -> None:
        """One state: all events, those without a cell of their own change nothing."""
        for event in Event:
            table[state, event] = cells.get(event, ((), state))

    def all_of(events: tuple[Event, ...], cell: Cell) -> dict[Event, Cell]:
        return dict.fromkeys(events, cell)

    initiate = ((_A.START_CONNECT_RETRY, _A.INITIATE), State.CONNECT)
    greet = ((_A.STOP_CONNECT_RETRY, _A.SEND_OPEN, _A.START_OPEN_HOLD), State.OPEN_SENT)
    damp = (_DAMP, State.IDLE)
    abandon = ((_A.RELEASE, _A.ABANDON, _A.RESET_DAMPING), State.IDLE)
    unexpected = ((_A.SEND_FSM_ERROR, *_DAMP), State.IDLE)
    error = ((_A.SEND_ERROR, *_DAMP), State.IDLE)
    cease = ((_A.SEND_CEASE, *_REST), State.IDLE)

    row(
        State.IDLE,
        {
            Event.MANUAL_START: ((_A.RESET_DAMPING, *initiate[0]), State.CONNECT),
            Event.AUTOMATIC_START: initiate,
            # An idle hold timer may be running: a stopped session must not start by itself.
            Event.MANUAL_STOP: ((_A.RELEASE, _A.RESET_DAMPING), State.IDLE),
            Event.AUTOMATIC_STOP: ((_A.RELEASE, _A.RESET_DAMPING), State.IDLE),
            Event.LEAVE: ((_A.RELEASE, _A.RESET_DAMPING), State.IDLE),
        },
    )
    # Before there is a connection nothing can be said, so nothing is: messages and errors can only be our own mistake, and lead to Idle.
    waiting: dict[Event, Cell] = {
        Event.MANUAL_STOP: (_REST, State.IDLE),
        Event.AUTOMATIC_STOP: (_REST, State.IDLE),
        Event.LEAVE: abandon,
        Event.TCP_CONFIRMED: greet,
        **all_of(
            (
                *messages,
                Event.HOLD_EXPIRES,
                Event.KEEPALIVE_EXPIRES,
                Event.HEADER_ERROR,
                Event.OPEN_ERROR,
                Event.COLLISION_DUMP,
                Event.NOTIFICATION_VERSION,
                Event.NOTIFICATION,
            ),
            damp,
        ),
    }
    row(
        State.CONNECT,
        {
            **waiting,
            # The attempt hangs: RFC 4271 gives it up and begins another.
            Event.CONNECT_RETRY_EXPIRES: ((_A.DROP, _A.START_CONNECT_RETRY, _A.INITIATE), State.CONNECT),
            Event.TCP_FAILS: ((_A.DROP, _A.START_RETRY_DELAY), State.ACTIVE),
        },
    )
    row(
        State.ACTIVE,
        {
            **waiting,
            Event.CONNECT_RETRY_EXPIRES: initiate,
            Event.TCP_FAILS: ((_A.DROP, _A.START_RETRY_DELAY), State.ACTIVE),
            # BFD has the path again: the delay is for a path that is not there.
            Event.AUTOMATIC_START: initiate,
        },
    )
    # With a connection: what ends it, in all three states.
    talking: dict[Event, Cell] = {
        Event.MANUAL_STOP: cease,
        Event.AUTOMATIC_STOP: cease,
        Event.LEAVE: abandon,
        Event.HOLD_EXPIRES: ((_A.SEND_HOLD_EXPIRED, *_DAMP), State.IDLE),
        Event.TCP_FAILS: damp,
        Event.HEADER_ERROR: error,
        Event.OPEN_ERROR: error,
        Event.COLLISION_DUMP: ((_A.SEND_CEASE, *_DAMP), State.IDLE),
        Event.NOTIFICATION_VERSION: damp,
        Event.NOTIFICATION: damp,
        Event.CONNECT_RETRY_EXPIRES: unexpected,
        **all_of(messages, unexpected),
    }
    row(
        State.OPEN_SENT,
        {
            **talking,
            Event.KEEPALIVE_EXPIRES: unexpected,
            Event.TCP_FAILS: ((_A.RELEASE, _A.DROP, _A.START_RETRY_DELAY), State.ACTIVE),
            Event.OPEN: (
                (_A.ADOPT, _A.SEND_KEEPALIVE, _A.START_KEEPALIVE, _A.START_HOLD),
                State.OPEN_CONFIRM,
            ),
        },
    )
    row(
        State.OPEN_CONFIRM,
        {
            **talking,
            Event.KEEPALIVE_EXPIRES: ((_A.SEND_KEEPALIVE, _A.START_KEEPALIVE), State.OPEN_CONFIRM),
            Event.KEEPALIVE: ((_A.START_HOLD, _A.ESTABLISH), State.ESTABLISHED),
        },
    )
    row(
        State.ESTABLISHED,
        {
            **talking,
            Event.KEEPALIVE_EXPIRES: ((_A.SEND_KEEPALIVE, _A.START_KEEPALIVE), State.ESTABLISHED),
            Event.KEEPALIVE: ((_A.START_HOLD,), State.ESTABLISHED),
            Event.UPDATE: ((_A.START_HOLD, _A.ROUTES), State.ESTABLISHED),
            Event.UPDATE_ERROR: error,
            Event.ROUTE_REFRESH: ((_A.START_HOLD, _A.REFRESH), State.ESTABLISHED),
        },
    )
    return table


TABLE: Mapping[tuple[State, Event], Cell] = _table()
