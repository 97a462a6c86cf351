"""The override file: every key optional, every mistake named, Go's durations."""

import dataclasses

import pytest

from metallb_speaker.membership import settings

_FULL = """{
  "TCPTimeout": "10s", "IndirectChecks": 3, "RetransmitMult": 4, "SuspicionMult": 4, "SuspicionMaxTimeoutMult": 6,
  "PushPullInterval": "30s", "ProbeTimeout": "500ms", "ProbeInterval": "1s", "DisableTcpPings": false,
  "AwarenessMaxMultiplier": 8, "GossipNodes": 3, "GossipInterval": "200ms", "GossipToTheDeadTime": "30s",
  "GossipVerifyIncoming": true, "GossipVerifyOutgoing": true, "EnableCompression": true, "HandoffQueueDepth": 1024,
  "UDPBufferSize": 1400, "QueueCheckInterval": "30s"
}"""


def test_a_file_with_every_key_says_everything() -> None:
    for base in settings.PROFILES.values():
        assert settings.parse_override(_FULL, base) == settings.LAN


def test_an_empty_object_changes_nothing() -> None:
    assert settings.parse_override("{}", settings.WAN) == settings.WAN


def test_the_profiles_are_those_of_upstream() -> None:
    lan, wan = settings.LAN, settings.WAN
    assert (lan.probe_interval, lan.probe_timeout, lan.suspicion_mult, lan.suspicion_max_timeout_mult) == (1, 0.5, 4, 6)
    assert (wan.probe_interval, wan.probe_timeout, wan.suspicion_mult, wan.gossip_nodes) == (5, 3, 6, 4)
    assert (wan.tcp_timeout, wan.push_pull_interval, wan.gossip_to_the_dead_time) == (30, 60, 60)


@pytest.mark.parametrize(
    ("text", "attribute", "value"),
    [
        pytest.param('{"ProbeInterval": "1m30.5s"}', "probe_interval", 90.5, id="units in a row"),
        pytest.param('{"ProbeInterval": "250ms"}', "probe_interval", 0.25, id="milliseconds"),
        pytest.param('{"GossipInterval": "0"}', "gossip_interval", 0.0, id="plain zero"),
        pytest.param('{"IndirectChecks": 0}', "indirect_checks", 0, id="no helpers"),
        pytest.param('{"DisableTcpPings": true}', "disable_tcp_pings", True, id="switch"),
    ],
)
def test_one_key_is_enough(text: str, attribute: str, value: object) -> None:
    assert settings.parse_override(text) == dataclasses.replace(settings.FAST, **{attribute: value})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("{", "JSON", id="no JSON"),
        pytest.param("[]", "object", id="no object"),
        pytest.param('{"probeInterval": "1s"}', "probeInterval", id="unknown key"),
        pytest.param('{"ProbeInterval": "fast"}', "ProbeInterval", id="no duration"),
        pytest.param('{"ProbeInterval": "-1s"}', "ProbeInterval", id="negative duration"),
        pytest.param('{"ProbeInterval": "1"}', "ProbeInterval", id="duration without a unit"),
        pytest.param('{"ProbeInterval": ""}', "ProbeInterval", id="empty duration"),
        pytest.param('{"ProbeInterval": 1}', "ProbeInterval", id="number for a duration"),
        pytest.param('{"ProbeInterval": "0s"}', "ProbeInterval", id="interval of nothing"),
        pytest.param('{"GossipNodes": "3"}', "GossipNodes", id="text for a number"),
        pytest.param('{"GossipNodes": true}', "GossipNodes", id="switch for a number"),
        pytest.param('{"GossipNodes": -1}', "GossipNodes", id="negative number"),
        pytest.param('{"EnableCompression": 1}', "EnableCompression", id="number for a switch"),
        pytest.param('{"UDPBufferSize": 70000}', "UDPBufferSize", id="larger than a packet"),
        pytest.param('{"UDPBufferSize": 100}', "UDPBufferSize", id="too small for a message"),
    ],
)
def test_a_mistake_is_named(text: str, named: str) -> None:
    with pytest.raises(settings.SettingsError, match=named):
        settings.parse_override(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("1h2m3s", 3723.0, id="hours"),
        pytest.param("1.5s", 1.5, id="fraction"),
        pytest.param(".5s", 0.5, id="no leading digit"),
        pytest.param("10us", 1e-5, id="microseconds"),
        pytest.param("10µs", 1e-5, id="micro sign"),
        pytest.param("100ns", 1e-7, id="nanoseconds"),
        pytest.param("+1s", 1.0, id="plus"),
        pytest.param("0", 0.0, id="zero"),
    ],
)
def test_go_durations(text: str, seconds: float) -> None:
    assert settings.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1 s", "1s ", "1d", "1s-2s", "x1s", "1sx", "++1s", "1..5s"])
def test_no_go_durations(text: str) -> None:
    with pytest.raises(ValueError):
        settings.parse_duration(text)
