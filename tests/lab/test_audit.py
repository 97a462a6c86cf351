"""Reading the API server's audit log, and which right a request needed."""

import json
import pathlib
from typing import Any

import pytest

from lab import audit

OURS = "metallb-system"


def event(verb: str, user: str = "system:serviceaccount:metallb-system:speaker", **regarding: str) -> dict[str, Any]:
    """A line of the log."""
    return {"verb": verb, "user": {"username": user}, "objectRef": regarding or None, "responseStatus": {"code": 200}}


def test_only_resources_and_service_accounts_count(tmp_path: pathlib.Path) -> None:
    lines = [
        event("get"),
        event("get", user="system:node:node1", resource="pods"),
        event("patch", resource="services", subresource="status", namespace="default", name="web"),
        event("list", resource="leases", apiGroup="coordination.k8s.io"),
    ]
    log = tmp_path / "audit.log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [(each.verb, each.resource, each.name, each.code) for each in audit.requests(log)] == [
        ("patch", "services/status", "web", 200),
        ("list", "leases.coordination.k8s.io", "", 200),
    ]


def request(**changes: Any) -> audit.Request:
    usual = {
        "account": "n:a",
        "verb": "get",
        "resource": "pods",
        "namespace": "n",
        "name": "p",
        "code": 200,
        "reason": "",
    }
    return audit.Request(**{**usual, **changes})


def right(**changes: Any) -> audit.Right:
    usual = {"account": "n:a", "verb": "get", "resource": "pods", "namespace": "n", "names": frozenset[str]()}
    return audit.Right(**{**usual, **changes})


SERVING = [
    pytest.param({}, {}, True, id="the-same"),
    pytest.param({"verb": "list"}, {}, False, id="another-verb"),
    pytest.param({"resource": "pods/log"}, {}, False, id="a-subresource"),
    pytest.param({"account": "n:b"}, {}, False, id="another-account"),
    pytest.param({"namespace": "m"}, {}, False, id="another-namespace"),
    pytest.param({"namespace": "m"}, {"namespace": ""}, True, id="anywhere"),
    pytest.param({}, {"names": frozenset({"p", "q"})}, True, id="by-name"),
    pytest.param({"name": "r"}, {"names": frozenset({"p", "q"})}, False, id="another-name"),
]


@pytest.mark.parametrize(("asked", "held", "expected"), SERVING)
def test_a_right_serves_a_request(asked: dict[str, Any], held: dict[str, Any], expected: bool) -> None:
    assert right(**held).serves(request(**asked)) is expected


INCLUDING = [
    pytest.param({}, {"names": frozenset({"p"})}, True, id="all-include-one"),
    pytest.param({"names": frozenset({"p"})}, {}, False, id="one-does-not-include-all"),
    pytest.param({"namespace": ""}, {}, True, id="the-cluster-includes-a-namespace"),
    pytest.param({}, {"namespace": ""}, False, id="a-namespace-does-not-include-the-cluster"),
]


@pytest.mark.parametrize(("wide", "narrow", "expected"), INCLUDING)
def test_a_right_includes_another(wide: dict[str, Any], narrow: dict[str, Any], expected: bool) -> None:
    assert right(**wide).includes(right(**narrow)) is expected


def role(kind: str, /, *rules: dict[str, Any], **metadata: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": metadata, "rules": list(rules)}


def binding(kind: str, role: str, /, *accounts: str, **metadata: str) -> dict[str, Any]:
    subjects = [{"kind": "ServiceAccount", "name": each, "namespace": OURS} for each in accounts]
    return {"metadata": metadata, "roleRef": {"kind": kind, "name": role}, "subjects": subjects}


def test_rights_of_roles() -> None:
    """A ClusterRole that is bound in a namespace holds there; accounts of other namespaces are left out."""
    services = {"apiGroups": [""], "resources": ["services", "services/status"], "verbs": ["patch"]}
    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get"], "resourceNames": ["x"]}
    roles = [role("ClusterRole", services, name="wide"), role("Role", lease, name="narrow", namespace=OURS)]
    stranger = binding("ClusterRole", "wide", name="stranger")
    stranger["subjects"] = [
        {"kind": "ServiceAccount", "name": "x", "namespace": "other"},
        {"kind": "Group", "name": "g"},
    ]
    bindings = [
        binding("ClusterRole", "wide", "speaker", name="everywhere"),
        binding("Role", "narrow", "speaker", name="here", namespace=OURS),
        binding("ClusterRole", "wide", "controller", name="there", namespace="default"),
        stranger,
    ]
    assert sorted(str(each) for each in audit.rights(roles, bindings, OURS)) == [
        "controller: patch services in default",
        "controller: patch services/status in default",
        "speaker: get leases.coordination.k8s.io (x) in metallb-system",
        "speaker: patch services",
        "speaker: patch services/status",
    ]
