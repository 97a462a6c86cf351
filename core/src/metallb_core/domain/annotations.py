"""The annotations of Services, by name. Users write them under `metallb.io/`, or under the older `metallb.universe.tf/`."""

from collections.abc import Mapping
from typing import Final

PREFIX: Final = "metallb.io/"
LEGACY_PREFIX: Final = "metallb.universe.tf/"
PREFIXES: Final = (PREFIX, LEGACY_PREFIX)

ADDRESSES: Final = "loadBalancerIPs"
POOL: Final = "address-pool"
SHARE: Final = "allow-shared-ip"
# Written by the controller, under this prefix only. Older versions of MetalLB wrote it under the older one.
ORIGIN: Final = "ip-allocated-from-pool"
ALLOCATED_FROM: Final = PREFIX + ORIGIN


def read(found: Mapping[str, str], name: str) -> str:
    """The value of an annotation of ours, or an empty text: the older prefix where the new one is absent; an empty new one counts."""
    value = found.get(PREFIX + name)
    return found.get(LEGACY_PREFIX + name, "") if value is None else value
