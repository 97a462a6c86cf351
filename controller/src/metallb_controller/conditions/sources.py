"""What the controller reads about announcing, cut down to what a condition needs: thousands of these objects are kept.

- A status object says by its labels, from the moment it exists, which node announces which Service; its status adds nothing here.
- Of an EndpointSlice only the nodes that can serve are kept.
- Of a speaker's ConfigurationState only the node, its usable interfaces (`interfaces.metallb.io/usable`, see `links_of`) and the flags by which
  it leaves nodes out (`settings.metallb.io/...`) are kept.
"""

import dataclasses
import sys
from typing import Final

from metallb_controller.conditions import announced
from metallb_core.api import conditions as wires
from metallb_core.api import kubernetes, meta, v1beta1
from metallb_core.domain import conditions, endpoints, interfaces, services
from metallb_core.kube import configuration_state, resources

NODE_LABEL: Final = "metallb.io/node"
SERVICE_NAME_LABEL: Final = "metallb.io/service-name"
SERVICE_NAMESPACE_LABEL: Final = "metallb.io/service-namespace"


class Labelled(meta.Wire, frozen=True):
    """An object of which only metadata is read."""

    metadata: meta.ObjectMeta


@dataclasses.dataclass(frozen=True, slots=True)
class Serving:
    """The nodes with an endpoint in one EndpointSlice that can serve its Service."""

    namespace: str
    name: str
    service: services.ServiceKey
    nodes: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Speaker:
    """What the speaker of a node says of itself. `usable` is None where it says nothing of its interfaces; `node` empty: not a speaker's.

    `ignores_exclude_label`, `drain_taint`: as in `view.View`.
    """

    namespace: str
    name: str
    node: str
    usable: interfaces.Usable | None
    ignores_exclude_label: bool = False
    drain_taint: str = ""


def _announcer(wire: Labelled, protocol: str) -> announced.Announcer:
    labels = wire.metadata.labels or {}
    return announced.Announcer(
        wire.metadata.namespace,
        wire.metadata.name,
        services.ServiceKey(labels.get(SERVICE_NAMESPACE_LABEL, ""), labels.get(SERVICE_NAME_LABEL, "")),
        sys.intern(labels.get(NODE_LABEL, "")),
        protocol,
    )


def _layer2(wire: Labelled) -> announced.Announcer:
    return _announcer(wire, announced.LAYER2)


def _bgp(wire: Labelled) -> announced.Announcer:
    return _announcer(wire, announced.BGP)


def _serving(wire: kubernetes.EndpointSlice) -> Serving:
    piece = kubernetes.endpoint_slice(wire)
    nodes = frozenset(sys.intern(name) for name in endpoints.serving_nodes((piece,)))
    return Serving(piece.namespace, piece.name, piece.service, nodes)


def links_of(held: conditions.Condition | None) -> interfaces.Usable | None:
    """The usable interfaces that a speaker's condition names; None where it has none.

    The message names those that some advertisement asks for. That there are others is said by the status and the reason, and stands here as
    the empty name, which nobody can ask for.
    """
    return None if held is None else configuration_state.usable_of(held)


def _speaker(wire: v1beta1.ConfigurationState) -> Speaker:
    node = (wire.metadata.labels or {}).get(configuration_state.NODE_LABEL, "")
    found = wires.read(wire.status.conditions)
    taint = conditions.named(found, configuration_state.DRAIN_TAINT)
    return Speaker(
        wire.metadata.namespace,
        wire.metadata.name,
        node,
        usable=links_of(conditions.named(found, configuration_state.USABLE)),
        ignores_exclude_label=conditions.named(found, configuration_state.IGNORES_EXCLUDE_LABEL) is not None,
        drain_taint=sys.intern(taint.message) if taint is not None else "",
    )


def _key(found: announced.Announcer | Serving | Speaker) -> tuple[str, str]:
    return resources.NamespacedName(found.namespace, found.name)


def _identify(namespace: str, name: str) -> tuple[str, str]:
    return resources.NamespacedName(namespace, name)


LAYER2_STATUSES: Final = resources.Resource(
    group=v1beta1.GROUP, version=v1beta1.VERSION, plural="servicel2statuses", kind="ServiceL2Status", namespaced=True,
    wire=Labelled, convert=_layer2, key=_key, identify=_identify,
)  # fmt: skip
BGP_STATUSES: Final = resources.Resource(
    group=v1beta1.GROUP, version=v1beta1.VERSION, plural="servicebgpstatuses", kind="ServiceBGPStatus", namespaced=True,
    wire=Labelled, convert=_bgp, key=_key, identify=_identify,
)  # fmt: skip
ENDPOINT_SLICES: Final = resources.Resource(
    group="discovery.k8s.io", version="v1", plural="endpointslices", kind="EndpointSlice", namespaced=True,
    wire=kubernetes.EndpointSlice, convert=_serving, key=_key, identify=_identify,
)  # fmt: skip
SPEAKERS: Final = resources.Resource(
    group=v1beta1.GROUP, version=v1beta1.VERSION, plural="configurationstates", kind="ConfigurationState", namespaced=True,
    wire=v1beta1.ConfigurationState, convert=_speaker, key=_key, identify=_identify,
)  # fmt: skip
