"""Network namespaces on one bridge.

Rules:
- The bridge lives in a namespace of its own (`lan`), not in the host's: packet filters, bridge sysctls and routes of
  the host then have no say in what the lab's hosts send each other.
- Every namespace is named `mlb-<lab>-<what>`, and a lab's name holds no dash, so the prefix finds exactly one lab's.
- A link has the name of the host at its other end inside `lan`, and is `eth0` inside the host's own namespace.
- Enter with `nsenter --net=`. `ip netns exec` remounts /sys, which hides the cgroup file systems.
- Making what exists is an error (two labs would mix); deleting what is absent is success.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab import processes

NETNS = Path("/run/netns")
LAN = "lan"
BRIDGE = "br0"
COMMAND_TIMEOUT_SECONDS = 30.0


class NamespaceError(Exception):
    """`ip` refused. The message has its words."""


def name(lab: str, what: str) -> str:
    """The namespace's name as `ip netns` shows it."""
    return f"mlb-{lab}-{what}"


def path(lab: str, what: str) -> Path:
    return NETNS / name(lab, what)


def host_link(lab: str) -> str:
    """This host's interface on the LAN."""
    return f"mlb-{lab}"


def enter(lab: str, what: str, argv: Sequence[str | Path]) -> list[str | Path]:
    """The command line that runs `argv` inside a namespace."""
    return ["nsenter", f"--net={path(lab, what)}", "--", *argv]


