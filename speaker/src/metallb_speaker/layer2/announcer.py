"""Making the links answer for the desired addresses, and announcing them.

- Desired is a map from address to the names of its links, or to None for every usable link. A name without a usable link of that name serves
  nothing until such a link appears; what is actually served is in `served`.
- One step, `_converge`, moves an address from what is realised to what is desired times what is usable: withdraw first, then announce. It is
  the same step for a new desire, for a link that came, went, lost its cable or changed its hardware address.
- Withdrawing stops the answers with the next frame and sends nothing: a packet about an address that is leaving could only do harm.
- The filters cover the configured intervals and every held address besides: an announcement may overtake the news of its pool.
- During a hand-over nothing is announced or defended; an address that another station claims is let go at once.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from metallb_core.domain import addresses
from metallb_speaker.layer2 import claims, link, responder, schedule
from metallb_speaker.packets import bpf

_SLICE = 64  # announcements between two looks at the sockets
_RETRY = 5.0  # seconds until a link whose sockets could not be opened is tried again

Interfaces = frozenset[str] | None
Counts = tuple[int, int, int]


class Announcer:
    """The layer 2 side of one node. Every method is called from the loop's thread and returns without waiting."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        random: schedule.Uniform,
        *,
        on_conflict: Callable[[claims.Conflict], None],
        on_warning: Callable[[str], None],
        on_refused: Callable[[], None] = lambda: None,
        refresh: float = schedule.REFRESH,
    ) -> None:
        """`on_refused`: `refused` is another set now. `refresh`: the interval of refreshing announcements in seconds, 0 for none."""
        self._loop = loop
        self._on_conflict = on_conflict
        self._on_warning = on_warning
        self._on_refused = on_refused
        self._refused: dict[str, str] = {}
        self._schedule = schedule.Schedule(random, refresh=refresh)
        self._claims = claims.Claims()
        self._table = link.Table()
        self._exclude: tuple[re.Pattern[str], ...] = ()
        self._intervals: tuple[addresses.Interval, ...] = ()
        self._desired: dict[addresses.Address, Interfaces] = {}
        self._served: dict[addresses.Address, frozenset[str]] = {}
        self._tallies: dict[bytes, responder.Tally] = {}
        self._responders: dict[str, responder.Responder] = {}
        self._held: dict[str, dict[bytes, responder.Tally]] = {}
        self._unpublished: set[str] = set()
        self._own: frozenset[bytes] = frozenset()
        self._beyond: set[addresses.Address] = set()
        self._filters = (bpf.arp(()), bpf.ndp(()))
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._on_handed_over: Callable[[], None] | None = None
        self._closed = False

    @property
    def served(self) -> Mapping[addresses.Address, frozenset[str]]:
        """For each desired address the links that answer for it now."""
        return MappingProxyType(self._served)

    @property
    def refused(self) -> frozenset[str]:
        """The usable links whose sockets could not be opened; they are tried again by and by."""
        return frozenset(self._refused)

    def set_links(self, table: link.Table) -> None:
        """Take a new table of links."""
        self._table = table
        self._own = frozenset(each.mac for each in table.links.values() if len(each.mac) == 6)
        self._reconcile_links()

    def configure(self, intervals: Iterable[addresses.Interval], exclude: tuple[re.Pattern[str], ...]) -> None:
        """Set the intervals that addresses come from, and the patterns of links to leave alone."""
        self._intervals = tuple(intervals)
        self._beyond = {address for address in self._desired if not self._configured(address)}
        self._refilter()
        if exclude != self._exclude:
            self._exclude = exclude
            self._reconcile_links()

    def update(
        self, announce: Mapping[addresses.Address, Interfaces], withdraw: Iterable[addresses.Address] = ()
    ) -> None:
        """Withdraw some addresses and announce others. Announcing again what is announced with the same links changes nothing."""
        for address in withdraw:
            if self._desired.pop(address, None) is not None or address in self._served:
                self._converge(address)
            self._beyond.discard(address)
        beyond = len(self._beyond)
        if self._on_handed_over is None:
            self._desired |= announce
            self._beyond |= {address for address in announce if not self._configured(address)}
        if len(self._beyond) > beyond:
            self._refilter()
        if self._on_handed_over is None:
            for address in announce:
                self._converge(address)
        self._publish()
        self._pump()

    def counters(self) -> dict[addresses.Address, Counts]:
        """(requests received, responses sent, gratuitous sent) since the last call, of addresses that had any."""
        changed: dict[addresses.Address, Counts] = {}
        for packed, tally in self._tallies.items():
            if tally.received or tally.gratuitous:
                changed[addresses.Address.from_packed(packed)] = (tally.received, tally.sent, tally.gratuitous)
                tally.received = tally.sent = tally.gratuitous = 0
        return changed

    def hand_over(self, on_handed_over: Callable[[], None]) -> None:
        """Only answer from now on, and let go of what others claim. Calls `on_handed_over` once nothing is left."""
        self._on_handed_over = on_handed_over
        self._schedule.clear()
        if not any(self._served.values()):
            self._loop.call_soon(on_handed_over)

    def close(self) -> None:
        """Stop answering at once and close everything. Idempotent."""
        self._closed = True
        for timer in (self._timer, self._retry):
            if timer is not None:
                timer.cancel()
        self._schedule.clear()
        for each in self._responders.values():
            each.close()
        self._responders.clear()
        self._served.clear()
        self._desired.clear()

    # Links

    def _reconcile_links(self) -> None:
        usable = self._table.usable(self._exclude)
        for name in [name for name in self._responders if not self._still(self._responders[name], usable.get(name))]:
            self._close_responder(name)
        refused: dict[str, str] = {}
        for name, each in usable.items():
            existing = self._responders.get(name)
            if existing is not None:
                existing.own = self._own
                if existing.mac != each.mac:
                    existing.mac = each.mac
                    self._announce_all_on(name)
            elif each.serves(addresses.Family.IPV4) or each.serves(addresses.Family.IPV6):
                error = self._open_responder(each)
                if error is not None:
                    refused[name] = str(error)
        before, self._refused = self._refused, refused
        for name, why in refused.items():
            if before.get(name) != why:  # once, however often it is tried again
                self._on_warning(f"cannot answer on {name}: {why}")
        if refused and self._retry is None:
            self._retry = self._loop.call_later(_RETRY, self._try_again)
        for address in self._desired:
            self._converge(address)
        self._publish()
        self._pump()
        if refused.keys() != before.keys():
            self._on_refused()

    @staticmethod
    def _still(existing: responder.Responder, each: link.Link | None) -> bool:
        """Whether an open responder still fits the link: the same one, serving the same families."""
        return (
            each is not None
            and existing.index == each.index
            and all(existing.serves(family) == each.serves(family) for family in addresses.Family)
        )

    def _open_responder(self, each: link.Link) -> OSError | None:
        try:
            opened = responder.Responder(each, self._loop, self._claimed, self._own, *self._filters)
        except OSError as error:
            # The link may be gone already, which the next table tells; or it is ours to retry. The others go on.
            return error
        self._responders[each.name] = opened
        self._held[each.name] = {}
        return None

    def _close_responder(self, name: str) -> None:
        self._responders.pop(name).close()
        self._held.pop(name)
        self._unpublished.discard(name)
        for address, names in self._served.items():
            if name in names:
                self._served[address] = names - {name}
                self._schedule.stop((address, name))
                self._claims.forget(address, name)

    def _try_again(self) -> None:
        self._retry = None
        self._reconcile_links()

    def _announce_all_on(self, name: str) -> None:
        now = self._loop.time()
        if self._on_handed_over is None:
            for address, names in self._served.items():
                if name in names:
                    self._schedule.start((address, name), now)

    # Filters

    def _configured(self, address: addresses.Address) -> bool:
        return any(address in interval for interval in self._intervals)

    def _refilter(self) -> None:
        extra = (addresses.Interval(each.family, each.value, each.value) for each in self._beyond)
        intervals = (*self._intervals, *extra)
        filters = (bpf.arp(intervals), bpf.ndp(intervals))
        if filters == self._filters:
            return
        self._filters = filters
        for each in self._responders.values():
            try:
                each.set_filters(*filters)
            except OSError as error:
                self._on_warning(f"cannot exchange the filter on {each.name}: {error}")

    # Addresses

    def _converge(self, address: addresses.Address) -> None:
        """Make the links that answer for `address` those that should."""
        wanted = self._wanted(address)
        serving = self._served.get(address, frozenset())
        packed = address.packed()
        for name in serving - wanted:
            self._held[name].pop(packed, None)
            self._unpublished.add(name)
            self._schedule.stop((address, name))
            self._claims.forget(address, name)
            self._membership(address, self._responders[name], joining=False)
        if address not in self._desired:
            self._served.pop(address, None)
            self._tallies.pop(packed, None)
            return
        if address in self._served and wanted == serving:
            return
        self._served[address] = wanted
        tally = self._tallies.setdefault(packed, responder.Tally())
        now = self._loop.time()
        for name in wanted - serving:
            self._held[name][packed] = tally
            self._unpublished.add(name)
            self._membership(address, self._responders[name], joining=True)
            if self._on_handed_over is None:
                self._schedule.start((address, name), now)

    def _wanted(self, address: addresses.Address) -> frozenset[str]:
        if address not in self._desired:
            return frozenset()
        names = self._desired[address]
        return frozenset(
            name
            for name, each in self._responders.items()
            if (names is None or name in names) and each.serves(address.family)
        )

    def _membership(self, address: addresses.Address, where: responder.Responder, *, joining: bool) -> None:
        try:
            if joining:
                where.join(address)
            else:
                where.leave(address)
        except OSError as error:
            verb = "join" if joining else "leave"
            self._on_warning(f"cannot {verb} the solicited-node group of {address} on {where.name}: {error}")

    def _publish(self) -> None:
        for name in self._unpublished:
            self._responders[name].held = MappingProxyType(dict(self._held[name]))
        self._unpublished.clear()

    # Time

    def _pump(self) -> None:
        """Send what is due, at most a slice of it, and come back when more is."""
        if self._closed:
            return
        now = self._loop.time()
        for address, name in self._schedule.due(now, _SLICE):
            self._responders[name].announce(address, self._tallies[address.packed()])
        for conflict in self._claims.due(now):
            self._schedule.again((conflict.address, conflict.interface), now)
            self._on_conflict(conflict)
        waits = [wait for wait in (self._schedule.wait(now), self._claims.wait(now)) if wait is not None]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if waits:
            self._timer = self._loop.call_later(min(waits), self._pump)

    def _claimed(self, name: str, packed: bytes, mac: bytes) -> None:
        address = addresses.Address.from_packed(packed)
        if self._on_handed_over is None:
            if self._claims.heard(address, name, mac, self._loop.time()):
                self._pump()
            return
        self._desired.pop(address, None)
        self._converge(address)
        self._publish()
        if not any(self._served.values()):
            self._on_handed_over()
