"""Measure how long an address is silent, as a client on the same LAN sees it.

Runs inside the client's network namespace, standard library only. Every `--interval` seconds it sends a numbered UDP datagram to an echo Service
and an ARP request for the address, both until `--seconds` are over or a line arrives on standard input. Prints one JSON object:
`{"arp": {...}, "udp": {...}}`, each with `sent`, `answered`, `silence` (longest time without an answer, seconds) and `from` (when that began,
seconds since the start); "arp" also has `turns`: who answered, as `[mac, first, last, answers]` in order, a new entry whenever it changes.

- The ARP request is answered by the speaker itself: its silence is the address's.
- The datagram passes the client's own neighbour table and kube-proxy: its silence is what a user notices.
"""

import argparse
import itertools
import json
import selectors
import socket
import struct
import sys
import time

Stalls = list[tuple[float, float]]


class Series:
    """Answers over time. A gap counts from the last answer to the next one, or to the end, without the time when this process stood still:
    it then neither asks nor hears.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.answers: list[float] = []

    def report(self, start: float, end: float, stalls: Stalls) -> dict[str, float | int]:
        """Counts and the longest gap. `stalls`: from when to when the process stood still, in order, none reaching into the next."""
        moments = [start, *self.answers, end]
        gaps = [
            (
                later - earlier - sum(max(0.0, min(later, woke) - max(earlier, stopped)) for stopped, woke in stalls),
                earlier,
            )
            for earlier, later in itertools.pairwise(moments)
        ]
        silence, began = max(gaps)
        return {
            "sent": self.sent,
            "answered": len(self.answers),
            "silence": round(silence, 3),
            "from": round(began - start, 3),
        }


def next_due(due: float, now: float, interval: float, stalls: Stalls) -> float:
    """When to ask next, after what was due at `due` is done at `now`. Later by an interval or more is a stall, which is noted, not made good."""
    if now - due < interval:
        return due + interval
    stalls.append((due, now))
    return now + interval


class Turns:
    """Who answered when. Two stations that answer every request give a long list of short turns."""

    def __init__(self) -> None:
        self.all: list[tuple[str, float, float, int]] = []

    def add(self, mac: str, moment: float) -> None:
        """An answer of one station."""
        if self.all and self.all[-1][0] == mac:
            _, first, _, count = self.all[-1]
            self.all[-1] = (mac, first, moment, count + 1)
        else:
            self.all.append((mac, moment, moment, 1))


def arp_request(mac: bytes, own: bytes, target: bytes) -> bytes:
    """A broadcast ARP request (RFC 826)."""
    frame = b"\xff" * 6 + mac + struct.pack("!H", 0x0806)
    return frame + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + own + b"\0" * 6 + target


def main() -> int:
    """Probe and print the report."""
    parser = argparse.ArgumentParser(
        prog="python hack/demo/probe.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--address", required=True, help="IPv4 address of the Service")
    parser.add_argument("--port", type=int, required=True, help="UDP port of the echo Service")
    parser.add_argument("--interface", default="eth0", help="where the client is on that LAN (default: %(default)s)")
    parser.add_argument("--own", required=True, help="IPv4 address of this client")
    parser.add_argument("--interval", type=float, default=0.02, help="seconds between questions (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long to ask (default: %(default)s)")
    arguments = parser.parse_args()

    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    raw.bind((arguments.interface, 0x0806))
    # /sys may show the interfaces of another namespace; the bound socket knows its own address.
    mac: bytes = raw.getsockname()[4]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect((arguments.address, arguments.port))
    raw.setblocking(False)
    udp.setblocking(False)
    target = socket.inet_aton(arguments.address)
    request = arp_request(mac, socket.inet_aton(arguments.own), target)
    arp_series, udp_series, turns = Series(), Series(), Turns()

    chooser = selectors.DefaultSelector()
    chooser.register(raw, selectors.EVENT_READ)
    chooser.register(udp, selectors.EVENT_READ)
    chooser.register(sys.stdin, selectors.EVENT_READ)
    start = time.monotonic()
    due, stop = start, start + arguments.seconds
    stalls: Stalls = []
    while (now := time.monotonic()) < stop:
        if now >= due:
            due = next_due(due, now, arguments.interval, stalls)
            arp_series.sent += 1
            raw.send(request)
            try:
                udp.send(struct.pack("!I", udp_series.sent))
                udp_series.sent += 1
            except OSError:
                pass  # The kernel reports an unreachable neighbour here; it counts as no answer.
        for key, _ in chooser.select(max(0.0, min(due, stop) - time.monotonic())):
            if key.fileobj is raw:
                frame = raw.recv(2048)
                # A reply (operation 2) whose sender is the address, sent to this client.
                if frame[20:22] == b"\0\2" and frame[28:32] == target and frame[0:6] == mac:
                    arp_series.answers.append(time.monotonic())
                    turns.add(frame[22:28].hex(":"), arp_series.answers[-1] - start)
            elif key.fileobj is udp:
                try:
                    if udp.recv(2048):
                        udp_series.answers.append(time.monotonic())
                except OSError:
                    continue
            else:
                stop = 0.0
    end = time.monotonic()
    arp = {
        **arp_series.report(start, end, stalls),
        "turns": [(m, round(a, 3), round(b, 3), n) for m, a, b, n in turns.all],
    }
    print(json.dumps({"arp": arp, "udp": udp_series.report(start, end, stalls)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
