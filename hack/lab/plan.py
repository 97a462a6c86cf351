"""Which addresses a lab uses. Every number of the lab's networks is here and nowhere else.

A lab with index i (0 to 63, one for each name at a time) owns 10.(160+i).0.0/16 and fd6d:6c62:i::/48:

    10.N.0.0/24     fd..:1::/64        LAN: one Ethernet segment
        .1          ::1                control plane (API server), and the bridge itself
        .2          ::2                this host, so that tests and kubectl need no namespace
        .11 - .19   ::11 - ::19        nodes 1 to 9
        .21         ::21               client
        .22 - .99   ::22 - ::99        further hosts: routers, more clients
        .128/25     ::1000/116         reserved for load-balancer pools; nothing in the lab answers for them
    10.N.1.0/24     fd..:2::/64        a network behind a router: .1 the router, .2 a host
    10.N.64.0/18    fd..:100::/56      pods; node n has 10.N.(64+n).0/24 and fd..:(100+n)::/64
    10.N.128.0/20   fd..:200::/112     Services' cluster addresses
    10.N.192.0/18   fd..:300::/56      reserved for pools that only a router can reach (BGP)

The IPv6 interface part repeats the decimal digits of the IPv4 one, so that ::11 and .11 are the same node.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re

MAX_INDEX = 63
MAX_NODES = 9
FIRST_SPARE_HOST = 22
LAST_SPARE_HOST = 99
NAME = re.compile(r"[a-z][a-z0-9]{0,7}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The addresses of one lab. `name` is 1 to 8 lower-case letters and digits; it becomes part of link names."""

    name: str
    index: int

    def __post_init__(self) -> None:
        if NAME.fullmatch(self.name) is None:
            raise ValueError(f"a lab's name is one to eight lower-case letters and digits, not {self.name!r}")
        if not 0 <= self.index <= MAX_INDEX:
            raise ValueError(f"a lab's index is 0 to {MAX_INDEX}, not {self.index}")

    def _ipv4(self, suffix: str) -> str:
        return f"10.{160 + self.index}.{suffix}"

    def _ipv6(self, subnet: str, suffix: str = "") -> str:
        return f"fd6d:6c62:{self.index:x}:{subnet}::{suffix}"

    def _host(self, number: int) -> tuple[str, str]:
        return self._ipv4(f"0.{number}"), self._ipv6("1", str(number))

    @property
    def whole(self) -> tuple[ipaddress.IPv4Network, ipaddress.IPv6Network]:
        """All that belongs to this lab, IPv4 and IPv6."""
        return ipaddress.IPv4Network(self._ipv4("0.0/16")), ipaddress.IPv6Network(f"fd6d:6c62:{self.index:x}::/48")

    @property
    def lan_ipv4(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self._ipv4("0.0/24"))

    @property
    def lan_ipv6(self) -> ipaddress.IPv6Network:
        return ipaddress.IPv6Network(self._ipv6("1", "/64"))

    @property
    def control_plane(self) -> tuple[str, str]:
        return self._host(1)

    @property
    def this_host(self) -> tuple[str, str]:
        return self._host(2)

    @property
    def client(self) -> tuple[str, str]:
        return self._host(21)

    def spare_host(self, number: int) -> tuple[str, str]:
        """Addresses of host `number` (22 to 99) for a router or another client."""
        if not FIRST_SPARE_HOST <= number <= LAST_SPARE_HOST:
            raise ValueError(f"a spare host's number is {FIRST_SPARE_HOST} to {LAST_SPARE_HOST}, not {number}")
        return self._host(number)

    @property
    def behind(self) -> tuple[str, str]:
        """The network behind a router, which the LAN reaches through it only."""
        return self._ipv4("1.0/24"), self._ipv6("2", "/64")

    def behind_host(self, number: int) -> tuple[str, str]:
        """Addresses behind a router: 1 is the router itself, 2 to 9 are hosts."""
        if not 1 <= number <= MAX_NODES:
            raise ValueError(f"a number behind a router is 1 to {MAX_NODES}, not {number}")
        return self._ipv4(f"1.{number}"), self._ipv6("2", str(number))

    def node(self, number: int) -> tuple[str, str]:
        """LAN addresses (IPv4, IPv6) of node `number`, counted from 1."""
        if not 1 <= number <= MAX_NODES:
            raise ValueError(f"a node's number is 1 to {MAX_NODES}, not {number}")
        return self._host(10 + number)

    def node_pods(self, number: int) -> tuple[str, str]:
        """Pod subnets (IPv4 /24, IPv6 /64) of node `number`."""
        self.node(number)
        return self._ipv4(f"{64 + number}.0/24"), self._ipv6(f"10{number}", "/64")

    @property
    def pods(self) -> tuple[str, str]:
        return self._ipv4("64.0/18"), self._ipv6("100", "/56")

    @property
    def services(self) -> tuple[str, str]:
        return self._ipv4("128.0/20"), self._ipv6("200", "/112")

    @property
    def pool_ipv4(self) -> ipaddress.IPv4Network:
        """LAN addresses for Layer 2 pools."""
        return ipaddress.IPv4Network(self._ipv4("0.128/25"))

    @property
    def pool_ipv6(self) -> ipaddress.IPv6Network:
        return ipaddress.IPv6Network(self._ipv6("1", "1000/116"))

    @property
    def routed_pool_ipv4(self) -> ipaddress.IPv4Network:
        """Addresses off the LAN, for BGP pools."""
        return ipaddress.IPv4Network(self._ipv4("192.0/18"))

    @property
    def routed_pool_ipv6(self) -> ipaddress.IPv6Network:
        return ipaddress.IPv6Network(self._ipv6("300", "/56"))
