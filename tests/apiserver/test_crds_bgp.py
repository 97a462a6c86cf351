"""The kinds of BGP, and the reports, under a real API server: every field reads back as written, mistakes are refused by name, two versions of
BGPPeer are one object.

Objects are only dry-run where nothing has to stay: the API server then validates and defaults them all the same.
"""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from generate import output
from lab import apiserver
from metallb_core.api import crd, meta, v1beta1, v1beta2
from metallb_core.config import admission, compiled
from metallb_core.kube import codec

pytestmark = pytest.mark.apiserver

NAMESPACE = "metallb-system"
DEFINITIONS = output.ROOT / "charts/metallb/charts/crds/crds"
Node = dict[str, Any]
SELECTOR: Node = {
    "matchLabels": {"rack": "a"},
    "matchExpressions": [
        {"key": "zone", "operator": "In", "values": ["x", "y"]},
        {"key": "old", "operator": "NotIn", "values": ["z"]},
    ],
}


@pytest.fixture(scope="module")
def server() -> Iterator[apiserver.ApiServer]:
    with apiserver.ApiServer() as running:
        running.kubectl("apply", "--server-side", "--field-manager", crd.FIELD_MANAGER, "-f", DEFINITIONS)
        running.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", DEFINITIONS)
        running.kubectl("create", "namespace", NAMESPACE)
        yield running


def resource(kind: str, spec: Node | None, version: str = "v1beta1", name: str = "tried") -> Node:
    found: Node = {
        "apiVersion": f"{v1beta1.GROUP}/{version}",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
    }
    return found if spec is None else found | {"spec": spec}


def peer(**fields: Any) -> Node:
    """A v1beta2 peer; a field of None is left out."""
    usual = {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1"}
    return resource(
        "BGPPeer", {key: value for key, value in (usual | fields).items() if value is not None}, v1beta2.VERSION
    )


def old_peer(**fields: Any) -> Node:
    """A v1beta1 peer; a field of None is left out."""
    return peer(**fields) | {"apiVersion": f"{v1beta1.GROUP}/v1beta1"}


def dry_run(server: apiserver.ApiServer, node: Node) -> Node:
    found: Node = json.loads(
        server.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(node))
    )
    return found


def refusal(server: apiserver.ApiServer, *arguments: str, node: Node | None = None) -> str:
    """What kubectl says of `arguments`, or of creating `node`."""
    if node is not None:
        arguments = ("apply", "--dry-run=server", "-f", "-")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        server.kubectl(*arguments, input=None if node is None else json.dumps(node))
    return str(caught.value.stderr).strip()


