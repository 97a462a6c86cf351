"""How much of a pool is in use."""

import dataclasses

INT64_MAX = 2**63 - 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counts of addresses, exact for any pool; a shared address counts once. `services`: how many hold an address of the pool."""

    capacity_ipv4: int = 0
    capacity_ipv6: int = 0
    assigned_ipv4: int = 0
    assigned_ipv6: int = 0
    services: int = 0

    @property
    def available_ipv4(self) -> int:
        """IPv4 addresses still free."""
        return self.capacity_ipv4 - self.assigned_ipv4

    @property
    def available_ipv6(self) -> int:
        """IPv6 addresses still free."""
        return self.capacity_ipv6 - self.assigned_ipv6


def wire(number: int) -> int:
    """A count as the API's int64 can hold it: larger ones are cut."""
    return min(number, INT64_MAX)
