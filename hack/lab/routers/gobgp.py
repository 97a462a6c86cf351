"""GoBGP: one daemon, a gRPC port on the namespace's loopback, asked through `gobgp` in JSON. It puts nothing into the kernel."""

from __future__ import annotations

import json
from typing import Any

from lab.routers import router

API_PORT = 50051
_ATTRIBUTE_ORIGIN, _ATTRIBUTE_AS_PATH, _ATTRIBUTE_NEXT_HOP, _ATTRIBUTE_MED, _ATTRIBUTE_LOCAL_PREF = 1, 2, 3, 4, 5
_ATTRIBUTE_COMMUNITIES, _ATTRIBUTE_MP_REACH, _ATTRIBUTE_LARGE = 8, 14, 32


def render(settings: router.Settings) -> str:
    """gobgpd's TOML."""
    lines = [
        "[global.config]",
        f"as = {settings.asn}",
        f'router-id = "{settings.router_id}"',
        'local-address-list = ["0.0.0.0", "::"]',
    ]
    for each in settings.neighbours:
        lines += [
            "[[neighbors]]",
            "[neighbors.config]",
            f'neighbor-address = "{each.address}"',
            f"peer-as = {each.asn}",
            *([f'auth-password = "{each.password}"'] if each.password else []),
            "[neighbors.transport.config]",
            f"passive-mode = {str(each.passive).lower()}",
            *([f'local-address = "{each.local}"'] if each.local else []),
            "[neighbors.timers.config]",
            f"hold-time = {each.hold_time}",
            "connect-retry = 1",
            "idle-hold-time-after-reset = 1",
        ]
        if each.hops > 1:
            lines += ["[neighbors.ebgp-multihop.config]", "enabled = true", f"multihop-ttl = {each.hops}"]
        if each.graceful_restart:
            lines += [
                "[neighbors.graceful-restart.config]",
                "enabled = true",
                "helper-only = true",
                f"restart-time = {settings.restart_time}",
            ]
        for family in each.families:
            lines += ["[[neighbors.afi-safis]]", "[neighbors.afi-safis.config]", f'afi-safi-name = "{family}-unicast"']
            if each.graceful_restart:
                lines += ["[neighbors.afi-safis.mp-graceful-restart.config]", "enabled = true"]
    return "\n".join(lines) + "\n"


class Router(router.Router):
    """GoBGP in a namespace."""

    name = "gobgp"
    program = "gobgpd"

    def start(self) -> None:
        configuration = self.directory / "gobgp.toml"
        configuration.write_text(render(self.settings))
        self.spawn(
            "gobgpd", "gobgpd", "-f", configuration, "--api-hosts", f"127.0.0.1:{API_PORT}", "--pprof-disable", "-p"
        )
        self.wait_answering(*self._client("global"))

    def _client(self, command: str) -> list[str]:
        return ["gobgp", "-u", "127.0.0.1", "-p", str(API_PORT), "-j", *command.split()]

    def json(self, command: str) -> Any:
        """The answer to a command."""
        text = self.ask(*self._client(command))
        try:
            return json.loads(text) if text.strip() else {}
        except ValueError as error:
            raise router.RouterError(f"gobgp: {command}: {text[:400]}") from error

    def established(self, neighbour: router.Neighbour) -> bool:
        known = self.json(f"neighbor {neighbour.address}")
        return bool(known.get("state", {}).get("session_state") == 6)

    def routes(self, family: str = router.IPV4) -> dict[str, tuple[router.Route, ...]]:
        found = self.json(f"global rib -a {family}") or {}
        return {prefix: tuple(_route(each) for each in paths) for prefix, paths in found.items()}

    def refresh(self, neighbour: router.Neighbour) -> None:
        # A soft reset is answered from its own memory; no command makes it send ROUTE-REFRESH.
        raise router.RouterError("gobgp cannot be told to ask for routes again")

    def shutdown(self, neighbour: router.Neighbour) -> None:
        self.ask(*self._client(f"neighbor {neighbour.address} disable"))


def _route(path: dict[str, Any]) -> router.Route:
    by_type = {each["type"]: each for each in path.get("attrs", [])}
    next_hop = by_type.get(_ATTRIBUTE_NEXT_HOP) or by_type.get(_ATTRIBUTE_MP_REACH) or {}
    communities = by_type.get(_ATTRIBUTE_COMMUNITIES, {}).get("communities", [])
    large = by_type.get(_ATTRIBUTE_LARGE, {}).get("value", [])
    segments = by_type.get(_ATTRIBUTE_AS_PATH, {}).get("as_paths", [])
    return router.Route(
        next_hops=tuple(each for each in [next_hop.get("nexthop")] if each),
        communities=frozenset(f"{each >> 16}:{each & 0xFFFF}" for each in communities),
        large_communities=frozenset(f"{each['ASN']}:{each['LocalData1']}:{each['LocalData2']}" for each in large),
        as_path=tuple(int(number) for segment in segments for number in segment.get("asns", [])),
        local_pref=by_type.get(_ATTRIBUTE_LOCAL_PREF, {}).get("value"),
        med=by_type.get(_ATTRIBUTE_MED, {}).get("metric"),
        stale=bool(path.get("stale", False)),
    )