OLD_PEER: Node = {
    "myASN": 64500,
    "peerASN": 4294967295,
    "peerAddress": "2001:db8::1",
    "sourceAddress": "2001:db8::2",
    "peerPort": 1790,
    "holdTime": "1m30s",
    "keepaliveTime": "0s",
    "routerID": "10.0.0.1",
    "nodeSelectors": [SELECTOR, {}],
    "password": "open",
    "bfdProfile": "fast",
    "ebgpMultiHop": True,
}
PEER: Node = {
    **OLD_PEER,
    "localASN": 64999,
    "connectTime": "1m",
    "vrf": "red",
    "enableGracefulRestart": True,
    "disableMP": True,
    "dualStackAddressFamily": True,
}
DYNAMIC_PEER: Node = {
    "myASN": 64500,
    "dynamicASN": "external",
    "interface": "eth0",
    "peerPort": 179,
    "passwordSecret": {"name": "secret", "namespace": NAMESPACE},
    "disableMP": False,
    "dualStackAddressFamily": False,
}
ADVERTISEMENT: Node = {
    "aggregationLength": 24,
    "aggregationLengthV6": 64,
    "localPref": 4294967295,
    "communities": ["65000:1", "large:4294967295:0:1", "an-alias"],
    "ipAddressPools": ["a"],
    "ipAddressPoolSelectors": [SELECTOR],
    "nodeSelectors": [SELECTOR],
    "peers": ["one", "two"],
}
SELECTING: Node = {"serviceSelectors": [SELECTOR, {}], "aggregationLength": 32, "aggregationLengthV6": 128}
PROFILE: Node = {
    "receiveInterval": 10,
    "transmitInterval": 60000,
    "detectMultiplier": 255,
    "echoInterval": 10,
    "echoMode": True,
    "passiveMode": True,
    "minimumTtl": 1,
}
COMMUNITY: Node = {"communities": [{"name": "a", "value": "0:65535"}, {"name": "b", "value": "large:0:1:4294967295"}]}
WHOLE = [
    pytest.param(resource("BGPPeer", OLD_PEER), v1beta1.BGPPeer, id="peer-v1beta1"),
    pytest.param(resource("BGPPeer", PEER, v1beta2.VERSION), v1beta2.BGPPeer, id="peer-v1beta2"),
    pytest.param(resource("BGPPeer", DYNAMIC_PEER, v1beta2.VERSION), v1beta2.BGPPeer, id="peer-v1beta2-dynamic"),
    pytest.param(resource("BGPAdvertisement", ADVERTISEMENT), v1beta1.BGPAdvertisement, id="advertisement"),
    pytest.param(resource("BGPAdvertisement", SELECTING), v1beta1.BGPAdvertisement, id="advertisement-selecting"),
    pytest.param(resource("BFDProfile", PROFILE), v1beta1.BFDProfile, id="profile"),
    pytest.param(resource("BFDProfile", {}), v1beta1.BFDProfile, id="empty-profile"),
    pytest.param(resource("Community", COMMUNITY), v1beta1.Community, id="community"),
    pytest.param(resource("Community", {}), v1beta1.Community, id="empty-community"),
    pytest.param(resource("ServiceBGPStatus", {}), v1beta1.ServiceBGPStatus, id="service-bgp-status"),
    pytest.param(resource("ConfigurationState", None), v1beta1.ConfigurationState, id="configuration-state"),
    pytest.param(resource("BGPAdvertisement", None), v1beta1.BGPAdvertisement, id="advertisement-without-spec"),
    pytest.param(resource("BFDProfile", None), v1beta1.BFDProfile, id="profile-without-spec"),
]


@pytest.mark.parametrize(("node", "wire"), WHOLE)
def test_every_field_of_a_kind_is_read_back_unchanged(
    server: apiserver.ApiServer, node: Node, wire: type[msgspec.Struct]
) -> None:
    found = dry_run(server, node)
    assert found.get("spec") == node.get("spec")
    # And as our structs read and write it, as far as they hold it.
    decoded: Any = msgspec.convert(found, wire)
    spec = msgspec.to_builtins(getattr(decoded, "spec", {}))
    assert all(node["spec"][key] == value for key, value in spec.items())


def test_the_samples_hold_every_field() -> None:
    for kind, samples, structs in (
        ("BGPPeer", [PEER, DYNAMIC_PEER], [v1beta2.BGPPeerSpec]),
        ("BGPPeer", [OLD_PEER], [v1beta1.BGPPeerSpec]),
        ("BGPAdvertisement", [ADVERTISEMENT, SELECTING], [v1beta1.BGPAdvertisementSpec]),
        ("BFDProfile", [PROFILE], [v1beta1.BFDProfileSpec]),
        ("Community", [COMMUNITY], [v1beta1.CommunitySpec]),
    ):
        written = {field for sample in samples for field in sample}
        assert written == {field for struct in structs for field in struct.__struct_encode_fields__}, kind


