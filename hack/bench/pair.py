"""Two network namespaces and a cable between them, for tests and benchmarks of the link layer.

- Needs root and iproute2. Names carry the process id, so that two runs do not meet; `close` removes everything, and a namespace that is gone
  takes its links along.
- `inside` moves the calling thread into a namespace: sockets and processes made there belong to it. A socket keeps its namespace afterwards.
"""

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Iterator

_CLONE_NEWNET = 0x40000000
_TIMESTAMP = 35  # SO_TIMESTAMPNS
_ALL = 0x0003  # ETH_P_ALL
_libc = ctypes.CDLL(None, use_errno=True)


def run(*command: str, check: bool = True, timeout: float = 20.0) -> str:
    """The output of a command. Raises CalledProcessError, with the error output in its message."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


class Namespace:
    """One network namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        run("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str, check: bool = True) -> str:
        """`ip` inside the namespace."""
        return run("ip", "-n", self.name, *arguments, check=check)

    def run(self, *command: str, check: bool = True, timeout: float = 20.0) -> str:
        """A command inside the namespace."""
        return run("nsenter", f"--net=/run/netns/{self.name}", *command, check=check, timeout=timeout)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is in the namespace meanwhile."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(before)
            os.close(before)
            os.close(there)

    def close(self) -> None:
        """Remove it."""
        run("ip", "netns", "del", self.name, check=False)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Capture:
    """Every frame that arrives at or leaves a link, with the kernel's time of it."""

    def __init__(self, where: Namespace, link: str) -> None:
        with where.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
        self.socket.bind((link, _ALL))

    def frames(self) -> list[tuple[float, bytes]]:
        """(seconds, frame) of those since the last call."""
        found: list[tuple[float, bytes]] = []
        while True:
            try:
                frame, ancillary, _, _ = self.socket.recvmsg(2048, 128)
            except BlockingIOError:
                return found
            seconds, nanoseconds = struct.unpack("@ll", ancillary[0][2][:16])
            found.append((seconds + nanoseconds / 1e9, frame))

    def close(self) -> None:
        """Stop."""
        self.socket.close()


class Pair:
    """`node` with link `lan0` and `peer` with link `lan0`, connected. IPv6 is ready on both when the constructor returns."""

    def __init__(self, prefix: str = "l2p") -> None:
        self.node = Namespace(f"{prefix}{os.getpid()}n")
        self.peer = Namespace(f"{prefix}{os.getpid()}p")
        try:
            for each in (self.node, self.peer):
                # Without duplicate address detection a link-local address is ready at once.
                each.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
            self.cable("lan0")
            self.peer.ip("addr", "add", "192.0.2.1/24", "dev", "lan0")
            self.peer.ip("addr", "add", "2001:db8::1/64", "dev", "lan0", "nodad")
        except BaseException:
            self.close()
            raise

    def cable(self, name: str) -> None:
        """Another veth pair, with the same name at both ends, up."""
        self.node.ip("link", "add", name, "type", "veth", "peer", "name", name, "netns", self.peer.name)
        self.node.ip("link", "set", name, "up")
        self.peer.ip("link", "set", name, "up")

    def close(self) -> None:
        """Remove both namespaces."""
        self.node.close()
        self.peer.close()
