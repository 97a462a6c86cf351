"""What the protocol wants done, and what it counted. It does nothing itself."""

import dataclasses

from metallb_speaker.membership import messages

Endpoint = tuple[bytes, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send this packet."""

    endpoint: Endpoint
    data: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DialPing:
    """Ping over TCP, and call `answered_by_tcp` if the answer comes before `deadline`."""

    endpoint: Endpoint
    ping: messages.Ping
    deadline: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DialPushPull:
    """Exchange the whole state with this member, and `merge` what it says."""

    endpoint: Endpoint


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The set of present members, or what one of them says of itself, is another one now."""

    members: frozenset[str]


Output = Send | DialPing | DialPushPull | Changed


@dataclasses.dataclass(slots=True, kw_only=True)
class Counters:
    """What happened so far."""

    packets_sent: int = 0
    packets_received: int = 0
    malformed: int = 0
    probes: int = 0
    probes_failed: int = 0
    tcp_only_answers: int = 0
    suspicions: int = 0
    refutations: int = 0
    deaths: int = 0
    departures: int = 0
    conflicts: int = 0
    stalls: int = 0
    merges: int = 0
    merges_refused: int = 0
