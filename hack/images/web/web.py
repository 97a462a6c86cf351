"""A page that says which pod and node answered, and a UDP echo.

Rules: TCP and UDP on one port, IPv4 and IPv6 on one socket each; `GET /` is a page for people, `GET /name` is
`<pod> <node>` for programs, `GET /client` is the address the server saw; a datagram comes back behind the pod's name.
Every HTTP answer closes its connection, so that the next request is a new one for the load balancer.
Settings: PORT (8080), POD_NAME (the host name when unset), NODE_NAME.
"""

from __future__ import annotations

import asyncio
import html
import os
import signal
import socket
import typing

POD = os.environ.get("POD_NAME") or socket.gethostname()
NODE = os.environ.get("NODE_NAME", "unknown")
REQUEST_SECONDS = 10.0

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{pod}</title>
<body style="font-family: sans-serif; margin: 4em auto; max-width: 40em">
<h1>It answers.</h1>
<p>This page came from pod <b>{pod}</b> on node <b>{node}</b>.</p>
<p>The server saw you as <b>{client}</b>.</p>
</body></html>
"""


def answer(target: str, client: str) -> tuple[str, str, str]:
    """(status, content type, body) for a path."""
    path = target.split("?")[0]
    if path == "/":
        page = PAGE.format(pod=html.escape(POD), node=html.escape(NODE), client=html.escape(client))
        return "200 OK", "text/html; charset=utf-8", page
    if path == "/name":
        return "200 OK", "text/plain", f"{POD} {NODE}\n"
    if path == "/client":
        return "200 OK", "text/plain", f"{client}\n"
    return "404 Not Found", "text/plain", "there are /, /name and /client\n"


def plain(address: str) -> str:
    """An IPv4 address that came through an IPv6 socket, as people write it."""
    return address.removeprefix("::ffff:")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_SECONDS)
        method, target, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        status, kind, body = answer(target, plain(writer.get_extra_info("peername")[0]))
        content = body.encode()
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(content)}", "Connection: close"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else content))
        await writer.drain()
    except (OSError, ValueError, EOFError, asyncio.LimitOverrunError, TimeoutError):
        pass
    finally:
        writer.close()


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11 does not derive its datagram transport from the class meant for it.
        self.transport = typing.cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.transport.sendto(POD.encode() + b" " + data, address)


def listen(kind: socket.SocketKind, port: int) -> socket.socket:
    each = socket.socket(socket.AF_INET6, kind)
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    each.bind(("::", port))
    return each


async def main() -> None:
    port = int(os.environ.get("PORT", "8080"))
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    transport, _ = await loop.create_datagram_endpoint(Echo, sock=listen(socket.SOCK_DGRAM, port))
    server = await asyncio.start_server(serve, sock=listen(socket.SOCK_STREAM, port), backlog=1024)
    print(f"serving as {POD} on {NODE}, port {port}", flush=True)
    await stop.wait()
    server.close()
    transport.close()


if __name__ == "__main__":
    asyncio.run(main())
