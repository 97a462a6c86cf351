"""The annotations of Services, by name. Users write them under `metallb.io/`, or under the older `metallb.universe.tf/`."""

from typing import Final

PREFIX: Final = "metallb.io/"
LEGACY_PREFIX: Final = "metallb.universe.tf/"
PREFIXES: Final = (PREFIX, LEGACY_PREFIX)

ADDRESSES: Final = "loadBalancerIPs"
POOL: Final = "address-pool"
SHARE: Final = "allow-shared-ip"
# Written by the controller, under this prefix only.
ALLOCATED_FROM: Final = PREFIX + "ip-allocated-from-pool"
