"""All sessions of this node, and which packet belongs to which.

- A packet with our discriminator belongs to the session that has it; one without belongs to the session of its source (RFC 5880 section 6.3).
  Either way source, port and VRF must be the session's, and the interface if it is bound to one: a discriminator that was overheard elsewhere
  opens nothing.
- A single-hop packet must have crossed no router: 255 hops left (RFC 5881 section 5, RFC 5082). A multihop one must have at least the
  session's minimum left.
- The set of sessions is stated as a whole. A session whose endpoints stay is changed in place; one that goes tells the peer, and one that is
  asked for again meanwhile begins anew.
"""

import dataclasses
from collections.abc import Iterable, Iterator

from metallb_core.domain import addresses
from metallb_speaker.bfd import chance, packets, session, settings


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """How a packet came: to which of our addresses, over which link, in which VRF, on which port, with how many hops left."""

    source: addresses.Address
    destination: addresses.Address
    interface: str
    vrf: str
    multihop: bool
    hops: int


class Registry:
    """Owns the sessions. Times are in seconds of one monotonic clock."""

    def __init__(self, random: chance.Random) -> None:
        self._random = random
        self._sessions: dict[str, session.Session] = {}
        self._by_discriminator: dict[int, session.Session] = {}
        self._closing: list[session.Session] = []
        self._paths: dict[int, Path] = {}
        self.discarded = 0

    @property
    def sessions(self) -> tuple[session.Session, ...]:
        """Those that are wanted."""
        return tuple(self._sessions.values())

    @property
    def everyone(self) -> Iterator[session.Session]:
        """Those that are wanted and those that say farewell."""
        yield from self._sessions.values()
        yield from self._closing

    def path(self, each: session.Session) -> Path | None:
        """How the latest packet of this session came; None before the first."""
        return self._paths.get(each.discriminator)

    def configure(self, configs: Iterable[settings.Config], now: float) -> None:
        """Have exactly these sessions. Of two with one key, or with the same endpoints, the first counts."""
        wanted: dict[str, settings.Config] = {}
        taken: set[tuple[object, ...]] = set()
        for config in configs:
            if config.key not in wanted and config.endpoints not in taken:
                wanted[config.key] = config
                taken.add(config.endpoints)
        for key, each in tuple(self._sessions.items()):
            if key not in wanted or wanted[key].endpoints != each.config.endpoints:
                self._retire(key, now)
        for key, config in wanted.items():
            if key in self._sessions:
                self._sessions[key].configure(config, now)
            else:
                self._open(config, now)

    def shut_down(self, now: float) -> None:
        """Tell every peer, and have no sessions."""
        for key in tuple(self._sessions):
            self._retire(key, now)

    def find(self, packet: packets.Control, path: Path) -> session.Session | None:
        """The session of a packet; None: it is discarded."""
        if packet.your_discriminator:
            found = self._by_discriminator.get(packet.your_discriminator)
            return found if found is not None and _fits(found.config, path) else None
        fitting = [each for each in self._sessions.values() if _fits(each.config, path)]
        # A session that names the link or our address is meant before one that takes any.
        return max(fitting, key=lambda each: (bool(each.config.interface), each.config.local is not None), default=None)

    def receive(self, data: bytes, path: Path, now: float) -> session.Session | None:
        """Take in the payload of a datagram. Returns the session it was for; None if it is discarded."""
        found = None
        try:
            packet = packets.Control.parse(data)
        except packets.MalformedPacketError:
            pass
        else:
            found = self.find(packet, path)
        if found is None or not found.receive(packet, now):
            self.discarded += 1
            return None
        self._paths[found.discriminator] = path
        return found

    def echo_returned(self, data: bytes, now: float) -> session.Session | None:
        """Take in the payload of an echo packet. Returns the session whose packet it is; None if it is nobody's."""
        try:
            packet = packets.Echo.parse(data)
        except packets.MalformedPacketError:
            return None
        found = self._by_discriminator.get(packet.discriminator)
        return found if found is not None and found.echo_returned(packet, now) else None

    def knows(self, source: addresses.Address, vrf: str) -> bool:
        """Whether a single-hop session has this peer: nobody else's echo packets are sent back."""
        return any(
            each.config.peer == source and each.config.vrf == vrf and not each.config.multihop
            for each in self._sessions.values()
        )

    def next_deadline(self) -> float | None:
        """When `advance` has something to do; None: only after a packet."""
        due = (each.next_deadline() for each in self.everyone)
        return min((moment for moment in due if moment is not None), default=None)

    def advance(self, now: float) -> None:
        """Do what is due. Read what has arrived first."""
        for each in self.everyone:
            each.advance(now)

    def forget_finished(self) -> None:
        """Drop the sessions that have said farewell; call when their packets were taken away."""
        for each in self._closing:
            if each.finished:
                self._drop(each)
        self._closing = [each for each in self._closing if not each.finished]

    def _open(self, config: settings.Config, now: float) -> None:
        # A former session with the same peer must not go on telling it that we are down.
        for each in self._closing:
            if each.config.endpoints == config.endpoints:
                self._drop(each)
        self._closing = [each for each in self._closing if each.config.endpoints != config.endpoints]
        made = session.Session(config, self._new_discriminator(), self._random, now)
        self._sessions[config.key] = made
        self._by_discriminator[made.discriminator] = made

    def _retire(self, key: str, now: float) -> None:
        each = self._sessions.pop(key)
        each.shut_down(now)
        self._closing.append(each)

    def _drop(self, each: session.Session) -> None:
        self._by_discriminator.pop(each.discriminator, None)
        self._paths.pop(each.discriminator, None)

    def _new_discriminator(self) -> int:
        while True:
            candidate = self._random.getrandbits(32)
            if candidate and candidate not in self._by_discriminator:
                return candidate


def _fits(config: settings.Config, path: Path) -> bool:
    """Whether a packet that came this way may be of this session."""
    return (
        config.peer == path.source
        and config.multihop == path.multihop
        and config.vrf == path.vrf
        and (not config.interface or config.interface == path.interface)
        and (config.local is None or config.local == path.destination)
        and path.hops >= (config.minimum_ttl if config.multihop else settings.HOPS)
    )
