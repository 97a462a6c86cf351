"""Which interfaces of a node can announce, for each address family.

- IPv4 needs a broadcast interface (ARP), IPv6 a link-local address on it (neighbour discovery); one interface may serve both, either or none.
- A name that says no family stands for both: speakers that know of none say only names.
"""

import dataclasses

from metallb_core.domain import addresses

# What no name of an interface contains (kernel, dev_valid_name), so that it may stand between a name and more.
SEPARATOR = "/"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usable:
    """The names of the interfaces of one node that can announce now: `ipv4` addresses of IPv4, `ipv6` those of IPv6."""

    ipv4: frozenset[str] = frozenset()
    ipv6: frozenset[str] = frozenset()

    @classmethod
    def both(cls, *names: str) -> "Usable":
        """These interfaces, for both families."""
        return cls(ipv4=frozenset(names), ipv6=frozenset(names))

    @property
    def any(self) -> frozenset[str]:
        """The names of those that can announce addresses of one family at least."""
        return self.ipv4 | self.ipv6

    def of(self, family: addresses.Family) -> frozenset[str]:
        """The names of those that can announce addresses of `family`."""
        return self.ipv4 if family is addresses.Family.IPV4 else self.ipv6

    def families(self, name: str) -> frozenset[addresses.Family]:
        """The families that the interface of that name can announce."""
        return frozenset(family for family in addresses.Family if name in self.of(family))


NOTHING = Usable()
