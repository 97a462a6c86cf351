"""The state machine: every cell against a restatement of RFC 4271 section 8, and every cell run by a real machine."""

import random

import pytest

from metallb_core.domain import addresses, peers
from metallb_speaker.bgp import fsm, machine, negotiation, outputs, timers
from metallb_speaker.bgp.wire import framing, messages, notifications

A, S, E = fsm.Action, fsm.State, fsm.Event

# One letter or two for each kind of cell; "." changes nothing.
RELEASE_AND_WAIT = (A.RELEASE, A.DROP, A.START_IDLE_HOLD)
KINDS: dict[str, tuple[tuple[fsm.Action, ...], fsm.State]] = {
    "start": ((A.RESET_DAMPING, A.START_CONNECT_RETRY, A.INITIATE), S.CONNECT),
    "try": ((A.START_CONNECT_RETRY, A.INITIATE), S.CONNECT),
    "retry": ((A.DROP, A.START_CONNECT_RETRY, A.INITIATE), S.CONNECT),
    "forget": ((A.RELEASE, A.RESET_DAMPING), S.IDLE),
    "rest": ((A.RELEASE, A.DROP, A.RESET_DAMPING), S.IDLE),
    "leave": ((A.RELEASE, A.ABANDON, A.RESET_DAMPING), S.IDLE),
    "cease": ((A.SEND_CEASE, A.RELEASE, A.DROP, A.RESET_DAMPING), S.IDLE),
    "dump": ((A.SEND_CEASE, *RELEASE_AND_WAIT), S.IDLE),
    "damp": (RELEASE_AND_WAIT, S.IDLE),
    "fsm": ((A.SEND_FSM_ERROR, *RELEASE_AND_WAIT), S.IDLE),
    "error": ((A.SEND_ERROR, *RELEASE_AND_WAIT), S.IDLE),
    "hold": ((A.SEND_HOLD_EXPIRED, *RELEASE_AND_WAIT), S.IDLE),
    "wait": ((A.DROP, A.START_RETRY_DELAY), S.ACTIVE),
    "open": ((A.STOP_CONNECT_RETRY, A.SEND_OPEN, A.START_OPEN_HOLD), S.OPEN_SENT),
    "back": ((A.RELEASE, A.DROP, A.START_RETRY_DELAY), S.ACTIVE),
    "agree": ((A.ADOPT, A.SEND_KEEPALIVE, A.START_KEEPALIVE, A.START_HOLD), S.OPEN_CONFIRM),
    "beatC": ((A.SEND_KEEPALIVE, A.START_KEEPALIVE), S.OPEN_CONFIRM),
    "beatE": ((A.SEND_KEEPALIVE, A.START_KEEPALIVE), S.ESTABLISHED),
    "up": ((A.START_HOLD, A.ESTABLISH), S.ESTABLISHED),
    "alive": ((A.START_HOLD,), S.ESTABLISHED),
    "routes": ((A.START_HOLD, A.ROUTES), S.ESTABLISHED),
    "again": ((A.START_HOLD, A.REFRESH), S.ESTABLISHED),
}
GRID = """
                       IDLE    CONNECT  ACTIVE  OPEN_SENT  OPEN_CONFIRM  ESTABLISHED
MANUAL_START           start   .        .       .          .             .
MANUAL_STOP            forget  rest     rest    cease      cease         cease
AUTOMATIC_START        try     .        try     .          .             .
AUTOMATIC_STOP         forget  rest     rest    cease      cease         cease
CONNECT_RETRY_EXPIRES  .       retry    try     fsm        fsm           fsm
HOLD_EXPIRES           .       damp     damp    hold       hold          hold
KEEPALIVE_EXPIRES      .       damp     damp    fsm        beatC         beatE
TCP_CONFIRMED          .       open     open    .          .             .
TCP_FAILS              .       wait     wait    back       damp          damp
OPEN                   .       damp     damp    agree      fsm           fsm
HEADER_ERROR           .       damp     damp    error      error         error
OPEN_ERROR             .       damp     damp    error      error         error
COLLISION_DUMP         .       damp     damp    dump       dump          dump
NOTIFICATION_VERSION   .       damp     damp    damp       damp          damp
NOTIFICATION           .       damp     damp    damp       damp          damp
KEEPALIVE              .       damp     damp    fsm        up            alive
UPDATE                 .       damp     damp    fsm        fsm           routes
UPDATE_ERROR           .       damp     damp    fsm        fsm           error
ROUTE_REFRESH          .       damp     damp    fsm        fsm           again
LEAVE                  forget  leave    leave   leave      leave         leave
"""


