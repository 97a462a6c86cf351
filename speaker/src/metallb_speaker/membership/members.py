"""Who is in the cluster, and which claims about them count.

- A claim about another member is judged by one table: (state, claim, its incarnation against ours) -> effect.
- A claim about ourselves is judged by another: what is not true is refuted with a higher incarnation, unless we are leaving.
- Dead and left members stay for a while, so that old claims about them are recognised as old.
- An address belongs to the name until the member is dead or has left; then whoever comes with that name may have another.
  (Upstream lets only a member that left come back elsewhere at once, one that died first has to be forgotten.)

Facts: SWIM section 4.2; hashicorp/memberlist v0.5.1 state.go.
"""

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from metallb_speaker.membership import messages


class Random(Protocol):
    """The chance a member needs; `random.Random` fits."""

    def random(self) -> float: ...

    def randrange(self, start: int, /) -> int: ...

    def shuffle(self, x: list["Member"], /) -> None: ...


class State(enum.IntEnum):
    """The numbers are those of a push/pull."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


class Claim(enum.Enum):
    """What a message says of a member."""

    ALIVE = enum.auto()
    SUSPECT = enum.auto()
    DEAD = enum.auto()


class Age(enum.Enum):
    """The incarnation of a claim against the one we know."""

    OLDER = enum.auto()
    SAME = enum.auto()
    NEWER = enum.auto()


class Effect(enum.Enum):
    """What a claim does."""

    IGNORE = enum.auto()
    ACCEPT = enum.auto()
    CONFIRM = enum.auto()  # one more accuser
    COMPARE = enum.auto()  # true if it describes us as we are, to be refuted otherwise
    REFUTE = enum.auto()


_STALE_ALIVE = {(state, Claim.ALIVE, age): Effect.IGNORE for state in State for age in (Age.OLDER, Age.SAME)}
_STALE_HARM = {(state, claim, Age.OLDER): Effect.IGNORE for state in State for claim in (Claim.SUSPECT, Claim.DEAD)}
_CURRENT_HARM = {
    (state, claim, age): effect
    for (state, claim), effect in {
        (State.ALIVE, Claim.SUSPECT): Effect.ACCEPT,
        (State.SUSPECT, Claim.SUSPECT): Effect.CONFIRM,
        (State.DEAD, Claim.SUSPECT): Effect.IGNORE,
        (State.LEFT, Claim.SUSPECT): Effect.IGNORE,
        (State.ALIVE, Claim.DEAD): Effect.ACCEPT,
        (State.SUSPECT, Claim.DEAD): Effect.ACCEPT,
        (State.DEAD, Claim.DEAD): Effect.IGNORE,
        (State.LEFT, Claim.DEAD): Effect.IGNORE,
    }.items()
    for age in (Age.SAME, Age.NEWER)
}
OTHERS: Mapping[tuple[State, Claim, Age], Effect] = {
    **_STALE_ALIVE,
    **{(state, Claim.ALIVE, Age.NEWER): Effect.ACCEPT for state in State},
    **_STALE_HARM,
    **_CURRENT_HARM,
}
SELF: Mapping[tuple[Claim, Age], Effect] = {
    (Claim.ALIVE, Age.OLDER): Effect.IGNORE,
    (Claim.ALIVE, Age.SAME): Effect.COMPARE,
    (Claim.ALIVE, Age.NEWER): Effect.REFUTE,
    (Claim.SUSPECT, Age.OLDER): Effect.IGNORE,
    (Claim.SUSPECT, Age.SAME): Effect.REFUTE,
    (Claim.SUSPECT, Age.NEWER): Effect.REFUTE,
    (Claim.DEAD, Age.OLDER): Effect.IGNORE,
    (Claim.DEAD, Age.SAME): Effect.REFUTE,
    (Claim.DEAD, Age.NEWER): Effect.REFUTE,
}


def age(claimed: int, known: int) -> Age:
    """How a claimed incarnation stands to the known one."""
    if claimed == known:
        return Age.SAME
    return Age.NEWER if claimed > known else Age.OLDER


@dataclasses.dataclass(slots=True, kw_only=True)
class Member:
    """One member as we know it. `address` as it was received; `changed_at` is when `state` last changed."""

    name: str
    address: bytes
    port: int
    meta: bytes
    versions: bytes
    incarnation: int
    state: State
    changed_at: float

    @property
    def present(self) -> bool:
        """Alive or suspect: a suspect has not been judged."""
        return self.state in (State.ALIVE, State.SUSPECT)

    @property
    def endpoint(self) -> tuple[bytes, int]:
        """Where to send to."""
        return self.address, self.port

    @property
    def protocol_limit(self) -> int:
        """The highest protocol version it understands, 0 if it never said."""
        return self.versions[1] if len(self.versions) >= 2 else 0


def describe(member: Member) -> messages.Alive:
    """What to tell others of a member that is alive."""
    return messages.Alive(
        incarnation=member.incarnation,
        node=member.name,
        address=member.address,
        port=member.port,
        meta=member.meta,
        versions=member.versions,
    )


_MAPPED = bytes(10) + b"\xff\xff"


def plain_address(address: bytes) -> bytes:
    """The address with an IPv4 one in 4 bytes, even when it came as a mapped IPv6 address."""
    return address[12:] if len(address) == 16 and address.startswith(_MAPPED) else address


class Table:
    """The members, and the order in which they are probed."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._by_name: dict[str, Member] = {}
        self._order: list[Member] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Member | None:
        """The member of that name, whatever its state."""
        return self._by_name.get(name)

    def add(self, member: Member) -> None:
        """Add a new member at a random place of the order, so that the time to its first probe has no worst case."""
        self._by_name[member.name] = member
        place = self._chance.randrange(len(self._order) + 1)
        self._order.append(member)
        self._order[place], self._order[-1] = self._order[-1], self._order[place]

    def next_probe(self, now: float, own_name: str, remember: float) -> Member | None:
        """The next present member other than ourselves; after each round the dead of `remember` seconds ago are dropped."""
        for _ in range(2 * len(self._order) + 1):
            if self._next >= len(self._order):
                self._forget(now, remember)
                self._chance.shuffle(self._order)
                self._next = 0
                if not self._order:
                    return None
            member = self._order[self._next]
            self._next += 1
            if member.present and member.name != own_name:
                return member
        return None

    def pick(self, count: int, wanted: Callable[[Member], bool]) -> Sequence[Member]:
        """Up to `count` different members that are wanted, at random."""
        candidates = [member for member in self._order if wanted(member)]
        if len(candidates) > count:
            for place in range(count):
                other = place + self._chance.randrange(len(candidates) - place)
                candidates[place], candidates[other] = candidates[other], candidates[place]
            del candidates[count:]
        return candidates

    def _forget(self, now: float, remember: float) -> None:
        for member in self._order:
            if not member.present and now - member.changed_at > remember:
                del self._by_name[member.name]
        self._order = [member for member in self._order if member.name in self._by_name]


def incompatibility(versions: Sequence[bytes]) -> str | None:
    """Why members with these version vectors cannot all understand each other; None if they can.

    Each vector: protocol least, most and spoken, delegate least, most and spoken. Empty means that the member never said.
    """
    known = [vector for vector in versions if len(vector) >= 6]
    for noun, offset in (("protocol", 0), ("delegate protocol", 3)):
        least = max((vector[offset] for vector in known), default=0)
        most = min((vector[offset + 1] for vector in known), default=255)
        for vector in known:
            if not least <= vector[offset + 2] <= most:
                return f"a member speaks {noun} version {vector[offset + 2]}, the cluster understands {least} to {most}"
    return None
