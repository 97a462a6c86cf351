"""Membership of solicited-node groups on one link.

- Both memberships are needed. The packet socket's makes the network card accept the frames, whatever state IPv6 is in on the link. The
  IPv6 socket's makes the kernel send MLD reports, without which a switch that snoops MLD does not forward the group to this port.
- Addresses that end in the same 24 bits share a group, so joins are counted. The counts belong to one link's socket: a link that appears
  later starts empty and joins for every address it gets, and nothing can go negative.
- The memory that one socket may spend on memberships is bounded (net.core.optmem_max), so another socket is opened when one is full.
- A failed MLD join leaves the frames arriving on networks without snooping: it is reported, not fatal.
"""

import errno
import socket
import struct

from metallb_core.domain import addresses
from metallb_speaker.layer2 import filtered
from metallb_speaker.packets import ethernet, ndp


class Groups:
    """The groups joined on the link with `index`, through its packet socket and sockets of its own."""

    def __init__(self, packet_socket: socket.socket, index: int) -> None:
        self._packet_socket = packet_socket
        self._index = index
        self._counts: dict[bytes, int] = {}
        self._sockets: list[socket.socket] = []
        self._members: dict[bytes, socket.socket] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def join(self, address: addresses.Address) -> None:
        """Join the group of `address`. Raises OSError if either membership fails; the other may be in force then."""
        group = ndp.solicited_node(address).packed()
        count = self._counts.get(group, 0)
        self._counts[group] = count + 1
        if count == 0:
            filtered.join(self._packet_socket, self._index, ethernet.ipv6_group_mac(group))
            self._join_mld(group)

    def leave(self, address: addresses.Address) -> None:
        """Leave the group of `address`; once for each join."""
        group = ndp.solicited_node(address).packed()
        count = self._counts.get(group, 0)
        if count > 1:
            self._counts[group] = count - 1
            return
        if count == 0:
            return
        del self._counts[group]
        try:
            filtered.leave(self._packet_socket, self._index, ethernet.ipv6_group_mac(group))
        except OSError as error:
            # The link is gone, or the join failed in its time; there is nothing to undo then.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV):
                raise
        member = self._members.pop(group, None)
        if member is not None:
            try:
                member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, self._request(group))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV):
                    raise

    def close(self) -> None:
        """Close the sockets, which leaves every group. The packet socket is its owner's to close."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        self._members.clear()
        self._counts.clear()

    def _request(self, group: bytes) -> bytes:
        return group + struct.pack("@I", self._index)

    def _join_mld(self, group: bytes) -> None:
        if not self._sockets:
            self._add_socket()
        try:
            self._sockets[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, self._request(group))
        except OSError as error:
            if error.errno not in (errno.ENOMEM, errno.ENOBUFS):
                raise
            self._add_socket()
            self._sockets[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, self._request(group))
        self._members[group] = self._sockets[-1]

    def _add_socket(self) -> None:
        self._sockets.append(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
