"""Folding the kernel's link and address messages into a table. PURE.

- Messages and dumps arrive on one socket, so their order is the order of the changes.
- A dump replaces: what it did not mention is gone when it ends. That is also the cure after an overrun, when messages were lost.
- A table is published only if it differs from the one before; statistics and similar chatter make no revision.
"""

import dataclasses

from metallb_core.domain import addresses
from metallb_speaker.layer2 import link

UP, BROADCAST, LOOPBACK, RUNNING, NO_ARP, LOWER_UP = 0x1, 0x2, 0x8, 0x40, 0x80, 0x10000
_ETHERNET = 1
_LINK_LOCAL = addresses.Interval.parse("fe80::/10")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LinkSeen:
    """A link as the kernel describes it. `kind` is the ARPHRD type, `master` an index, `master_kind` e.g. "bridge"."""

    index: int
    name: str
    mac: bytes
    flags: int
    kind: int = _ETHERNET
    master: int | None = None
    master_kind: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LinkGone:
    """A link was removed."""

    index: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AddressSeen:
    """An address is on a link."""

    index: int
    address: addresses.Address
    length: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AddressGone:
    """An address was removed from a link."""

    index: int
    address: addresses.Address
    length: int


Record = LinkSeen | LinkGone | AddressSeen | AddressGone


class Inventory:
    """What is known of all links. One owner calls it in the order of the messages."""

    def __init__(self) -> None:
        self._links: dict[int, LinkSeen] = {}
        self._addresses: dict[int, set[tuple[addresses.Address, int]]] = {}
        self._unconfirmed_links: set[int] = set()
        self._unconfirmed_addresses: set[tuple[int, addresses.Address, int]] = set()
        self._table = link.Table()

    @property
    def table(self) -> link.Table:
        """The table published last."""
        return self._table

    def record(self, record: Record) -> None:
        """Take one message, from a dump or not."""
        match record:
            case LinkSeen(index=index):
                self._links[index] = record
                self._unconfirmed_links.discard(index)
            case LinkGone(index=index):
                self._links.pop(index, None)
                self._addresses.pop(index, None)
            case AddressSeen(index=index, address=address, length=length):
                self._addresses.setdefault(index, set()).add((address, length))
                self._unconfirmed_addresses.discard((index, address, length))
            case AddressGone(index=index, address=address, length=length):
                self._addresses.get(index, set()).discard((address, length))

    def begin_links(self) -> None:
        """A dump of all links starts."""
        self._unconfirmed_links = set(self._links)

    def end_links(self) -> None:
        """The dump of all links is complete."""
        for index in self._unconfirmed_links:
            self.record(LinkGone(index=index))
        self._unconfirmed_links = set()

    def begin_addresses(self) -> None:
        """A dump of all addresses starts."""
        self._unconfirmed_addresses = {
            (index, *entry) for index, entries in self._addresses.items() for entry in entries
        }

    def end_addresses(self) -> None:
        """The dump of all addresses is complete."""
        for index, address, length in self._unconfirmed_addresses:
            self.record(AddressGone(index=index, address=address, length=length))
        self._unconfirmed_addresses = set()

    def publish(self) -> link.Table | None:
        """The new table if anything in it changed since the last one, else None."""
        links = {seen.name: self._link(seen) for seen in self._links.values()}
        if links == self._table.links:
            return None
        self._table = link.Table(revision=self._table.revision + 1, links=links)
        return self._table

    def _link(self, seen: LinkSeen) -> link.Link:
        held = frozenset(self._addresses.get(seen.index, ()))
        master = self._links.get(seen.master) if seen.master is not None else None
        # A master in another namespace, or not seen yet, has no name here; the link is a member all the same.
        master_name = None if seen.master is None else master.name if master else f"#{seen.master}"
        return link.Link(
            name=seen.name,
            index=seen.index,
            mac=seen.mac,
            up=bool(seen.flags & UP),
            # RUNNING goes beyond the cable: a port that waits for 802.1X or LACP has LOWER_UP but is not running.
            carrier=bool(seen.flags & LOWER_UP and seen.flags & RUNNING),
            arp=not seen.flags & NO_ARP,
            broadcast=bool(seen.flags & BROADCAST),
            ethernet=seen.kind == _ETHERNET,
            loopback=bool(seen.flags & LOOPBACK),
            master=master_name,
            master_kind=seen.master_kind if seen.master is not None else None,
            addresses=held,
            has_link_local=any(address in _LINK_LOCAL for address, _ in held),
        )
