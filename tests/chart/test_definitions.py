"""The custom resource definitions as data: names, columns, what the structs say, what the additions say."""

import json
import re
from typing import Annotated, Any

import msgspec
import pytest
import yaml

from generate import output
from metallb_core.api import crd, meta, structural

HOOK = output.ROOT / "charts/metallb/templates/definitions-upgrade.yaml"


def properties_of(name: str) -> dict[str, Any]:
    (kind,) = (kind for kind in crd.KINDS if kind.name == name)
    schema = crd.definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found: dict[str, Any] = schema["properties"]
    return found


@pytest.mark.parametrize(
    ("kind", "plural", "columns"),
    [
        pytest.param(
            "IPAddressPool",
            "ipaddresspools",
            [
                "Auto Assign:boolean:.spec.autoAssign:0",
                "Avoid Buggy IPs:boolean:.spec.avoidBuggyIPs:0",
                "Addresses:string:.spec.addresses:0",
            ],
            id="pool",
        ),
        pytest.param(
            "L2Advertisement",
            "l2advertisements",
            [
                "IPAddressPools:string:.spec.ipAddressPools:0",
                "IPAddressPool Selectors:string:.spec.ipAddressPoolSelectors:0",
                "Interfaces:string:.spec.interfaces:0",
                "Node Selectors:string:.spec.nodeSelectors:10",
            ],
            id="advertisement",
        ),
        pytest.param(
            "ServiceL2Status",
            "servicel2statuses",
            [
                "Allocated Node:string:.status.node:0",
                "Service Name:string:.status.serviceName:0",
                "Service Namespace:string:.status.serviceNamespace:0",
            ],
            id="status",
        ),
        pytest.param(
            "BGPAdvertisement",
            "bgpadvertisements",
            [
                "IPAddressPools:string:.spec.ipAddressPools:0",
                "IPAddressPool Selectors:string:.spec.ipAddressPoolSelectors:0",
                "Peers:string:.spec.peers:0",
                "Node Selectors:string:.spec.nodeSelectors:10",
            ],
            id="bgp-advertisement",
        ),
        pytest.param(
            "BFDProfile",
            "bfdprofiles",
            [
                "Passive Mode:boolean:.spec.passiveMode:0",
                "Transmit Interval:integer:.spec.transmitInterval:0",
                "Receive Interval:integer:.spec.receiveInterval:0",
                "Multiplier:integer:.spec.detectMultiplier:0",
            ],
            id="bfd-profile",
        ),
        pytest.param("Community", "communities", [], id="community"),
        pytest.param(
            "ServiceBGPStatus",
            "servicebgpstatuses",
            [
                "Node:string:.status.node:0",
                "Service Name:string:.status.serviceName:0",
                "Service Namespace:string:.status.serviceNamespace:0",
            ],
            id="bgp-status",
        ),
        pytest.param(
            "ConfigurationState",
            "configurationstates",
            [
                "Result:string:.status.result:0",
                "ErrorSummary:string:.status.errorSummary:0",
                "Age:date:.metadata.creationTimestamp:0",
            ],
            id="configuration-state",
        ),
    ],
)
def test_names_and_columns_are_those_of_metallb(kind: str, plural: str, columns: list[str]) -> None:
    (definition,) = (found for found in crd.definitions() if found["spec"]["names"]["kind"] == kind)
    assert definition["metadata"]["name"] == f"{plural}.metallb.io"
    assert definition["spec"]["scope"] == "Namespaced"
    assert set(definition["spec"]["names"]) == {"kind", "listKind", "plural", "singular"}, (
        "no short names, no categories"
    )
    (version,) = definition["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1beta1", True, True)
    assert version["subresources"] == {"status": {}}
    assert [
        f"{c['name']}:{c['type']}:{c['jsonPath']}:{c.get('priority', 0)}"
        for c in version.get("additionalPrinterColumns", [])
    ] == columns