def test_defaults(server: apiserver.ApiServer) -> None:
    assert dry_run(server, peer())["spec"] == {
        "myASN": 64500,
        "peerASN": 64501,
        "peerAddress": "192.0.2.1",
        "peerPort": 179,
        "disableMP": False,
        "dualStackAddressFamily": False,
    }
    # Those of the version that is stored, as far as v1beta1 has the fields.
    assert dry_run(server, old_peer())["spec"] == {
        "myASN": 64500,
        "peerASN": 64501,
        "peerAddress": "192.0.2.1",
        "peerPort": 179,
    }
    found = dry_run(server, resource("BGPAdvertisement", {}))
    assert found["spec"] == {"aggregationLength": 32, "aggregationLengthV6": 128}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"peerAddress": "::ffff:192.0.2.1"}, id="mapped"),
        pytest.param(
            {"peerAddress": "2001:DB8:0:0::1", "sourceAddress": "", "routerID": ""}, id="upper-case-and-unset"
        ),
        pytest.param({"peerAddress": "", "interface": "eth0"}, id="unnumbered-with-empty-address"),
        pytest.param({"peerASN": 0, "dynamicASN": "internal"}, id="zero-asn-and-dynamic"),
        pytest.param({"peerASN": 64500}, id="internal"),
        pytest.param({"peerASN": None, "dynamicASN": "internal", "ebgpMultiHop": True}, id="dynamic-multihop"),
        pytest.param({"password": "open", "passwordSecret": {}}, id="password-and-an-empty-reference"),
        pytest.param({"holdTime": "0", "keepaliveTime": "0s"}, id="timers-switched-off"),
        pytest.param({"holdTime": "3s", "keepaliveTime": "1000ms"}, id="shortest-timers"),
        pytest.param({"holdTime": "18h12m15s", "keepaliveTime": "1.5h"}, id="longest-timers"),
        pytest.param({"holdTime": "90s", "keepaliveTime": "90s"}, id="equal-timers"),
        pytest.param({"keepaliveTime": "500us"}, id="finest-keepalive"),
        pytest.param({"connectTime": "65535s"}, id="longest-connect-time"),
        pytest.param({"connectTime": "1000ms"}, id="shortest-connect-time"),
    ],
)
def test_peer_is_accepted(server: apiserver.ApiServer, fields: Node) -> None:
    node = peer(**fields)
    found = dry_run(server, node)["spec"]
    assert {key: found[key] for key in node["spec"]} == node["spec"]


MISTAKES = [
    pytest.param({"myASN": 0}, "spec.myASN", "missing local ASN", id="no-local-asn"),
    pytest.param({"peerASN": None}, "spec", "missing peer ASN and dynamicASN", id="no-peer-asn"),
    pytest.param({"peerASN": 0}, "spec", "missing peer ASN and dynamicASN", id="zero-peer-asn"),
    pytest.param({"dynamicASN": "internal"}, "spec", "both peerASN and dynamicASN are set", id="two-asns"),
    pytest.param({"peerASN": 64500, "ebgpMultiHop": True}, "spec", "invalid ebgpMultiHop", id="internal-multihop"),
    pytest.param({"peerAddress": None}, "spec", "no Address or Interface", id="no-address"),
    pytest.param({"peerAddress": "", "interface": ""}, "spec", "no Address or Interface", id="empty-address"),
    pytest.param({"interface": "eth0"}, "spec", "both Address and Interface", id="address-and-interface"),
    pytest.param({"peerAddress": "192.0.2.256"}, "spec.peerAddress", "invalid BGPPeer address", id="bad-address"),
    pytest.param({"peerAddress": "router"}, "spec.peerAddress", "invalid BGPPeer address", id="name"),
    pytest.param({"peerAddress": "fe80::1%eth0"}, "spec.peerAddress", "invalid BGPPeer address", id="zone"),
    pytest.param({"peerAddress": "1:2:3"}, "spec.peerAddress", "invalid BGPPeer address", id="groups"),
    pytest.param({"sourceAddress": "10.0.0.1/24"}, "spec.sourceAddress", "invalid BGPPeer source address", id="source"),
    pytest.param({"routerID": "2001:db8::1"}, "spec.routerID", "invalid BGPPeer router ID", id="router-id"),
    pytest.param({"routerID": "0.0.0.0"}, "spec.routerID", "other than 0.0.0.0", id="zero-router-id"),
    pytest.param({"holdTime": "90"}, "spec.holdTime", "invalid duration", id="no-unit"),
    pytest.param({"holdTime": ""}, "spec.holdTime", "invalid duration", id="empty-duration"),
    pytest.param({"holdTime": "2.9s"}, "spec.holdTime", "invalid hold time", id="short-hold"),
    pytest.param({"holdTime": "65536s"}, "spec.holdTime", "invalid hold time", id="long-hold"),
    pytest.param({"holdTime": "-3s"}, "spec.holdTime", "invalid hold time", id="negative-hold"),
    pytest.param({"keepaliveTime": "-3s"}, "spec.keepaliveTime", "must not be negative", id="negative-keepalive"),
    pytest.param({"holdTime": "9s", "keepaliveTime": "10s"}, "spec", "longer than holdTime", id="long-keepalive"),
    pytest.param(
        {"password": "x", "passwordSecret": {"name": "s"}},
        "spec",
        "both password and passwordSecret",
        id="two-passwords",
    ),
    pytest.param(
        {"connectTime": "0s"}, "spec.connectTime", "connect time should be between 1 seconds to 65535", id="no-connect"
    ),
    pytest.param(
        {"connectTime": "65536s"},
        "spec.connectTime",
        "connect time should be between 1 seconds to 65535",
        id="long-connect",
    ),
    pytest.param(
        {"connectTime": "1.5s"}, "spec.connectTime", "connect time should contain a whole number of seconds", id="parts"
    ),
]


