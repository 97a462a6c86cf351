"""What our OPEN says, and what follows from the peer's: RFC 4271 sections 4.2 and 6.2, RFC 5492.

- Our AS is `local_asn` where the peer object has one, else `my_asn`; the peer is internal if its AS is that one. The AS path then holds that one
  AS (FRR's `local-as N no-prepend replace-as`).
- Families: that of the session; both for `dual_stack` and for a peer that is found on an interface. A peer that announces no family at all can
  carry IPv4 (RFC 4760 section 8).
- IPv4 routes over IPv6 have the session's IPv6 next hop if both sides can (RFC 8950), else an IPv4 address of ours. A family for whose next hop
  there is no address is not told, though it was agreed on.
- The hold time is the lower of the two; a keepalive time of ours is kept where it is at most a third of that. Zero on either side: no timers.
- A peer that refuses capabilities as such gets an OPEN without them (RFC 5492 section 3), if that is enough for it: IPv4 over IPv4, and AS
  numbers of two octets. Families, next hops and AS numbers are agreed on by what our OPEN did say.
- An identifier equal to ours is refused from an internal peer only (RFC 6286 section 2.2).
"""

import dataclasses

from metallb_core.domain import addresses, peers
from metallb_speaker.bgp import outputs, timers
from metallb_speaker.bgp.wire import capabilities, context, families, malformed, messages, notifications, opening

# How long a peer keeps our routes while we restart: FRR's default. A pod is back within seconds, a node that is not coming back within two
# minutes should not be sent traffic any longer.
RESTART_TIME = 120
_IPV4, _IPV6 = addresses.Family.IPV4, addresses.Family.IPV6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Negotiated:
    """What holds for one session.

    - `local_asn`, `peer_asn`, `peer_id`: ours and theirs. `internal`: they are one AS.
    - `families`: both sides carry them. `next_hops`: of those that can be told, our next hop; of the other family than the prefix for RFC 8950.
    - `hold_time`, `keepalive_time` in seconds, 0: none.
    - `graceful_restart`: what the peer said of its own restarts; None: nothing.
    """

    local_asn: int
    peer_asn: int
    peer_id: addresses.Address
    internal: bool
    four_octet_as: bool
    families: frozenset[addresses.Family]
    next_hops: dict[addresses.Family, addresses.Address]
    hold_time: int
    keepalive_time: float
    graceful_restart: capabilities.GracefulRestart | None
    context: context.Context


def wanted_families(peer: peers.Peer, remote: addresses.Address) -> tuple[addresses.Family, ...]:
    """The families that we want to tell, in order."""
    if peer.dual_stack or peer.address is None:
        return (_IPV4, _IPV6)
    return (remote.family,)


def needs_capabilities(peer: peers.Peer, endpoints: outputs.Endpoints) -> bool:
    """Whether an OPEN without capabilities would lead to nothing."""
    return endpoints.remote.family is _IPV6 or max(peer.own_asn, peer.peer_asn) > opening.TWO_OCTET_MAXIMUM


def offer(
    peer: peers.Peer, endpoints: outputs.Endpoints, *, restarting: bool, with_capabilities: bool = True
) -> messages.Open:
    """Our OPEN. `restarting`: this process starts anew, and peers may keep what they had (RFC 4724 section 4.1)."""
    wanted = wanted_families(peer, endpoints.remote)
    unicast = [families.unicast(family) for family in wanted]
    offered: list[capabilities.Capability] = [capabilities.MultiProtocol(family) for family in unicast]
    offered.append(capabilities.RouteRefresh())
    if _IPV4 in wanted and endpoints.remote.family is _IPV6:
        encoding = capabilities.NextHopEncoding(families.IPV4_UNICAST, families.AFI_IPV6)
        offered.append(capabilities.ExtendedNextHop((encoding,)))
    if peer.graceful_restart:
        # The node's kernel forwards whether we run or not.
        kept = tuple(capabilities.RestartFamily(family, forwarding_preserved=True) for family in unicast)
        offered.append(capabilities.GracefulRestart(restarting=restarting, restart_time=RESTART_TIME, families=kept))
    said = messages.Open.of(
        asn=peer.own_asn,
        hold_time=_hold_time(peer),
        router_id=peer.router_id or endpoints.router_id,
        capabilities=tuple(offered),
    )
    return said if with_capabilities else dataclasses.replace(said, capabilities=())


