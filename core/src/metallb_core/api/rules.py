"""The CEL rules of the definitions, each with what the API server says to whoever breaks it.

- Only what Kubernetes 1.25 knows: an unknown function makes the whole definition fail to apply, and the functions for addresses (`isIP`, `cidr`)
  are younger. So the rules match text, and compute only where IPv4 ranges or durations are compared. The code of 1.25, 1.29 and 1.34 was asked
  about the rules of pools: it accepts them. Older API servers take the definitions without the rules.
- A rule refuses only what the configuration would refuse anyway. What slips through (an IPv6 range that runs backwards, overlaps, names that
  do not exist) is refused by `config`, which sees all objects at once.
- Rules of one field exclude each other, so that one mistake gets one message.
- `self` may be an empty text wherever Go leaves it out: that means unset.
"""

from typing import Any, NamedTuple


class Rule(NamedTuple):
    """CEL over `self`, and what is wrong where it is false."""

    rule: str
    message: str


def schema(*checked: Rule) -> dict[str, Any]:
    """The rules as keys of a schema."""
    return {"x-kubernetes-validations": [each._asdict() for each in checked]}


_OCTET = r"(25[0-5]|(2[0-4]|1[0-9]|[1-9])?[0-9])"
_IPV4 = rf"({_OCTET}\.){{3}}{_OCTET}"
_GROUP = "[0-9a-f]{1,4}"
_IPV6 = rf"(({_GROUP}:){{7}}{_GROUP}|({_GROUP}(:{_GROUP}){{0,6}})?::({_GROUP}(:{_GROUP}){{0,6}})?)"
# Go reads zeros in front of a prefix length, so users' files may hold them.
_LENGTH4 = "0*([12]?[0-9]|3[0-2])"
_LENGTH6 = "0*([1-9]?[0-9]|1[01][0-9]|12[0-8])"


def _matches(pattern: str, text: str = "self") -> str:
    """CEL that asks whether the text matches a regular expression (RE2)."""
    return f"{text}.matches('" + pattern.replace("\\", "\\\\") + "')"


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

POOL_ADDRESS: tuple[Rule, ...] = (
    Rule(
        _FORM,
        "must be a prefix such as 192.0.2.0/24 or 2001:db8::/120, or a range such as 192.0.2.1-192.0.2.9; a single address is written"
        " 192.0.2.1/32 or 2001:db8::1/128",
    ),
    Rule(
        f"!{_FORM} || self.contains(':') || {_IS_IPV4}",
        "is not a valid IPv4 prefix or range: octets go from 0 to 255 without leading zeros, prefix lengths from 0 to 32",
    ),
    Rule(
        f"!{_FORM} || self.contains('.') || !self.contains(':') || {_STARTS_IPV6} && {_ENDS_IPV6}",
        "is not a valid IPv6 prefix or range: an address has eight groups of hexadecimal digits or one ::, prefix lengths go from 0 to 128",
    ),
    Rule(f"!{_MIXED}", "both ends of a range must be of one family, IPv4 or IPv6"),
    Rule(
        f"!{_IPV4_RANGE} || {_ipv4_number(0)} <= {_ipv4_number(1)}",
        "the first address of a range must not come after the last",
    ),
)

IMMUTABLE = Rule("self == oldSelf", "Value is immutable")

# Peers

# An IPv6 address may end in an IPv4 one; what such text is worth is left to `config`.
_MAPPED = r"[0-9a-f:]*:[0-9]+\.[0-9.]+"
_PART = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = rf"^[-+]?(0|({_PART})+)$"


def _set(field: str, empty: str) -> str:
    """CEL that asks whether a field is there and not `empty`."""
    return f"has(self.{field}) && self.{field} != {empty}"


def _address(what: str) -> Rule:
    return Rule(
        _matches(rf"(?i)^(|{_IPV4}|{_IPV6}|{_MAPPED})$"),
        f"invalid BGPPeer {what}: write an IPv4 or IPv6 address without a zone, such as 192.0.2.1 or 2001:db8::1",
    )


LOCAL_ASN = Rule("self != 0", "missing local ASN; set the autonomous system of the nodes, 1 to 4294967295")
PEER_ASN = Rule("!has(self.peerASN) || self.peerASN != 0", "missing peer ASN; set peerASN, 1 to 4294967295")


def _kept(field: str, newer: str) -> Rule:
    """v1beta1 demands `field`, but from 1.30 on the API server lets what was wrong before stay as it is.

    So a peer that only v1beta2 can say, written back as v1beta1 reads it, would be stored without `newer`. A rule that asks for the old object
    is the only kind that is never let off.
    """
    return Rule(
        f"self != oldSelf || has(self.{field})",
        f"v1beta1 needs {field}, and would lose {newer} and other fields that only v1beta2 has; write the peer as metallb.io/v1beta2",
    )


