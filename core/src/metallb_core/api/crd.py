"""The custom resource definitions: what the structs cannot say about each kind, and the definitions built from both.

Rules:
- Plain dictionaries come out; YAML and files belong to the generator, the API server to the controller. Both use this one source.
- CEL rules use only what Kubernetes 1.25 knows: an unknown function makes the whole definition fail to apply, and the functions for
  addresses (`isIP`, `cidr`) are younger. So the rules match text, and compute only where IPv4 ranges are compared. The code of 1.25, 1.29
  and 1.34 was asked: it accepts the definitions. Older API servers take them without the rules.
- The API server refuses a definition whose rules could cost too much, so lists with rules are bounded. The bounds lie far above any pool
  that was ever reported: 2,000 entries of at most 100 characters (the longest IPv6 range takes 93 with its blanks). The dearest rule
  then stands at three quarters of what the API server allows, by its own estimate.
- A rule refuses only what the configuration would refuse anyway. What slips through (an IPv6 range that runs backwards, overlaps) is
  refused by `config`, which sees all pools at once.
- Rules of one field exclude each other, so that one mistake gets one message.
- Every definition carries `helm.sh/resource-policy: keep`: Helm deletes what a new release of a chart no longer lists, and with a
  definition go all its objects. Definitions of the group that are not ours yet (`OTHER_NAMES`) deserve the same protection.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from metallb_core.api import structural, v1beta1

ADDRESSES_AT_MOST = 2_000
ADDRESS_LENGTH_AT_MOST = 100
KEEP_ANNOTATION = ("helm.sh/resource-policy", "keep")
FIELD_MANAGER = "metallb-crds"
"""The manager of the definitions in server-side apply."""

OTHER_NAMES = (
    "bfdprofiles.metallb.io",
    "bgpadvertisements.metallb.io",
    "bgppeers.metallb.io",
    "communities.metallb.io",
    "configurationstates.metallb.io",
    "servicebgpstatuses.metallb.io",
)
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


_OCTET = r"(25[0-5]|(2[0-4]|1[0-9]|[1-9])?[0-9])"
_IPV4 = rf"({_OCTET}\.){{3}}{_OCTET}"
_GROUP = "[0-9a-f]{1,4}"
_IPV6 = rf"(({_GROUP}:){{7}}{_GROUP}|({_GROUP}(:{_GROUP}){{0,6}})?::({_GROUP}(:{_GROUP}){{0,6}})?)"
# Go reads zeros in front of a prefix length, so users' files may hold them.
_LENGTH4 = "0*([12]?[0-9]|3[0-2])"
_LENGTH6 = "0*([1-9]?[0-9]|1[01][0-9]|12[0-8])"


def _matches(pattern: str) -> str:
    """CEL that asks whether the text matches a regular expression (RE2)."""
    return "self.matches('" + pattern.replace("\\", "\\\\") + "')"


def _ipv4_number(end: int) -> str:
    """CEL for one end of an IPv4 range, 0 or 1, as a number.

    No comprehension and no call on what `split` returns: by the estimate of Kubernetes 1.25 either may be endlessly long.
    """
    first, second, third, fourth = (f"int(self.findAll('[0-9]+')[{4 * end + n}])" for n in range(4))
    return f"(({first} * 256 + {second}) * 256 + {third}) * 256 + {fourth}"


_V6_TEXT = r"[0-9a-f:\s]*:[0-9a-f:\s]*"
# Every other rule asks for this form first, or text such as `foo` would collect a message from each of them.
_FORM = _matches(r"(?i)^\s*[0-9a-f.:]+(/[0-9]+|\s*-\s*[0-9a-f.:]+)\s*$")
_IS_IPV4 = _matches(rf"^\s*{_IPV4}(/{_LENGTH4}|\s*-\s*{_IPV4})\s*$")
_STARTS_IPV6 = _matches(rf"(?i)^\s*{_IPV6}\s*[/-]")
_ENDS_IPV6 = _matches(rf"(?i)(/{_LENGTH6}|-\s*{_IPV6})\s*$")
# A dotted end may be an IPv4-mapped IPv6 address, which counts as IPv4.
_MIXED = _matches(rf"(?i)^([0-9.\s]+-{_V6_TEXT}|{_V6_TEXT}-[0-9.\s]+)$")
_IPV4_RANGE = _matches(r"^\s*(\d{1,3}\.){3}\d{1,3}\s*-\s*(\d{1,3}\.){3}\d{1,3}\s*$")

_ADDRESS_RULES: tuple[tuple[str, str], ...] = (
    (
        _FORM,
        "must be a prefix such as 192.0.2.0/24 or 2001:db8::/120, or a range such as 192.0.2.1-192.0.2.9; a single address is written"
        " 192.0.2.1/32 or 2001:db8::1/128",
    ),
    (
        f"!{_FORM} || self.contains(':') || {_IS_IPV4}",
        "is not a valid IPv4 prefix or range: octets go from 0 to 255 without leading zeros, prefix lengths from 0 to 32",
    ),
    (
        f"!{_FORM} || self.contains('.') || !self.contains(':') || {_STARTS_IPV6} && {_ENDS_IPV6}",
        "is not a valid IPv6 prefix or range: an address has eight groups of hexadecimal digits or one ::, prefix lengths go from 0 to 128",
    ),
    (f"!{_MIXED}", "both ends of a range must be of one family, IPv4 or IPv6"),
    (
        f"!{_IPV4_RANGE} || {_ipv4_number(0)} <= {_ipv4_number(1)}",
        "the first address of a range must not come after the last",
    ),
)
_IMMUTABLE = {"x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "Value is immutable"}]}
_COUNTER = {"format": "int64"}

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
                        "x-kubernetes-validations": [{"rule": r, "message": m} for r, m in _ADDRESS_RULES],
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
                    "status": {"type": "object", "description": "Nothing is reported here."},
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
                    Column(name="Service Name", path=".status.serviceName"),
                    Column(name="Service Namespace", path=".status.serviceNamespace"),
                ),
                additions={
                    "spec": {"type": "object", "description": "Nothing is asked for here."},
                    "status.node": _IMMUTABLE,
                    "status.serviceName": _IMMUTABLE,
                    "status.serviceNamespace": _IMMUTABLE,
                },
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
            "versions": [_version(version) for version in kind.versions],
        },
    }


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
