"""The definitions under a real API server: they apply, refuse mistakes by the field's name, and give back what was written.

Objects are only dry-run where nothing has to stay: the API server then validates and defaults them all the same.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from generate import output
from lab import apiserver
from metallb_core.api import crd, v1beta1
from metallb_core.domain import addresses

pytestmark = pytest.mark.apiserver

NAMESPACE = "metallb-system"
DEFINITIONS = output.ROOT / "charts/metallb/charts/crds/crds"
Node = dict[str, Any]

AS_PRINTED = """\
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
name: small-pool
namespace: metallb-system
spec:
addresses:
- 172.16.12.64/30
  autoAssign: false
"""
"""A sample whose indentation was lost on its way through a web page."""


@pytest.fixture(scope="module")
def server() -> Iterator[apiserver.ApiServer]:
    with apiserver.ApiServer() as running:
        running.kubectl("apply", "--server-side", "--field-manager", crd.FIELD_MANAGER, "-f", DEFINITIONS)
        running.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", DEFINITIONS)
        running.kubectl("create", "namespace", NAMESPACE)
        yield running


def resource(kind: str, spec: Node | None, **fields: Any) -> Node:
    found: Node = {
        "apiVersion": f"{v1beta1.GROUP}/{v1beta1.VERSION}",
        "kind": kind,
        "metadata": {"name": "tried", "namespace": NAMESPACE},
    }
    if spec is not None:
        found["spec"] = spec
    return found | fields


def dry_run(server: apiserver.ApiServer, node: Node) -> Node:
    found: Node = json.loads(
        server.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(node))
    )
    return found


def refusal(server: apiserver.ApiServer, node: Node | str) -> str:
    """What kubectl tells the user who tries to create the object."""
    text = node if isinstance(node, str) else json.dumps(node)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        server.kubectl("apply", "--dry-run=server", "-f", "-", input=text)
    return str(caught.value.stderr).strip()


def test_definitions_have_nothing_to_complain_about(server: apiserver.ApiServer) -> None:
    """The API server marks what is not structural, and names that collide."""
    for kind in crd.KINDS:
        found = json.loads(server.kubectl("get", "crd", kind.definition_name, "-o", "json"))
        conditions = {condition["type"]: condition["status"] for condition in found["status"]["conditions"]}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}


def test_definitions_are_stored_as_written(server: apiserver.ApiServer) -> None:
    """Otherwise a GitOps tool would find them changed for ever."""
    for definition in crd.definitions():
        found = json.loads(server.kubectl("get", "crd", definition["metadata"]["name"], "-o", "json"))
        # What is not said is the default.
        assert found["spec"] == {"conversion": {"strategy": "None"}, **definition["spec"]}


def test_applying_takes_older_rules_and_fields_away(server: apiserver.ApiServer) -> None:
    """Whoever wrote them: Helm created the definitions, the upgrade applies them under a name of its own."""
    older = crd.definitions()[0]
    spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec["older"] = {"type": "string"}
    spec["addresses"]["items"]["x-kubernetes-validations"].append(
        {"rule": "self != '10.0.0.0/8'", "message": "older rule"}
    )
    server.kubectl("replace", "--field-manager=Helm", "-f", "-", input=json.dumps(older))
    server.kubectl(
        "apply", "--server-side", "--force-conflicts", "--field-manager", crd.FIELD_MANAGER, "-f", DEFINITIONS
    )
    found = json.loads(server.kubectl("get", "crd", crd.KINDS[0].definition_name, "-o", "json"))
    assert found["spec"]["versions"] == crd.definitions()[0]["spec"]["versions"]


@pytest.mark.parametrize(
    "text",
    [
        "192.168.10.0/24", "192.168.9.1-192.168.9.5", "fc00:f853:0ccd:e799::/124", "10.0.0.1 - 10.0.0.9", "10.0.0.7/24", "0.0.0.0/0",
        "255.255.255.255/32", "10.0.0.1-10.0.0.1", "10.0.0.255-10.0.1.0",
        "9.255.255.255-10.0.0.0", "::/0", "::1/128", "2001:db8::1-2001:db8::ff",
        "2001:DB8::/32", "1:2:3:4:5:6:7:8/128", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "1::8-1::9", "::ffff:10.0.0.1-::ffff:10.0.0.9",
        "2001:0db8:0000:0000:0000:0000:0000:0001 - 2001:0db8:0000:0000:0000:0000:0000:ffff",
    ],
)  # fmt: skip
def test_address_is_accepted(server: apiserver.ApiServer, text: str) -> None:
    assert dry_run(server, resource("IPAddressPool", {"addresses": [text]}))["spec"]["addresses"] == [text]


FORM = "must be a prefix such as"
OCTETS = "is not a valid IPv4 prefix or range"
GROUPS = "is not a valid IPv6 prefix or range"
FAMILY = "both ends of a range must be of one family"
ORDER = "the first address of a range must not come after the last"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.0.0.1", FORM), ("2001:db8::1", FORM), ("", FORM), ("lan", FORM), ("10.0.0.0/24,10.0.1.0/24", FORM), ("10.0.0.0/", FORM),
        ("10.0.0.1-", FORM), ("-10.0.0.1", FORM), ("10.0.0.1-10.0.0.2-10.0.0.3", FORM), ("fe80::1%eth0/64", FORM), ("10.0.0.0/24x", FORM),
        ("10.0.0.0/33", OCTETS), ("10.0.0.256/32", OCTETS), ("10.0.0/24", OCTETS), ("010.0.0.0/24", OCTETS), ("10.0.0.0.0/24", OCTETS),
        ("10.0.0.1-10.0.0.256", OCTETS), ("10.0.0.1-20", OCTETS), ("10.0.0.1-10.0.0.9/24", FORM),
        ("2001:db8::/129", GROUPS), ("1:2:3/64", GROUPS), ("1::2::3/64", GROUPS), ("12345::/16", GROUPS), ("1:2:3:4:5:6:7:8:9/64", GROUPS),
        ("2001:db8::1-:", GROUPS), ("10.0.0.1-2001:db8::1", FAMILY), ("2001:db8::1-10.0.0.1", FAMILY),
        ("10.0.0.9-10.0.0.1", ORDER), ("10.0.1.0-10.0.0.255", ORDER), ("11.0.0.0 - 10.255.255.255", ORDER),
    ],
)  # fmt: skip
def test_address_is_refused_with_one_reason(server: apiserver.ApiServer, text: str, reason: str) -> None:
    said = refusal(server, resource("IPAddressPool", {"addresses": ["10.9.0.0/24", text]}))
    assert "spec.addresses[1]: Invalid value" in said
    assert reason in said
    assert sum(other in said for other in (FORM, OCTETS, GROUPS, FAMILY, ORDER)) == 1


MAPPED = range(0xFFFF << 32, 0x10000 << 32)
"""IPv4 addresses written as IPv6 ones: each is of the other family, as in MetalLB."""


def address(family: addresses.Family) -> st.SearchStrategy[addresses.Address]:
    return (
        st.integers(0, (1 << family.bits) - 1)
        .filter(lambda value: family is addresses.Family.IPV4 or value not in MAPPED)
        .map(lambda value: addresses.Address(family, value))
    )


@st.composite
def entry(draw: st.DrawFn) -> str:
    """Text that the domain reads as an interval, in any of the forms that it takes."""
    family = draw(st.sampled_from(addresses.Family))
    first, last = sorted((draw(address(family)), draw(address(family))))
    text = draw(
        st.sampled_from(
            [
                f"{first}/{draw(st.integers(0, family.bits))}",
                f"{first}-{last}",
                f"{first} - {last}",
                f" {first}-{last} ",
            ]
        )
    )
    return draw(st.sampled_from([text, text.upper()]))


@hypothesis.settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.large_base_example],
)
@hypothesis.given(texts=st.lists(entry(), min_size=200, max_size=400))
def test_what_the_domain_reads_the_definition_accepts(server: apiserver.ApiServer, texts: list[str]) -> None:
    for text in texts:
        addresses.Interval.parse(text)
    dry_run(server, resource("IPAddressPool", {"addresses": texts}))


def test_longest_pool_stays_within_the_budget_for_rules(server: apiserver.ApiServer) -> None:
    longest = [
        f"2001:0db8:aaaa:bbbb:cccc:dddd:{n:04x}:1111 - 2001:0db8:aaaa:bbbb:cccc:dddd:{n:04x}:2222"
        for n in range(crd.ADDRESSES_AT_MOST)
    ]
    dry_run(server, resource("IPAddressPool", {"addresses": longest}))
    ranges = [
        f"100.{100 + n // 256}.{n % 256}.100 - 100.{100 + n // 256}.{n % 256}.200" for n in range(crd.ADDRESSES_AT_MOST)
    ]
    dry_run(server, resource("IPAddressPool", {"addresses": ranges}))
    assert "spec.addresses: Too many" in refusal(
        server, resource("IPAddressPool", {"addresses": [*ranges, "10.0.0.0/32"]})
    )


SELECTOR: Node = {
    "matchLabels": {"app": "web"},
    "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
    ],
}


@pytest.mark.parametrize(
    "node",
    [
        pytest.param(
            resource(
                "IPAddressPool",
                {
                    "addresses": ["10.0.0.0/24", "2001:db8::/120"],
                    "autoAssign": False,
                    "avoidBuggyIPs": True,
                    "serviceAllocation": {
                        "priority": 50,
                        "namespaces": ["a", "b"],
                        "namespaceSelectors": [SELECTOR],
                        "serviceSelectors": [SELECTOR, {}],
                    },
                },
            ),
            id="pool-with-every-field",
        ),
        pytest.param(
            resource(
                "IPAddressPool",
                {"addresses": ["10.0.0.0/24"], "autoAssign": True, "avoidBuggyIPs": False, "serviceAllocation": {}},
            ),
            id="pool-with-an-empty-allocation",
        ),
        pytest.param(
            resource(
                "L2Advertisement",
                {
                    "ipAddressPools": ["a"],
                    "ipAddressPoolSelectors": [SELECTOR],
                    "nodeSelectors": [SELECTOR],
                    "interfaces": ["eth0"],
                    "serviceSelectors": [SELECTOR],
                    "preferredNodeSelectors": [
                        {"weight": 100, "preference": SELECTOR},
                        {"weight": 1, "preference": {}},
                    ],
                },
            ),
            id="advertisement-with-every-field",
        ),
        pytest.param(resource("L2Advertisement", {}), id="advertisement-with-an-empty-spec"),
        pytest.param(resource("L2Advertisement", None), id="advertisement-without-a-spec"),
    ],
)
def test_every_field_is_read_back_unchanged(server: apiserver.ApiServer, node: Node) -> None:
    found = dry_run(server, node)
    assert found.get("spec") == node.get("spec")


def test_defaults_of_a_pool(server: apiserver.ApiServer) -> None:
    found = dry_run(server, resource("IPAddressPool", {"addresses": ["10.0.0.0/24"]}))
    assert found["spec"] == {"addresses": ["10.0.0.0/24"], "autoAssign": True, "avoidBuggyIPs": False}


@pytest.mark.parametrize(
    ("node", "named"),
    [
        pytest.param(resource("IPAddressPool", None), ["spec: Required value"], id="pool-without-spec"),
        pytest.param(resource("IPAddressPool", {}), ["spec.addresses: Required value"], id="pool-without-addresses"),
        pytest.param(resource("IPAddressPool", {"addresses": []}), ["spec.addresses: Invalid value", "at least 1"], id="empty-list"),
        pytest.param(resource("IPAddressPool", {"addresses": "10.0.0.0/24"}), ["spec.addresses: Invalid value", "array"], id="text-for-a-list"),
        pytest.param(resource("IPAddressPool", {"addresses": ["10.0.0.0/24"], "autoAssign": "no"}), ["spec.autoAssign"], id="text-for-a-bool"),
        pytest.param(
            resource("IPAddressPool", {"addresses": ["10.0.0.0/24"], "autoassign": False}), ['unknown field "spec.autoassign"'], id="typo"
        ),
        pytest.param(
            resource(
                "IPAddressPool",
                {"addresses": ["10.0.0.0/24"], "serviceAllocation": {"serviceSelectors": [{"matchExpressions": [{"key": "a"}]}]}},
            ),
            ["spec.serviceAllocation.serviceSelectors[0].matchExpressions[0].operator: Required value"],
            id="requirement-without-operator",
        ),
        pytest.param(
            resource("L2Advertisement", {"nodeSelectors": [{"matchExpressions": [{"key": "a", "operator": "Is"}]}]}),
            ["spec.nodeSelectors[0].matchExpressions[0].operator", '"NotIn"'],
            id="operator",
        ),
        pytest.param(
            resource("L2Advertisement", {"preferredNodeSelectors": [{"weight": 101, "preference": {}}]}),
            ["spec.preferredNodeSelectors[0].weight", "100"],
            id="weight-too-large",
        ),
        pytest.param(
            resource("L2Advertisement", {"preferredNodeSelectors": [{"weight": 0, "preference": {}}]}),
            ["spec.preferredNodeSelectors[0].weight", "1"],
            id="weight-too-small",
        ),
        pytest.param(
            resource("L2Advertisement", {"preferredNodeSelectors": [{"weight": 5}]}),
            ["spec.preferredNodeSelectors[0].preference: Required value"],
            id="no-preference",
        ),
        pytest.param(resource("L2Advertisement", {"ipAddressPools": "a"}), ["spec.ipAddressPools"], id="text-for-names"),
    ],
)  # fmt: skip
def test_mistake_is_refused_by_the_name_of_its_field(server: apiserver.ApiServer, node: Node, named: list[str]) -> None:
    said = refusal(server, node)
    for part in named:
        assert part in said


def test_sample_without_indentation_is_refused_where_it_breaks(server: apiserver.ApiServer) -> None:
    """As it stands it is not even YAML, so kubectl names the line: that of `autoAssign`, the file's last."""
    assert "yaml: line 9: mapping values are not allowed in this context" in refusal(server, AS_PRINTED)


