"""BGPPeer compiled.

- Timers complete each other: keepalive is a third of hold, hold three times keepalive; neither leaves both to the session. A keepalive time of 0
  beside a hold time is read as unset, since a peer without keepalives loses its session; clients of v1beta1 write 0 for what nobody asked for.
- A hold time is sent in whole seconds, so it is cut to them.
- A port of 0, which v1beta1 allows, is the usual one.
- References come last, so that what is wrong with the object itself is said first.
"""

from collections.abc import Collection

from metallb_core.api import v1beta2
from metallb_core.config import durations, problems, selectors
from metallb_core.domain import addresses, peers

ASN_MOST = (1 << 32) - 1
PORT_MOST = (1 << 16) - 1
HOLD_LEAST, HOLD_MOST = 3, 65_535
CONNECT_LEAST, CONNECT_MOST = 1, 65_535


def compile_one(wire: v1beta2.BGPPeer, profiles: Collection[str] | None) -> peers.Peer:
    """One peer by itself. Raises InvalidError. `profiles` are the BFD profiles in force; None leaves the reference unchecked."""
    spec = wire.spec
    dynamic = _asns(spec)
    address = _remote(spec)
    hold, keepalive = _timers(spec)
    secret = spec.password_secret.name if spec.password_secret is not None else ""
    if spec.password and secret:
        raise problems.InvalidError(
            "spec.passwordSecret", "both password and passwordSecret are set; remove one, better the password"
        )
    port = spec.peer_port or peers.DEFAULT_PORT
    if not 0 < port <= PORT_MOST:
        raise problems.InvalidError("spec.peerPort", f"{port} is not a TCP port; use 1 to {PORT_MOST}")
    compiled = peers.Peer(
        name=wire.metadata.name,
        my_asn=spec.my_asn,
        peer_asn=spec.peer_asn,
        dynamic_asn=dynamic,
        local_asn=spec.local_asn or 0,
        address=address,
        interface=spec.interface,
        port=port,
        source_address=_address("sourceAddress", "source address", spec.source_address),
        router_id=_router_id(spec),
        hold_time=hold,
        keepalive_time=keepalive,
        connect_time=_connect_time(spec),
        password=spec.password,
        password_secret=secret,
        bfd_profile=spec.bfd_profile,
        graceful_restart=bool(spec.enable_graceful_restart),
        multihop=spec.ebgp_multi_hop,
        vrf=spec.vrf,
        dual_stack=spec.dual_stack_address_family,
        node_selectors=selectors.compile_all(spec.node_selectors, "spec.nodeSelectors"),
    )
    if profiles is not None and spec.bfd_profile and spec.bfd_profile not in profiles:
        raise problems.InvalidError(
            "spec.bfdProfile",
            f"peer {wire.metadata.name} referencing non existing bfd profile {spec.bfd_profile}; create or mend that BFDProfile, or"
            " remove the reference",
            dangling=True,
        )
    return compiled


def _asns(spec: v1beta2.BGPPeerSpec) -> peers.DynamicASN | None:
    for field, value in (("myASN", spec.my_asn), ("peerASN", spec.peer_asn), ("localASN", spec.local_asn or 0)):
        if not 0 <= value <= ASN_MOST:
            raise problems.InvalidError(f"spec.{field}", f"{value} is not an AS number; use 1 to {ASN_MOST}")
    if spec.my_asn == 0:
        raise problems.InvalidError("spec.myASN", "missing local ASN; set the autonomous system of the nodes")
    if spec.local_asn == 0:
        raise problems.InvalidError("spec.localASN", f"0 is not an AS number; use 1 to {ASN_MOST}, or remove the field")
    if spec.dynamic_asn:
        try:
            dynamic = peers.DynamicASN(spec.dynamic_asn)
        except ValueError:
            known = " or ".join(each.value for each in peers.DynamicASN)
            raise problems.InvalidError(
                "spec.dynamicASN", f"invalid dynamicASN {spec.dynamic_asn!r}; use {known}"
            ) from None
        if spec.peer_asn:
            raise problems.InvalidError("spec.dynamicASN", "both peerASN and dynamicASN are set; remove one of the two")
        return dynamic
    if spec.peer_asn == 0:
        raise problems.InvalidError("spec.peerASN", "missing peer ASN and dynamicASN; set one of the two")
    if spec.peer_asn == spec.my_asn and spec.ebgp_multi_hop:
        raise problems.InvalidError(
            "spec.ebgpMultiHop", "invalid ebgpMultiHop: the peer has our own ASN; remove it, or correct peerASN"
        )
    return None


