"""Links as values, and which of them may carry an announcement. PURE.

- A link without carrier is not usable: answering on a dead cable draws traffic into a hole.
- A member of a bond, bridge, team or switch is skipped and its master used: the member's own address is not what neighbours should learn.
- A member of a VRF is used: a VRF device has no neighbours of its own (it has NOARP), its members keep their addresses and hear the ARP.
- Loopback and links that are not Ethernet have no ARP or neighbour messages of the shape this project writes.
- IPv6 needs a link-local address, in whatever state: it shows that IPv6 is switched on there. No address is needed for IPv4.
"""

import dataclasses
import enum
import re
from collections.abc import Collection, Mapping, Sequence

from metallb_core.domain import addresses as ip  # a link has a field called addresses
from metallb_core.domain import interfaces


class Unusable(enum.StrEnum):
    """Why a link carries no announcement."""

    EXCLUDED = "excluded"
    LOOPBACK = "loopback"
    NOT_ETHERNET = "notEthernet"
    MEMBER = "member"
    NO_ARP = "noARP"
    DOWN = "down"
    NO_CARRIER = "noCarrier"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One network interface. `addresses` holds (address, prefix length); `master` and `master_kind` are None outside a master.

    `answering`: False where the kernel refused the sockets to answer with. It says nothing of a link that is not usable.
    """

    name: str
    index: int
    mac: bytes
    up: bool
    carrier: bool
    arp: bool
    broadcast: bool
    ethernet: bool = True
    loopback: bool = False
    master: str | None = None
    master_kind: str | None = None
    addresses: frozenset[tuple[ip.Address, int]] = frozenset()
    has_link_local: bool = False
    answering: bool = True

    def unusable(self, exclude: Sequence[re.Pattern[str]] = ()) -> Unusable | None:
        """Why it is skipped, or None. A pattern may match anywhere in the name (MetalLB, `announcedInterfacesToExclude`)."""
        if any(pattern.search(self.name) for pattern in exclude):
            return Unusable.EXCLUDED
        if self.loopback:
            return Unusable.LOOPBACK
        if not self.ethernet or len(self.mac) != 6:
            return Unusable.NOT_ETHERNET
        if self.master is not None and self.master_kind != "vrf":
            return Unusable.MEMBER
        if not self.arp:
            return Unusable.NO_ARP
        if not self.up:
            return Unusable.DOWN
        if not self.carrier:
            return Unusable.NO_CARRIER
        return None

    def serves(self, family: ip.Family) -> bool:
        """Whether a usable link can carry addresses of `family`."""
        return self.broadcast if family == ip.Family.IPV4 else self.has_link_local


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All links by name, and a revision that grows with every change."""

    revision: int = 0
    links: Mapping[str, Link] = dataclasses.field(default_factory=dict)

    def usable(self, exclude: Sequence[re.Pattern[str]] = ()) -> dict[str, Link]:
        """The links that may carry announcements, by name."""
        return {name: link for name, link in self.links.items() if link.unusable(exclude) is None}

    def announcing(self, exclude: Sequence[re.Pattern[str]] = ()) -> interfaces.Usable:
        """The names of the links that can announce now, by family: usable, and their sockets could be opened."""
        able = [(name, link) for name, link in self.usable(exclude).items() if link.answering]
        ipv4, ipv6 = (frozenset(name for name, link in able if link.serves(family)) for family in ip.Family)
        return interfaces.Usable(ipv4=ipv4, ipv6=ipv6)

    def without_answers(self, refused: Collection[str]) -> "Table":
        """This table, where of all links those named in `refused` do not answer."""
        links = {name: dataclasses.replace(link, answering=name not in refused) for name, link in self.links.items()}
        return dataclasses.replace(self, links=links)
