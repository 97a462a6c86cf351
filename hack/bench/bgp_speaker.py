"""A process that has BGP sessions and nothing else, for tests and benchmarks: told what to do by lines of JSON, tells what happens the same way.

- In: one object a line. `configure` {name: fields of a BGPPeer}, `routes` {name: {prefix: [local_pref or null, communities...]}} (all of them),
  `change` (the same form, null withdraws), `count` [name, number] (that many IPv4 host routes), `complete`, `bfd` [name, up], `show`,
  `stop` seconds of draining. The end of the input ends the process at once, without a word to anybody.
- Out: `state` and `advertised` as they happen, the answer to `show`, `stopped`.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import sys
from collections.abc import Mapping
from typing import Any

from metallb_core.domain import addresses, communities, peers, routes
from metallb_core.runtime import clock, heap, log
from metallb_speaker.bgp.native import peering

FIRST = addresses.Address.parse("198.18.0.0").value


def peer(name: str, fields: Mapping[str, Any]) -> peers.Peer:
    """A peer from its fields; addresses as text."""
    made = dict(fields)
    for field in ("address", "source_address", "router_id"):
        if made.get(field):
            made[field] = addresses.Address.parse(made[field])
    if made.get("dynamic_asn"):
        made["dynamic_asn"] = peers.DynamicASN(made["dynamic_asn"])
    return peers.Peer(name=name, **made)


def prefix(text: str) -> routes.Prefix:
    """`address/length`."""
    address, _, length = text.partition("/")
    return routes.Prefix.of(addresses.Address.parse(address), int(length))


def attributes(values: list[Any]) -> routes.Attributes:
    """Local preference or None, then communities."""
    return routes.Attributes(
        local_pref=values[0], communities=frozenset(communities.parse(each) for each in values[1:])
    )


def host_route(number: int) -> routes.Prefix:
    """The `number`th of the many routes of a benchmark."""
    return routes.Prefix(addresses.Address(addresses.Family.IPV4, FIRST + number), 32)


def say(**event: object) -> None:
    """One line out."""
    print(json.dumps(event), flush=True)


class Process:
    """See the module."""

    def __init__(self, node: str, restarting: bool) -> None:
        self.peering = peering.Peering(
            clock=clock.SystemClock(),
            random=random.Random(),
            node=node,
            restarting=restarting,
            on_state=self._state,
            on_advertised=lambda name: say(advertised=name),
        )

    def _state(self, name: str) -> None:
        view = self.peering.session(name)
        if view is not None:
            say(state=view.state.label, peer=name, problem=None if view.problem is None else str(view.problem))

    async def handle(self, order: dict[str, Any]) -> None:
        """Carry out one line."""
        for what, value in order.items():
            match what:
                case "configure":
                    self.peering.configure(
                        {
                            name: peering.Wanted(peer=peer(name, fields), bfd=bool(fields.get("bfd_profile")))
                            for name, fields in value.items()
                        }
                    )
                case "routes":
                    for name, table in value.items():
                        self.peering.replace(name, {prefix(key): attributes(each) for key, each in table.items()})
                case "change":
                    for name, table in value.items():
                        changes = {
                            prefix(key): None if each is None else attributes(each) for key, each in table.items()
                        }
                        self.peering.change(name, changes)
                case "count":
                    name, number = value
                    self.peering.replace(name, {host_route(each): routes.PLAIN for each in range(number)})
                case "complete":
                    self.peering.initial_complete()
                case "bfd":
                    name, up = value
                    self.peering.bfd_up(name) if up else self.peering.bfd_down(name)
                case "show":
                    for name, view in self.peering.sessions().items():
                        say(show=name, **_plain(view))
                case "settle":
                    heap.freeze()
                    say(settled=True)
                case "stop":
                    await self.peering.wait_stopped(float(value), "maintenance")
                    say(stopped=True)


def _plain(view: peering.SessionView) -> dict[str, object]:
    return {
        "state": view.state.label,
        "problem": None if view.problem is None else str(view.problem),
        "announced": view.announced,
        "pending": view.pending,
        "received": view.received,
        "updates_sent": view.updates_sent,
        "messages_received": view.messages_received,
        "established": view.established,
    }


async def run(node: str, restarting: bool) -> None:
    """Until the input ends."""
    process = Process(node, restarting)
    work = asyncio.create_task(process.peering.run())
    reader = asyncio.StreamReader(limit=1 << 26)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say(pid=os.getpid())
    while line := await reader.readline():
        await process.handle(json.loads(line))
    os._exit(0) if not work.done() else None


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bgp_speaker", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--node", default="node-a", help="the node it stands for (default: %(default)s)")
    parser.add_argument("--restarting", action="store_true", help="begin as after a graceful restart")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr)
    log.configure("info", stream=sys.stderr.buffer)
    asyncio.run(run(options.node, options.restarting))


if __name__ == "__main__":
    main()
