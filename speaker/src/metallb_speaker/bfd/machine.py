"""The state machine of RFC 5880 sections 6.2 and 6.8.6, as tables.

- A cell is (our state, state received) and holds the next state, and the diagnostic to take with it; None keeps the one there is.
- What the tables leave out does not exist: every pair has a cell. A received packet never leads out of AdminDown, which only the user does.
- The order of the checks around the tables (authentication, discriminators, poll, timers) is the session's.
"""

import dataclasses

from metallb_speaker.bfd import packets

S = packets.State
D = packets.Diagnostic


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """Where a cell leads. `diagnostic` None leaves the session's as it is."""

    state: packets.State
    diagnostic: packets.Diagnostic | None = None


RECEIVED: dict[tuple[packets.State, packets.State], Step] = {
    (S.ADMIN_DOWN, S.ADMIN_DOWN): Step(S.ADMIN_DOWN),
    (S.ADMIN_DOWN, S.DOWN): Step(S.ADMIN_DOWN),
    (S.ADMIN_DOWN, S.INIT): Step(S.ADMIN_DOWN),
    (S.ADMIN_DOWN, S.UP): Step(S.ADMIN_DOWN),
    (S.DOWN, S.ADMIN_DOWN): Step(S.DOWN),
    (S.DOWN, S.DOWN): Step(S.INIT),
    (S.DOWN, S.INIT): Step(S.UP),
    (S.DOWN, S.UP): Step(S.DOWN),
    (S.INIT, S.ADMIN_DOWN): Step(S.DOWN, D.NEIGHBOR_SIGNALED_DOWN),
    (S.INIT, S.DOWN): Step(S.INIT),
    (S.INIT, S.INIT): Step(S.UP),
    (S.INIT, S.UP): Step(S.UP),
    (S.UP, S.ADMIN_DOWN): Step(S.DOWN, D.NEIGHBOR_SIGNALED_DOWN),
    (S.UP, S.DOWN): Step(S.DOWN, D.NEIGHBOR_SIGNALED_DOWN),
    (S.UP, S.INIT): Step(S.UP),
    (S.UP, S.UP): Step(S.UP),
}

# No packet within the detection time (section 6.8.4), and no echo back in time (section 6.8.5).
EXPIRED: dict[packets.State, Step] = {
    S.ADMIN_DOWN: Step(S.ADMIN_DOWN),
    S.DOWN: Step(S.DOWN),
    S.INIT: Step(S.DOWN, D.DETECTION_TIME_EXPIRED),
    S.UP: Step(S.DOWN, D.DETECTION_TIME_EXPIRED),
}
ECHO_LOST: dict[packets.State, Step] = {
    S.ADMIN_DOWN: Step(S.ADMIN_DOWN),
    S.DOWN: Step(S.DOWN),
    S.INIT: Step(S.INIT),
    S.UP: Step(S.DOWN, D.ECHO_FAILED),
}
