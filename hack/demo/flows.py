"""Measure how long flows to an address are silent, as a client behind a router sees it.

Runs inside that client's network namespace. A router with several next hops keeps one flow on one of them, so one flow says little: every
`--interval` seconds a datagram leaves on each of `--flows` sockets to a UDP echo Service, until `--seconds` are over or a line arrives on
standard input. Prints one JSON list, an object for each flow: `sent`, `answered`, `silence` (longest time without an answer, seconds), `from`
(when that began, seconds since the start).
"""

import argparse
import json
import selectors
import socket
import struct
import sys
import time

from demo import probe


def main() -> int:
    """Probe and print the report."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.flows", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--address", required=True, help="address of the Service")
    parser.add_argument("--port", type=int, required=True, help="UDP port of the echo Service")
    parser.add_argument("--flows", type=int, default=16, help="flows (default: %(default)s)")
    parser.add_argument("--interval", type=float, default=0.02, help="seconds between questions (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long to ask (default: %(default)s)")
    arguments = parser.parse_args()

    family = socket.AF_INET6 if ":" in arguments.address else socket.AF_INET
    chooser = selectors.DefaultSelector()
    flows: list[tuple[socket.socket, probe.Series]] = []
    for _ in range(arguments.flows):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.connect((arguments.address, arguments.port))
        udp.setblocking(False)
        flows.append((udp, probe.Series()))
        chooser.register(udp, selectors.EVENT_READ, flows[-1][1])
    chooser.register(sys.stdin, selectors.EVENT_READ)
    start = time.monotonic()
    due, stop = start, start + arguments.seconds
    stalls: probe.Stalls = []
    while (now := time.monotonic()) < stop:
        if now >= due:
            due = probe.next_due(due, now, arguments.interval, stalls)
            for udp, series in flows:
                try:
                    udp.send(struct.pack("!I", series.sent))
                    series.sent += 1
                except OSError:
                    pass  # No route, or an unreachable neighbour: it counts as no answer.
        for key, _ in chooser.select(max(0.0, min(due, stop) - time.monotonic())):
            if key.data is None:
                stop = 0.0
                continue
            try:
                if key.fileobj.recv(2048):  # type: ignore[union-attr]
                    key.data.answers.append(time.monotonic())
            except OSError:
                continue
    end = time.monotonic()
    print(json.dumps([series.report(start, end, stalls) for _, series in flows]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