def test_versions_of_peers() -> None:
    (definition,) = (found for found in crd.definitions() if found["spec"]["names"]["kind"] == "BGPPeer")
    assert [(each["name"], each["served"], each["storage"]) for each in definition["spec"]["versions"]] == [
        ("v1beta1", True, False),
        ("v1beta2", True, True),
    ]
    for version in definition["spec"]["versions"]:
        assert [f"{c['name']}:{c['type']}:{c['jsonPath']}" for c in version["additionalPrinterColumns"]] == [
            "Address:string:.spec.peerAddress",
            "ASN:string:.spec.peerASN",
            "BFD Profile:string:.spec.bfdProfile",
            "Multi Hops:string:.spec.ebgpMultiHop",
        ]
    assert definition["spec"].get("conversion", {"strategy": "None"}) == {"strategy": "None"}, (
        "no webhook, no certificate"
    )


def test_both_versions_of_peers_are_one_json() -> None:
    """Else the API server could not convert by changing `apiVersion`."""
    (definition,) = (found for found in crd.definitions() if found["spec"]["names"]["kind"] == "BGPPeer")
    old, new = (
        each["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] for each in definition["spec"]["versions"]
    )
    assert old.keys() < new.keys()
    assert {name: field["type"] for name, field in old.items()} == {name: new[name]["type"] for name in old}


def test_configuration_state_has_no_spec() -> None:
    assert "spec" not in properties_of("ConfigurationState")


def test_definitions_are_kept_by_helm() -> None:
    for definition in crd.definitions():
        assert definition["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert crd.protection() == {"metadata": {"annotations": {"helm.sh/resource-policy": "keep"}}}


def test_definitions_are_new_each_time() -> None:
    crd.definitions()[0]["spec"]["versions"].clear()
    assert crd.definitions()[0]["spec"]["versions"]


def test_hook_may_touch_every_definition_of_the_group_and_no_other() -> None:
    names = yaml.safe_load(
        "\n".join(
            line for line in HOOK.read_text().splitlines() if line.strip().startswith("- ") and "metallb.io" in line
        )
    )
    assert names == sorted([kind.definition_name for kind in crd.KINDS] + list(crd.OTHER_NAMES))


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        pytest.param(
            "IPAddressPool", ["spec", "addresses"], {"type": "array", "minItems": 1, "maxItems": 2000}, id="addresses"
        ),
        pytest.param("IPAddressPool", ["spec", "autoAssign"], {"type": "boolean", "default": True}, id="autoAssign"),
        pytest.param(
            "IPAddressPool", ["spec", "avoidBuggyIPs"], {"type": "boolean", "default": False}, id="avoidBuggyIPs"
        ),
        pytest.param(
            "IPAddressPool", ["status", "availableIPv6"], {"type": "integer", "format": "int64"}, id="counter"
        ),
        pytest.param(
            "IPAddressPool",
            ["spec", "serviceAllocation", "priority"],
            {"type": "integer"},
            id="priority-without-default",
        ),
        pytest.param("ServiceL2Status", ["spec"], {"type": "object"}, id="empty-spec"),
        pytest.param("L2Advertisement", ["status"], {"type": "object"}, id="empty-status"),
    ],
)
def test_field(kind: str, path: list[str], expected: dict[str, Any]) -> None:
    node: dict[str, Any] = {"properties": properties_of(kind)}
    for name in path:
        node = node["properties"][name]
    ours = {
        key: value for key, value in node.items() if key not in ("description", "items", "x-kubernetes-validations")
    }
    assert ours == expected
    assert node["description"]


def test_bounds_come_from_the_struct() -> None:
    weight = properties_of("L2Advertisement")["spec"]["properties"]["preferredNodeSelectors"]["items"]["properties"][
        "weight"
    ]
    assert (weight["minimum"], weight["maximum"], weight["format"]) == (1, 100, "int32")


def test_required_fields() -> None:
    pool = crd.definition(crd.KINDS[0])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert pool["required"] == ["spec"]
    assert pool["properties"]["spec"]["required"] == ["addresses"]
    assert pool["properties"]["status"]["required"] == [
        "assignedIPv4",
        "assignedIPv6",
        "availableIPv4",
        "availableIPv6",
    ]
    advertisement = crd.definition(crd.KINDS[1])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert "required" not in advertisement
    assert advertisement["properties"]["spec"]["properties"]["preferredNodeSelectors"]["items"]["required"] == [
        "weight",
        "preference",
    ]


