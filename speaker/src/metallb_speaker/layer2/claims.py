"""Other stations that claim our addresses: when to speak up, and when to defend. PURE.

- A claim is judged one second after it was heard. A planned move makes the new owner announce itself a moment before the old one is told to
  let go; defending at once would pull the neighbours back to the node that is leaving. If the address is gone by then, nothing happened.
- Then it is reported, and defended with one announcement, at most once in ten seconds for each address and link (RFC 5227 section 2.4 (b)).
  Two stations that both insist therefore exchange two frames in ten seconds, not a storm.
- State exists only for addresses held here, so a stranger cannot make it grow.
"""

import dataclasses

from metallb_core.domain import addresses

SETTLE = 1.0
DEFEND_INTERVAL = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """The station `mac` (6 bytes) claims `address`, which is announced here on `interface`."""

    address: addresses.Address
    interface: str
    mac: bytes


@dataclasses.dataclass(slots=True)
class _State:
    mac: bytes
    judge_at: float | None
    quiet_until: float = 0.0


class Claims:
    """The claims heard, for each address and link."""

    def __init__(self) -> None:
        self._states: dict[tuple[addresses.Address, str], _State] = {}

    def heard(self, address: addresses.Address, interface: str, mac: bytes, now: float) -> bool:
        """Another station claimed `address` on `interface`. True if that set a time to judge it."""
        state = self._states.get((address, interface))
        if state is None:
            self._states[address, interface] = _State(mac, now + SETTLE)
            return True
        state.mac = mac
        if state.judge_at is not None:
            return False
        state.judge_at = max(now + SETTLE, state.quiet_until)
        return True

    def forget(self, address: addresses.Address, interface: str) -> None:
        """The address is no longer announced there."""
        self._states.pop((address, interface), None)

    def due(self, now: float) -> list[Conflict]:
        """The claims to report and to defend against now."""
        conflicts = []
        for (address, interface), state in self._states.items():
            if state.judge_at is not None and state.judge_at <= now:
                state.judge_at = None
                state.quiet_until = now + DEFEND_INTERVAL
                conflicts.append(Conflict(address=address, interface=interface, mac=state.mac))
        return conflicts

    def wait(self, now: float) -> float | None:
        """Seconds until `due` has something, None if nothing is pending."""
        pending = [state.judge_at for state in self._states.values() if state.judge_at is not None]
        return max(0.0, min(pending) - now) if pending else None