def _remote(spec: v1beta2.BGPPeerSpec) -> addresses.Address | None:
    if spec.interface and spec.peer_address:
        raise problems.InvalidError(
            "spec.interface", "the peer has both Address and Interface; remove peerAddress or interface"
        )
    if spec.interface:
        return None
    if not spec.peer_address:
        raise problems.InvalidError(
            "spec.peerAddress", "the peer has no Address or Interface; set peerAddress or interface"
        )
    return _address("peerAddress", "address", spec.peer_address)


def _address(field: str, what: str, text: str) -> addresses.Address | None:
    """The address in a field; None where it is empty. Raises InvalidError."""
    if not text:
        return None
    try:
        return addresses.Address.parse(text)
    except addresses.AddressError as error:
        raise problems.InvalidError(
            f"spec.{field}", f"invalid BGPPeer {what} {text!r}: {error}; write one such as 192.0.2.1 or 2001:db8::1"
        ) from None


def _router_id(spec: v1beta2.BGPPeerSpec) -> addresses.Address | None:
    found = _address("routerID", "router ID", spec.router_id)
    # It is four bytes on the wire, and not zero (RFC 6286 section 2.1).
    if found is not None and (found.family is not addresses.Family.IPV4 or found.value == 0):
        raise problems.InvalidError(
            "spec.routerID",
            f"invalid BGPPeer router ID {spec.router_id!r}; write it as an IPv4 address other than 0.0.0.0",
        )
    return found


def _timers(spec: v1beta2.BGPPeerSpec) -> tuple[float | None, float | None]:
    """Hold and keepalive time in seconds, both or neither."""
    hold = _duration("holdTime", spec.hold_time)
    keepalive = _duration("keepaliveTime", spec.keepalive_time)
    if hold is None and keepalive is None:
        return None, None
    if keepalive is not None and keepalive < 0:
        raise problems.InvalidError("spec.keepaliveTime", f"{spec.keepalive_time} is negative; use at least 0s")
    blamed, text = ("holdTime", spec.hold_time) if hold is not None else ("keepaliveTime", spec.keepalive_time)
    if hold is None:
        hold = 3 * (keepalive or 0)
    hold = float(int(hold))
    if hold != 0 and not HOLD_LEAST <= hold <= HOLD_MOST:
        raise problems.InvalidError(
            f"spec.{blamed}",
            f"invalid hold time {hold:g}s by {blamed} {text}; a hold time is 0s, or {HOLD_LEAST}s to {HOLD_MOST}s",
        )
    if keepalive is None or (keepalive == 0 and hold > 0):
        keepalive = hold / 3
    if keepalive > hold:
        raise problems.InvalidError(
            "spec.keepaliveTime",
            f"invalid keepaliveTime {spec.keepalive_time}: it must not be longer than the hold time of {hold:g}s; a third of that is"
            " usual",
        )
    return hold, keepalive


def _connect_time(spec: v1beta2.BGPPeerSpec) -> float | None:
    seconds = _duration("connectTime", spec.connect_time)
    if seconds is None or spec.connect_time is None:
        return None
    if not CONNECT_LEAST <= seconds < CONNECT_MOST + 1:
        raise problems.InvalidError(
            "spec.connectTime",
            f"connect time should be between {CONNECT_LEAST} seconds to {CONNECT_MOST}, not {spec.connect_time}",
        )
    # What is finer than a millisecond is cut off unseen, as in MetalLB.
    if durations.nanoseconds(spec.connect_time) // 1_000_000 % 1_000:
        raise problems.InvalidError(
            "spec.connectTime", f"connect time should contain a whole number of seconds, not {spec.connect_time}"
        )
    return float(int(seconds))


def _duration(field: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return durations.parse(text)
    except durations.DurationError as error:
        raise problems.InvalidError(f"spec.{field}", str(error)) from None
