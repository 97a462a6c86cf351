"""BIRD 2: one daemon, one control socket, asked through birdc in text."""

from __future__ import annotations

import re

from lab.routers import router

_PREFIX = re.compile(r"^(\S+/\d+)?\s+(?:unicast|unreachable)\s+\[(\S+)")


def _protocol(number: int) -> str:
    return f"peer{number}"


def _watch(session: router.BFDSession) -> tuple[str, str]:
    every = f"{session.interval_ms} ms"
    timers = f"min rx interval {every}; min tx interval {every}; idle tx interval 1 s; multiplier {session.multiplier};"
    if session.multihop:
        return f"multihop {{ {timers} }};", f"neighbor {session.address} local {session.local} multihop on;"
    device = f'"{session.interface}"'
    return (
        f"interface {device} {{ {timers} }};",
        f"neighbor {session.address} dev {device} local {session.local};",
    )


def render(settings: router.Settings) -> str:
    """bird.conf."""
    parts = [
        f"router id {settings.router_id};",
        "log stderr all;",
        f"graceful restart wait {settings.restart_time};",
        "protocol device { scan time 1; }",
    ]
    if settings.bfd_sessions or any(each.bfd for each in settings.neighbours):
        watched = dict.fromkeys(line for each in settings.bfd_sessions for line in _watch(each))
        parts.append(f"protocol bfd {{ {' '.join(watched)} }}")
    if settings.kernel:
        parts += [
            f"protocol kernel {{ {family} {{ export all; }}; merge paths on; }}"
            for family in (router.IPV4, router.IPV6)
        ]
    for number, each in enumerate(settings.neighbours):
        body = [
            f"local {each.local} as {settings.asn};",
            f"neighbor {each.address} as {each.asn};",
            f"hold time {each.hold_time};",
            "connect retry time 1;",
            "error wait time 1, 2;",
            "graceful restart aware;",
        ]
        if each.passive:
            body.append("passive yes;")
        if each.password:
            body.append(f'password "{each.password}";')
        if each.hops > 1:
            body.append(f"multihop {each.hops};")
        if each.bfd:
            interval = f"{each.bfd_interval_ms} ms"
            body.append(f"bfd {{ interval {interval}; multiplier 3; }};")
        for family in each.families:
            extended = "extended next hop on; " if family == router.IPV4 and each.extended_next_hop else ""
            body.append(f"{family} {{ import all; export none; {extended}}};")
        parts.append(f"protocol bgp {_protocol(number)} {{ {' '.join(body)} }}")
    return "\n".join(parts) + "\n"


class Router(router.Router):
    """BIRD in a namespace."""

    name = "bird"
    program = "bird"
    marks_stale = False

    def start(self) -> None:
        configuration = self.directory / "bird.conf"
        configuration.write_text(render(self.settings))
        control = self.directory / "bird.ctl"
        control.unlink(missing_ok=True)
        self.spawn("bird", "bird", "-f", "-c", configuration, "-s", control, "-P", self.directory / "bird.pid")
        self.wait_answering(*self._client("show status"))

    def _client(self, command: str) -> list[str]:
        return ["birdc", "-s", str(self.directory / "bird.ctl"), *command.split()]

    def command(self, command: str) -> str:
        """The answer to a command."""
        return self.ask(*self._client(command))

    def _name(self, neighbour: router.Neighbour) -> str:
        known = [each.address for each in self.settings.neighbours]
        return _protocol(known.index(neighbour.address))

    def bfd_states(self) -> dict[str, str]:
        """State of each BFD session by the address of the other end: AdminDown, Down, Init or Up."""
        found: dict[str, str] = {}
        for line in self.command("show bfd sessions").splitlines():
            words = line.split()
            if len(words) >= 6 and words[2] in ("AdminDown", "Down", "Init", "Up"):
                found[words[0]] = words[2]
        return found

    def established(self, neighbour: router.Neighbour) -> bool:
        return "Established" in self.command(f"show protocols {self._name(neighbour)}")

    def routes(self, family: str = router.IPV4) -> dict[str, tuple[router.Route, ...]]:
        text = self.command(f"show route table {'master4' if family == router.IPV4 else 'master6'} all")
        return parse(text)

    def prefixes(self, family: str = router.IPV4) -> int:
        """How many prefixes there are; cheaper than all routes."""
        table = "master4" if family == router.IPV4 else "master6"
        counted = re.search(r"(\d+) of \d+ routes for \d+ networks", self.command(f"show route table {table} count"))
        return int(counted[1]) if counted else 0

    def refresh(self, neighbour: router.Neighbour) -> None:
        self.command(f"reload in {self._name(neighbour)}")

    def shutdown(self, neighbour: router.Neighbour) -> None:
        self.command(f"disable {self._name(neighbour)}")


def parse(text: str) -> dict[str, tuple[router.Route, ...]]:
    """Read the answer to `show route all`: a line for each route, attributes indented below it."""
    found: dict[str, list[router.Route]] = {}
    prefix = ""
    attributes: dict[str, str] = {}

    def finish() -> None:
        if prefix and attributes:
            found.setdefault(prefix, []).append(_route(attributes))

    for line in text.splitlines():
        begin = _PREFIX.match(line)
        if begin:
            finish()
            prefix = begin[1] or prefix
            attributes = {}
        elif line.startswith("\t") and ": " in line:
            key, _, value = line.strip().partition(": ")
            attributes[key] = value
    finish()
    return {each: tuple(paths) for each, paths in found.items()}


def _route(attributes: dict[str, str]) -> router.Route:
    def number(key: str) -> int | None:
        return int(attributes[key]) if key in attributes else None

    return router.Route(
        next_hops=tuple(attributes.get("BGP.next_hop", "").split()),
        communities=_communities(attributes.get("BGP.community", "")),
        large_communities=_communities(attributes.get("BGP.large_community", "")),
        as_path=tuple(int(each) for each in attributes.get("BGP.as_path", "").split()),
        local_pref=number("BGP.local_pref"),
        med=number("BGP.med"),
    )


def _communities(text: str) -> frozenset[str]:
    return frozenset(":".join(re.findall(r"\d+", each)) for each in re.findall(r"\(([^)]*)\)", text))
