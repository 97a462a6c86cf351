"""Which sessions this node should have, and which BFD sessions beside them: the peers of the configuration whose selectors match this node.

- A password comes from a Secret of type kubernetes.io/basic-auth in our namespace, found by its name, key `password`. Without it there is no
  session, since one without the password would look like an attack to the router; the other peers are not concerned.
- A Secret that goes while a session uses it leaves the session alone: what was read stays in force, as of every object.
- What does not make the session (which nodes have it, where its password is kept, by which profile the path is watched) is left out of the wish,
  so that a change of it restarts nothing.

No I/O, no clock.
"""

import base64
import binascii
import dataclasses
from collections.abc import Callable, Mapping

from metallb_core.api import workloads
from metallb_core.config import compiled
from metallb_core.domain import addresses, bfd, peers, reasons, selectors
from metallb_speaker.bfd import settings
from metallb_speaker.bgp.native import peering

SECRET_TYPE = "kubernetes.io/basic-auth"
PASSWORD_KEY = "password"


@dataclasses.dataclass(frozen=True, slots=True)
class Password:
    """What was read for a peer, and from which Secret."""

    secret: str
    text: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """By peer name. `refusals`: what is wrong, also of a peer that has its session by what was read earlier.

    `profiles`: those of peers that are named by interface; their BFD sessions wait until the router's address is known.
    """

    wanted: Mapping[str, peering.Wanted] = dataclasses.field(default_factory=dict)
    paths: Mapping[str, settings.Config] = dataclasses.field(default_factory=dict)
    profiles: Mapping[str, bfd.BFDProfile] = dataclasses.field(default_factory=dict)
    refusals: Mapping[str, reasons.Refusal] = dataclasses.field(default_factory=dict)
    passwords: Mapping[str, Password] = dataclasses.field(default_factory=dict)


NOTHING = Desired()


def desired(
    config: compiled.Config,
    labels: selectors.Labels,
    secrets: Mapping[str, workloads.Secret],
    namespace: str,
    before: Desired = NOTHING,
    *,
    is_connected: Callable[[addresses.Address], bool] = lambda address: True,
) -> Desired:
    """The sessions of a node with `labels`. `secrets`: by name. `is_connected`: whether an address is on one of our links."""
    wanted: dict[str, peering.Wanted] = {}
    watched: dict[str, settings.Config] = {}
    profiles: dict[str, bfd.BFDProfile] = {}
    refusals: dict[str, reasons.Refusal] = {}
    passwords: dict[str, Password] = {}
    for name, peer in sorted(config.peers.items()):
        if not peer.covers_node(labels):
            continue
        password = peer.password
        if peer.password_secret:
            found = _password(peer, secrets.get(peer.password_secret), namespace)
            if isinstance(found, reasons.Refusal):
                refusals[name] = found
                known = before.passwords.get(name)
                if known is None or known.secret != peer.password_secret:
                    continue
                found = known
            passwords[name] = found
            password = found.text
        profile = config.bfd_profiles.get(peer.bfd_profile)
        if profile is not None and peer.address is not None:
            watched[name] = _watch(name, peer, peer.address, profile, is_connected)
        elif profile is not None:
            profiles[name] = profile
        wanted[name] = peering.Wanted(peer=_session_part(peer, password), bfd=profile is not None)
    return Desired(wanted=wanted, paths=watched, profiles=profiles, refusals=refusals, passwords=passwords)


def _session_part(peer: peers.Peer, password: str) -> peers.Peer:
    return dataclasses.replace(peer, password=password, password_secret="", node_selectors=(), bfd_profile="")


def _watch(
    name: str,
    peer: peers.Peer,
    address: addresses.Address,
    profile: bfd.BFDProfile,
    is_connected: Callable[[addresses.Address], bool],
) -> settings.Config:
    # A router of our own autonomous system may be anywhere in it; one that is not on a link of ours is several hops away (RFC 5883).
    return settings.from_profile(
        name,
        address,
        profile,
        local=peer.source_address,
        vrf=peer.vrf,
        multihop=peer.multihop or (peer.is_internal and not is_connected(address)),
    )


def _password(peer: peers.Peer, secret: workloads.Secret | None, namespace: str) -> Password | reasons.Refusal:
    where = f'"{namespace}"/"{peer.password_secret}"'
    if secret is None:
        return _unavailable(
            f"secret ref not found for peer config {where}, or secret type mismatch on {where}: BGPPeer {peer.name} needs that"
            f" Secret, of type {SECRET_TYPE}, with the key {PASSWORD_KEY!r}"
        )
    if secret.type != SECRET_TYPE:
        return _unavailable(
            f"secret type mismatch on {where}, type {SECRET_TYPE!r} is expected: the type cannot be changed, so delete the Secret"
            " and create it again"
        )
    encoded = (secret.data or {}).get(PASSWORD_KEY)
    if not encoded:
        return _unavailable(f"failed to parse peer {peer.name} password secret {where}: it has no key {PASSWORD_KEY!r}")
    try:
        return Password(peer.password_secret, base64.b64decode(encoded, validate=True).decode())
    except (binascii.Error, UnicodeDecodeError):
        return _unavailable(
            f"failed to parse peer {peer.name} password secret {where}: the value of {PASSWORD_KEY!r} is not text in UTF-8"
        )


def _unavailable(detail: str) -> reasons.Refusal:
    return reasons.Refusal(reasons.Reason.BGP_PASSWORD_UNAVAILABLE, detail)
