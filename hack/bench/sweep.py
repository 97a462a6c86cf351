"""Ask for many addresses by ARP every 20 ms, and report how long each was silent. Runs on the client; standard library only.

    python hack/bench/sweep.py --own 10.0.0.21 --interface eth0 --seconds 10 ADDRESS...

Prints `{"ADDRESS": silence in seconds, ...}`. A line or the end of standard input ends it early.
"""

import argparse
import json
import selectors
import socket
import struct
import sys
import time


def main() -> int:
    """Probe and print."""
    parser = argparse.ArgumentParser(
        prog="python hack/bench/sweep.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS", help="IPv4 addresses to ask for")
    parser.add_argument("--own", required=True, help="IPv4 address of this client")
    parser.add_argument("--interface", default="eth0", help="where to ask (default: %(default)s)")
    parser.add_argument("--interval", type=float, default=0.02, help="seconds between questions (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to ask (default: %(default)s)")
    arguments = parser.parse_args()
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    raw.bind((arguments.interface, 0x0806))
    raw.setblocking(False)
    mac: bytes = raw.getsockname()[4]
    own = socket.inet_aton(arguments.own)
    header = b"\xff" * 6 + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1) + mac + own + b"\0" * 6
    targets = {socket.inet_aton(address): address for address in arguments.addresses}
    start = time.monotonic()
    last = dict.fromkeys(targets, start)
    silence = dict.fromkeys(targets, 0.0)
    chooser = selectors.DefaultSelector()
    chooser.register(raw, selectors.EVENT_READ)
    chooser.register(sys.stdin, selectors.EVENT_READ)
    due, stop = start, start + arguments.seconds
    while (now := time.monotonic()) < stop:
        if now >= due:
            due += arguments.interval
            for target in targets:
                raw.send(header + target)
        for key, _ in chooser.select(max(0.0, min(due, stop) - time.monotonic())):
            if key.fileobj is not raw:
                stop = 0.0
                continue
            for _ in range(64):
                try:
                    frame = raw.recv(2048)
                except BlockingIOError:
                    break
                sender = frame[28:32]
                if frame[20:22] == b"\0\2" and sender in targets and frame[0:6] == mac:
                    at = time.monotonic()
                    silence[sender] = max(silence[sender], at - last[sender])
                    last[sender] = at
    end = time.monotonic()
    print(json.dumps({targets[each]: round(max(silence[each], end - last[each]), 3) for each in targets}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
