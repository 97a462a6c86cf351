"""Following the kernel's links through netlink events; nothing is polled.

- One socket carries the events and the dumps. pyroute2 decodes; the socket is our own, because its asynchronous socket has to be thrown away
  after an overrun (ENOBUFS), while a dump on the same socket is all the cure that is needed.
- Two dumps cannot run at once on a socket: links first, then addresses. An overrun during a dump asks for another pair afterwards.
- No capability is needed: any process may listen to the link and address groups of its own network namespace.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

from metallb_core.domain import addresses
from metallb_speaker.layer2 import decoders, inventory, link
from metallb_speaker.packets import ethernet

_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_NEW_LINK, _DEL_LINK, _GET_LINK, _NEW_ADDRESS, _DEL_ADDRESS, _GET_ADDRESS = 16, 17, 18, 20, 21, 22
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x1 | 0x300
_DUMP_INTERRUPTED = 0x10
_HEADER = struct.Struct("=IHHII")
_RECEIVE_BUFFER = 1 << 20
_BATCH = 64


def _records(kind: int, data: bytes) -> Iterator[inventory.Record]:
    """The record in one netlink message, if it is one we follow."""
    if kind in (_NEW_LINK, _DEL_LINK):
        # pyroute2 has no types, hence Any: this function is the decoding edge.
        message: Any = decoders.link_message(data)
        message.decode()
        index: int = message["index"]
        if message["family"] != socket.AF_UNSPEC:
            return  # a bridge's news about its port (AF_BRIDGE): a removal there is not the removal of the link
        if kind == _DEL_LINK:
            yield inventory.LinkGone(index=index)
            return
        mac_text: str | None = message.get_attr("IFLA_ADDRESS")
        try:
            mac = ethernet.parse_mac(mac_text or "")
        except ethernet.MalformedFrameError:
            mac = b""
        info = message.get_attr("IFLA_LINKINFO")
        yield inventory.LinkSeen(
            index=index,
            name=message.get_attr("IFLA_IFNAME"),
            mac=mac,
            flags=message["flags"],
            kind=message["ifi_type"],
            master=message.get_attr("IFLA_MASTER"),
            master_kind=info.get_attr("IFLA_INFO_SLAVE_KIND") if info else None,
        )
    elif kind in (_NEW_ADDRESS, _DEL_ADDRESS):
        message = decoders.address_message(data)
        message.decode()
        # On a point-to-point link IFA_ADDRESS is the peer; IFA_LOCAL, where present, is always ours.
        text: str | None = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        if text is None:
            return
        record = inventory.AddressSeen if kind == _NEW_ADDRESS else inventory.AddressGone
        yield record(index=message["index"], address=addresses.Address.parse(text), length=message["prefixlen"])


class Links:
    """Calls `on_change` with each new table, from the event loop. The first table comes when the first dumps are complete."""

    def __init__(self, on_change: Callable[[link.Table], None]) -> None:
        self._on_change = on_change
        self._inventory = inventory.Inventory()
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dumping: int | None = None
        self._again = False
        self._synced = False

    @property
    def table(self) -> link.Table:
        """The table published last; revision 0 and empty before the first."""
        return self._inventory.table

    def start(self) -> None:
        """Open the socket and ask for everything. Call from the running loop. Raises OSError."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._socket.bind((0, _GROUPS))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._readable)
        self._dump(_GET_LINK)

    def stop(self) -> None:
        """Close the socket. Idempotent."""
        if self._socket is not None and self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _dump(self, what: int) -> None:
        assert self._socket is not None
        self._dumping = what
        if what == _GET_LINK:
            self._inventory.begin_links()
        else:
            self._inventory.begin_addresses()
        body = bytes(16)  # struct ifinfomsg; an ifaddrmsg is shorter, and its family is the first byte of either
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), what, _REQUEST_DUMP, what, 0) + body)

    def _readable(self) -> None:
        for _ in range(_BATCH):
            if self._socket is None:
                return
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._resynchronise()
                continue
            self._take(data)
        # Everything read so far is one change to whoever listens; a table without its addresses is not shown.
        if self._synced and self._dumping is None:
            table = self._inventory.publish()
            if table is not None:
                self._on_change(table)

    def _resynchronise(self) -> None:
        if self._dumping is None:
            self._dump(_GET_LINK)
        else:
            self._again = True

    def _take(self, data: bytes) -> None:
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
            if length < _HEADER.size:
                return
            if flags & _DUMP_INTERRUPTED:
                self._again = True
            if kind == _DONE:
                self._dump_ended()
            elif kind == _ERROR:
                code = -struct.unpack_from("=i", data, offset + _HEADER.size)[0]
                raise OSError(code, "the kernel refused a dump of links or addresses")
            else:
                for record in _records(kind, data[offset : offset + length]):
                    self._inventory.record(record)
            offset += (length + 3) & ~3

    def _dump_ended(self) -> None:
        if self._dumping == _GET_LINK:
            self._inventory.end_links()
            self._dump(_GET_ADDRESS)
            return
        self._inventory.end_addresses()
        self._dumping = None
        if self._again:
            self._again = False
            self._dump(_GET_LINK)
            return
        self._synced = True
