"""PURE. An old configuration as custom resources, in MetalLB's order and under MetalLB's names.

- Peers, pools, advertisements over BGP, over layer 2, BFD profiles, communities; numbered from 1 where the old form had no name.
- A pool for BGP without an advertisement of its own was advertised plainly: it gets one that says nothing but its name.
- Names are made such that Kubernetes takes them; two that become one are an error, since one of the two would be lost.
- What comes out is judged by the rules that controller and speakers have.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from metallb_cli.configmap import legacy
from metallb_core.api import v1beta1, v1beta2
from metallb_core.config import admission, compiled, durations

Object = dict[str, Any]

DEFAULT_HOLD: Final = 90
LEAST_HOLD: Final = 3
LONGEST_NAME: Final = 63
_NAME: Final = re.compile(r"[a-z][-a-z0-9]{0,61}[a-z0-9]")


def convert(config: legacy.Config, namespace: str) -> list[Object]:
    """The custom resources, in the order of output. Raises LegacyError, naming what cannot be converted."""
    objects = [
        *(_peer(position, each, namespace) for position, each in enumerate(config.peers or (), 1)),
        *(_pool(each, namespace) for each in config.address_pools or ()),
        *_bgp_advertisements(config.address_pools or (), namespace),
        *_l2_advertisements(config.address_pools or (), namespace),
        *(_profile(each, namespace) for each in config.bfd_profiles or ()),
        *_communities(config.bgp_communities or {}, namespace),
    ]
    _refuse_twins(objects)
    _judge(objects)
    return objects


def name_of(text: str) -> str:
    """A name that Kubernetes takes. Raises LegacyError if nothing of `text` is left."""
    if _NAME.fullmatch(text):
        return text
    made = text[:LONGEST_NAME].lower().replace("_", "-")
    made = re.sub(r"^[^a-z]+", "", made)
    if not made:
        raise legacy.LegacyError(f"cannot make a name from {text!r}: it has no letter; rename it")
    return made


def _object(version: str, kind: str, name: str, namespace: str, spec: Object) -> Object:
    said = {key: value for key, value in sorted(spec.items()) if value not in (None, "", [], {})}
    return {
        "apiVersion": f"{v1beta1.GROUP}/{version}",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": said,
    }


def _peer(position: int, peer: legacy.Peer, namespace: str) -> Object:
    where = f"peers[{position - 1}]"
    hold = _seconds(f"{where}.hold-time", peer.hold_time) if peer.hold_time else DEFAULT_HOLD
    if 0 < hold < LEAST_HOLD:
        raise legacy.LegacyError(f"{where}.hold-time: invalid hold time {peer.hold_time!r}; write 0s or at least 3s")
    keepalive = _seconds(f"{where}.keepalive-time", peer.keepalive_time) if peer.keepalive_time else hold // 3
    selectors = [
        {
            key: value
            for key, value in {
                "matchExpressions": [
                    {"key": each.key, "operator": each.operator, "values": sorted(each.values)}
                    for each in selector.match_expressions or ()
                ],
                "matchLabels": selector.match_labels,
            }.items()
            if value
        }
        for selector in peer.node_selectors or ()
    ]
    spec: Object = {
        "bfdProfile": name_of(peer.bfd_profile) if peer.bfd_profile else "",
        "ebgpMultiHop": peer.ebgp_multihop or None,
        "holdTime": f"{hold}s",
        "keepaliveTime": f"{keepalive}s",
        "myASN": peer.my_asn,
        "nodeSelectors": selectors,
        "password": peer.password,
        "peerASN": peer.peer_asn,
        "peerAddress": peer.peer_address,
        "peerPort": peer.peer_port or None,
        "routerID": peer.router_id,
        "sourceAddress": peer.source_address,
    }
    return _object(v1beta2.VERSION, "BGPPeer", f"peer{position}", namespace, spec)


def _seconds(where: str, text: str) -> int:
    try:
        return int(durations.parse(text))
    except durations.DurationError as error:
        raise legacy.LegacyError(f"{where}: {error}") from None


def _pool(pool: legacy.AddressPool, namespace: str) -> Object:
    if pool.protocol not in ("bgp", "layer2"):
        raise legacy.LegacyError(
            f"address-pools: pool {pool.name!r}: unknown protocol {pool.protocol!r}; write bgp or layer2"
        )
    if pool.protocol == "layer2" and pool.bgp_advertisements:
        raise legacy.LegacyError(
            f"address-pools: pool {pool.name!r} has protocol layer2 and bgp-advertisements; remove one of the two"
        )
    spec: Object = {
        "addresses": pool.addresses,
        "autoAssign": pool.auto_assign,
        "avoidBuggyIPs": pool.avoid_buggy_ips,
    }
    return _object(v1beta1.VERSION, "IPAddressPool", name_of(pool.name), namespace, spec)


def _bgp_advertisements(pools: Iterable[legacy.AddressPool], namespace: str) -> list[Object]:
    wanted = [
        (pool, advertisement)
        for pool in pools
        if pool.protocol == "bgp"
        for advertisement in (pool.bgp_advertisements or [legacy.BGPAdvertisement()])
    ]
    return [
        _object(
            v1beta1.VERSION,
            "BGPAdvertisement",
            f"bgpadvertisement{position}",
            namespace,
            {
                "aggregationLength": said.aggregation_length,
                "aggregationLengthV6": said.aggregation_length_v6,
                "communities": said.communities,
                "ipAddressPools": [name_of(pool.name)],
                "localPref": said.localpref,
            },
        )
        for position, (pool, said) in enumerate(wanted, 1)
    ]


def _l2_advertisements(pools: Iterable[legacy.AddressPool], namespace: str) -> list[Object]:
    wanted = [pool for pool in pools if pool.protocol == "layer2"]
    return [
        _object(
            v1beta1.VERSION,
            "L2Advertisement",
            f"l2advertisement{position}",
            namespace,
            {"ipAddressPools": [name_of(pool.name)]},
        )
        for position, pool in enumerate(wanted, 1)
    ]


def _profile(profile: legacy.BFDProfile, namespace: str) -> Object:
    spec: Object = {
        "detectMultiplier": profile.detect_multiplier,
        "echoInterval": profile.echo_interval,
        "echoMode": profile.echo_mode,
        "minimumTtl": profile.minimum_ttl,
        "passiveMode": profile.passive_mode,
        "receiveInterval": profile.receive_interval,
        "transmitInterval": profile.transmit_interval,
    }
    return _object(v1beta1.VERSION, "BFDProfile", name_of(profile.name), namespace, spec)


def _communities(aliases: dict[str, str], namespace: str) -> list[Object]:
    if not aliases:
        return []
    spec = {"communities": [{"name": name, "value": value} for name, value in sorted(aliases.items())]}
    return [_object(v1beta1.VERSION, "Community", "communities", namespace, spec)]


def _refuse_twins(objects: Iterable[Object]) -> None:
    seen: set[tuple[str, str]] = set()
    for each in objects:
        place = (each["kind"], each["metadata"]["name"])
        if place in seen:
            raise legacy.LegacyError(f"two objects would be {place[0]} {place[1]!r}; rename one of the two")
        seen.add(place)


def _judge(objects: Iterable[Object]) -> None:
    """Raise LegacyError with everything that controller and speakers would not take."""
    held: dict[str, list[Any]] = {}
    for each in objects:
        held.setdefault(admission.FIELDS[each["kind"]], []).append(msgspec.convert(each, admission.WIRES[each["kind"]]))
    found = compiled.compile(compiled.Resources(**{field: tuple(those) for field, those in held.items()}))
    if found.problems:
        told = [f"{each.kind} {each.name!r}: {each.field}: {each.refusal}" for each in found.problems]
        raise legacy.LegacyError("\n".join(told))