YOUNG = ("isIP(", "isCIDR(", "ip(", "cidr(", "format.", "quantity(", "optional.", "messageExpression", "cel.bind")
DEAR = (".split(", ".map(", ".all(", ".exists(", ".filter(")
"""By the estimate of Kubernetes 1.25 what these return or walk through may be endlessly long, and the definition is refused."""


@pytest.mark.parametrize("part", [*YOUNG, *DEAR])
def test_rules_suit_kubernetes_1_25(part: str) -> None:
    assert all(part not in json.dumps(definition) for definition in crd.definitions())


class Sample(meta.Wire, frozen=True):
    """A sample."""

    metadata: meta.ObjectMeta
    labels: Annotated[dict[str, str], msgspec.Meta(description="Text by text.")]
    size: Annotated[int | None, msgspec.Meta(description="How large.")] = None


class Odd(meta.Wire, frozen=True):
    """A struct with a field that has no structural schema."""

    either: int | str = 0


def test_struct_as_schema() -> None:
    schema = structural.schema_of(Sample, {"size": {"format": "int32"}, "status": {"type": "object"}})
    assert schema["required"] == ["labels"]
    assert schema["description"] == "A sample."
    assert schema["properties"]["metadata"] == {"type": "object"}
    assert schema["properties"]["labels"] == {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "Text by text.",
    }
    assert schema["properties"]["size"] == {"type": "integer", "description": "How large.", "format": "int32"}
    assert schema["properties"]["status"] == {"type": "object"}


@pytest.mark.parametrize("path", ["nothing.here", "nothing[]", "labels.deeper"], ids=["object", "list", "below-a-leaf"])
def test_addition_without_a_field_raises(path: str) -> None:
    with pytest.raises(KeyError):
        structural.schema_of(Sample, {path: {"format": "int32"}})


def test_type_without_a_schema_raises() -> None:
    with pytest.raises((TypeError, ValueError)):
        structural.schema_of(Odd, {})


def test_deprecated_version_says_so() -> None:
    old = crd.Version(name="v1alpha1", struct=Sample, storage=False, deprecation="use v1beta1")
    kind = crd.Kind(name="Sample", plural="samples", versions=(old,))
    (version,) = crd.definition(kind)["spec"]["versions"]
    assert (version["deprecated"], version["deprecationWarning"], version["storage"]) == (True, "use v1beta1", False)
    assert "additionalPrinterColumns" not in version


def specs_of(kind: crd.Kind) -> list[dict[str, Any]]:
    """The schema of `spec` in each version of a kind."""
    versions = crd.definition(kind)["spec"]["versions"]
    return [each["schema"]["openAPIV3Schema"]["properties"].get("spec", {}) for each in versions]


@pytest.mark.parametrize("kind", crd.KINDS, ids=lambda kind: str(kind.name))
def test_a_rule_asks_whether_a_field_is_there_before_it_reads_it(kind: crd.Kind) -> None:
    """An object may have been stored by another version, which does not demand what this one does: the rule would fail for the lack of a key."""
    specs = specs_of(kind)
    always = set.intersection(*(set(spec.get("required", ())) for spec in specs))
    for spec in specs:
        for rule in spec.get("x-kubernetes-validations", ()):
            read = set(re.findall(r"\bself\.(\w+)", rule["rule"]))
            asked = set(re.findall(r"\bhas\(self\.(\w+)", rule["rule"]))
            assert read - asked <= always, rule


def test_what_v1beta1_cannot_say_of_a_peer_is_refused_by_rules_that_are_never_let_off() -> None:
    """The API server lets rules be broken by what did not change, unless they ask for the old object."""
    (kind,) = (kind for kind in crd.KINDS if kind.name == "BGPPeer")
    older, newer = specs_of(kind)
    for field in set(older["required"]) - set(newer["required"]):
        (rule,) = (each for each in older["x-kubernetes-validations"] if f"v1beta1 needs {field}," in each["message"])
        assert "oldSelf" in rule["rule"]
        assert "metallb.io/v1beta2" in rule["message"]
