"""FRR: zebra and bgpd, and bfdd where a neighbour wants it. One configuration file, one folder of sockets, asked through vtysh in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.routers import router

LIBRARY = Path("/usr/lib/frr")
_WELL_KNOWN = {"gracefulShutdown": "65535:0", "graceful-shutdown": "65535:0"}


def render(settings: router.Settings) -> str:
    """The configuration that all of its daemons read, each its own part."""
    lines = ["frr defaults traditional", "hostname router", *_watch(settings.bfd_sessions)]
    lines += [
        f"router bgp {settings.asn}",
        f" bgp router-id {settings.router_id}",
        " no bgp ebgp-requires-policy",
        " no bgp default ipv4-unicast",
        " no bgp network import-check",
        " bgp bestpath as-path multipath-relax",
    ]
    for each in settings.neighbours:
        who = each.address or each.interface
        lines.append(f" neighbor {who}{' interface' if each.interface else ''} remote-as {each.asn}")
        lines.append(f" neighbor {who} timers {max(1, each.hold_time // 3)} {each.hold_time}")
        lines.append(f" neighbor {who} timers connect 1")
        lines.append(f" neighbor {who} advertisement-interval 0")
        if each.passive and not each.interface:
            lines.append(f" neighbor {who} passive")
        if each.password:
            lines.append(f" neighbor {who} password {each.password}")
        if each.hops > 1 and each.asn != settings.asn:
            lines.append(f" neighbor {who} ebgp-multihop {each.hops}")
        if each.extended_next_hop:
            lines.append(f" neighbor {who} capability extended-nexthop")
        if each.local:
            lines.append(f" neighbor {who} update-source {each.local}")
        if each.bfd:
            lines.append(f" neighbor {who} bfd 3 {each.bfd_interval_ms} {each.bfd_interval_ms}")
    for family in (router.IPV4, router.IPV6):
        lines.append(f" address-family {family} unicast")
        for each in settings.neighbours:
            if family in each.families:
                lines.append(f"  neighbor {each.address or each.interface} activate")
                lines.append(f"  neighbor {each.address or each.interface} route-map NOTHING out")
        lines += ["  maximum-paths 16", "  maximum-paths ibgp 16", " exit-address-family"]
    lines += ["exit", "route-map NOTHING deny 10", "exit"]
    for each in settings.neighbours:
        if each.interface:
            lines += [f"interface {each.interface}", " ipv6 nd ra-interval 5", " no ipv6 nd suppress-ra", "exit"]
    return "\n".join(lines) + "\n"


def _watch(sessions: Sequence[router.BFDSession]) -> list[str]:
    """bfdd's part. It is left by no `exit`: daemons that do not know it would leave their whole configuration there."""
    lines = ["bfd"] if sessions else []
    for each in sessions:
        lines += [
            f" peer {bfd_peer(each)}",
            f"  receive-interval {each.interval_ms}",
            f"  transmit-interval {each.interval_ms}",
            f"  detect-multiplier {each.multiplier}",
            "  no shutdown",
        ]
        if each.echo_ms:
            echo = (f"transmit-interval {each.echo_ms}", f"receive-interval {each.echo_ms}")
            lines += ["  echo-mode", *(f"  echo {setting}" for setting in echo)]
    return lines


def bfd_peer(session: router.BFDSession) -> str:
    """What names a session in bfdd's commands, after the word `peer`."""
    hops = " multihop" if session.multihop else ""
    link = f" interface {session.interface}" if session.interface else ""
    return f"{session.address}{hops} local-address {session.local}{link}"


