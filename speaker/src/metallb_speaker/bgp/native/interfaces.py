"""Addresses of this node's interfaces, and which of them a session speaks for us with.

- They are asked for when a connection stands, by one netlink dump (RTM_GETADDR): rare, and never out of date. Nothing is followed.
- An address that the kernel does not use yet (duplicate address detection) or never (it found a duplicate) is left out; one that is temporary
  or deprecated is taken only where there is no better one, since a next hop should outlive the session.
- `lo` and its like have addresses too: a session from a loopback address has its other next hop from there.
"""

import dataclasses
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from metallb_core.domain import addresses
from metallb_speaker.bgp import outputs
from metallb_speaker.bgp.native import sockets

_GETADDR: Final = 22
_NEWADDR: Final = 20
_ERROR: Final = 2
_DONE: Final = 3
_DUMP_REQUEST: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_HEADER: Final = struct.Struct("=IHHII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_FLAGS: Final = 8
_TEMPORARY: Final = 0x01  # the same bit says "secondary" of an IPv4 address
_DUPLICATE: Final = 0x08
_DEPRECATED: Final = 0x20
_TENTATIVE: Final = 0x40
_ANSWER_SECONDS: Final = 2.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One address of ours, and the length of its prefix. `lasting` is False for what may go soon."""

    index: int
    address: addresses.Address
    length: int
    lasting: bool = True

    def reaches(self, other: addresses.Address) -> bool:
        """Whether `other` is in the prefix of this address."""
        host = self.address.family.bits - self.length
        return other.family is self.address.family and other.value >> host == self.address.value >> host


def held() -> tuple[Held, ...]:
    """All usable addresses of this network namespace. Raises OSError."""
    found: list[Held] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(_ANSWER_SECONDS)
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        asking.send(_HEADER.pack(_HEADER.size + len(body), _GETADDR, _DUMP_REQUEST, 1, 0) + body)
        while True:
            for kind, payload in _messages(asking.recv(1 << 16)):
                if kind == _DONE:
                    return tuple(found)
                if kind == _ERROR:
                    raise OSError(-struct.unpack_from("=i", payload)[0], "the kernel does not tell its addresses")
                if kind == _NEWADDR and (each := _parse(payload)) is not None:
                    found.append(each)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _parse(payload: bytes) -> Held | None:
    _, length, flags, _, index = _ADDRESS.unpack_from(payload)
    own = peer = b""
    offset = _ADDRESS.size
    while offset + _ATTRIBUTE.size <= len(payload):
        size, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if size < _ATTRIBUTE.size:
            break
        value = payload[offset + _ATTRIBUTE.size : offset + size]
        if kind == _IFA_LOCAL:
            own = value
        elif kind == _IFA_ADDRESS:
            peer = value
        elif kind == _IFA_FLAGS:
            flags = struct.unpack("=I", value)[0]
        offset += (size + 3) & ~3
    # On a point-to-point link IFA_ADDRESS is the other end; IPv6 has IFA_LOCAL only there.
    packed = own or peer
    if len(packed) not in (4, 16) or flags & (_DUPLICATE | _TENTATIVE):
        return None
    return Held(
        index=index,
        address=addresses.Address.from_packed(packed),
        length=length,
        lasting=not flags & (_TEMPORARY | _DEPRECATED),
    )


def endpoints(
    *,
    local: addresses.Address,
    remote: addresses.Address,
    ours: Sequence[Held],
    index: int,
    fallback: addresses.Address,
) -> outputs.Endpoints:
    """What a session is told of its connection from `local` to `remote`.

    `index`: the interface of a peer that was found on its link, else 0, and the interface is the one that has `local`.
    """
    place = index or next((each.index for each in ours if each.address == local), 0)
    here = [each for each in ours if each.index == place]
    on_link = sockets.is_link_local(remote) or any(each.address == local and each.reaches(remote) for each in here)
    v4 = _best(here, addresses.Family.IPV4, link_local=False)
    router_id = local if local.family is addresses.Family.IPV4 else v4
    return outputs.Endpoints(
        local=local,
        remote=remote,
        router_id=router_id or fallback,
        # A link without addresses of its own has IPv4 by way of IPv6 next hops; an address it happens to have is not on a common subnet.
        next_hop_v4=None if index else v4,
        next_hop_v6=_best(here, addresses.Family.IPV6, link_local=False),
        link_local=_best(here, addresses.Family.IPV6, link_local=True) if on_link else None,
    )


def _best(here: Sequence[Held], family: addresses.Family, *, link_local: bool) -> addresses.Address | None:
    """The first lasting address, else the first; `here` is in the kernel's order, which has an interface's primary addresses first."""
    fitting = [
        each
        for each in here
        if each.address.family is family
        and sockets.is_link_local(each.address) == link_local
        and not _is_loopback(each.address)
    ]
    return next((each.address for each in fitting if each.lasting), fitting[0].address if fitting else None)


def _is_loopback(address: addresses.Address) -> bool:
    return address.value == 1 if address.family is addresses.Family.IPV6 else address.value >> 24 == 127
