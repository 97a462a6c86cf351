"""The child: answers on the links and holds the membership, and obeys what comes down the stream.

- All messages that arrive together are one update, so that a replay of thousands of addresses publishes once.
- Facts, states of BFD sessions among them, go up when they change; counters about each second, and only those that changed. While the
  parent does not read, facts are kept in their latest form and sent when it reads again.
- Stopping, in this order: only answer and defend nothing any more; tell the BFD peers that this end is switched off, so that they do not
  count a failure; leave the membership, so that the others elect; go on answering until every address was claimed by its new owner, or the
  linger time is over; then fall silent and exit. No moment without an owner, and the moment with two is as short as the hand-over.
- The end of the stream means that the parent is dead, and is treated as such a stop. Answering on for longer would be worse than a gap:
  nobody could withdraw an address any more, the others would still count this node as alive, and a new parent starts a new child that
  needs the membership's port.
"""

import argparse
import asyncio
import contextlib
import random
import re
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from metallb_core.domain import addresses
from metallb_speaker import capability
from metallb_speaker.bfd import settings as bfd_settings
from metallb_speaker.deadline import channel, hosting, messages, tuning
from metallb_speaker.layer2 import announcer, claims, exclusions, link, links, schedule

if TYPE_CHECKING:
    from metallb_speaker.bfd import service as bfd_service

_REPORT = 1.0  # seconds between two reports of counters


def open_member(wanted: messages.StartMembership, on_change: hosting.OnChange) -> hosting.Member:
    """The member that `wanted` describes, not started. Raises ValueError for a profile or an override that cannot be used."""
    # Imported here and not above: a node without membership does not pay its memory.
    from metallb_speaker.membership import settings, transport

    timings = settings.PROFILES.get(wanted.profile)
    if timings is None:
        raise ValueError(f"{wanted.profile!r} is no membership profile; expected {', '.join(settings.PROFILES)}")
    if wanted.override:
        timings = settings.parse_override(wanted.override, timings)
    config = transport.Config(
        name=wanted.name,
        bind_address=wanted.bind_address,
        advertise_address=wanted.advertise_address,
        bind_port=wanted.port,
        timings=timings,
        keys=wanted.keys,
    )
    return transport.Membership(config, on_change)


