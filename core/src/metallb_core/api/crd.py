"""The custom resource definitions: what the structs cannot say about each kind, and the definitions built from both.

Rules:
- Plain dictionaries come out; YAML and files belong to the generator, the API server to the controller. Both use this one source.
- The CEL rules are in `rules`.
- The API server refuses a definition whose rules could cost too much, so lists with rules are bounded. The bounds lie far above any object
  that was ever reported: 2,000 addresses of at most 100 characters in a pool (the longest IPv6 range takes 93 with its blanks), 1,000
  communities. The dearest rule then stands at three quarters of what the API server allows, by its own estimate.
- The two versions of BGPPeer are one JSON, so they are converted by changing `apiVersion`: no conversion webhook. v1beta1 has no defaults
  of its own; those of v1beta2 are filled in when an object is stored.
- Every definition carries `helm.sh/resource-policy: keep`: Helm deletes what a new release of a chart no longer lists, and with a
  definition go all its objects. Definitions of the group that are not ours (`OTHER_NAMES`) deserve the same protection.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from metallb_core.api import rules, structural, v1beta1, v1beta2
from metallb_core.domain import bfd

ADDRESSES_AT_MOST = 2_000
ADDRESS_LENGTH_AT_MOST = 100
COMMUNITIES_AT_MOST = 1_000
COMMUNITY_LENGTH_AT_MOST = 253
PEER_TEXT_AT_MOST = 100
"""Addresses and durations of a peer, in characters."""
UINT32_MOST = (1 << 32) - 1
KEEP_ANNOTATION = ("helm.sh/resource-policy", "keep")
FIELD_MANAGER = "metallb-crds"
"""The manager of the definitions in server-side apply."""

OTHER_NAMES: tuple[str, ...] = ("addresspools.metallb.io",)
"""Definitions of the group that this version does not install, but that a cluster may have."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of `kubectl get`; those of a priority above 0 show with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One served version of a kind. `additions` are keyed by field path, see `structural.schema_of`."""

    name: str
    struct: type[msgspec.Struct]
    columns: tuple[Column, ...] = ()
    additions: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    storage: bool = True
    deprecation: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A namespaced kind of the group, with a status subresource in each version."""

    name: str
    plural: str
    versions: tuple[Version, ...]

    @property
    def definition_name(self) -> str:
        """The name of its definition: `<plural>.<group>`."""
        return f"{self.plural}.{v1beta1.GROUP}"


_IMMUTABLE = rules.schema(rules.IMMUTABLE)
_COUNTER = {"format": "int64"}
_NO_STATUS = {"type": "object", "description": "Nothing is reported here."}
_ASN = {"format": "int64", "minimum": 0, "maximum": UINT32_MOST}


def _peer_text(*checked: rules.Rule) -> dict[str, Any]:
    return {"maxLength": PEER_TEXT_AT_MOST, **rules.schema(*checked)}


_PEER_COLUMNS = (
    Column(name="Address", path=".spec.peerAddress"),
    Column(name="ASN", path=".spec.peerASN"),
    Column(name="BFD Profile", path=".spec.bfdProfile"),
    Column(name="Multi Hops", path=".spec.ebgpMultiHop"),
)
# What both versions of BGPPeer say of the fields that both have.
_PEER: Mapping[str, Mapping[str, Any]] = {
    "spec.myASN": _ASN | rules.schema(rules.LOCAL_ASN),
    "spec.peerASN": _ASN,
    "spec.peerAddress": _peer_text(rules.PEER_ADDRESS),
    "spec.sourceAddress": _peer_text(rules.SOURCE_ADDRESS),
    "spec.routerID": _peer_text(rules.ROUTER_ID),
    "spec.holdTime": _peer_text(rules.DURATION, rules.HOLD_TIME),
    "spec.keepaliveTime": _peer_text(rules.DURATION, rules.KEEPALIVE_TIME),
    "status": _NO_STATUS,
}
# As for every metav1.Condition.
_CONDITION: Mapping[str, Mapping[str, Any]] = {
    "status.conditions": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    "status.conditions[]": {
        "description": "One thing that is said of the configuration.",
        "required": ["lastTransitionTime", "message", "reason", "status", "type"],
    },
    "status.conditions[].type": {
        "description": "What it is about.",
        "maxLength": 316,
        "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
    },
    "status.conditions[].status": {"description": "Whether it is so.", "enum": ["True", "False", "Unknown"]},
    "status.conditions[].observedGeneration": {
        "description": "The generation of the object that it was said of.",
        "format": "int64",
        "minimum": 0,
    },
    "status.conditions[].lastTransitionTime": {"description": "Since when it is so.", "format": "date-time"},
    "status.conditions[].reason": {
        "description": "Why, in one word.",
        "minLength": 1,
        "maxLength": 1024,
        "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
    },
    "status.conditions[].message": {"description": "Why, for people.", "maxLength": 32768},
}


def _limits(name: str) -> dict[str, Any]:
    least, most = bfd.LIMITS[name]
    return {"format": "int32", "minimum": least, "maximum": most}


_SERVICE_COLUMNS = (
    Column(name="Service Name", path=".status.serviceName"),
    Column(name="Service Namespace", path=".status.serviceNamespace"),
)
_SERVICE_STATUS: Mapping[str, structural.Schema] = {
    "spec": {"type": "object", "description": "Nothing is asked for here."},
    "status.node": _IMMUTABLE,
    "status.serviceName": _IMMUTABLE,
    "status.serviceNamespace": _IMMUTABLE,
}

KINDS: tuple[Kind, ...] = (
    Kind(
        name="IPAddressPool",
        plural="ipaddresspools",
        versions=(
            Version(
                name="v1beta1",
                struct=v1beta1.IPAddressPool,
                columns=(
                    Column(name="Auto Assign", type="boolean", path=".spec.autoAssign"),
                    Column(name="Avoid Buggy IPs", type="boolean", path=".spec.avoidBuggyIPs"),
                    Column(name="Addresses", path=".spec.addresses"),
                ),
                additions={
                    "spec.addresses": {"minItems": 1, "maxItems": ADDRESSES_AT_MOST},
                    "spec.addresses[]": {
                        "maxLength": ADDRESS_LENGTH_AT_MOST,
                        **rules.schema(*rules.POOL_ADDRESS),
                    },
                    "spec.autoAssign": {"default": True},
                    "spec.avoidBuggyIPs": {"default": False},
                    "status.assignedIPv4": _COUNTER,
                    "status.assignedIPv6": _COUNTER,
                    "status.availableIPv4": _COUNTER,
                    "status.availableIPv6": _COUNTER,
                },
            ),
        ),
    ),
    Kind(
        name="L2Advertisement",
        plural="l2advertisements",
        versions=(
            Version(
                name="v1beta1",
                struct=v1beta1.L2Advertisement,
                columns=(
                    Column(name="IPAddressPools", path=".spec.ipAddressPools"),
                    Column(name="IPAddressPool Selectors", path=".spec.ipAddressPoolSelectors"),
                    Column(name="Interfaces", path=".spec.interfaces"),
                    Column(name="Node Selectors", path=".spec.nodeSelectors", priority=10),
                ),
                additions={
                    "spec.preferredNodeSelectors[].weight": {"format": "int32"},
                    "status": _NO_STATUS,
                },
            ),
        ),
    ),
    Kind(
        name="ServiceL2Status",
        plural="servicel2statuses",
        versions=(
            Version(
                name="v1beta1",
                struct=v1beta1.ServiceL2Status,
                columns=(
                    Column(name="Allocated Node", path=".status.node"),
                    *_SERVICE_COLUMNS,
                ),
                additions=_SERVICE_STATUS,
            ),
        ),
    ),
    Kind(
        name="BGPPeer",
        plural="bgppeers",
        versions=(
            Version(
                name="v1beta1",
                struct=v1beta1.BGPPeer,
                columns=_PEER_COLUMNS,
                additions={
                    **_PEER,
                    "spec": rules.schema(
                        rules.PEER_ASN,
                        rules.PEER_ASN_KEPT,
                        rules.PEER_ADDRESS_KEPT,
                        rules.MULTIHOP,
                        rules.KEEPALIVE_WITHIN_HOLD,
                    ),
                    "spec.peerPort": {"minimum": 0, "maximum": 16384},
                    "spec.nodeSelectors[].matchExpressions[].values": {"minItems": 1},
                },
                storage=False,
                deprecation="v1beta1 is deprecated, please use v1beta2",
            ),
            Version(
                name="v1beta2",
                struct=v1beta2.BGPPeer,
                columns=_PEER_COLUMNS,
                additions={
                    **_PEER,
                    "spec": rules.schema(
                        rules.PEER_OR_DYNAMIC_ASN,
                        rules.PEER_AND_DYNAMIC_ASN,
                        rules.MULTIHOP,
                        rules.ADDRESS_OR_INTERFACE,
                        rules.ADDRESS_AND_INTERFACE,
                        rules.PASSWORD_AND_SECRET,
                        rules.KEEPALIVE_WITHIN_HOLD,
                    ),
                    "spec.localASN": {"format": "int64", "minimum": 1, "maximum": UINT32_MOST},
                    "spec.dynamicASN": {"enum": ["internal", "external"]},
                    "spec.peerPort": {"minimum": 1, "maximum": 16384, "default": 179},
                    "spec.connectTime": _peer_text(rules.DURATION, rules.CONNECT_TIME, rules.WHOLE_SECONDS),
                    "spec.passwordSecret": {"x-kubernetes-map-type": "atomic"},
                    "spec.enableGracefulRestart": rules.schema(rules.GRACEFUL_RESTART),
                    "spec.disableMP": {"default": False},
                    "spec.dualStackAddressFamily": {"default": False},
                },
            ),
        ),
    ),
    Kind(
        name="BGPAdvertisement",
        plural="bgpadvertisements",
        versions=(
            Version(
                name="v1beta1",
                struct=v1beta1.BGPAdvertisement,
                columns=(
                    Column(name="IPAddressPools", path=".spec.ipAddressPools"),
                    Column(name="IPAddressPool Selectors", path=".spec.ipAddressPoolSelectors"),
                    Column(name="Peers", path=".spec.peers"),
                    Column(name="Node Selectors", path=".spec.nodeSelectors", priority=10),
                ),
                additions={
                    "spec": rules.schema(rules.SELECTORS_AND_AGGREGATION),
                    "spec.aggregationLength": {"format": "int32", "minimum": 1, "maximum": 32, "default": 32},
                    "spec.aggregationLengthV6": {"format": "int32", "minimum": 0, "maximum": 128, "default": 128},
                    "spec.localPref": {"format": "int64", "minimum": 0, "maximum": UINT32_MOST},
                    "spec.communities": {"maxItems": COMMUNITIES_AT_MOST},
                    "spec.communities[]": {
                        "maxLength": COMMUNITY_LENGTH_AT_MOST,
                        **rules.schema(*rules.COMMUNITY_OR_ALIAS),
                    },
                    "status": _NO_STATUS,
                },
            ),
        ),
    ),
    Kind(
        name="BFDProfile",
        plural="bfdprofiles",
        versions=(
            Version(
                name="v1beta1",
                struct=v1beta1.BFDProfile,
                columns=(
                    Column(name="Passive Mode", type="boolean", path=".spec.passiveMode"),
                    Column(name="Transmit Interval", type="integer", path=".spec.transmitInterval"),
                    Column(name="Receive Interval", type="integer", path=".spec.receiveInterval"),
                    Column(name="Multiplier", type="integer", path=".spec.detectMultiplier"),
                ),
                additions={
                    "spec.receiveInterval": _limits("receive_interval"),
                    "spec.transmitInterval": _limits("transmit_interval"),
                    "spec.detectMultiplier": _limits("detect_multiplier"),
                    "spec.echoInterval": _limits("echo_interval"),
                    "spec.minimumTtl": _limits("minimum_ttl"),
                    "status": _NO_STATUS,
                },
            ),
        ),
    ),
    Kind(
        name="Community",
        plural="communities",
        versions=(
            Version(
                name="v1beta1",
                struct=v1beta1.Community,
                additions={
                    "spec.communities": {"maxItems": COMMUNITIES_AT_MOST},
                    "spec.communities[].value": {
                        "maxLength": COMMUNITY_LENGTH_AT_MOST,
                        **rules.schema(*rules.COMMUNITY),
                    },
                    "status": _NO_STATUS,
                },
            ),
        ),
    ),
    Kind(
        name="ServiceBGPStatus",
        plural="servicebgpstatuses",
        versions=(
            Version(
                name="v1beta1",
                struct=v1beta1.ServiceBGPStatus,
                columns=(
                    Column(name="Node", path=".status.node"),
                    *_SERVICE_COLUMNS,
                ),
                additions=_SERVICE_STATUS,
            ),
        ),
    ),
    Kind(
        name="ConfigurationState",
        plural="configurationstates",
        versions=(
            Version(
                name="v1beta1",
                struct=v1beta1.ConfigurationState,
                columns=(
                    Column(name="Result", path=".status.result"),
                    Column(name="ErrorSummary", path=".status.errorSummary"),
                    Column(name="Age", type="date", path=".metadata.creationTimestamp"),
                ),
                additions={"status.result": {"enum": ["Valid", "Invalid", "Unknown"]}, **_CONDITION},
            ),
        ),
    ),
)


def definitions() -> list[dict[str, Any]]:
    """All definitions, in the order of KINDS, as `apiextensions.k8s.io/v1` objects."""
    return [definition(kind) for kind in KINDS]


def definition(kind: Kind) -> dict[str, Any]:
    """The definition of one kind. Equal input gives equal output, key order included."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": kind.definition_name,
            "annotations": dict([KEEP_ANNOTATION]),
            "labels": {"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": "crds"},
        },
        "spec": {
            "group": v1beta1.GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
            },
            "scope": "Namespaced",
            # Said where MetalLB's own definition names a webhook, so that applying this one replaces it.
            **({"conversion": {"strategy": "None"}} if len(kind.versions) > 1 else {}),
            "versions": [_version(version) for version in kind.versions],
        },
    }


def without_webhook() -> dict[str, Any]:
    """A merge patch that ends conversion by a webhook: whoever applies fields of its own cannot remove those of others."""
    return {"spec": {"conversion": {"strategy": "None", "webhook": None}}}


def protection() -> dict[str, Any]:
    """A merge patch that makes Helm keep a definition that it would delete with the chart that brought it."""
    return {"metadata": {"annotations": dict([KEEP_ANNOTATION])}}


def _version(version: Version) -> dict[str, Any]:
    found: dict[str, Any] = {"name": version.name, "served": True, "storage": version.storage}
    if version.deprecation is not None:
        found |= {"deprecated": True, "deprecationWarning": version.deprecation}
    if version.columns:
        found["additionalPrinterColumns"] = [_column(column) for column in version.columns]
    additions = {path: dict(addition) for path, addition in version.additions.items()}
    found["schema"] = {"openAPIV3Schema": structural.schema_of(version.struct, additions)}
    found["subresources"] = {"status": {}}
    return found


def _column(column: Column) -> dict[str, Any]:
    found: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return found | ({"priority": column.priority} if column.priority else {})