@pytest.mark.parametrize(("fields", "field", "reason"), MISTAKES)
def test_peer_is_refused_with_one_reason_as_the_configuration_refuses_it(
    server: apiserver.ApiServer, fields: Node, field: str, reason: str
) -> None:
    node = peer(**fields)
    said = refusal(server, node=node)
    assert f"{field}: Invalid value" in said
    assert reason in said
    assert said.count("Invalid value") == 1
    # What the definition refuses, the configuration refuses too: a rule never stands alone.
    wire = msgspec.convert(node, v1beta2.BGPPeer)
    assert not admission.judge(compiled.Resources(), wire, "BGPPeer").allowed


@pytest.mark.parametrize(
    ("node", "named"),
    [
        pytest.param(peer(myASN=None), ["spec.myASN: Required value"], id="no-asn"),
        pytest.param(peer(myASN=4294967296), ["spec.myASN", "less than or equal to 4294967295"], id="asn-too-large"),
        pytest.param(peer(localASN=0), ["spec.localASN", "greater than or equal to 1"], id="local-asn-zero"),
        pytest.param(peer(peerASN=None, dynamicASN="any"), ["spec.dynamicASN", '"internal", "external"'], id="dynamic"),
        pytest.param(peer(peerPort=0), ["spec.peerPort", "greater than or equal to 1"], id="port-zero"),
        pytest.param(peer(peerPort=16385), ["spec.peerPort", "less than or equal to 16384"], id="port-too-large"),
        pytest.param(peer(holdTime=90), ["spec.holdTime", "must be of type string"], id="number-for-a-duration"),
        pytest.param(peer(peeraddress="x"), ['unknown field "spec.peeraddress"'], id="typo"),
        pytest.param(resource("BGPPeer", None, v1beta2.VERSION), ["spec: Required value"], id="no-spec"),
        pytest.param(old_peer(peerASN=None), ["spec.peerASN: Required value"], id="v1beta1-no-asn"),
        pytest.param(old_peer(peerAddress=None), ["spec.peerAddress: Required value"], id="v1beta1-no-address"),
        pytest.param(old_peer(peerASN=0), ["missing peer ASN"], id="v1beta1-zero-asn"),
        pytest.param(old_peer(myASN=0), ["missing local ASN"], id="v1beta1-zero-local-asn"),
        pytest.param(old_peer(peerASN=64500, ebgpMultiHop=True), ["invalid ebgpMultiHop"], id="v1beta1-multihop"),
        pytest.param(old_peer(peerAddress="x"), ["invalid BGPPeer address"], id="v1beta1-address"),
        pytest.param(old_peer(holdTime="3s", keepaliveTime="1m"), ["invalid keepaliveTime"], id="v1beta1-timers"),
        pytest.param(old_peer(vrf="red"), ['unknown field "spec.vrf"'], id="v1beta1-has-no-vrf"),
        pytest.param(
            old_peer(nodeSelectors=[{"matchExpressions": [{"key": "a", "operator": "In", "values": []}]}]),
            ["values", "at least 1"],
            id="v1beta1-no-values",
        ),
        pytest.param(resource("BGPAdvertisement", {"aggregationLength": 0}), ["spec.aggregationLength"], id="length-0"),
        pytest.param(
            resource("BGPAdvertisement", {"aggregationLength": 33}), ["spec.aggregationLength"], id="length-33"
        ),
        pytest.param(
            resource("BGPAdvertisement", {"aggregationLengthV6": 129}), ["spec.aggregationLengthV6"], id="length-129"
        ),
        pytest.param(resource("BGPAdvertisement", {"localPref": -1}), ["spec.localPref"], id="preference-negative"),
        pytest.param(
            resource("BGPAdvertisement", {"serviceSelectors": [{}], "aggregationLength": 24}),
            ["serviceSelectors and aggregationLength are mutually exclusive"],
            id="selectors-and-length",
        ),
        pytest.param(
            resource("BGPAdvertisement", {"serviceSelectors": [{}], "aggregationLengthV6": 64}),
            ["serviceSelectors and aggregationLength are mutually exclusive"],
            id="selectors-and-length-ipv6",
        ),
        pytest.param(
            resource("BGPAdvertisement", {"communities": ["ok", "1:65536"]}),
            ["spec.communities[1]", "invalid community value: invalid section"],
            id="community-number",
        ),
        pytest.param(
            resource("BGPAdvertisement", {"communities": ["big:1:2:3"]}),
            ["expected community to be of format large"],
            id="community-marker",
        ),
        pytest.param(
            resource("BGPAdvertisement", {"communities": ["1:2:3"]}), ["invalid community format"], id="three-parts"
        ),
        *(
            pytest.param(resource("BFDProfile", {field: value}), [f"spec.{field}"], id=f"{field}-{value}")
            for field, value in (
                ("receiveInterval", 9),
                ("receiveInterval", 60001),
                ("transmitInterval", 9),
                ("transmitInterval", 60001),
                ("detectMultiplier", 1),
                ("detectMultiplier", 256),
                ("echoInterval", 9),
                ("echoInterval", 60001),
                ("minimumTtl", 0),
                ("minimumTtl", 255),
            )
        ),
        pytest.param(
            resource("Community", {"communities": [{"name": "a", "value": "65536:1"}]}),
            ["spec.communities[0].value", "invalid community value: invalid section"],
            id="alias-number",
        ),
        pytest.param(
            resource("Community", {"communities": [{"name": "a", "value": "large:1:2:x"}]}),
            ["invalid community value: invalid section"],
            id="alias-large",
        ),
        pytest.param(
            resource("Community", {"communities": [{"name": "a", "value": "l:1:2:3"}]}),
            ["expected community to be of format large"],
            id="alias-marker",
        ),
        pytest.param(
            resource("Community", {"communities": [{"name": "a", "value": "mark"}]}),
            ["invalid community format"],
            id="alias-of-alias",
        ),
    ],
)
def test_mistake_is_refused_by_name(server: apiserver.ApiServer, node: Node, named: list[str]) -> None:
    said = refusal(server, node=node)
    for part in named:
        assert part in said