class Router(router.Router):
    """FRR in a namespace."""

    name = "frr"
    program = str(LIBRARY / "bgpd")

    def start(self) -> None:
        configuration = self.directory / "frr.conf"
        configuration.write_text(render(self.settings))
        (self.directory / "vtysh.conf").write_text("")
        with_bfd = self.settings.bfd_sessions or any(each.bfd for each in self.settings.neighbours)
        daemons = ["zebra", "bgpd", *(["bfdd"] if with_bfd else [])]
        for daemon in daemons:
            extra = ["-n"] if daemon == "bgpd" and not self.settings.kernel else []
            extra += ["--bfdctl", f"{self.directory}/bfdd.sock"] if daemon == "bfdd" else []
            self.spawn(
                daemon,
                LIBRARY / daemon,
                *("-f", configuration, "-i", self.directory / f"{daemon}.pid", "-z", self.directory / "zserv.api"),
                *("--vty_socket", self.directory, "-A", "127.0.0.1", "-P", "0"),
                *("--log", f"file:{self.directory}/{daemon}.log", *extra),
            )
            self.wait(lambda name=daemon: (self.directory / f"{name}.vty").exists(), f"{daemon} made no socket")  # type: ignore[misc]
        self.wait_answering(*self._client("show bgp summary json"))

    def _client(self, command: str) -> list[str]:
        return ["vtysh", "--config_dir", str(self.directory), "--vty_socket", str(self.directory), "-c", command]

    def json(self, command: str) -> Any:
        """The answer to a command that answers in JSON."""
        text = self.ask(*self._client(command))
        try:
            return json.loads(text) if text.strip() else {}
        except ValueError as error:
            raise router.RouterError(f"frr: {command}: {text[:400]}") from error

    def command(self, *commands: str) -> str:
        """Commands one after the other, `configure terminal` first where they configure."""
        client = self._client(commands[0])
        for each in commands[1:]:
            client += ["-c", each]
        return self.ask(*client)

    def neighbour(self, neighbour: router.Neighbour) -> dict[str, Any]:
        """What FRR knows of a neighbour."""
        who = neighbour.address or neighbour.interface
        known: dict[str, Any] = self.json("show bgp neighbors json").get(who, {})
        return known

    def bfd_peers(self) -> list[dict[str, Any]]:
        """What bfdd knows of each of its sessions, but for counters."""
        found: list[dict[str, Any]] = self.json("show bfd peers json")
        return found

    def bfd_counters(self) -> list[dict[str, Any]]:
        """What bfdd counts for each of its sessions."""
        found: list[dict[str, Any]] = self.json("show bfd peers counters json")
        return found

    def established(self, neighbour: router.Neighbour) -> bool:
        return bool(self.neighbour(neighbour).get("bgpState") == "Established")

    def routes(self, family: str = router.IPV4) -> dict[str, tuple[router.Route, ...]]:
        # FRR lists prefixes without their communities; only a question about one prefix is answered in full.
        prefixes = list(self.json(f"show bgp {family} unicast json").get("routes", {}))
        found: dict[str, tuple[router.Route, ...]] = {}
        for prefix in prefixes:
            found[prefix] = paths(self.json(f"show bgp {family} unicast {prefix} json"))
        return found

    def prefixes(self, family: str = router.IPV4) -> int:
        """How many prefixes there are; cheaper than all routes."""
        summary = self.json(f"show bgp {family} unicast summary json")
        return sum(int(each.get("pfxRcd", 0)) for each in summary.get("peers", {}).values())

    def refresh(self, neighbour: router.Neighbour) -> None:
        who = neighbour.address or neighbour.interface
        for family in neighbour.families:
            self.command(f"clear bgp {family} unicast {who} soft in")

    def shutdown(self, neighbour: router.Neighbour) -> None:
        who = neighbour.address or neighbour.interface
        self.command("configure terminal", f"router bgp {self.settings.asn}", f"neighbor {who} shutdown")


def paths(answer: dict[str, Any]) -> tuple[router.Route, ...]:
    """The paths in an answer to `show bgp FAMILY unicast PREFIX json`; none when there is no such prefix."""
    return tuple(_route(each) for each in answer.get("paths", []))


def _route(path: dict[str, Any]) -> router.Route:
    segments = path.get("aspath", {}).get("segments", [])
    return router.Route(
        next_hops=tuple(each["ip"] for each in path.get("nexthops", []) if "ip" in each),
        communities=frozenset(_WELL_KNOWN.get(each, each) for each in path.get("community", {}).get("list", [])),
        large_communities=frozenset(path.get("largeCommunity", {}).get("list", [])),
        as_path=tuple(int(number) for segment in segments for number in segment.get("list", [])),
        local_pref=path.get("locPrf"),
        med=path.get("metric") or None,
        stale=bool(path.get("stale", False)),
    )