def test_sample_without_indentation_names_the_fields(server: apiserver.ApiServer) -> None:
    """Made YAML, all of it stands on the top level: the definition needs an object under `spec`."""
    said = refusal(
        server,
        AS_PRINTED.replace("  autoAssign", "autoAssign").replace(
            "metadata:\n", "metadata: {name: x, namespace: metallb-system}\n"
        ),
    )
    for name in (
        'unknown field "addresses"',
        'unknown field "autoAssign"',
        'unknown field "name"',
        'unknown field "namespace"',
    ):
        assert name in said


def test_status_is_written_apart_from_the_spec(server: apiserver.ApiServer) -> None:
    pool = resource("IPAddressPool", {"addresses": ["::/64"]})
    server.kubectl("create", "-f", "-", input=json.dumps(pool))
    status = {"assignedIPv4": 0, "assignedIPv6": 1, "availableIPv4": 0, "availableIPv6": (1 << 63) - 1}
    arguments = ("patch", "ipaddresspool", "tried", "-n", NAMESPACE, "--type=merge", "-o", "json", "-p")
    ignored = json.loads(server.kubectl(*arguments, json.dumps({"status": status})))
    assert "status" not in ignored
    found = json.loads(server.kubectl(*arguments, json.dumps({"status": status}), "--subresource=status"))
    assert found["status"] == status
    assert found["metadata"]["generation"] == 1
    with pytest.raises(subprocess.CalledProcessError) as caught:
        server.kubectl(*arguments, json.dumps({"status": {"assignedIPv4": None}}), "--subresource=status")
    assert "status.assignedIPv4: Required value" in caught.value.stderr


