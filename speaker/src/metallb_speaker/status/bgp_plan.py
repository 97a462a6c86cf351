"""PURE. What to do to the ServiceBGPStatus object of one Service so that it says which peers this node told of it.

- A node writes one object for each Service that at least one peer has from it now, and deletes it when none has any more. What others wrote is
  theirs: unlike layer 2, every node advertises by itself.
- `peers` are those whose session is established and that were sent a route of the Service, in order of name; a wish is not enough.
- Nothing is written when the object already says so.
"""

from collections.abc import Iterable

from metallb_core.api import v1beta1
from metallb_core.domain import services
from metallb_speaker.status import objects, plan

BGPPlan = plan.Plan[v1beta1.ServiceBGPStatusStatus]


def decide(
    key: services.ServiceKey, peers: tuple[str, ...], observed: Iterable[v1beta1.ServiceBGPStatus], node: str
) -> BGPPlan:
    """What makes the objects `observed` for Service `key` say that `node` told `peers` of it."""
    own = sorted((found for found in observed if objects.node_of(found) == node), key=lambda found: found.metadata.name)
    if not peers:
        return plan.Plan(delete=tuple(found.metadata.name for found in own))
    wanted = v1beta1.ServiceBGPStatusStatus(
        node=node, service_name=key.name, service_namespace=key.namespace, peers=sorted(peers)
    )
    delete = tuple(found.metadata.name for found in own[1:])
    if not own:
        name = objects.name_of(objects.BGP_PREFIX, key, node)
        return plan.Plan(create=name, write=(name, wanted))
    if own[0].status == wanted:
        return plan.Plan(delete=delete)
    return plan.Plan(delete=delete, write=(own[0].metadata.name, wanted))


def body(said: v1beta1.ServiceBGPStatusStatus) -> dict[str, object]:
    """The status as a merge patch."""
    return {
        "node": said.node,
        "serviceName": said.service_name,
        "serviceNamespace": said.service_namespace,
        "peers": said.peers,
    }
