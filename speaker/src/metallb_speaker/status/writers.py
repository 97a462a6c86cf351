"""The two writers of a speaker: what each kind of status object is made of, and where its word comes from."""

from collections.abc import Callable

from metallb_core.announcement import layer2
from metallb_core.api import v1beta1
from metallb_core.domain import services
from metallb_core.kube import client as clients
from metallb_core.kube import ownership, resources, store
from metallb_speaker.status import bgp_plan, plan, writer

Named = tuple[str, str]


def of_layer2(
    client: clients.Client,
    *,
    namespace: str,
    node: str,
    owner: ownership.Owner,
    observed: store.Store[Named, v1beta1.ServiceL2Status],
    announced: Callable[[services.ServiceKey], layer2.Announcement | None],
) -> writer.Writer[v1beta1.ServiceL2Status, v1beta1.ServiceL2StatusStatus]:
    """Writes ServiceL2Status. `announced(key)`: what this node announces for a Service."""
    return writer.Writer(
        client,
        resources.SERVICE_L2_STATUSES,
        namespace=namespace,
        node=node,
        owner=owner,
        observed=observed,
        make=lambda metadata: v1beta1.ServiceL2Status(metadata=metadata),
        decide=lambda key, found: plan.plan(key, announced(key), found, node),
        body=plan.body,
    )


def of_bgp(
    client: clients.Client,
    *,
    namespace: str,
    node: str,
    owner: ownership.Owner,
    observed: store.Store[Named, v1beta1.ServiceBGPStatus],
    told: Callable[[services.ServiceKey], tuple[str, ...]],
) -> writer.Writer[v1beta1.ServiceBGPStatus, v1beta1.ServiceBGPStatusStatus]:
    """Writes ServiceBGPStatus. `told(key)`: the peers that have a Service from this node."""
    return writer.Writer(
        client,
        resources.SERVICE_BGP_STATUSES,
        namespace=namespace,
        node=node,
        owner=owner,
        observed=observed,
        make=lambda metadata: v1beta1.ServiceBGPStatus(metadata=metadata),
        decide=lambda key, found: bgp_plan.decide(key, told(key), found, node),
        body=bgp_plan.body,
    )
