"""What a BGP peer is told: prefixes and their attributes. Who is told, and the next hop, belong to the session."""

import dataclasses
from typing import NamedTuple, Self

from metallb_core.domain import addresses, communities

# A field below has the module's name.
Community = communities.Community


class Prefix(NamedTuple):
    """`address`/`length`; host bits are zero. Orders by family, address, length."""

    address: addresses.Address
    length: int

    @classmethod
    def of(cls, address: addresses.Address, length: int) -> Self:
        """The prefix of `length` bits that holds `address`."""
        host = address.family.bits - length
        return cls(addresses.Address(address.family, address.value >> host << host), length)

    @property
    def family(self) -> addresses.Family:
        """The family of its addresses."""
        return self.address.family

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What is said of a prefix. `local_pref` goes to internal peers only; None leaves the session's default."""

    local_pref: int | None = None
    communities: frozenset[Community] = frozenset()


PLAIN = Attributes()
