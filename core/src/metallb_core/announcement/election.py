"""Who of the candidates announces: the highest preference, then the lowest hash.

The hash is part of the contract with MetalLB's own speakers, byte for byte: SHA-256 over the node's name, `#` and the canonical text of the
Service's first address. While a fleet is replaced node by node, both makes elect the same owner.
"""

import hashlib
from collections.abc import Iterable, Mapping

from metallb_core.domain import addresses, advertisements


def hash_of(node: str, address: addresses.Address) -> bytes:
    """The 32 bytes a node draws for an address; the lowest wins."""
    return hashlib.sha256(f"{node}#{address}".encode()).digest()


def preference(labels: Mapping[str, str], matching: tuple[advertisements.L2Advertisement, ...]) -> int:
    """The summed weight of all preferences that match a node with `labels`, of the advertisements that cover that node."""
    return sum(
        wish.weight
        for ad in matching
        if ad.covers_node(labels)
        for wish in ad.preferences
        if wish.selector.matches(labels)
    )


def ranking(names: Iterable[str], address: addresses.Address, preferences: Mapping[str, int]) -> list[str]:
    """All candidates, the owner first; a name absent from `preferences` has none."""
    return sorted(names, key=lambda name: (-preferences.get(name, 0), hash_of(name, address)))