def _grid() -> dict[tuple[fsm.State, fsm.Event], str]:
    head, *lines = GRID.strip("\n").splitlines()
    states = [S[name] for name in head.split()]
    cells = {}
    for line in lines:
        event, *kinds = line.split()
        cells.update({(state, E[event]): kind for state, kind in zip(states, kinds, strict=True)})
    return cells


CELLS = [
    pytest.param(state, event, kind, id=f"{state.label}-{event.name.lower()}")
    for (state, event), kind in _grid().items()
]


def test_every_pair_has_a_cell_and_every_cell_a_row() -> None:
    pairs = {(state, event) for state in S for event in E}
    assert set(fsm.TABLE) == pairs == set(_grid())


def test_every_action_is_used() -> None:
    assert {action for actions, _ in fsm.TABLE.values() for action in actions} == set(A)


@pytest.mark.parametrize(("state", "event", "kind"), CELLS)
def test_cell(state: fsm.State, event: fsm.Event, kind: str) -> None:
    assert fsm.TABLE[state, event] == (((), state) if kind == "." else KINDS[kind])


PEER = peers.Peer(name="tor", my_asn=64500, peer_asn=64501, address=addresses.Address.parse("192.0.2.1"), hold_time=90)
ENDS = outputs.Endpoints(
    local=addresses.Address.parse("192.0.2.2"),
    remote=addresses.Address.parse("192.0.2.1"),
    router_id=addresses.Address.parse("192.0.2.2"),
)
THEIRS = messages.Open.of(asn=64501, hold_time=30, router_id=addresses.Address.parse("192.0.2.1"))
KEEPALIVE = messages.Keepalive().serialise()


class Owner:
    """A session that agrees to everything."""

    def judge(self, candidate: machine.Machine, ours: messages.Open, theirs: messages.Open) -> negotiation.Negotiated:
        return negotiation.agree(PEER, ENDS, ours, theirs)

    def refresh(self, family: addresses.Family) -> None:
        pass

    def changed(self, now: float) -> None:
        pass


def _machine(state: fsm.State) -> tuple[machine.Machine, machine.Shared]:
    """A machine that came to `state` as a real one does."""
    dice = random.Random(1)
    shared = machine.Shared(peer=PEER, random=dice, damping=timers.Damping(None, dice), restarting=False)
    made = machine.Machine(shared, Owner())
    if state >= S.CONNECT:
        made.handle(E.MANUAL_START, 0.0)
    if state is S.ACTIVE:
        made.handle(E.TCP_FAILS, 0.0)
    if state >= S.OPEN_SENT:
        assert made.connection is not None
        made.connected(made.connection, ENDS, 0.0, incoming=False)
    if state >= S.OPEN_CONFIRM:
        made.receive(THEIRS.serialise(), 0.0)
    if state >= S.ESTABLISHED:
        made.receive(KEEPALIVE, 0.0)
    assert made.state is state
    shared.outbox.clear()
    return made, shared


@pytest.mark.parametrize(("state", "event", "kind"), CELLS)
def test_cell_in_operation(state: fsm.State, event: fsm.Event, kind: str) -> None:
    made, shared = _machine(state)
    cease = notifications.cease(notifications.Cease.ADMINISTRATIVE_SHUTDOWN)
    if event is E.TCP_CONFIRMED:
        made.connection, made.endpoints = 9, ENDS
    made.handle(event, 1.0, cease)
    actions, after = fsm.TABLE[state, event]
    assert made.state is after
    sent = [each.data for each in shared.outbox if isinstance(each, outputs.Send)]
    read = list(framing.Reader().feed(b"".join(sent)))
    expected = {
        "cease": [(6, 2)],
        "dump": [(6, 2)],
        "error": [(6, 2)],
        "hold": [(4, 0)],
        "fsm": [(5, {S.OPEN_SENT: 1, S.OPEN_CONFIRM: 2, S.ESTABLISHED: 3}.get(state))],
    }.get(kind, [])
    assert [(each.code, each.subcode) for each in read if isinstance(each, messages.Notification)] == expected
    closes = [each.abandon for each in shared.outbox if isinstance(each, outputs.Close)]
    had_connection = state >= S.OPEN_SENT or state is S.CONNECT
    assert closes == [A.ABANDON in actions] * (had_connection and bool({A.DROP, A.ABANDON} & set(actions)))
    if after is S.IDLE:
        deadline = made.next_deadline()
        assert (deadline is not None) == (A.START_IDLE_HOLD in actions), "only a damped machine starts by itself"


