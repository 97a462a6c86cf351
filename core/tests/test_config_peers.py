"""One BGPPeer by itself: every rule, and what it compiles to."""

from typing import Any

import msgspec
import pytest

from metallb_core.api import v1beta1, v1beta2
from metallb_core.config import peers, problems
from metallb_core.domain import addresses
from metallb_core.domain import peers as domain_peers
from metallb_core.testing import builders

select = builders.label_selector
Fields = dict[str, Any]


def compiled(**fields: Any) -> domain_peers.Peer:
    return peers.compile_one(builders.peer_object("peer", **fields), {"fast"})


@pytest.mark.parametrize(
    ("fields", "field", "fragment"),
    [
        pytest.param({"my_asn": 0}, "myASN", "missing local ASN", id="no-local-asn"),
        pytest.param({"my_asn": 1 << 32}, "myASN", "is not an AS number", id="local-asn-too-large"),
        pytest.param({"my_asn": -1}, "myASN", "is not an AS number", id="local-asn-negative"),
        pytest.param({"local_asn": 0}, "localASN", "remove the field", id="local-as-zero"),
        pytest.param({"peer_asn": 0}, "peerASN", "missing peer ASN and dynamicASN", id="no-peer-asn"),
        pytest.param({"dynamic_asn": "external"}, "dynamicASN", "both peerASN and dynamicASN", id="both-asns"),
        pytest.param(
            {"peer_asn": 0, "dynamic_asn": "any"}, "dynamicASN", "use internal or external", id="odd-dynamic-asn"
        ),
        pytest.param(
            {"peer_asn": 64500, "ebgp_multi_hop": True}, "ebgpMultiHop", "our own ASN", id="internal-multihop"
        ),
        pytest.param({"peer_address": ""}, "peerAddress", "no Address or Interface", id="no-address"),
        pytest.param({"interface": "eth0"}, "interface", "both Address and Interface", id="address-and-interface"),
        pytest.param({"peer_address": "192.0.2"}, "peerAddress", "invalid BGPPeer address", id="bad-address"),
        pytest.param({"peer_address": "fe80::1%eth0"}, "peerAddress", "without it", id="address-with-zone"),
        pytest.param({"source_address": "x"}, "sourceAddress", "invalid BGPPeer source address", id="bad-source"),
        pytest.param({"router_id": "x"}, "routerID", "invalid BGPPeer router ID", id="bad-router-id"),
        pytest.param({"router_id": "2001:db8::1"}, "routerID", "IPv4 address", id="ipv6-router-id"),
        pytest.param({"router_id": "0.0.0.0"}, "routerID", "other than 0.0.0.0", id="zero-router-id"),
        pytest.param({"peer_port": 65536}, "peerPort", "is not a TCP port", id="port-too-large"),
        pytest.param({"peer_port": -1}, "peerPort", "is not a TCP port", id="negative-port"),
        pytest.param({"hold_time": "90"}, "holdTime", "invalid duration '90'", id="hold-without-unit"),
        pytest.param({"hold_time": ""}, "holdTime", "invalid duration", id="empty-hold"),
        pytest.param({"hold_time": "1s"}, "holdTime", "0s, or 3s to 65535s", id="hold-too-short"),
        pytest.param({"hold_time": "2.9s"}, "holdTime", "invalid hold time 2s", id="hold-is-cut-to-seconds"),
        pytest.param({"hold_time": "65536s"}, "holdTime", "0s, or 3s to 65535s", id="hold-too-long"),
        pytest.param({"hold_time": "-90s"}, "holdTime", "0s, or 3s to 65535s", id="negative-hold"),
        pytest.param(
            {"keepalive_time": "500ms"}, "keepaliveTime", "invalid hold time 1s", id="hold-by-keepalive-too-short"
        ),
        pytest.param(
            {"keepalive_time": "6h30m"}, "keepaliveTime", "invalid hold time 70200s", id="hold-by-keepalive-too-long"
        ),
        pytest.param({"keepalive_time": "-1s"}, "keepaliveTime", "negative", id="negative-keepalive"),
        pytest.param({"keepalive_time": "x"}, "keepaliveTime", "invalid duration 'x'", id="keepalive-is-no-duration"),
        pytest.param(
            {"hold_time": "9s", "keepalive_time": "10s"},
            "keepaliveTime",
            "longer than the hold time of 9s",
            id="keepalive-too-long",
        ),
        pytest.param(
            {"hold_time": "0s", "keepalive_time": "1s"},
            "keepaliveTime",
            "longer than the hold time of 0s",
            id="keepalive-without-hold",
        ),
        pytest.param(
            {"connect_time": "0s"},
            "connectTime",
            "connect time should be between 1 seconds to 65535",
            id="no-connect-time",
        ),
        pytest.param(
            {"connect_time": "65536s"},
            "connectTime",
            "connect time should be between 1 seconds to 65535",
            id="connect-time-too-long",
        ),
        pytest.param(
            {"connect_time": "1.001s"},
            "connectTime",
            "connect time should contain a whole number of seconds",
            id="connect-time-in-parts",
        ),
        pytest.param({"connect_time": "x"}, "connectTime", "invalid duration", id="connect-time-is-no-duration"),
        pytest.param(
            {"password": "open", "password_secret": v1beta2.SecretReference(name="s")},
            "passwordSecret",
            "both password and passwordSecret",
            id="two-passwords",
        ),
        pytest.param(
            {"node_selectors": [select("a=b"), select("a=b")]},
            "nodeSelectors[1]",
            "duplicate selector",
            id="selector-twice",
        ),
        pytest.param(
            {"node_selectors": [select("", ("a", "In", ["b", "b"]))]},
            "nodeSelectors[0].matchExpressions[0].values[1]",
            "duplicate",
            id="value-twice",
        ),
        pytest.param(
            {"node_selectors": [select("", ("a", "Exists", None), ("a", "Exists", None))]},
            "nodeSelectors[0].matchExpressions",
            "duplicate expression",
            id="expression-twice",
        ),
        pytest.param(
            {"node_selectors": [select("", ("a", "Is", None))]},
            "nodeSelectors[0].matchExpressions[0].operator",
            "use one of",
            id="operator",
        ),
        pytest.param(
            {"bfd_profile": "slow"},
            "bfdProfile",
            "peer peer referencing non existing bfd profile slow",
            id="no-such-profile",
        ),
    ],
)
def test_a_bad_peer_is_refused(fields: Fields, field: str, fragment: str) -> None:
    with pytest.raises(problems.InvalidError) as caught:
        compiled(**fields)
    assert caught.value.field == f"spec.{field}"
    assert fragment in caught.value.refusal.detail
    assert "open" not in caught.value.refusal.detail
    assert caught.value.dangling == (field == "bfdProfile")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {},
            {
                "peer_asn": 64501,
                "dynamic_asn": None,
                "port": 179,
                "local_asn": 0,
                "source_address": None,
                "router_id": None,
            },
            id="least",
        ),
        pytest.param(
            {"peer_asn": 0, "dynamic_asn": "internal"},
            {"peer_asn": 0, "dynamic_asn": domain_peers.DynamicASN.INTERNAL},
            id="dynamic",
        ),
        pytest.param(
            {"peer_asn": 0, "dynamic_asn": "internal", "ebgp_multi_hop": True},
            {"multihop": True},
            id="dynamic-and-multihop-is-let-be",
        ),
        pytest.param({"local_asn": 65000}, {"local_asn": 65000}, id="local-as"),
        pytest.param({"my_asn": (1 << 32) - 1}, {"my_asn": (1 << 32) - 1}, id="largest-asn"),
        pytest.param(
            {"peer_address": "", "interface": "eth0"}, {"address": None, "interface": "eth0"}, id="unnumbered"
        ),
        pytest.param({"peer_address": "2001:DB8::1"}, {"address": addresses.Address.parse("2001:db8::1")}, id="ipv6"),
        pytest.param(
            {"peer_address": "::ffff:192.0.2.9"}, {"address": addresses.Address.parse("192.0.2.9")}, id="mapped-is-ipv4"
        ),
        pytest.param({"peer_port": 0}, {"port": 179}, id="port-0-of-v1beta1"),
        pytest.param({"peer_port": 1790}, {"port": 1790}, id="port"),
        pytest.param({"hold_time": "90s"}, {"hold_time": 90, "keepalive_time": 30}, id="only-hold"),
        pytest.param({"keepalive_time": "20s"}, {"hold_time": 60, "keepalive_time": 20}, id="only-keepalive"),
        pytest.param({"hold_time": "180s", "keepalive_time": "3s"}, {"hold_time": 180, "keepalive_time": 3}, id="both"),
        pytest.param(
            {"hold_time": "9s", "keepalive_time": "9s"}, {"hold_time": 9, "keepalive_time": 9}, id="both-equal"
        ),
        pytest.param(
            {"hold_time": "0s", "keepalive_time": "0s"}, {"hold_time": 0, "keepalive_time": 0}, id="switched-off"
        ),
        pytest.param({"hold_time": "0s"}, {"hold_time": 0, "keepalive_time": 0}, id="hold-switched-off"),
        pytest.param({"keepalive_time": "0s"}, {"hold_time": 0, "keepalive_time": 0}, id="keepalive-switched-off"),
        pytest.param(
            {"hold_time": "90s", "keepalive_time": "0s"},
            {"hold_time": 90, "keepalive_time": 30},
            id="zero-of-a-v1beta1-client",
        ),
        pytest.param(
            {"hold_time": None, "keepalive_time": None}, {"hold_time": None, "keepalive_time": None}, id="no-timers"
        ),
        pytest.param({"hold_time": "3.9s"}, {"hold_time": 3, "keepalive_time": 1}, id="hold-in-whole-seconds"),
        pytest.param({"hold_time": "65535s"}, {"hold_time": 65535}, id="longest-hold"),
        pytest.param({"connect_time": "1m"}, {"connect_time": 60}, id="connect-time"),
        pytest.param({"connect_time": "65535.0001s"}, {"connect_time": 65535}, id="longest-connect-time"),
        pytest.param({"password": "open"}, {"password": "open", "password_secret": ""}, id="password"),
        pytest.param(
            {"password": "open", "password_secret": v1beta2.SecretReference()},
            {"password": "open"},
            id="password-and-an-empty-reference",
        ),
        pytest.param(
            {"password_secret": v1beta2.SecretReference(name="s", namespace="elsewhere")},
            {"password_secret": "s"},
            id="secret-by-name-only",
        ),
        pytest.param(
            {
                "bfd_profile": "fast",
                "enable_graceful_restart": True,
                "vrf": "red",
                "dual_stack_address_family": True,
                "disable_mp": True,
            },
            {"bfd_profile": "fast", "graceful_restart": True, "vrf": "red", "dual_stack": True},
            id="the-rest",
        ),
        pytest.param(
            {"router_id": "10.0.0.1", "source_address": "10.0.0.2"},
            {"router_id": addresses.Address.parse("10.0.0.1"), "source_address": addresses.Address.parse("10.0.0.2")},
            id="own-addresses",
        ),
    ],
)
def test_what_a_peer_compiles_to(fields: Fields, expected: Fields) -> None:
    found = compiled(**fields)
    assert {name: getattr(found, name) for name in expected} == expected


