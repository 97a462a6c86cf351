"""What the reconciler and the deadline process say to each other.

- A message is four bytes of length, big-endian, and that many bytes of msgpack: an array that begins with the message's tag.
- Every message states a desire or a fact as it is now, never a step: sending one twice is harmless, and after a restart the latest of each
  kind is all there is to say.
- Addresses and hardware addresses are bytes, since an IPv6 address as an integer does not fit msgpack.
- Both ends are of one build, so there is no versioning.
"""

from collections.abc import Iterator, Mapping
from typing import Union

import msgspec

from metallb_core.domain import addresses
from metallb_speaker.bfd import packets, settings
from metallb_speaker.layer2 import link

MAX_LENGTH = 16 << 20
_PREFIX = 4


class MalformedStreamError(ValueError):
    """Bytes that no end of one build would send: our bug, or not our peer."""


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    pass


class Configure(_Message, frozen=True):
    """The intervals addresses come from, as (first, last) bytes, and the regular expressions of links to leave alone."""

    intervals: tuple[tuple[bytes, bytes], ...]
    exclude: tuple[str, ...]


class Announce(_Message, frozen=True):
    """Answer for `address` on the named links, or on every usable one if None."""

    address: bytes
    interfaces: tuple[str, ...] | None


class Withdraw(_Message, frozen=True):
    """Stop answering for `address`."""

    address: bytes


class StartMembership(_Message, frozen=True):
    """Run a member; `advertise_address` is where others reach it, empty for the bound address.

    `override` is the text of a JSON file of settings or empty; the first of `keys` encrypts, none means plain text.
    """

    name: str
    bind_address: str
    advertise_address: str
    port: int
    profile: str
    override: str
    keys: tuple[bytes, ...]


class Join(_Message, frozen=True):
    """Contact these members, each `host` or `host:port`."""

    addresses: tuple[str, ...]


class Leave(_Message, frozen=True):
    """Tell the members that this one leaves, and end the membership."""


class SetKeys(_Message, frozen=True):
    """Encrypt with the first key, accept all. An empty one stands for plain text."""

    keys: tuple[bytes, ...]


class BfdSession(_Message, frozen=True):
    """One BFD session; the fields of `bfd.settings.Config`. `local` is empty where the kernel chooses it."""

    key: str
    peer: bytes
    local: bytes
    interface: str
    vrf: str
    multihop: bool
    transmit_interval: int
    receive_interval: int
    multiplier: int
    echo: bool
    echo_interval: int
    passive: bool
    minimum_ttl: int


class ConfigureBfd(_Message, frozen=True):
    """Have exactly these BFD sessions, and tell of all of them, with this revision."""

    revision: int
    sessions: tuple[BfdSession, ...]


class Ping(_Message, frozen=True):
    """Answer with a pong."""


class Stop(_Message, frozen=True):
    """Leave the membership, answer for at most `linger` seconds more, then exit."""

    linger: float


class LinkEntry(_Message, frozen=True):
    """One link; the fields of `layer2.link.Link`."""

    name: str
    index: int
    mac: bytes
    up: bool
    carrier: bool
    arp: bool
    broadcast: bool
    ethernet: bool
    loopback: bool
    master: str | None
    master_kind: str | None
    addresses: tuple[tuple[bytes, int], ...]
    has_link_local: bool
    answering: bool


class Links(_Message, frozen=True):
    """All links."""

    revision: int
    links: tuple[LinkEntry, ...]


class Members(_Message, frozen=True):
    """The members that are alive, this one included, each as (name, metadata)."""

    entries: tuple[tuple[str, bytes], ...]


class Counters(_Message, frozen=True):
    """Packets since the last report: (address, requests received, responses sent, gratuitous sent)."""

    entries: tuple[tuple[bytes, int, int, int], ...]


class Conflict(_Message, frozen=True):
    """The station `mac` claims `address`, which is announced here on `interface`."""

    address: bytes
    interface: str
    mac: bytes


class BfdStates(_Message, frozen=True):
    """The BFD sessions of this revision that have another state than before, numbered as in RFC 5880 section 4.1.

    Each is (key, state, diagnostic, the peer's state). What is said of an earlier revision may be about another session of the same key.
    """

    revision: int
    entries: tuple[tuple[str, int, int, int], ...]


class BfdCounters(_Message, frozen=True):
    """Since the last report: the key of a BFD session and the fields of `bfd.settings.Counters`."""

    entries: tuple[tuple[str, int, int, int, int, int, int], ...]


class Warned(_Message, frozen=True):
    """Something did not work, in words for the log."""

    text: str


class Pong(_Message, frozen=True):
    """The answer to a ping."""


ToChild = Union[  # noqa: UP007 - msgspec reads unions at run time
    Configure, Announce, Withdraw, StartMembership, Join, Leave, SetKeys, ConfigureBfd, Ping, Stop
]
ToParent = Union[Links, Members, Counters, Conflict, BfdStates, BfdCounters, Warned, Pong]  # noqa: UP007 - as above

_ENCODER = msgspec.msgpack.Encoder()
_TO_CHILD: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_TO_PARENT: msgspec.msgpack.Decoder[ToParent] = msgspec.msgpack.Decoder(ToParent)


