"""OpenBGPD: one daemon and its children, a control socket, asked through bgpctl in JSON. On Linux it puts nothing into the kernel."""

from __future__ import annotations

import contextlib
import json
import pwd
from pathlib import Path
from typing import Any

from lab.routers import router

USER = "_openbgpd"


def render(settings: router.Settings, control: str) -> str:
    """bgpd.conf."""
    lines = [
        f"AS {settings.asn}",
        f"router-id {settings.router_id}",
        "fib-update no",
        f'socket "{control}"',
    ]
    for each in settings.neighbours:
        lines += [
            f"neighbor {each.address} {{",
            f"  remote-as {each.asn}",
            f"  holdtime {each.hold_time}",
            *(["  passive"] if each.passive else []),
            *([f"  local-address {each.local}"] if each.local else []),
            *([f'  tcp md5sig password "{each.password}"'] if each.password else []),
            *([f"  multihop {each.hops}"] if each.hops > 1 else []),
            *[
                f"  announce {name} {'unicast' if family in each.families else 'none'}"
                for family, name in ((router.IPV4, "IPv4"), (router.IPV6, "IPv6"))
            ],
            f"  announce restart {'yes' if each.graceful_restart else 'no'}",
            "  announce refresh yes",
            "  announce as-4byte yes",
            "}",
        ]
    lines += ["allow from any", "deny to any"]
    return "\n".join(lines) + "\n"


class Router(router.Router):
    """OpenBGPD in a namespace."""

    name = "openbgpd"
    program = "bgpctl"
    _made: Path | None = None

    def close(self) -> None:
        super().close()
        if self._made is not None:
            with contextlib.suppress(OSError):
                self._made.rmdir()
            self._made = None

    def start(self) -> None:
        configuration = self.directory / "bgpd.conf"
        control = self.directory / "bgpd.sock"
        control.unlink(missing_ok=True)
        configuration.write_text(render(self.settings, str(control)))
        configuration.chmod(0o600)
        # Its children lock themselves into their user's home, an empty folder that the package's service would make.
        home = Path(pwd.getpwnam(USER).pw_dir)
        if not home.exists():
            home.mkdir(mode=0o755)
            self._made = home
        self.spawn("bgpd", "/usr/sbin/bgpd", "-d", "-f", configuration)
        self.wait_answering(*self._client("show summary"))

    def _client(self, command: str) -> list[str]:
        return ["bgpctl", "-j", "-s", str(self.directory / "bgpd.sock"), *command.split()]

    def json(self, command: str) -> Any:
        """The answer to a command."""
        text = self.ask(*self._client(command))
        try:
            return json.loads(text) if text.strip() else {}
        except ValueError as error:
            raise router.RouterError(f"openbgpd: {command}: {text[:400]}") from error

    def established(self, neighbour: router.Neighbour) -> bool:
        known = self.json("show neighbor").get("neighbors", [])
        return any(
            each.get("remote_addr") == neighbour.address and each.get("state") == "Established" for each in known
        )

    def routes(self, family: str = router.IPV4) -> dict[str, tuple[router.Route, ...]]:
        found: dict[str, list[router.Route]] = {}
        for each in self.json(f"show rib {'inet' if family == router.IPV4 else 'inet6'} detail").get("rib", []):
            found.setdefault(each["prefix"], []).append(_route(each))
        return {prefix: tuple(paths) for prefix, paths in found.items()}

    def refresh(self, neighbour: router.Neighbour) -> None:
        self.ask(*self._client(f"neighbor {neighbour.address} refresh"))

    def shutdown(self, neighbour: router.Neighbour) -> None:
        self.ask(*self._client(f"neighbor {neighbour.address} down"))


def _route(entry: dict[str, Any]) -> router.Route:
    attributes = {each["type"]: each for each in entry.get("attributes", [])}
    named = {each.get("name", ""): each for each in entry.get("attributes", [])}
    return router.Route(
        next_hops=tuple(each for each in [entry.get("exit_nexthop") or entry.get("true_nexthop")] if each),
        communities=frozenset(entry.get("communities", attributes.get("COMMUNITIES", named).get("communities", []))),
        large_communities=frozenset(entry.get("large_communities", [])),
        as_path=tuple(int(number) for number in str(entry.get("aspath", "")).split()),
        local_pref=entry.get("localpref"),
        med=entry.get("metric") or None,
        stale=bool(entry.get("stale", False)),
    )