@pytest.mark.parametrize(
    "value", ["0:0", "65535:65535", "09:0065535", "60000:59999", "large:0:0:0", "65534:1"], ids=lambda value: value
)
def test_community_is_accepted(server: apiserver.ApiServer, value: str) -> None:
    spec = {"communities": [{"name": "a", "value": value}]}
    assert dry_run(server, resource("Community", spec))["spec"] == spec


def test_longest_lists_of_communities_stay_within_the_budget_for_rules(server: apiserver.ApiServer) -> None:
    longest = [f"large:4294967295:4294967295:{n:010}" for n in range(crd.COMMUNITIES_AT_MOST)]
    dry_run(server, resource("BGPAdvertisement", {"communities": longest}))
    dry_run(
        server,
        resource("Community", {"communities": [{"name": f"n{n}", "value": value} for n, value in enumerate(longest)]}),
    )


def get(server: apiserver.ApiServer, name: str, version: str) -> Node:
    found: Node = json.loads(
        server.kubectl("get", f"bgppeers.{version}.{v1beta1.GROUP}", name, "-n", NAMESPACE, "-o", "json")
    )
    return found


def test_a_v1beta1_peer_is_whole_as_v1beta2(server: apiserver.ApiServer) -> None:
    server.kubectl("create", "-f", "-", input=json.dumps(resource("BGPPeer", OLD_PEER, name="old")))
    found = get(server, "old", "v1beta2")
    assert found["apiVersion"] == "metallb.io/v1beta2"
    assert found["spec"] == OLD_PEER | {"disableMP": False, "dualStackAddressFamily": False}
    assert get(server, "old", "v1beta1")["spec"] == OLD_PEER


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, {"peerPort": 179}, id="nothing-said-is-nothing-said"),
        pytest.param(
            {"holdTime": "0s", "keepaliveTime": "0s"}, {"holdTime": "0s", "keepaliveTime": "0s"}, id="zero-stays-zero"
        ),
        pytest.param({"peerPort": 0}, {"peerPort": 0}, id="port-zero"),
    ],
)
def test_what_a_v1beta1_peer_leaves_out(server: apiserver.ApiServer, fields: Node, expected: Node) -> None:
    node = old_peer(**fields)
    node["metadata"]["name"] = "sparse"
    server.kubectl("create", "-f", "-", input=json.dumps(node))
    try:
        found = get(server, "sparse", "v1beta2")["spec"]
        least = {"myASN", "peerASN", "peerAddress", "disableMP", "dualStackAddressFamily"}
        assert {key: value for key, value in found.items() if key not in least} == {"peerPort": 179} | expected
        wire = codec.decoder_of(v1beta2.BGPPeer).decode(json.dumps(get(server, "sparse", "v1beta2")))
        assert compiled.compile(compiled.Resources(peers=(wire,))).peers["sparse"].port == 179
    finally:
        server.kubectl("delete", "bgppeer", "sparse", "-n", NAMESPACE)