def agree(peer: peers.Peer, endpoints: outputs.Endpoints, ours: messages.Open, theirs: messages.Open) -> Negotiated:
    """What follows from both OPENs. Raises MalformedError with the NOTIFICATION that refuses theirs."""
    asn = theirs.asn
    internal = asn == ours.asn
    _check_asn(peer, theirs, internal=internal)
    if internal and theirs.router_id == ours.router_id:
        raise _refused(
            notifications.Open.BAD_BGP_IDENTIFIER,
            f"the peer has our own router id, {ours.router_id}; set spec.routerID, or the router's, to another one",
        )
    wanted = _announced(ours)
    common = frozenset(_announced(theirs)) & frozenset(wanted)
    if not common:
        lacking = capabilities.MultiProtocol(families.unicast(wanted[0]))
        raise malformed.MalformedError(
            notifications.Code.OPEN_MESSAGE,
            notifications.Open.UNSUPPORTED_CAPABILITY,
            b"".join(capabilities.serialise(capabilities.MultiProtocol(families.unicast(family))) for family in wanted),
            f"the peer does not announce {lacking.family}",
        )
    extended = _IPV4 in common and _takes_ipv6_next_hop(ours) and _takes_ipv6_next_hop(theirs)
    hold = min(ours.hold_time, theirs.hold_time)
    four_octet_as = ours.four_octet_as and theirs.four_octet_as
    return Negotiated(
        local_asn=ours.asn,
        peer_asn=asn,
        peer_id=theirs.router_id,
        internal=internal,
        four_octet_as=four_octet_as,
        families=common,
        next_hops=_next_hops(common, endpoints, extended=extended),
        hold_time=hold,
        keepalive_time=_keepalive_time(peer, hold),
        graceful_restart=next(
            (each for each in theirs.capabilities if isinstance(each, capabilities.GracefulRestart)), None
        ),
        context=context.Context(
            four_octet_as=four_octet_as,
            ibgp=internal,
            families=frozenset(families.unicast(family) for family in common),
            extended_next_hop=frozenset({families.IPV4_UNICAST}) if extended else frozenset(),
        ),
    )


def _hold_time(peer: peers.Peer) -> int:
    return int(timers.DEFAULT_HOLD if peer.hold_time is None else peer.hold_time)


def _keepalive_time(peer: peers.Peer, hold: int) -> float:
    if hold == 0:
        return 0.0
    # More than one a second is not allowed (RFC 4271 section 4.4), and a third of the least hold time is one second.
    return max(1.0, min(hold / 3, peer.keepalive_time or hold / 3))


def _check_asn(peer: peers.Peer, theirs: messages.Open, *, internal: bool) -> None:
    if peer.dynamic_asn is peers.DynamicASN.INTERNAL:
        right, wanted = internal, f"our own, {peer.own_asn} (spec.dynamicASN: internal)"
    elif peer.dynamic_asn is peers.DynamicASN.EXTERNAL:
        right, wanted = not internal, f"any but our own, {peer.own_asn} (spec.dynamicASN: external)"
    else:
        right, wanted = theirs.asn == peer.peer_asn, f"{peer.peer_asn} (spec.peerASN)"
    # AS_TRANS stands for a number that does not fit, and that only the capability holds (RFC 6793 section 4.2.1).
    if not right or (theirs.asn == opening.AS_TRANS and not theirs.four_octet_as):
        raise _refused(
            notifications.Open.BAD_PEER_AS, f"the peer says that it is AS {theirs.asn}, where the object wants {wanted}"
        )


def _refused(subcode: notifications.Open, text: str) -> malformed.MalformedError:
    return malformed.MalformedError(notifications.Code.OPEN_MESSAGE, subcode, b"", text)


def _announced(said: messages.Open) -> list[addresses.Family]:
    announced = [each.family for each in said.capabilities if isinstance(each, capabilities.MultiProtocol)]
    if not announced:
        return [_IPV4]
    return [families.PREFIXES_OF[family] for family in announced if family in families.PREFIXES_OF]


def _takes_ipv6_next_hop(said: messages.Open) -> bool:
    encoding = capabilities.NextHopEncoding(families.IPV4_UNICAST, families.AFI_IPV6)
    return any(
        encoding in each.encodings for each in said.capabilities if isinstance(each, capabilities.ExtendedNextHop)
    )


def _next_hops(
    common: frozenset[addresses.Family], endpoints: outputs.Endpoints, *, extended: bool
) -> dict[addresses.Family, addresses.Address]:
    """The session's own address where it is of the family: the peer reaches that one for certain."""
    found = {endpoints.local.family: endpoints.local}
    if endpoints.local.family is _IPV6:
        other = endpoints.local if extended else endpoints.next_hop_v4
    else:
        other = endpoints.next_hop_v6
    if other is not None:
        found[_IPV4 if endpoints.local.family is _IPV6 else _IPV6] = other
    return {family: address for family, address in found.items() if family in common}