PEER_ASN_KEPT = _kept("peerASN", "dynamicASN")
PEER_ADDRESS_KEPT = _kept("peerAddress", "interface")
PEER_OR_DYNAMIC_ASN = Rule(
    f"{_set('peerASN', '0')} || has(self.dynamicASN)", "missing peer ASN and dynamicASN; set one of the two"
)
PEER_AND_DYNAMIC_ASN = Rule(
    f"!({_set('peerASN', '0')} && has(self.dynamicASN))", "both peerASN and dynamicASN are set; remove one of the two"
)
MULTIHOP = Rule(
    "!(has(self.ebgpMultiHop) && self.ebgpMultiHop && has(self.peerASN) && self.peerASN == self.myASN && self.myASN != 0)",
    "invalid ebgpMultiHop: the peer has our own ASN; remove ebgpMultiHop, or correct peerASN",
)
PEER_ADDRESS = _address("address")
SOURCE_ADDRESS = _address("source address")
ROUTER_ID = Rule(
    _matches(rf"(?i)^(|{_IPV4}|{_MAPPED})$") + " && self != '0.0.0.0'",
    "invalid BGPPeer router ID: write it as an IPv4 address other than 0.0.0.0",
)
ADDRESS_OR_INTERFACE = Rule(
    f"{_set('peerAddress', repr(''))} || {_set('interface', repr(''))}",
    "the peer has no Address or Interface; set peerAddress or interface",
)
ADDRESS_AND_INTERFACE = Rule(
    f"!({_set('peerAddress', repr(''))} && {_set('interface', repr(''))})",
    "the peer has both Address and Interface; remove peerAddress or interface",
)
PASSWORD_AND_SECRET = Rule(
    f"!({_set('password', repr(''))} && has(self.passwordSecret) && {_set('passwordSecret.name', repr(''))})",
    "both password and passwordSecret are set; remove one, better the password",
)
GRACEFUL_RESTART = Rule(
    "self == oldSelf", "EnableGracefulRestart cannot be changed after creation; delete the peer and create it anew"
)
DURATION = Rule(
    _matches(_DURATION),
    "invalid duration; write a number and a unit, such as 90s, 1m30s or 500ms (units ns, us, ms, s, m, h)",
)
_NOT_A_DURATION = f"!{_matches(_DURATION)}"
# The seconds are cut to whole ones.
HOLD_TIME = Rule(
    f"{_NOT_A_DURATION} || duration(self) >= duration('0s') && duration(self) < duration('1s')"
    " || duration(self) >= duration('3s') && duration(self) < duration('65536s')",
    "invalid hold time; it is 0s, or 3s to 65535s",
)
KEEPALIVE_TIME = Rule(
    f"{_NOT_A_DURATION} || duration(self) >= duration('0s')", "invalid keepaliveTime; it must not be negative"
)
KEEPALIVE_WITHIN_HOLD = Rule(
    f"!has(self.holdTime) || !has(self.keepaliveTime) || !{_matches(_DURATION, 'self.holdTime')} ||"
    f" !{_matches(_DURATION, 'self.keepaliveTime')} || duration(self.keepaliveTime) <= duration(self.holdTime)",
    "invalid keepaliveTime: it must not be longer than holdTime; a third of it is usual",
)
CONNECT_TIME = Rule(
    f"{_NOT_A_DURATION} || duration(self) >= duration('1s') && duration(self) < duration('65536s')",
    "connect time should be between 1 seconds to 65535",
)
WHOLE_SECONDS = Rule(
    f"{_NOT_A_DURATION} || duration(self).getMilliseconds() % 1000 == 0",
    "connect time should contain a whole number of seconds",
)

# Advertisements and communities

SELECTORS_AND_AGGREGATION = Rule(
    "!has(self.serviceSelectors) || size(self.serviceSelectors) == 0 ||"
    " (!has(self.aggregationLength) || self.aggregationLength == 32) &&"
    " (!has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128)",
    "serviceSelectors and aggregationLength are mutually exclusive, since an aggregate holds addresses of other Services too;"
    " remove one of the two",
)
_UINT16 = "0*([0-9]{1,4}|[1-5][0-9]{4}|6([0-4][0-9]{3}|5([0-4][0-9]{2}|5([0-2][0-9]|3[0-5]))))"
_STANDARD = _matches(rf"^{_UINT16}:{_UINT16}$")
_LARGE = _matches("^large(:[0-9]{1,10}){3}$")
_TWO_PARTS = _matches("^[^:]*:[^:]*$")
_FOUR_PARTS = _matches("^[^:]*(:[^:]*){3}$")
_BEGINS_LARGE = _matches("^large:")
_PARTS = (
    Rule(
        f"!{_TWO_PARTS} || {_STANDARD}",
        "invalid community value: invalid section; a standard community is high:low, each a number from 0 to 65535",
    ),
    Rule(
        f"!{_FOUR_PARTS} || !{_BEGINS_LARGE} || {_LARGE}",
        "invalid community value: invalid section; a large community is large:global:local1:local2, each a number from 0 to 4294967295",
    ),
    Rule(
        f"!{_FOUR_PARTS} || {_BEGINS_LARGE}",
        "expected community to be of format large: four parts must begin with large:, as in large:64500:1:2",
    ),
)
COMMUNITY = (
    Rule(
        f"{_TWO_PARTS} || {_FOUR_PARTS}",
        "invalid community format; write high:low or large:global:local1:local2",
    ),
    *_PARTS,
)
COMMUNITY_OR_ALIAS = (
    Rule(
        f"!self.contains(':') || {_TWO_PARTS} || {_FOUR_PARTS}",
        "invalid community format; write high:low, large:global:local1:local2, or the name of an alias that a Community defines",
    ),
    *_PARTS,
)
