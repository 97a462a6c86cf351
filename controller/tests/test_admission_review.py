"""What is answered to the API server's questions, as a table; no server, no socket."""

import json
from typing import Any

import msgspec
import pytest

from metallb_controller.admission import kinds, review
from metallb_core.api import admission, v1beta1, v1beta2
from metallb_core.config import compiled

NAMESPACE = "metallb-system"
Node = dict[str, Any]


def thing(name: str, spec: Node | None, *, namespace: str = NAMESPACE, **metadata: Any) -> Node:
    return {"metadata": {"name": name, "namespace": namespace, **metadata}, "spec": spec}


def pool(name: str, *addresses: str, **metadata: Any) -> Node:
    return thing(name, {"addresses": list(addresses)}, **metadata)


def peer(name: str = "router", **spec: Any) -> Node:
    return thing(name, {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1", **spec})


EXISTING = compiled.Resources(
    pools=(msgspec.convert(pool("taken", "192.0.2.0/28"), v1beta1.IPAddressPool),),
    peers=(msgspec.convert(peer("fast", bfdProfile="quick"), v1beta2.BGPPeer),),
    bfd_profiles=(msgspec.convert(thing("quick", {}), v1beta1.BFDProfile),),
)


def ask(
    kind: str, incoming: Any, *, before: Any = None, operation: str = "CREATE", name: str = "tried", **existing: Any
) -> Node:
    question = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "6f1",
            "kind": {"group": "metallb.io", "version": "v1beta1", "kind": kind},
            "name": name,
            "namespace": NAMESPACE,
            "operation": operation,
            "object": incoming,
            "oldObject": before,
            "dryRun": False,
        },
    }
    asked = admission.parse(json.dumps(question).encode())
    answer = review.answer(asked, kinds.BY_NAME[kind], existing.get("existing", EXISTING), NAMESPACE)
    found: Node = json.loads(admission.serialise(answer))
    assert (found["apiVersion"], found["kind"], found["response"]["uid"]) == (
        "admission.k8s.io/v1",
        "AdmissionReview",
        "6f1",
    )
    return dict(found["response"])


@pytest.mark.parametrize(
    ("kind", "incoming"),
    [
        pytest.param("IPAddressPool", pool("new", "192.0.2.16/28"), id="pool"),
        pytest.param("IPAddressPool", pool("taken", "192.0.2.0/27"), id="pool-in-place-of-its-older-form"),
        pytest.param("L2Advertisement", thing("a", {"ipAddressPools": ["taken"]}), id="l2-advertisement"),
        pytest.param("L2Advertisement", {"metadata": {"name": "a", "namespace": NAMESPACE}}, id="without-spec"),
        pytest.param("BGPAdvertisement", thing("a", {"ipAddressPools": ["taken"]}), id="bgp-advertisement"),
        pytest.param("BGPPeer", peer(), id="peer"),
        pytest.param("BGPPeer", peer(bfdProfile="quick"), id="peer-with-profile"),
        pytest.param("BGPPeer", peer() | {"apiVersion": "metallb.io/v1beta1"}, id="peer-v1beta1"),
        pytest.param("BFDProfile", thing("p", {"receiveInterval": 300}), id="profile"),
        pytest.param("Community", thing("c", {"communities": [{"name": "x", "value": "1:2"}]}), id="community"),
    ],
)
@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
def test_what_is_good_is_stored_without_a_word(kind: str, incoming: Node, operation: str) -> None:
    assert ask(kind, incoming, operation=operation) == {"uid": "6f1", "allowed": True}


@pytest.mark.parametrize(
    ("kind", "incoming", "message"),
    [
        pytest.param(
            "IPAddressPool", pool("new", "192.0.2.8/29"), "overlaps with already defined CIDR", id="overlapping-pools"
        ),
        pytest.param("IPAddressPool", pool("new", "nonsense"), "spec.addresses[0]", id="no-address"),
        pytest.param("IPAddressPool", pool("new"), "spec.addresses", id="no-addresses"),
        pytest.param("L2Advertisement", thing("a", {"ipAddressPools": ["p", "p"]}), "duplicate", id="l2-duplicates"),
        pytest.param(
            "BGPAdvertisement",
            thing("a", {"ipAddressPools": ["taken"], "aggregationLength": 26}),
            "invalid aggregation length 26",
            id="aggregate-beyond-the-pool",
        ),
        pytest.param("BGPPeer", peer(peerAddress="nonsense"), "invalid BGPPeer address", id="peer-address"),
        pytest.param("BGPPeer", peer(holdTime="1s", keepaliveTime="1s"), "hold", id="hold-time"),
        pytest.param(
            "Community",
            thing("c", {"communities": [{"name": "x", "value": "1:99999"}]}),
            "invalid community value",
            id="community",
        ),
    ],
)
@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
def test_what_is_wrong_is_refused_with_the_reason(kind: str, incoming: Node, message: str, operation: str) -> None:
    found = ask(kind, incoming, operation=operation, before=pool("new", "203.0.113.0/28"))
    assert found["allowed"] is False
    assert message in found["status"]["message"]
    assert (found["status"]["code"], found["status"]["reason"]) == (403, "Forbidden")


