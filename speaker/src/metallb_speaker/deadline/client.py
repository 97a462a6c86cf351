"""The reconciler's side of the deadline process.

- Every call states a desire, is kept, and is sent if the process runs. A process that dies is started again and told everything anew, so the
  caller never repeats itself.
- The process is executed afresh rather than forked: a fork would share the reconciler's heap, pay for every page either side touches, and
  carry its descriptors and threads along.
- A process that is alive but does not answer three pings in a row is killed and replaced. Pings are only counted when they were sent, so
  a stalled reconciler does not accuse the process.
- The thread that runs the loop can stand back, for the process's sake (`tuning`). A child inherits the priority of the thread that starts it,
  so that a thread which keeps its priority does.
- Starts that fail again and again are spaced out, from a tenth of a second to five seconds.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent import futures

import msgspec

from metallb_core.domain import addresses
from metallb_speaker.bfd import settings as bfd_settings
from metallb_speaker.deadline import channel, messages, tuning
from metallb_speaker.layer2 import claims, link

Interfaces = frozenset[str] | None
Counts = tuple[int, int, int]

_FIRST_RESTART, _LAST_RESTART = 0.1, 5.0
_HEALTHY = 10.0  # a process that lived this long is restarted at once
_PING = 2.0
_PINGS_UNANSWERED = 3
_EXIT = 2.0  # seconds for exiting after everything was handed over


def _nothing(_: object) -> None:
    pass


class Client:
    """Spawns and commands one deadline process. Every method is called from the loop's thread; only `wait_stopped` waits."""

    def __init__(
        self,
        *,
        on_links: Callable[[link.Table], None] = _nothing,
        on_members: Callable[[Mapping[str, bytes]], None] = _nothing,
        on_counters: Callable[[Mapping[addresses.Address, Counts]], None] = _nothing,
        on_conflict: Callable[[claims.Conflict], None] = _nothing,
        on_bfd: Callable[[Mapping[str, bfd_settings.Status]], None] = _nothing,
        on_bfd_counters: Callable[[Mapping[str, bfd_settings.Counters]], None] = _nothing,
        on_warning: Callable[[str], None] = _nothing,
        on_exit: Callable[[int], None] = _nothing,
        linger: float = 1.0,
        refresh: float = 60.0,
        stand_back: bool = False,
    ) -> None:
        """`on_members` gets the metadata of each live member by name, this one's too.

        `on_counters` gets (requests received, responses sent, gratuitous sent) since the last call, `on_exit` the exit status.

        `on_bfd` gets the status of each BFD session that has another one than before, by key: `bfd.settings.UNKNOWN` until the process has
        told, and again when the process is gone, which says nothing about the path. `on_bfd_counters` gets what each session counted since
        the last call.

        `linger` is how long the process answers on if this one dies, `refresh` the interval of refreshing announcements; in seconds.
        `stand_back` gives the calling thread of `start` the lowest priority for good; only a program whose main thread it is wants that.
        """
        self._on_links = on_links
        self._on_members = on_members
        self._on_counters = on_counters
        self._on_conflict = on_conflict
        self._on_bfd = on_bfd
        self._on_bfd_counters = on_bfd_counters
        self._on_warning = on_warning
        self._on_exit = on_exit
        self._arguments = ("--linger", str(linger), "--refresh", str(refresh))
        self._desired: dict[addresses.Address, Interfaces] = {}
        self._configured: messages.Configure | None = None
        self._membership: messages.StartMembership | None = None
        self._joined: messages.Join | None = None
        self._bfd_wanted: dict[str, bfd_settings.Config] = {}
        self._bfd_revision = 0
        self._bfd_known: dict[str, bfd_settings.Status] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: channel.Channel | None = None
        self._reader = messages.ParentReader()
        self._restart_after = _FIRST_RESTART
        self._started_at = 0.0
        self._unanswered = 0
        self._timer: asyncio.TimerHandle | None = None
        self._spawner = futures.ThreadPoolExecutor(1, "spawner") if stand_back else None
        self._stopping = False
        self._exited = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id of the deadline process, None while there is none."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Spawn the process; the earlier in the life of a small parent, the less there is to copy. Call from the running loop."""
        if self._process is None and not self._stopping:
            self._loop = asyncio.get_running_loop()
            self._spawn()
            if self._spawner is not None:
                tuning.stand_back()

    # Desires

    def configure(self, intervals: Iterable[addresses.Interval], exclude: Sequence[str]) -> None:
        """Set the intervals of all pools, which the kernel's filters let through, and the patterns of links to leave alone."""
        self._configured = messages.Configure(
            intervals=tuple(messages.from_interval(each) for each in intervals), exclude=tuple(exclude)
        )
        self._send(self._configured)

    def announce(self, address: addresses.Address, interfaces: Interfaces) -> None:
        """Answer for `address` on the named links, or on every usable one if None. Saying it again changes nothing."""
        if address in self._desired and self._desired[address] == interfaces:
            return
        self._desired[address] = interfaces
        self._send(self._announcement(address, interfaces))

    def withdraw(self, address: addresses.Address) -> None:
        """Stop answering for `address`. Withdrawing what is not announced changes nothing."""
        if address in self._desired:
            del self._desired[address]
            self._send(messages.Withdraw(address=address.packed()))

    def start_membership(
        self,
        name: str,
        *,
        bind_address: str,
        advertise_address: str = "",
        port: int = 7946,
        profile: str = "fast",
        override: str = "",
        keys: Sequence[bytes] = (),
    ) -> None:
        """Run a cluster member. `override` is the text of a JSON file of settings; the first key encrypts, none means plain text."""
        self._membership = messages.StartMembership(
            name=name,
            bind_address=bind_address,
            advertise_address=advertise_address,
            port=port,
            profile=profile,
            override=override,
            keys=tuple(keys),
        )
        self._send(self._membership)

    def join(self, hosts: Sequence[str]) -> None:
        """Contact these members, each `host` or `host:port`."""
        self._joined = messages.Join(addresses=tuple(hosts))
        self._send(self._joined)

    def set_keys(self, keys: Sequence[bytes]) -> None:
        """Encrypt with the first key, accept all. Nothing happens without a membership."""
        if self._membership is not None:
            self._membership = msgspec.structs.replace(self._membership, keys=tuple(keys))
            self._send(messages.SetKeys(keys=tuple(keys)))

    def leave(self) -> None:
        """Leave the cluster and end the membership; the answers on the links go on."""
        self._membership = self._joined = None
        self._send(messages.Leave())

    def bfd(self, sessions: Iterable[bfd_settings.Config]) -> None:
        """Have exactly these BFD sessions. Saying it again changes nothing.

        Of two with one key, or with the same endpoints, the first counts. A session that changes its endpoints begins anew.
        """
        wanted: dict[str, bfd_settings.Config] = {}
        for each in sessions:
            wanted.setdefault(each.key, each)
        if wanted == self._bfd_wanted:
            return
        before, self._bfd_wanted = self._bfd_wanted, wanted
        kept = {key for key, config in wanted.items() if key in before and before[key].endpoints == config.endpoints}
        known = self._bfd_known
        self._bfd_known = {key: known[key] if key in kept else bfd_settings.UNKNOWN for key in wanted}
        self._bfd_revision += 1
        self._send(self._bfd_configuration())
        self._tell_bfd({key: status for key, status in self._bfd_known.items() if known.get(key) != status})

    def _bfd_configuration(self) -> messages.ConfigureBfd:
        return messages.ConfigureBfd(
            revision=self._bfd_revision, sessions=tuple(messages.from_bfd(each) for each in self._bfd_wanted.values())
        )

    def bfd_status(self, key: str) -> bfd_settings.Status:
        """What is known of a BFD session now; `bfd.settings.UNKNOWN` if nothing is, or nobody asked for it."""
        return self._bfd_known.get(key, bfd_settings.UNKNOWN)

    async def wait_stopped(self, linger: float = 1.0) -> None:
        """Hand over and end the process: leave the cluster, answer on for at most `linger` seconds, exit. Kills what does not."""
        self._stopping = True
        if self._spawner is not None:
            self._spawner.shutdown(wait=False)
        if self._process is None:
            self._cancel_timer()
            return
        self._send(messages.Stop(linger=linger))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(linger + _EXIT + _EXIT):
                await self._exited.wait()
        if self._process is not None:
            self._kill()

    # The process

    def _spawn(self) -> None:
        assert self._loop is not None
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "metallb_speaker.deadline", "--fd", str(theirs.fileno()), *self._arguments]
        try:
            self._process = self._execute(command, theirs)
        except OSError as error:
            ours.close()
            self._on_warning(f"cannot start the deadline process: {error}")
            self._schedule_restart()
            return
        finally:
            theirs.close()
        self._started_at = self._loop.time()
        self._unanswered = 0
        self._reader = messages.ParentReader()
        self._channel = channel.Channel(self._loop, ours, on_data=self._received, on_end=self._ended)
        self._replay()
        self._cancel_timer()
        self._timer = self._loop.call_later(_PING, self._ping)

    def _execute(self, command: list[str], theirs: socket.socket) -> subprocess.Popen[bytes]:
        def run() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL)

        return run() if self._spawner is None else self._spawner.submit(run).result()

    def _replay(self) -> None:
        """Say everything, in one piece: the process then takes it as one update."""
        assert self._channel is not None
        said: list[messages.ToChild] = []
        if self._configured is not None:
            said.append(self._configured)
        said += [self._announcement(address, interfaces) for address, interfaces in self._desired.items()]
        if self._membership is not None:
            said.append(self._membership)
        if self._joined is not None:
            said.append(self._joined)
        if self._bfd_wanted:
            said.append(self._bfd_configuration())
        self._channel.send(b"".join(messages.encode(message) for message in said))

    @staticmethod
    def _announcement(address: addresses.Address, interfaces: Interfaces) -> messages.Announce:
        return messages.Announce(
            address=address.packed(), interfaces=None if interfaces is None else tuple(sorted(interfaces))
        )

    def _send(self, message: messages.ToChild) -> None:
        if self._channel is not None:
            self._channel.send(messages.encode(message))

    def _received(self, data: bytes) -> None:
        try:
            said = self._reader.feed(data)
        except messages.MalformedStreamError as error:
            self._on_warning(f"the deadline process is replaced, its messages are malformed: {error}")
            self._kill()
            return
        for message in said:
            self._take(message)

    def _take(self, message: messages.ToParent) -> None:
        match message:
            case messages.Links():
                self._on_links(messages.to_table(message))
            case messages.Members(entries=members):
                self._on_members(dict(members))
            case messages.Counters(entries=entries):
                self._on_counters(
                    {
                        addresses.Address.from_packed(packed): (received, sent, gratuitous)
                        for packed, received, sent, gratuitous in entries
                    }
                )
            case messages.Conflict(address=packed, interface=interface, mac=mac):
                address = addresses.Address.from_packed(packed)
                self._on_conflict(claims.Conflict(address=address, interface=interface, mac=mac))
            case messages.BfdStates():
                if message.revision == self._bfd_revision:
                    self._take_bfd(messages.to_statuses(message))
            case messages.BfdCounters(entries=entries):
                self._on_bfd_counters(
                    {key: bfd_settings.Counters(*counts) for key, *counts in entries if key in self._bfd_known}
                )
            case messages.Warned(text=text):
                self._on_warning(text)
            case messages.Pong():
                self._unanswered = 0

    def _take_bfd(self, statuses: Mapping[str, bfd_settings.Status]) -> None:
        """Keep and pass on what is new, of the sessions that are still wanted."""
        changed = {
            key: status for key, status in statuses.items() if key in self._bfd_known and self._bfd_known[key] != status
        }
        self._bfd_known.update(changed)
        self._tell_bfd(changed)

    def _tell_bfd(self, changed: Mapping[str, bfd_settings.Status]) -> None:
        if changed:
            self._on_bfd(changed)

    def _ping(self) -> None:
        assert self._loop is not None
        if self._unanswered >= _PINGS_UNANSWERED and not self._stopping:
            self._on_warning("the deadline process does not answer and is replaced")
            self._kill()
            return
        self._unanswered += 1
        self._send(messages.Ping())
        self._timer = self._loop.call_later(_PING, self._ping)

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
        if self._channel is not None:
            self._channel.close()
            self._ended()

    def _ended(self) -> None:
        """The stream ended: the process is dead or about to be."""
        self._channel = None
        self._cancel_timer()
        if not self._stopping:
            # Nobody watches the paths now. That is not a failure of theirs, and those who ask are told the difference.
            self._take_bfd(dict.fromkeys(self._bfd_known, bfd_settings.UNKNOWN))
        self._reap(attempts=200)

    def _reap(self, attempts: int) -> None:
        assert self._loop is not None
        if self._process is None:
            return
        status = self._process.poll()
        if status is None:
            if attempts == 0:
                self._process.kill()
            self._loop.call_later(0.01, self._reap, max(0, attempts - 1))
            return
        self._process = None
        self._on_exit(status)
        if self._stopping:
            self._exited.set()
            return
        if self._loop.time() - self._started_at >= _HEALTHY:
            self._restart_after = _FIRST_RESTART
        self._schedule_restart()

    def _schedule_restart(self) -> None:
        assert self._loop is not None
        self._cancel_timer()
        self._timer = self._loop.call_later(self._restart_after, self._respawn)
        self._restart_after = min(self._restart_after * 2, _LAST_RESTART)

    def _respawn(self) -> None:
        if not self._stopping:
            self._spawn()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
