"""Address families as BGP numbers them: an AFI and a SAFI (RFC 4760 section 3). A family that is not named here is carried, never refused."""

from typing import NamedTuple

from metallb_core.domain import addresses

AFI_IPV4 = 1
AFI_IPV6 = 2
SAFI_UNICAST = 1


class Family(NamedTuple):
    """AFI (16 bits) and SAFI (8 bits)."""

    afi: int
    safi: int

    def __str__(self) -> str:
        return _NAMES.get(self, f"AFI {self.afi} SAFI {self.safi}")


IPV4_UNICAST = Family(AFI_IPV4, SAFI_UNICAST)
IPV6_UNICAST = Family(AFI_IPV6, SAFI_UNICAST)
_NAMES = {IPV4_UNICAST: "IPv4 unicast", IPV6_UNICAST: "IPv6 unicast"}

# The families whose prefixes are read: addresses of this kind, one after the other.
PREFIXES_OF = {IPV4_UNICAST: addresses.Family.IPV4, IPV6_UNICAST: addresses.Family.IPV6}
_UNICAST = {family: unicast for unicast, family in PREFIXES_OF.items()}


def unicast(family: addresses.Family) -> Family:
    """The unicast family of IPv4 or IPv6 prefixes."""
    return _UNICAST[family]
