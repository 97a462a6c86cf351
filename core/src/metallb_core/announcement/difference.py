"""Desired minus realised: what to withdraw and what to announce when one Service's announcement changes.

An address may belong to several Services that share it. It is announced while any of them wants it, through the union of the interfaces they
want, and withdrawn when the last one lets go.
"""

import dataclasses

from metallb_core.announcement import layer2
from metallb_core.domain import addresses, services


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """Effects in order: withdraw first, then announce. An empty set of interfaces means all usable ones."""

    withdraw: tuple[addresses.Address, ...] = ()
    announce: tuple[tuple[addresses.Address, frozenset[str]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.withdraw or self.announce)


class Announced:
    """What this node announces, by Service and by address. One owner, no locks."""

    def __init__(self) -> None:
        self._by_service: dict[services.ServiceKey, layer2.Announcement] = {}
        self._by_address: dict[addresses.Address, dict[services.ServiceKey, frozenset[str]]] = {}

    def __contains__(self, key: services.ServiceKey) -> bool:
        return key in self._by_service

    def __len__(self) -> int:
        return len(self._by_service)

    def keys(self) -> tuple[services.ServiceKey, ...]:
        """The Services that are announced."""
        return tuple(self._by_service)

    def get(self, key: services.ServiceKey) -> layer2.Announcement | None:
        """What is announced for a Service."""
        return self._by_service.get(key)

    def interfaces(self, address: addresses.Address) -> frozenset[str] | None:
        """The interfaces an address is announced through, empty for all usable ones; None if it is not announced."""
        wishes = self._by_address.get(address)
        if not wishes:
            return None
        return frozenset() if not all(wishes.values()) else frozenset().union(*wishes.values())

    def update(self, key: services.ServiceKey, desired: layer2.Announcement | None) -> Change:
        """Make `desired` what is announced for a Service; None withdraws it. Returns the effects this needs; idempotent."""
        current = self._by_service.get(key)
        if current == desired:
            return Change()
        touched = dict.fromkeys((*(current.addresses if current else ()), *(desired.addresses if desired else ())))
        before = {address: self.interfaces(address) for address in touched}
        if current is not None:
            del self._by_service[key]
            for address in current.addresses:
                del self._by_address[address][key]
        if desired is not None:
            self._by_service[key] = desired
            for address in desired.addresses:
                self._by_address.setdefault(address, {})[key] = desired.interfaces
        withdraw, announce = [], []
        for address in touched:
            after = self.interfaces(address)
            if after is None:
                self._by_address.pop(address, None)
                if before[address] is not None:
                    withdraw.append(address)
            elif after != before[address]:
                announce.append((address, after))
        return Change(tuple(withdraw), tuple(announce))