def test_a_peer_of_no_selector_is_for_every_node() -> None:
    assert compiled().covers_node({})
    assert compiled(node_selectors=[select()]).covers_node({})
    narrow = compiled(node_selectors=[select("rack=a"), select("rack=b")])
    assert [narrow.covers_node({"rack": each}) for each in "abc"] == [True, True, False]


def test_a_reference_is_looked_at_last() -> None:
    with pytest.raises(problems.InvalidError) as caught:
        compiled(bfd_profile="slow", node_selectors=[select("-=x")])
    assert not caught.value.dangling


def test_a_v1beta1_object_is_read_as_v1beta2() -> None:
    """They are one JSON, which is what the API server relies on when it converts."""
    old = v1beta1.BGPPeer(
        metadata=builders.peer_object("peer").metadata,
        spec=v1beta1.BGPPeerSpec(
            my_asn=64500,
            peer_asn=64501,
            peer_address="192.0.2.1",
            source_address="192.0.2.2",
            peer_port=0,
            hold_time="0s",
            keepalive_time="0s",
            router_id="10.0.0.1",
            node_selectors=[
                v1beta1.LegacySelector(
                    match_labels={"a": "b"},
                    match_expressions=[v1beta1.LegacyRequirement(key="c", operator="In", values=["d"])],
                ),
                v1beta1.LegacySelector(),
            ],
            password="open",
            bfd_profile="fast",
            ebgp_multi_hop=True,
        ),
    )
    new = msgspec.json.decode(msgspec.json.encode(old), type=v1beta2.BGPPeer)
    assert peers.compile_one(new, {"fast"}) == compiled(
        source_address="192.0.2.2",
        hold_time="0s",
        keepalive_time="0s",
        router_id="10.0.0.1",
        node_selectors=[select("a=b", ("c", "In", ["d"])), select()],
        password="open",
        bfd_profile="fast",
        ebgp_multi_hop=True,
    )


def test_a_password_is_never_shown() -> None:
    wire = builders.peer_object("peer", password="open sesame")
    assert "sesame" not in repr(wire)
    assert "password=..." in repr(wire)
    assert "sesame" not in repr(peers.compile_one(wire, None))
    old = v1beta1.BGPPeerSpec(my_asn=1, peer_asn=2, peer_address="192.0.2.1", password="open sesame")
    assert "sesame" not in repr(old)
