"""ServiceBGPStatus: one object for each Service and node that told a peer of it, written only when it says something new."""

import pytest

from metallb_core.api import meta, v1beta1
from metallb_core.domain import services
from metallb_speaker.status import bgp_plan, objects, plan

KEY = services.ServiceKey("default", "web")
OWN = objects.name_of(objects.BGP_PREFIX, KEY, "me")


def observed(node: str, name: str, *peers: str, filled: bool = True) -> v1beta1.ServiceBGPStatus:
    status = v1beta1.ServiceBGPStatusStatus(
        node=node, service_name=KEY.name, service_namespace=KEY.namespace, peers=list(peers)
    )
    return v1beta1.ServiceBGPStatus(
        metadata=meta.ObjectMeta(name=name, labels=objects.labels_of(KEY, node)),
        status=status if filled else v1beta1.ServiceBGPStatusStatus(),
    )


def wanted(*peers: str) -> v1beta1.ServiceBGPStatusStatus:
    return observed("me", "x", *peers).status


@pytest.mark.parametrize(
    ("peers", "found", "expected"),
    [
        pytest.param((), [], plan.Plan(), id="nothing-to-say"),
        pytest.param(
            ("r2", "r1"), [], plan.Plan(create=OWN, write=(OWN, wanted("r1", "r2"))), id="first-and-sorted"
        ),
        pytest.param(("r1",), [observed("me", "bgp-x", "r1")], plan.Plan(), id="said-already-under-any-name"),
        pytest.param(
            ("r1",), [observed("me", "bgp-x", filled=False)], plan.Plan(write=("bgp-x", wanted("r1"))), id="not-filled"
        ),
        pytest.param(
            ("r1", "r2"), [observed("me", "bgp-x", "r1")], plan.Plan(write=("bgp-x", wanted("r1", "r2"))), id="one-more"
        ),
        pytest.param((), [observed("me", "bgp-x", "r1")], plan.Plan(delete=("bgp-x",)), id="nobody-has-it-any-more"),
        pytest.param(
            ("r1",),
            [observed("me", "bgp-y", "r1"), observed("me", "bgp-x", "r1")],
            plan.Plan(delete=("bgp-y",)),
            id="a-double-of-our-own-goes",
        ),
        pytest.param((), [observed("other", "bgp-o", "r1")], plan.Plan(), id="another-nodes-is-left-alone"),
    ],
)  # fmt: skip
def test_decide(peers: tuple[str, ...], found: list[v1beta1.ServiceBGPStatus], expected: bgp_plan.BGPPlan) -> None:
    assert bgp_plan.decide(KEY, peers, found, "me") == expected