def _ip(arguments: Sequence[str], batch: str | None = None) -> str:
    result = subprocess.run(
        ["ip", *arguments], input=batch, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_SECONDS, check=False
    )
    if result.returncode != 0:
        raise NamespaceError(f"ip {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout


def set_sysctls(lab: str, what: str, settings: Sequence[tuple[str, str]]) -> None:
    """Write network sysctls inside a namespace; `settings` are (path under /proc/sys, value)."""
    script = "".join(f"echo {value} > /proc/sys/{key}\n" for key, value in settings)
    result = subprocess.run(
        enter(lab, what, ["sh", "-ec", script]),
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise NamespaceError(f"sysctls in {name(lab, what)}: {result.stderr.strip()}")


def create_lan(lab: str, address: tuple[str, str], host_address: tuple[str, str]) -> None:
    """Make the bridge with its own addresses, and this host's link to it. Prefix lengths are /24 and /64."""
    lan = name(lab, LAN)
    _ip(["netns", "add", lan])
    _quiet_ipv6(lab, LAN)
    link = host_link(lab)
    _ip(
        ["-n", lan, "-batch", "-"],
        "link set lo up\n"
        # Without multicast snooping a bridge forwards neighbour discovery as a plain switch does.
        f"link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0\n"
        f"link set {BRIDGE} up\n"
        f"address add {address[0]}/24 dev {BRIDGE}\n"
        f"address add {address[1]}/64 dev {BRIDGE} nodad\n",
    )
    _ip(["link", "add", link, "type", "veth", "peer", "name", "host", "netns", lan])
    _ip(["-n", lan, "link", "set", "host", "master", BRIDGE, "up"])
    with contextlib.suppress(OSError):
        Path(f"/proc/sys/net/ipv6/conf/{link}/accept_ra").write_text("0")
    _ip(
        ["-batch", "-"],
        f"link set {link} up\n"
        f"address add {host_address[0]}/24 dev {link}\n"
        f"address add {host_address[1]}/64 dev {link} nodad\n",
    )


def _quiet_ipv6(lab: str, what: str) -> None:
    # Static addresses only, usable at once: no router solicitation, no duplicate detection on our own links.
    set_sysctls(
        lab,
        what,
        [
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_ra", "0"),
            ("net/ipv6/conf/default/router_solicitations", "0"),
        ],
    )


def create_host(lab: str, what: str, address: tuple[str, str], gateway: tuple[str, str] | None) -> None:
    """Make a namespace with one link to the LAN. A `gateway` becomes both default routes."""
    namespace, lan = name(lab, what), name(lab, LAN)
    _ip(["netns", "add", namespace])
    _quiet_ipv6(lab, what)
    _ip(["-n", lan, "link", "add", what, "type", "veth", "peer", "name", "eth0", "netns", namespace])
    _ip(["-n", lan, "link", "set", what, "master", BRIDGE, "up"])
    routes = ""
    if gateway is not None:
        routes = f"route add default via {gateway[0]}\nroute add default via {gateway[1]}\n"
    _ip(
        ["-n", namespace, "-batch", "-"],
        "link set lo up\n"
        "link set eth0 up\n"
        f"address add {address[0]}/24 dev eth0\n"
        f"address add {address[1]}/64 dev eth0 nodad\n" + routes,
    )


def create_behind(lab: str, what: str, address: tuple[str, str], router: str, gateway: tuple[str, str]) -> None:
    """Make a namespace with one cable to a host that exists, `router`, whose own end is `gateway` and becomes both default routes.

    The router's end is called `behind`; it forwards from then on, and spreads flows over next hops by addresses and ports.
    """
    namespace, other = name(lab, what), name(lab, router)
    _ip(["netns", "add", namespace])
    _quiet_ipv6(lab, what)
    _ip(["-n", other, "link", "add", "behind", "type", "veth", "peer", "name", "eth0", "netns", namespace])
    for where, link, own in ((other, "behind", gateway), (namespace, "eth0", address)):
        _ip(
            ["-n", where, "-batch", "-"],
            "link set lo up\n"
            f"link set {link} up\n"
            f"address add {own[0]}/24 dev {link}\n"
            f"address add {own[1]}/64 dev {link} nodad\n",
        )
    _ip(["-n", namespace, "-batch", "-"], f"route add default via {gateway[0]}\nroute add default via {gateway[1]}\n")
    set_sysctls(
        lab,
        router,
        [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/fib_multipath_hash_policy", "1"),
            ("net/ipv6/fib_multipath_hash_policy", "1"),
        ],
    )


def add_routes(lab: str, what: str, routes: Sequence[tuple[str, str]]) -> None:
    """Add routes inside a namespace; `routes` are (CIDR, gateway)."""
    _ip(["-n", name(lab, what), "-batch", "-"], "".join(f"route replace {cidr} via {via}\n" for cidr, via in routes))


def set_link(lab: str, what: str, *, up: bool) -> None:
    """Plug or unplug a host's cable at the bridge's end; the host sees its carrier go."""
    _ip(["-n", name(lab, LAN), "link", "set", what, "up" if up else "down"])


def existing(lab: str) -> list[str]:
    """What the lab's namespaces are for (`lan`, `client`, `node1`), sorted; empty when there are none."""
    prefix = name(lab, "")
    found = NETNS.glob(f"{prefix}*") if NETNS.is_dir() else []
    return sorted(each.name.removeprefix(prefix) for each in found)


def delete_all(lab: str) -> None:
    """End whatever still runs inside the lab's namespaces, then remove them and this host's link."""
    for what in existing(lab):
        namespace = name(lab, what)
        pids = [int(pid) for pid in _ip(["netns", "pids", namespace]).split()]
        strays = [processes.adopt(namespace, pid, Path("/dev/null")) for pid in pids if _other(pid)]
        for stray in strays:
            stray.signal(signal.SIGKILL)
        for stray in strays:
            stray.stop()
        with contextlib.suppress(NamespaceError):
            _ip(["netns", "delete", namespace])
    with contextlib.suppress(NamespaceError):
        _ip(["link", "delete", host_link(lab)])


def _other(pid: int) -> bool:
    return pid != os.getpid() and Path(f"/proc/{pid}/exe").exists()


def routed_networks() -> list[str]:
    """Destinations in this host's routing tables, as CIDRs or addresses."""
    lines = _ip(["-4", "route", "show", "table", "main"]) + _ip(["-6", "route", "show", "table", "main"])
    return [line.split()[0] for line in lines.splitlines() if line[:1].isdigit() or line.startswith("fd")]
