"""Prints what the reference library puts on the wire, as hexadecimal, one line a sample: the golden bytes of the codec tests.

    python hack/tools/memberlist/capture.py PROGRAM

It plays one bare member on loopback that answers a push/pull and nothing else, so that the peer goes through all it has to
say: pings, gossip, suspicion, death, its own leaving. PROGRAM is the built peer; see main.go beside this file.
"""

import argparse
import json
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "speaker" / "src"))

from metallb_speaker.membership import aead, encryption, envelope, messages, streams

_PORT = 17980
_PEER, _OURS = "127.0.0.71", "127.0.0.72"
_VARIANTS: dict[str, list[str]] = {
    "plain": ["-compression=false", "-meta", "colour=blue", "-state", "user state"],
    "compressed": ["-meta", "colour=blue colour=blue colour=blue"],
    "encrypted": ["-compression=false", "-secret", "golden secret"],
    "encrypted-padded": ["-compression=false", "-secret", "golden secret", "-protocol", "1"],
    "labelled": ["-compression=false", "-secret", "golden secret", "-label", "blue"],
}


def _capture(program: str, variant: str, options: list[str]) -> Iterator[tuple[str, bytes]]:
    key = encryption.key_from_secret("golden secret") if "-secret" in options else None
    wrapping = envelope.Envelope(
        label=b"blue" if "-label" in options else b"",
        keyring=aead.load_keyring((key,), version=1) if key else None,
    )
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    udp.bind((_OURS, _PORT))
    tcp.bind((_OURS, _PORT))
    tcp.listen()
    peer = subprocess.Popen(
        [
            *(program, "-name", "go", "-bind", _PEER, "-port", str(_PORT), *options),
            *("-probe-interval", "300ms", "-probe-timeout", "100ms"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert peer.stdin is not None
    try:
        time.sleep(0.5)
        peer.stdin.write(f"join {_OURS}:{_PORT}\n".encode())
        peer.stdin.flush()
        began = time.monotonic()
        asked = left = False
        while time.monotonic() < began + 4.5:
            readable, _, _ = select.select([udp, tcp], [], [], 0.1)
            if tcp in readable:
                connection, _ = tcp.accept()
                reader = streams.StreamReader(wrapping, accepted=True)
                connection.settimeout(2)
                data, message = b"", None
                while message is None:
                    chunk = connection.recv(65536)
                    if not chunk:
                        break
                    data += chunk
                    message = reader.feed(chunk)
                yield f"stream {type(message).__name__}", data
                if isinstance(message, streams.PushPull):
                    vector = message.states[0].versions
                    state = messages.MemberState(
                        node="raw", address=socket.inet_aton(_OURS), port=_PORT, incarnation=1, versions=vector
                    )
                    answer = streams.PushPull(join=True, states=(state,))
                    connection.sendall(streams.wrap(answer, wrapping, connected=False))
                connection.close()
            if udp in readable:
                packet = udp.recv(65536)
                kinds = [messages.Kind(part[0]).name for part in wrapping.unwrap(packet)]
                yield f"packet {'+'.join(kinds)}", packet
            if not asked and time.monotonic() > began + 1:
                asked = True
                ping = messages.Ping(sequence=70_000, node="go")
                relayed = messages.IndirectPing(
                    sequence=5, target=socket.inet_aton(_OURS), port=_PORT, node="raw", nack=True
                )
                for message_out in (ping, relayed):
                    udp.sendto(wrapping.wrap([messages.serialise(message_out)], checksum=False), (_PEER, _PORT))
            if not left and time.monotonic() > began + 3.5:
                left = True
                peer.stdin.write(b"leave 500\n")
                peer.stdin.flush()
    finally:
        peer.kill()
        peer.wait()
        peer.stdin.close()
        udp.close()
        tcp.close()


def main() -> None:
    """Print one sample of each kind of each variant."""
    parser = argparse.ArgumentParser(
        prog="python hack/tools/memberlist/capture.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("program", metavar="PROGRAM", help="the built peer")
    program = parser.parse_args().program
    if shutil.which(program) is None:
        parser.error(f"no such program: {program}; `python3 hack/tools/build.py --list memberlist` says where it is")
    found: dict[str, str] = {}
    for variant, options in _VARIANTS.items():
        for what, data in _capture(program, variant, options):
            found.setdefault(f"{variant} {what}", data.hex())
    print(json.dumps(found, indent=4))


if __name__ == "__main__":
    main()
