"""How members probe, gossip and judge: the names of upstream's override file, its two profiles, and ours.

- Every key of an override file may be left out; what is left out comes from the profile. An unknown key, a wrong type or a
  duration that is none is an error that names the key.
- Durations are seconds here and Go duration text in the file ("1m30s", "500ms").
- HandoffQueueDepth bounds the packets that are read before a timer gets its turn. QueueCheckInterval is accepted and without
  effect: there is no queue of its kind here.
- The profile named `fast` is ours and the default. It shares the wire with members on upstream's profiles.

Why `fast` is what it is. A member that dies is first probed within about one interval of 125 ms by one of its peers, whatever
their number. That probe fails after 125 ms, the suspicion is told at once, and peers that hear it probe for themselves instead
of believing it. With two of them agreeing, the verdict falls 4 intervals after the suspicion: 0.75 s in the middle. A peer
that nobody confirms waits 4 times as long. A member must therefore be silent for about 625 ms, towards three peers, by UDP and
by TCP, before it can be called dead; a shorter stall costs nothing. Upstream's LAN profile needs about 6 s for the same.
"""

import dataclasses
import json
import re
from collections.abc import Mapping

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


class SettingsError(ValueError):
    """A setting that cannot be used; the message names its key."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All timings in seconds. Defaults are the `fast` profile."""

    tcp_timeout: float = 5.0
    indirect_checks: int = 3
    retransmit_mult: int = 4
    suspicion_mult: int = 4
    suspicion_max_timeout_mult: int = 4
    push_pull_interval: float = 15.0
    probe_timeout: float = 0.070
    probe_interval: float = 0.125
    disable_tcp_pings: bool = False
    awareness_max_multiplier: int = 8
    gossip_nodes: int = 3
    gossip_interval: float = 0.1
    gossip_to_the_dead_time: float = 30.0
    gossip_verify_incoming: bool = True
    gossip_verify_outgoing: bool = True
    # Compressing in Python costs more than the bytes it saves on a LAN; compressed messages are read whatever this says.
    enable_compression: bool = False
    handoff_queue_depth: int = 1024
    udp_buffer_size: int = 1400
    queue_check_interval: float = 30.0

    def __post_init__(self) -> None:
        for key, attribute in _KEYS.items():
            value = getattr(self, attribute)
            if not isinstance(value, bool) and value < _LEAST.get(attribute, 0):
                raise SettingsError(f"{key}: {value} is below {_LEAST.get(attribute, 0)}")
        if self.udp_buffer_size > 65507:
            raise SettingsError(f"UDPBufferSize: {self.udp_buffer_size} is more than a UDP packet holds, 65507")


_KEYS: Mapping[str, str] = {
    "TCPTimeout": "tcp_timeout",
    "IndirectChecks": "indirect_checks",
    "RetransmitMult": "retransmit_mult",
    "SuspicionMult": "suspicion_mult",
    "SuspicionMaxTimeoutMult": "suspicion_max_timeout_mult",
    "PushPullInterval": "push_pull_interval",
    "ProbeTimeout": "probe_timeout",
    "ProbeInterval": "probe_interval",
    "DisableTcpPings": "disable_tcp_pings",
    "AwarenessMaxMultiplier": "awareness_max_multiplier",
    "GossipNodes": "gossip_nodes",
    "GossipInterval": "gossip_interval",
    "GossipToTheDeadTime": "gossip_to_the_dead_time",
    "GossipVerifyIncoming": "gossip_verify_incoming",
    "GossipVerifyOutgoing": "gossip_verify_outgoing",
    "EnableCompression": "enable_compression",
    "HandoffQueueDepth": "handoff_queue_depth",
    "UDPBufferSize": "udp_buffer_size",
    "QueueCheckInterval": "queue_check_interval",
}
# The least value that leaves a working member. Zero for an interval switches the thing off, as upstream.
_LEAST: Mapping[str, float] = {
    "tcp_timeout": 0.001,
    "retransmit_mult": 1,
    "suspicion_mult": 1,
    "suspicion_max_timeout_mult": 1,
    "probe_timeout": 0.001,
    "probe_interval": 0.001,
    "awareness_max_multiplier": 1,
    "handoff_queue_depth": 1,
    "udp_buffer_size": 576,
}

FAST = Settings()
LAN = Settings(
    tcp_timeout=10.0,
    suspicion_max_timeout_mult=6,
    push_pull_interval=30.0,
    probe_timeout=0.5,
    probe_interval=1.0,
    gossip_interval=0.2,
    enable_compression=True,
)
WAN = dataclasses.replace(
    LAN,
    tcp_timeout=30.0,
    suspicion_mult=6,
    push_pull_interval=60.0,
    probe_timeout=3.0,
    probe_interval=5.0,
    gossip_nodes=4,
    gossip_interval=0.5,
    gossip_to_the_dead_time=60.0,
)
PROFILES: Mapping[str, Settings] = {"fast": FAST, "lan": LAN, "wan": WAN}


def parse_override(text: str | bytes, base: Settings = FAST) -> Settings:
    """`base` with what a JSON override file says. Raises SettingsError, which names the key."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"the membership override is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise SettingsError("the membership override is not a JSON object")
    changes: dict[str, float | int | bool] = {}
    for key, value in document.items():
        attribute = _KEYS.get(key)
        if attribute is None:
            raise SettingsError(f"{key}: unknown, the keys are {', '.join(sorted(_KEYS))}")
        changes[attribute] = _convert(key, value, getattr(base, attribute))
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def _convert(key: str, value: object, current: float | int | bool) -> float | int | bool:
    if isinstance(current, bool):
        if not isinstance(value, bool):
            raise SettingsError(f"{key}: {value!r} is neither true nor false")
        return value
    if isinstance(current, int):
        if isinstance(value, bool) or not isinstance(value, int):
            raise SettingsError(f"{key}: {value!r} is not a whole number")
        return value
    if not isinstance(value, str):
        raise SettingsError(f'{key}: {value!r} is not a duration, write it like "500ms"')
    try:
        return parse_duration(value)
    except ValueError:
        raise SettingsError(f'{key}: {value!r} is not a duration, write it like "500ms"') from None


def parse_duration(text: str) -> float:
    """The seconds of a Go duration: numbers with units ns, us, ms, s, m, h in a row, or plain 0. Raises ValueError."""
    if text in ("0", "+0"):
        return 0.0
    rest = text.removeprefix("+")
    seconds = 0.0
    position = 0
    for match in _DURATION.finditer(rest):
        if match.start() != position:
            raise ValueError(text)
        seconds += float(match[1]) * _UNITS[match[2]]
        position = match.end()
    if not rest or position != len(rest):
        raise ValueError(text)
    return seconds
