"""Names of objects that do not exist. None of them is an error when an object is written: what is named may come next.

The configuration skips pools and peers that do not exist. A BFD profile or a community alias that does not exist sets the object aside until
it does.
"""

from collections.abc import Iterator
from typing import NamedTuple

from metallb_core.config import communities, compiled, problems
from metallb_core.domain import communities as domain_communities


class Dangling(NamedTuple):
    """An object, and a sentence about what it names in vain."""

    kind: str
    name: str
    text: str

    def __str__(self) -> str:
        return f'{self.kind} "{self.name}": {self.text}'


def dangling(found: compiled.Resources) -> list[Dangling]:
    """Every name that nothing answers to, sorted."""
    return sorted(_dangling(found))


def _dangling(found: compiled.Resources) -> Iterator[Dangling]:
    pools = {wire.metadata.name for wire in found.pools}
    peers = {wire.metadata.name for wire in found.peers}
    profiles = {wire.metadata.name for wire in found.bfd_profiles}
    aliases = _aliases(found)
    for layer2 in found.l2_advertisements:
        for name in set(layer2.spec.ip_address_pools or ()) - pools:
            yield Dangling("L2Advertisement", layer2.metadata.name, _unknown_pool(name))
    for wire in found.bgp_advertisements:
        for name in set(wire.spec.ip_address_pools or ()) - pools:
            yield Dangling("BGPAdvertisement", wire.metadata.name, _unknown_pool(name))
        for name in set(wire.spec.peers or ()) - peers:
            text = f'spec.peers: there is no BGPPeer "{name}"; nothing is advertised to it until there is'
            yield Dangling("BGPAdvertisement", wire.metadata.name, text)
        for text in set(wire.spec.communities or ()) - aliases:
            if _is_name(text):
                why = f'no Community defines the alias "{text}"; this is not advertised until one does'
                yield Dangling("BGPAdvertisement", wire.metadata.name, f"spec.communities: {why}")
    for peer in found.peers:
        if peer.spec.bfd_profile and peer.spec.bfd_profile not in profiles:
            text = f'there is no BFDProfile "{peer.spec.bfd_profile}"; no session is opened until there is'
            yield Dangling("BGPPeer", peer.metadata.name, f"spec.bfdProfile: {text}")


def _unknown_pool(name: str) -> str:
    return f'spec.ipAddressPools: there is no IPAddressPool "{name}"; it is skipped until there is'


def _aliases(found: compiled.Resources) -> set[str]:
    names: set[str] = set()
    for wire in found.communities:
        try:
            names |= communities.compile_one(wire).keys()
        except problems.InvalidError:
            continue  # Its own problem; the names it would define are not defined.
    return names


def _is_name(text: str) -> bool:
    try:
        domain_communities.parse(text)
    except domain_communities.UnknownCommunityError:
        return True
    except domain_communities.CommunityError:
        return False
    return False
