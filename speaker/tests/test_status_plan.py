"""ServiceL2Status: one object for each Service and announcing node, written only when it says something new."""

import pytest

from metallb_core.announcement import layer2
from metallb_core.api import meta, v1beta1
from metallb_core.domain import addresses, services
from metallb_speaker.status import objects, plan

KEY = services.ServiceKey("default", "web")
ADDRESS = addresses.Address.parse("192.0.2.1")
EVERYWHERE = layer2.Announcement((ADDRESS,), frozenset())
ON_TWO = layer2.Announcement((ADDRESS,), frozenset({"eth1", "eth0"}))
OWN = objects.name_of(objects.LAYER2_PREFIX, KEY, "me")


def observed(node: str, name: str, *interfaces: str, filled: bool = True) -> v1beta1.ServiceL2Status:
    status = v1beta1.ServiceL2StatusStatus(
        node=node,
        service_name=KEY.name,
        service_namespace=KEY.namespace,
        interfaces=[v1beta1.InterfaceInfo(name=interface) for interface in interfaces] or None,
    )
    return v1beta1.ServiceL2Status(
        metadata=meta.ObjectMeta(name=name, labels=objects.labels_of(KEY, node)),
        status=status if filled else v1beta1.ServiceL2StatusStatus(),
    )


def wanted(*interfaces: str) -> v1beta1.ServiceL2StatusStatus:
    return observed("me", "x", *interfaces).status


@pytest.mark.parametrize(
    ("announcement", "found", "expected"),
    [
        pytest.param(None, [], plan.Plan(), id="nothing-to-say"),
        pytest.param(EVERYWHERE, [], plan.Plan(create=OWN, write=(OWN, wanted())), id="first"),
        pytest.param(EVERYWHERE, [observed("me", "l2-x")], plan.Plan(), id="said-already-under-any-name"),
        pytest.param(
            EVERYWHERE,
            [observed("me", "l2-x", filled=False)],
            plan.Plan(write=("l2-x", wanted())),
            id="created-but-not-yet-written",
        ),
        pytest.param(
            ON_TWO, [observed("me", "l2-x", "eth1", "eth0")], plan.Plan(), id="order-of-interfaces-is-no-change"
        ),
        pytest.param(
            ON_TWO, [observed("me", "l2-x")], plan.Plan(write=("l2-x", wanted("eth0", "eth1"))), id="interfaces-changed"
        ),
        pytest.param(
            EVERYWHERE,
            [observed("dead", "l2-d")],
            plan.Plan(delete=("l2-d",), create=OWN, write=(OWN, wanted())),
            id="the-owner-cleans-up-after-a-dead-one",
        ),
        pytest.param(None, [observed("other", "l2-o")], plan.Plan(), id="another-owner-is-left-alone"),
        pytest.param(None, [observed("me", "l2-x")], plan.Plan(delete=("l2-x",)), id="no-longer-the-owner"),
        pytest.param(
            EVERYWHERE,
            [observed("me", "l2-y"), observed("me", "l2-x")],
            plan.Plan(delete=("l2-y",)),
            id="a-double-of-our-own-goes",
        ),
    ],
)
def test_plan(
    announcement: layer2.Announcement | None,
    found: list[v1beta1.ServiceL2Status],
    expected: plan.Plan[v1beta1.ServiceL2StatusStatus],
) -> None:
    assert plan.plan(KEY, announcement, found, "me") == expected


def test_names_differ_by_service_and_node() -> None:
    found = {
        objects.name_of(objects.LAYER2_PREFIX, services.ServiceKey(ns, name), node)
        for ns in "ab"
        for name in "cd"
        for node in "ef"
    }
    assert len(found) == 8