@pytest.mark.parametrize("kind", [kind.name for kind in kinds.ALL])
@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
def test_objects_belong_in_the_namespace_of_the_installation(kind: str, operation: str) -> None:
    incoming = peer() if kind == "BGPPeer" else pool("new", "203.0.113.0/28")
    incoming["metadata"]["namespace"] = "default"
    found = ask(kind, incoming, operation=operation)
    assert found["allowed"] is False
    assert "resource must be created in metallb-system namespace" in found["status"]["message"]


@pytest.mark.parametrize(
    ("kind", "incoming", "named"),
    [
        pytest.param("L2Advertisement", thing("a", {"ipAddressPools": ["later"]}), "later", id="pool"),
        pytest.param("BGPAdvertisement", thing("a", {"peers": ["later"]}), "later", id="peer"),
        pytest.param("BGPAdvertisement", thing("a", {"communities": ["later"]}), "later", id="alias"),
        pytest.param("BGPPeer", peer(bfdProfile="later"), "later", id="profile"),
        pytest.param("BGPPeer", peer(disableMP=True), "disableMP", id="a-field-without-effect"),
    ],
)
def test_what_is_missing_is_worth_a_warning(kind: str, incoming: Node, named: str) -> None:
    found = ask(kind, incoming)
    assert found["allowed"] is True
    [warning] = found["warnings"]
    assert named in warning


def test_a_warning_hides_no_mistake() -> None:
    found = ask("BGPPeer", peer(disableMP=True, peerAddress="nonsense"))
    assert found["allowed"] is False
    assert "invalid BGPPeer address" in found["status"]["message"]
    assert len(found["warnings"]) == 1


@pytest.mark.parametrize(
    "incoming",
    [
        pytest.param({"metadata": {"name": "x"}, "spec": {"addresses": "no list"}}, id="wrong-type"),
        pytest.param({"metadata": {"name": "x"}}, id="no-spec"),
        pytest.param("text", id="no-object"),
    ],
)
def test_what_cannot_be_read_is_a_bad_request(incoming: Any) -> None:
    found = ask("IPAddressPool", incoming)
    assert (found["allowed"], found["status"]["code"]) == (False, 400)
    assert "IPAddressPool cannot be read" in found["status"]["message"]


BAD = pool("tried", "192.0.2.0/30")


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        pytest.param(BAD, pool("tried", "192.0.2.0/30", annotations={"note": "x"}), True, id="annotation"),
        pytest.param(BAD, pool("tried", "192.0.2.0/30", labels={"a": "b"}), False, id="label"),
        pytest.param(BAD, pool("tried", "192.0.2.0/29"), False, id="spec"),
        pytest.param(BAD, pool("tried", "192.0.2.0/29", deletionTimestamp="2026-01-01T00:00:00Z"), True, id="deleted"),
        pytest.param(
            pool("tried", "192.0.2.0/30", namespace="default"),
            pool("tried", "192.0.2.0/30", namespace="default", annotations={"note": "x"}),
            True,
            id="annotation-elsewhere",
        ),
        pytest.param({"metadata": {}, "spec": 7}, BAD, False, id="unreadable-before"),
    ],
)
def test_an_object_that_is_wrong_already_can_be_cleaned_up_and_not_made_worse(
    before: Node, after: Node, allowed: bool
) -> None:
    assert ask("IPAddressPool", after, before=before, operation="UPDATE")["allowed"] is allowed


@pytest.mark.parametrize(
    ("kind", "name", "allowed"),
    [
        pytest.param("BFDProfile", "quick", False, id="profile-in-use"),
        pytest.param("BFDProfile", "slow", True, id="profile-of-nobody"),
        pytest.param("IPAddressPool", "taken", True, id="pool"),
    ],
)
def test_deletion(kind: str, name: str, allowed: bool) -> None:
    found = ask(kind, None, before=pool(name), operation="DELETE", name=name)
    assert found["allowed"] is allowed
    if not allowed:
        assert "failed to delete BFDProfile" in found["status"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="empty"),
        pytest.param(b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}', id="no-request"),
        pytest.param(
            b'{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "1"}}',
            id="another-version",
        ),
    ],
)
def test_what_is_no_question_is_not_answered(body: bytes) -> None:
    with pytest.raises(admission.UnreadableError):
        admission.parse(body)


def test_paths_and_names_are_those_of_metallb() -> None:
    assert [kind.path for kind in kinds.ALL] == [
        "/validate-metallb-io-v1beta2-bgppeer",
        "/validate-metallb-io-v1beta1-bfdprofile",
        "/validate-metallb-io-v1beta1-bgpadvertisement",
        "/validate-metallb-io-v1beta1-community",
        "/validate-metallb-io-v1beta1-ipaddresspool",
        "/validate-metallb-io-v1beta1-l2advertisement",
    ]
    assert kinds.BY_NAME["Community"].webhook == "communityvalidationwebhook.metallb.io"