def test_a_v1beta2_peer_is_whole_in_storage_whoever_reads_it(server: apiserver.ApiServer) -> None:
    server.kubectl("create", "-f", "-", input=json.dumps(resource("BGPPeer", PEER, v1beta2.VERSION, name="new")))
    newer = PEER.keys() - OLD_PEER.keys()
    assert get(server, "new", "v1beta1")["spec"] == {k: v for k, v in PEER.items() if k not in newer}
    assert get(server, "new", "v1beta2")["spec"] == PEER
    server.kubectl(
        "create", "-f", "-", input=json.dumps(resource("BGPPeer", DYNAMIC_PEER, v1beta2.VERSION, name="dyn"))
    )
    # It has none of what v1beta1 demands, and is read all the same.
    assert get(server, "dyn", "v1beta1")["spec"] == {"myASN": 64500, "peerPort": 179}
    assert get(server, "dyn", "v1beta2")["spec"] == DYNAMIC_PEER


@pytest.mark.parametrize("how", ["replace", "patch"])
def test_writing_a_peer_as_v1beta1_drops_what_is_newer(server: apiserver.ApiServer, how: str) -> None:
    name = f"{how}d"
    server.kubectl("create", "-f", "-", input=json.dumps(resource("BGPPeer", PEER, v1beta2.VERSION, name=name)))
    if how == "replace":
        server.kubectl("replace", "-f", "-", input=json.dumps(get(server, name, "v1beta1")))
    else:
        old = ("bgppeers.v1beta1.metallb.io", name, "-n", NAMESPACE)
        server.kubectl("patch", *old, "--type=merge", "-p", '{"spec": {"holdTime": "9s"}}')
    found = get(server, name, "v1beta2")["spec"]
    assert {key for key in found if found[key]} == {key for key in PEER.keys() & OLD_PEER.keys() if PEER[key]}


