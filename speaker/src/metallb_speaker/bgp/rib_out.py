"""Adj-RIB-Out: what one peer shall be told, what it was told, and the difference (RFC 4271 section 3.2).

- What is desired outlives the session; what was sent ends with it.
- A change costs the same whatever the number of routes: the difference is kept, not computed.
- Prefixes with equal attributes wait together, so that they leave in one UPDATE; withdrawals leave before everything else.
- `take` gives a bounded piece and counts it as told: the caller takes only what it can send at once.
- A change that is undone before its turn was never sent and sends nothing.
- Families that the session does not carry stay desired and are neither pending nor told.
"""

import dataclasses
from collections.abc import Collection, Mapping

from metallb_core.domain import addresses, routes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Withdraw these prefixes, all of one family."""

    family: addresses.Family
    prefixes: tuple[routes.Prefix, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Announce these prefixes, all of one family and with these attributes."""

    family: addresses.Family
    attributes: routes.Attributes
    prefixes: tuple[routes.Prefix, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EndOfRib:
    """All routes of the family that there were at the beginning have been told (RFC 4724 section 2)."""

    family: addresses.Family


Piece = Withdraw | Announce | EndOfRib
_Group = tuple[addresses.Family, routes.Attributes]


class RibOut:
    """See the module. Starts closed: nothing is pending until a session opens it."""

    __slots__ = (
        "_announces",
        "_complete",
        "_counts",
        "_desired",
        "_ending",
        "_families",
        "_opened",
        "_pending",
        "_sent",
        "_withdraws",
    )

    def __init__(self) -> None:
        self._desired: dict[routes.Prefix, routes.Attributes] = {}
        self._counts = dict.fromkeys(addresses.Family, 0)
        # None: the peer has the prefix, and is to be told of it again, whatever it was told.
        self._sent: dict[routes.Prefix, routes.Attributes | None] = {}
        self._families: frozenset[addresses.Family] = frozenset()
        # Dictionaries without values are sets that keep their order, so that what waits longest leaves first.
        self._announces: dict[_Group, dict[routes.Prefix, None]] = {}
        self._withdraws: dict[addresses.Family, dict[routes.Prefix, None]] = {}
        self._pending = 0
        self._complete = False
        self._ending: set[addresses.Family] = set()
        self._opened = False

    @property
    def families(self) -> frozenset[addresses.Family]:
        """The families that the session carries; none while there is no session."""
        return self._families

    @property
    def desired(self) -> Mapping[routes.Prefix, routes.Attributes]:
        """All routes that the peer shall have, of all families. Not to be changed."""
        return self._desired

    @property
    def told(self) -> Collection[routes.Prefix]:
        """The prefixes that the peer has been told and not told to forget. A live view."""
        return self._sent.keys()

    @property
    def pending(self) -> int:
        """Prefixes that are to be announced or withdrawn."""
        return self._pending

    @property
    def withheld(self) -> int:
        """Desired prefixes of families that the session does not carry."""
        return sum(count for family, count in self._counts.items() if family not in self._families)

    @property
    def has_work(self) -> bool:
        """Whether `take` would give anything."""
        return self._pending > 0 or (self._complete and bool(self._ending))

    @property
    def ended(self) -> bool:
        """Whether End-of-RIB was sent for every family of the session."""
        return self._opened and not self._ending

    def change(self, prefix: routes.Prefix, attributes: routes.Attributes | None) -> None:
        """The peer shall be told `prefix` with `attributes`; None: it shall not have it. Saying it again does nothing."""
        before = self._desired.get(prefix)
        if before == attributes:
            return
        family = prefix.family
        if attributes is None:
            del self._desired[prefix]
            self._counts[family] -= 1
        else:
            self._desired[prefix] = attributes
            self._counts[family] += before is None
        if family not in self._families:
            return
        if before is not None:
            self._unqueue_announce((family, before), prefix)
        else:
            self._unqueue_withdraw(family, prefix)
        if attributes is None:
            if prefix in self._sent:
                self._withdraws.setdefault(family, {})[prefix] = None
                self._pending += 1
        elif self._sent.get(prefix) != attributes:
            self._queue_announce((family, attributes), prefix)

    def replace(self, desired: Mapping[routes.Prefix, routes.Attributes]) -> None:
        """The peer shall have exactly these routes."""
        for prefix in [prefix for prefix in self._desired if prefix not in desired]:
            self.change(prefix, None)
        for prefix, attributes in desired.items():
            self.change(prefix, attributes)

    def complete(self) -> None:
        """What is desired from here on is a change: End-of-RIB may follow what is pending."""
        self._complete = True

    def open(self, families: Collection[addresses.Family], *, agreed: Collection[addresses.Family] = ()) -> None:
        """A session begins, over which routes of `families` can be told: the peer has nothing yet.

        End-of-RIB is due for the families that were `agreed` on, too: a peer that keeps our old routes waits for it, however empty.
        """
        self.close()
        self._families = frozenset(families)
        self._ending = set(self._families) | set(agreed)
        self._opened = True
        for prefix, attributes in self._desired.items():
            if prefix.family in self._families:
                self._queue_announce((prefix.family, attributes), prefix)

    def close(self) -> None:
        """The session ended, and with it what the peer was told."""
        self._sent = {}
        self._families = frozenset()
        self._announces = {}
        self._withdraws = {}
        self._pending = 0
        self._ending = set()
        self._opened = False

    def refresh(self, family: addresses.Family) -> None:
        """Tell the routes of `family` again: the peer asked for it (RFC 2918), or what is said of all routes changed.

        End-of-RIB follows again only where it was not sent yet (RFC 7313 marks the end of a refresh otherwise).
        """
        for prefix in self._sent:
            if prefix.family != family:
                continue
            self._sent[prefix] = None
            attributes = self._desired.get(prefix)
            if attributes is not None:
                self._queue_announce((family, attributes), prefix)

    def take(self, limit: int) -> list[Piece]:
        """What to tell next: at most `limit` prefixes, all withdrawals first. They count as told."""
        pieces: list[Piece] = []
        left = limit
        for family in list(self._withdraws):
            if left <= 0:
                return pieces
            waiting = self._withdraws[family]
            prefixes = _first(waiting, left)
            if not waiting:
                del self._withdraws[family]
            for prefix in prefixes:
                del self._sent[prefix]
            left -= len(prefixes)
            pieces.append(Withdraw(family=family, prefixes=prefixes))
        for group in list(self._announces):
            if left <= 0:
                break
            waiting = self._announces[group]
            prefixes = _first(waiting, left)
            if not waiting:
                del self._announces[group]
            family, attributes = group
            self._sent.update(dict.fromkeys(prefixes, attributes))
            left -= len(prefixes)
            pieces.append(Announce(family=family, attributes=attributes, prefixes=prefixes))
        self._pending -= limit - left
        if self._complete and self._ending:
            pieces.extend(self._end())
        return pieces

    def _end(self) -> list[EndOfRib]:
        busy = set(self._withdraws) | {family for family, _ in self._announces}
        ended = sorted(self._ending - busy)
        self._ending.difference_update(ended)
        return [EndOfRib(family=family) for family in ended]

    def _queue_announce(self, group: _Group, prefix: routes.Prefix) -> None:
        waiting = self._announces.setdefault(group, {})
        if prefix not in waiting:
            waiting[prefix] = None
            self._pending += 1

    def _unqueue_announce(self, group: _Group, prefix: routes.Prefix) -> None:
        waiting = self._announces.get(group)
        if waiting is not None and prefix in waiting:
            del waiting[prefix]
            self._pending -= 1
            if not waiting:
                del self._announces[group]

    def _unqueue_withdraw(self, family: addresses.Family, prefix: routes.Prefix) -> None:
        waiting = self._withdraws.get(family)
        if waiting is not None and prefix in waiting:
            del waiting[prefix]
            self._pending -= 1
            if not waiting:
                del self._withdraws[family]


def _first(waiting: dict[routes.Prefix, None], limit: int) -> tuple[routes.Prefix, ...]:
    """Take the first `limit` out of `waiting`."""
    if len(waiting) <= limit:
        taken = tuple(waiting)
        waiting.clear()
        return taken
    found: list[routes.Prefix] = []
    for prefix in waiting:
        found.append(prefix)
        if len(found) >= limit:
            break
    for prefix in found:
        del waiting[prefix]
    return tuple(found)