def test_labels() -> None:
    assert [state.label for state in S] == ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"]


def test_misuse_is_refused() -> None:
    made, _ = _machine(S.OPEN_SENT)
    with pytest.raises(ValueError, match="cannot begin anew"):
        made.await_incoming()
    with pytest.raises(ValueError, match="without the NOTIFICATION"):
        made.handle(E.MANUAL_STOP, 1.0)


# Timers.


class Half:
    """Randomness without any."""

    def __init__(self, value: float) -> None:
        self._value = value

    def random(self) -> float:
        return self._value


@pytest.mark.parametrize(
    ("failures", "nominal"),
    [
        pytest.param(1, 1.0, id="first"),
        pytest.param(2, 2.0, id="doubles"),
        pytest.param(7, 64.0, id="still-doubling"),
        pytest.param(8, 120.0, id="limit"),
        pytest.param(5000, 120.0, id="for-months"),
    ],
)
def test_delay_grows(failures: int, nominal: float) -> None:
    for luck, share in ((0.0, 0.5), (1.0, 1.0)):
        damping = timers.Damping(None, Half(luck))
        for _ in range(failures - 1):
            damping.delay(0.0)
        assert damping.delay(0.0) == pytest.approx(nominal * share)


def test_a_router_that_comes_back_is_found_soon() -> None:
    damping = timers.Damping(None, Half(1.0))
    delays = [damping.delay(0.0, timers.CONNECT_LIMIT) for _ in range(50)]
    assert delays[:5] == [1.0, 2.0, 4.0, 8.0, 15.0]
    assert set(delays[5:]) == {15.0}


def test_connect_time_is_the_interval_each_time() -> None:
    damping = timers.Damping(8.0, random.Random(3))
    delays = [damping.delay(0.0) for _ in range(50)]
    assert all(6.0 <= delay <= 8.0 for delay in delays)
    assert len(set(delays)) > 10
    assert damping.attempt_timeout() == 8.0
    assert timers.Damping(300.0, Half(0.0)).attempt_timeout() == timers.CONNECT_TIMEOUT


@pytest.mark.parametrize(
    ("lasted", "nominal"),
    [pytest.param(59.0, 4.0, id="flaps"), pytest.param(60.0, 1.0, id="was-stable")],
)
def test_a_stable_session_forgives(lasted: float, nominal: float) -> None:
    damping = timers.Damping(None, Half(1.0))
    damping.delay(0.0)
    damping.delay(0.0)
    damping.established(100.0)
    assert damping.delay(100.0 + lasted) == nominal
    assert damping.failures == (3 if nominal > 1 else 1)


def test_timers_fire_once_and_the_hold_timer_first() -> None:
    running = timers.Timers(connect_retry=3.0, idle_hold=4.0, hold=2.0, keepalive=1.0)
    assert running.next() == 1.0
    assert running.due(0.5) is None
    fired = [running.due(10.0) for _ in range(5)]
    assert fired == [E.HOLD_EXPIRES, E.KEEPALIVE_EXPIRES, E.CONNECT_RETRY_EXPIRES, E.AUTOMATIC_START, None]
    assert running.next() is None


def test_keepalive_jitter_is_anew_each_time() -> None:
    made, shared = _machine(S.ESTABLISHED)
    now, gaps = 0.0, []
    for _ in range(40):
        deadline = made.next_deadline()
        assert deadline is not None
        gaps.append(deadline - now)
        now = deadline
        made.tick(now)
        made.receive(KEEPALIVE, now)
    assert all(7.5 <= gap <= 10.0 for gap in gaps), "a third of 30 s, the lower of both hold times"
    assert len(set(gaps)) > 20
    assert shared.counters.keepalives_sent == 41