ONLY_NEWER = [
    pytest.param({"peerASN": None, "dynamicASN": "external"}, {"peerASN": "dynamicASN"}, id="dynamic"),
    pytest.param({"peerAddress": None, "interface": "eth0"}, {"peerAddress": "interface"}, id="interface"),
    pytest.param(
        {"peerASN": None, "dynamicASN": "internal", "peerAddress": None, "interface": "eth0"},
        {"peerASN": "dynamicASN", "peerAddress": "interface"},
        id="both",
    ),
]


@pytest.mark.parametrize("how", ["replace", "label"])
@pytest.mark.parametrize(("fields", "lost"), ONLY_NEWER)
def test_a_peer_that_only_v1beta2_can_say_is_not_written_as_v1beta1(
    server: apiserver.ApiServer, request: pytest.FixtureRequest, fields: Node, lost: dict[str, str], how: str
) -> None:
    """Not even with what was read: the fields that v1beta1 does not have would be gone."""
    node, name = peer(**fields), f"newer-{request.node.callspec.id}"
    node["metadata"]["name"] = name
    server.kubectl("create", "-f", "-", input=json.dumps(node))
    before = get(server, name, "v1beta2")["spec"]
    if how == "replace":
        command, written = ["replace", "-f", "-"], json.dumps(get(server, name, "v1beta1"))
    else:
        command, written = ["label", "bgppeers.v1beta1.metallb.io", name, "-n", NAMESPACE, "a=b"], None
    with pytest.raises(subprocess.CalledProcessError) as caught:
        server.kubectl(*command, input=written)
    said = caught.value.stderr
    assert "evaluating rule" not in said
    assert said.count("Invalid value") == len(lost)
    for field, newer in lost.items():
        assert f"v1beta1 needs {field}, and would lose {newer}" in said
    assert "write the peer as metallb.io/v1beta2" in said
    assert get(server, name, "v1beta2")["spec"] == before


def test_v1beta1_warns(server: apiserver.ApiServer) -> None:
    found = json.loads(server.kubectl("get", "crd", "bgppeers.metallb.io", "-o", "json"))
    versions = {each["name"]: each for each in found["spec"]["versions"]}
    assert versions["v1beta1"]["deprecationWarning"] == "v1beta1 is deprecated, please use v1beta2"
    assert (versions["v1beta1"]["served"], versions["v1beta1"]["storage"]) == (True, False)
    assert (versions["v1beta2"]["served"], versions["v1beta2"]["storage"]) == (True, True)
    assert found["spec"]["conversion"] == {"strategy": "None"}
    assert found["status"]["storedVersions"] == ["v1beta2"]


def test_graceful_restart_does_not_change(server: apiserver.ApiServer) -> None:
    node = peer(enableGracefulRestart=False)
    node["metadata"]["name"] = "graceful"
    server.kubectl("create", "-f", "-", input=json.dumps(node))
    patch = ("patch", "bgppeer", "graceful", "-n", NAMESPACE, "--type=merge", "-p")
    said = refusal(server, *patch, '{"spec": {"enableGracefulRestart": true}}')
    assert "EnableGracefulRestart cannot be changed after creation" in said
    server.kubectl(*patch, '{"spec": {"holdTime": "9s"}}')
    server.kubectl(*patch, '{"spec": {"enableGracefulRestart": null}}')
    server.kubectl(*patch, '{"spec": {"enableGracefulRestart": true}}')