def test_status_of_a_service_does_not_change_hands(server: apiserver.ApiServer) -> None:
    server.kubectl("create", "-f", "-", input=json.dumps(resource("ServiceL2Status", {})))
    arguments = (
        "patch",
        "servicel2status",
        "tried",
        "-n",
        NAMESPACE,
        "--type=merge",
        "--subresource=status",
        "-o",
        "json",
        "-p",
    )
    status: Node = {"node": "a", "serviceName": "web", "serviceNamespace": "default", "interfaces": [{"name": "eth0"}]}
    assert json.loads(server.kubectl(*arguments, json.dumps({"status": status})))["status"] == status
    moved = json.loads(server.kubectl(*arguments, json.dumps({"status": {"interfaces": []}})))
    assert moved["status"]["interfaces"] == []
    for name in ("node", "serviceName", "serviceNamespace"):
        with pytest.raises(subprocess.CalledProcessError) as caught:
            server.kubectl(*arguments, json.dumps({"status": {name: "other"}}))
        assert f"status.{name}: Invalid value" in caught.value.stderr
        assert "Value is immutable" in caught.value.stderr


def test_columns(server: apiserver.ApiServer) -> None:
    server.kubectl("apply", "-f", "-", input=json.dumps(resource("IPAddressPool", {"addresses": ["::/64"]})))
    head, row = server.kubectl("get", "ipaddresspools", "-n", NAMESPACE).splitlines()
    assert re.split(r"\s{2,}", head) == ["NAME", "AUTO ASSIGN", "AVOID BUGGY IPS", "ADDRESSES"]
    assert re.split(r"\s{2,}", row) == ["tried", "true", "false", '["::/64"]']


def test_explain_shows_descriptions(server: apiserver.ApiServer) -> None:
    assert "the order is the order of use" in " ".join(
        server.kubectl("explain", "ipaddresspool.spec.addresses").split()
    )