class Process:
    """The child's whole state. `wait_finished` returns when the process should exit."""

    def __init__(
        self, sock: socket.socket, *, linger: float, refresh: float, factory: hosting.Factory = open_member
    ) -> None:
        """`sock` is the stream to the parent; `linger` is used if the parent dies, `refresh` as for the announcer; both in seconds."""
        self._loop = asyncio.get_running_loop()
        self._linger = linger
        self._reader = messages.ChildReader()
        self._channel = channel.Channel(
            self._loop, sock, on_data=self._received, on_end=self._parent_died, on_drained=self._report
        )
        self._announcer = announcer.Announcer(
            self._loop,
            random.Random(),
            on_conflict=self._conflict,
            on_warning=self._warn,
            on_refused=self._describe,
            refresh=refresh,
        )
        self._links = links.Links(self._links_changed)
        self._host = hosting.Host(factory, self._members_changed, self._warn)
        self._bfd: bfd_service.Service | None = None
        self._bfd_revision = 0
        self._unsent_bfd: dict[str, bfd_settings.Status] = {}
        self._unsent_links: link.Table | None = None
        self._unsent_members: frozenset[str] | None = None
        # `_table` is the kernel's last one; `_told` is what the others know of it, with the links that do not answer marked.
        self._table = self._told = link.Table()
        self._exclude: tuple[re.Pattern[str], ...] = ()
        self._stopping: asyncio.Task[None] | None = None
        self._finished = self._loop.create_future()
        self._timer = self._loop.call_later(_REPORT, self._tick)

    def start(self) -> None:
        """Begin to follow the links. Raises OSError."""
        self._links.start()

    def stop(self, linger: float) -> None:
        """Hand over and finish; a second call changes nothing."""
        if self._stopping is None:
            self._stopping = self._loop.create_task(self._hand_over(linger))

    async def wait_finished(self) -> None:
        """Wait until the hand-over is complete and everything is closed."""
        await self._finished

    async def _hand_over(self, linger: float) -> None:
        handed_over = asyncio.Event()
        self._announcer.hand_over(handed_over.set)
        try:
            await asyncio.gather(self._wait_bfd_shut_down(), self._host.wait_left())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(linger):
                    await handed_over.wait()
        finally:
            self._timer.cancel()
            self._report()
            if self._bfd is not None:
                self._bfd.close()
            self._announcer.close()
            self._links.stop()
            self._channel.close()
            self._finished.set_result(None)

    async def _wait_bfd_shut_down(self) -> None:
        if self._bfd is not None:
            await self._bfd.wait_shut_down()

    # From the parent

    def _received(self, data: bytes) -> None:
        announce: dict[addresses.Address, announcer.Interfaces] = {}
        withdraw: set[addresses.Address] = set()
        for message in self._reader.feed(data):
            match message:
                case messages.Announce(address=packed, interfaces=names):
                    address = addresses.Address.from_packed(packed)
                    announce[address] = None if names is None else frozenset(names)
                    withdraw.discard(address)
                case messages.Withdraw(address=packed):
                    address = addresses.Address.from_packed(packed)
                    announce.pop(address, None)
                    withdraw.add(address)
                case _:
                    self._obey(message)
        if announce or withdraw:
            self._announcer.update(announce, withdraw)

    def _obey(self, message: messages.ToChild) -> None:
        match message:
            case messages.Configure(intervals=intervals, exclude=patterns):
                try:
                    compiled = exclusions.compile_patterns(patterns)
                except exclusions.ExclusionError as error:
                    self._warn(str(error))
                    return
                self._exclude = compiled
                self._announcer.configure([messages.to_interval(pair) for pair in intervals], compiled)
                self._describe()
            case messages.StartMembership():
                self._host.start(message)
            case messages.Join(addresses=names):
                self._host.join(names)
            case messages.SetKeys(keys=keys):
                self._host.set_keys(keys)
            case messages.Leave():
                self._host.leave()
            case messages.ConfigureBfd(revision=revision, sessions=sessions):
                self._bfd_revision = revision
                self._unsent_bfd = {}
                self._configure_bfd([messages.to_bfd(each) for each in sessions])
            case messages.Ping():
                self._channel.send(messages.encode(messages.Pong()))
            case messages.Stop(linger=linger):
                self.stop(linger)

    def _configure_bfd(self, configs: Sequence[bfd_settings.Config]) -> None:
        if self._bfd is None:
            if not configs:
                return
            # Imported here and not above: a node without BFD does not pay its memory.
            from metallb_speaker.bfd import service

            self._bfd = service.Service(
                self._loop, random.SystemRandom(), on_change=self._bfd_changed, on_warning=self._warn
            )
        self._bfd.configure(configs)

    def _parent_died(self) -> None:
        self.stop(self._linger)

    # To the parent

    def _links_changed(self, table: link.Table) -> None:
        self._table = table
        self._announcer.set_links(table)
        self._describe()

    def _describe(self) -> None:
        """Tell the parent and the other members which links can carry an announcement here: a node without one is no candidate."""
        told = self._table.without_answers(self._announcer.refused)
        self._host.set_metadata(capability.encode(told.announcing(self._exclude)))
        if told != self._told:
            self._unsent_links = self._told = told
            self._report_facts()

    def _members_changed(self, names: frozenset[str]) -> None:
        self._unsent_members = names
        self._report_facts()

    def _bfd_changed(self, statuses: Mapping[str, bfd_settings.Status]) -> None:
        self._unsent_bfd.update(statuses)
        self._report_facts()

    def _conflict(self, conflict: claims.Conflict) -> None:
        if not self._channel.congested:
            self._channel.send(
                messages.encode(
                    messages.Conflict(address=conflict.address.packed(), interface=conflict.interface, mac=conflict.mac)
                )
            )

    def _warn(self, text: str) -> None:
        if not self._channel.congested:
            self._channel.send(messages.encode(messages.Warned(text=text)))

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_REPORT, self._tick)
        self._report()

    def _report(self) -> None:
        self._report_facts()
        if self._channel.congested:
            return
        counted = self._announcer.counters()
        if counted:
            entries = tuple((address.packed(), *counts) for address, counts in counted.items())
            self._channel.send(messages.encode(messages.Counters(entries=entries)))
        watched = self._bfd.counters() if self._bfd is not None else {}
        if watched:
            self._channel.send(
                messages.encode(messages.BfdCounters(entries=tuple((key, *counts) for key, counts in watched.items())))
            )

    def _report_facts(self) -> None:
        if self._channel.congested:
            return
        if self._unsent_bfd:
            self._channel.send(messages.encode(messages.from_statuses(self._bfd_revision, self._unsent_bfd)))
            self._unsent_bfd = {}
        if self._unsent_links is not None:
            self._channel.send(messages.encode(messages.from_table(self._unsent_links)))
            self._unsent_links = None
        if self._unsent_members is not None:
            described = self._host.metadata()
            entries = tuple((name, described.get(name, b"")) for name in sorted(self._unsent_members))
            self._channel.send(messages.encode(messages.Members(entries=entries)))
            self._unsent_members = None


async def _run(sock: socket.socket, linger: float, refresh: float) -> None:
    process = Process(sock, linger=linger, refresh=refresh)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, process.stop, linger)
    # Ctrl-C at a terminal reaches both processes; the parent then stops the child in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    tuning.prefer_this_process()
    tuning.settle_collector()
    await process.wait_finished()


def main(arguments: list[str] | None = None) -> None:
    """The entry point of `python -m metallb_speaker.deadline`."""
    parser = argparse.ArgumentParser(prog="metallb_speaker.deadline")
    parser.add_argument("--fd", type=int, required=True, help="the inherited stream socket to the parent")
    parser.add_argument("--linger", type=float, default=1.0, help="seconds to answer on after the parent's death")
    parser.add_argument("--refresh", type=float, default=schedule.REFRESH, help="seconds between refreshes, 0: none")
    options = parser.parse_args(arguments)
    asyncio.run(_run(socket.socket(fileno=options.fd), options.linger, options.refresh))