def patched(server: apiserver.ApiServer, kind: str, status: Node) -> Node:
    arguments = ("patch", kind, "tried", "-n", NAMESPACE, "--type=merge", "--subresource=status", "-o", "json", "-p")
    found: Node = json.loads(server.kubectl(*arguments, json.dumps({"status": status})))["status"]
    return found


def test_status_of_bgp_does_not_change_hands(server: apiserver.ApiServer) -> None:
    server.kubectl("create", "-f", "-", input=json.dumps(resource("ServiceBGPStatus", {})))
    status: Node = {"node": "a", "serviceName": "web", "serviceNamespace": "default", "peers": ["one", "two"]}
    assert patched(server, "servicebgpstatus", status) == status
    assert patched(server, "servicebgpstatus", {"peers": []})["peers"] == []
    for name in ("node", "serviceName", "serviceNamespace"):
        with pytest.raises(subprocess.CalledProcessError) as caught:
            patched(server, "servicebgpstatus", {name: "other"})
        assert f"status.{name}: Invalid value" in caught.value.stderr
        assert "Value is immutable" in caught.value.stderr


def test_configuration_state_as_we_write_it(server: apiserver.ApiServer) -> None:
    server.kubectl("create", "-f", "-", input=json.dumps(resource("ConfigurationState", None)))
    state = v1beta1.ConfigurationStateStatus(
        result="Invalid",
        error_summary="one\ntwo",
        conditions=[
            meta.Condition(
                type=f"peer.metallb.io/{'a' * 253}",
                status="False",
                last_transition_time="2026-01-01T00:00:00Z",
                reason="ConfigurationError",
                message="configuration error: one",
            )
        ],
    )
    written = msgspec.to_builtins(state)
    assert patched(server, "configurationstate", written) == written
    assert msgspec.convert(written, v1beta1.ConfigurationStateStatus) == state
    # Conditions belong to whoever applies them, by type.
    for manager, kind in (("one", "a"), ("two", "b")):
        condition = written["conditions"][0] | {"type": kind}
        node = resource("ConfigurationState", None) | {"status": {"conditions": [condition]}}
        arguments = ("apply", "--server-side", "--subresource=status", "--field-manager", manager, "-f", "-")
        server.kubectl(*arguments, input=json.dumps(node))
    found = json.loads(server.kubectl("get", "configurationstate", "tried", "-n", NAMESPACE, "-o", "json"))
    assert [each["type"] for each in found["status"]["conditions"]][1:] == ["a", "b"]


@pytest.mark.parametrize(
    ("status", "named"),
    [
        pytest.param({"result": "Good"}, ["status.result", '"Unknown"'], id="result"),
        pytest.param({"conditions": [{"type": "a"}]}, ["status.conditions[0].reason: Required value"], id="condition"),
    ],
)
def test_odd_configuration_state_is_refused(server: apiserver.ApiServer, status: Node, named: list[str]) -> None:
    state = json.dumps(resource("ConfigurationState", None, name="odd"))
    server.kubectl("apply", "-f", "-", input=state)
    patch = ("patch", "configurationstate", "odd", "-n", NAMESPACE, "--type=merge", "--subresource=status", "-p")
    said = refusal(server, *patch, json.dumps({"status": status}))
    for part in named:
        assert part in said


def test_columns_of_peers(server: apiserver.ApiServer) -> None:
    node = peer(bfdProfile="fast", ebgpMultiHop=True)
    node["metadata"]["name"] = "shown"
    server.kubectl("apply", "-f", "-", input=json.dumps(node))
    head, row = server.kubectl("get", "bgppeers", "shown", "-n", NAMESPACE).splitlines()
    assert head.split() == ["NAME", "ADDRESS", "ASN", "BFD", "PROFILE", "MULTI", "HOPS"]
    assert row.split() == ["shown", "192.0.2.1", "64501", "fast", "true"]