def encode(message: ToChild | ToParent) -> bytes:
    """The message as it goes on the stream."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(_PREFIX, "big") + body


class _Reader:
    """Cuts a stream into bodies, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def bodies(self, data: bytes) -> Iterator[bytes]:
        self._pending += data
        offset = 0
        while len(self._pending) - offset >= _PREFIX:
            length = int.from_bytes(self._pending[offset : offset + _PREFIX], "big")
            if length > MAX_LENGTH:
                raise MalformedStreamError(f"a message of {length} bytes is above the limit of {MAX_LENGTH}")
            end = offset + _PREFIX + length
            if len(self._pending) < end:
                break
            yield bytes(self._pending[offset + _PREFIX : end])
            offset = end
        del self._pending[:offset]


class ChildReader:
    """Reads, in the child, what the parent sends."""

    def __init__(self) -> None:
        self._reader = _Reader()

    def feed(self, data: bytes) -> list[ToChild]:
        """The messages that `data` completes. Raises MalformedStreamError."""
        try:
            return [_TO_CHILD.decode(body) for body in self._reader.bodies(data)]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedStreamError(str(error)) from None


class ParentReader:
    """Reads, in the parent, what the child sends."""

    def __init__(self) -> None:
        self._reader = _Reader()

    def feed(self, data: bytes) -> list[ToParent]:
        """The messages that `data` completes. Raises MalformedStreamError."""
        try:
            return [_TO_PARENT.decode(body) for body in self._reader.bodies(data)]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedStreamError(str(error)) from None


def from_interval(interval: addresses.Interval) -> tuple[bytes, bytes]:
    """An interval as it goes into `Configure`."""
    family = interval.family
    return addresses.Address(family, interval.first).packed(), addresses.Address(family, interval.last).packed()


def to_interval(pair: tuple[bytes, bytes]) -> addresses.Interval:
    """The interval that `from_interval` wrote. Raises AddressError."""
    first, last = addresses.Address.from_packed(pair[0]), addresses.Address.from_packed(pair[1])
    return addresses.Interval(first.family, first.value, last.value)


def from_table(table: link.Table) -> Links:
    """A table of links as a message."""
    return Links(
        revision=table.revision,
        links=tuple(
            LinkEntry(
                name=each.name,
                index=each.index,
                mac=each.mac,
                up=each.up,
                carrier=each.carrier,
                arp=each.arp,
                broadcast=each.broadcast,
                ethernet=each.ethernet,
                loopback=each.loopback,
                master=each.master,
                master_kind=each.master_kind,
                addresses=tuple(sorted((address.packed(), length) for address, length in each.addresses)),
                has_link_local=each.has_link_local,
                answering=each.answering,
            )
            for each in table.links.values()
        ),
    )


def to_table(message: Links) -> link.Table:
    """The table that `from_table` wrote."""
    return link.Table(
        revision=message.revision,
        links={
            each.name: link.Link(
                name=each.name,
                index=each.index,
                mac=each.mac,
                up=each.up,
                carrier=each.carrier,
                arp=each.arp,
                broadcast=each.broadcast,
                ethernet=each.ethernet,
                loopback=each.loopback,
                master=each.master,
                master_kind=each.master_kind,
                addresses=frozenset(
                    (addresses.Address.from_packed(packed), length) for packed, length in each.addresses
                ),
                has_link_local=each.has_link_local,
                answering=each.answering,
            )
            for each in message.links
        },
    )


def from_bfd(config: settings.Config) -> BfdSession:
    """A BFD session as it goes into `ConfigureBfd`."""
    return BfdSession(
        key=config.key,
        peer=config.peer.packed(),
        local=b"" if config.local is None else config.local.packed(),
        interface=config.interface,
        vrf=config.vrf,
        multihop=config.multihop,
        transmit_interval=config.transmit_interval,
        receive_interval=config.receive_interval,
        multiplier=config.multiplier,
        echo=config.echo,
        echo_interval=config.echo_interval,
        passive=config.passive,
        minimum_ttl=config.minimum_ttl,
    )


def to_bfd(message: BfdSession) -> settings.Config:
    """The BFD session that `from_bfd` wrote. Raises AddressError."""
    return settings.Config(
        key=message.key,
        peer=addresses.Address.from_packed(message.peer),
        local=addresses.Address.from_packed(message.local) if message.local else None,
        interface=message.interface,
        vrf=message.vrf,
        multihop=message.multihop,
        transmit_interval=message.transmit_interval,
        receive_interval=message.receive_interval,
        multiplier=message.multiplier,
        echo=message.echo,
        echo_interval=message.echo_interval,
        passive=message.passive,
        minimum_ttl=message.minimum_ttl,
    )


def from_statuses(revision: int, statuses: Mapping[str, settings.Status]) -> BfdStates:
    """States of BFD sessions by their keys, none of them unknown, as a message."""
    return BfdStates(
        revision=revision,
        entries=tuple(
            (key, status.state, status.diagnostic, status.remote_state)
            for key, status in statuses.items()
            if status.state is not None and status.remote_state is not None
        ),
    )


def to_statuses(message: BfdStates) -> dict[str, settings.Status]:
    """The states that `from_statuses` wrote."""
    return {
        key: settings.Status(
            state=packets.State(state), diagnostic=diagnostic, remote_state=packets.State(remote_state)
        )
        for key, state, diagnostic, remote_state in message.entries
    }
