"""One member of the cluster, without a socket or a clock: packets, messages and the time in, outputs out.

- Call `receive_packet`, `merge` or `tick` with the time, then do what `take_outputs` gives, then wait for packets or until
  `next_deadline`. `now` is monotonic seconds and never goes back.
- A timer that fires late means that we did not run. What we would have judged in that time waits as long again, and a long
  stall also makes us slower to accuse.
- Nothing a peer sends raises: what cannot be read is counted, what is not true is refuted.

Sources: SWIM (Das, Gupta, Motivala 2002), Lifeguard (Dadgar, Phillips, Currey 2018), hashicorp/memberlist v0.5.1.
"""

import math

from metallb_speaker.membership import (
    claims,
    envelope,
    malformed,
    members,
    messages,
    outbox,
    outputs,
    settings,
    streams,
)

PROTOCOL_LEAST, PROTOCOL_MOST, PROTOCOL_SPOKEN = 1, 5, 2
_LEAST_STALL = 0.05
_PUSH_PULL_THRESHOLD = 32


class Swim:
    """One member. `address` is 4 or 16 bytes, the one others reach us at."""

    def __init__(
        self,
        *,
        name: str,
        address: bytes,
        port: int,
        timings: settings.Settings,
        wrapping: envelope.Envelope,
        chance: members.Random,
        meta: bytes = b"",
        protocol: int = PROTOCOL_SPOKEN,
    ) -> None:
        if not name or len(name.encode()) > messages.NAME_LIMIT:
            raise ValueError(f"the node name {name!r} is empty or longer than {messages.NAME_LIMIT} bytes")
        if len(meta) > messages.META_LIMIT:
            raise ValueError(f"{len(meta)} bytes of metadata exceed {messages.META_LIMIT}")
        self.name = name
        self.counters = outputs.Counters()
        self._timings = timings
        self._chance = chance
        self._table = members.Table(chance)
        self._me = members.Member(
            name=name,
            address=address,
            port=port,
            meta=meta,
            versions=bytes((PROTOCOL_LEAST, PROTOCOL_MOST, protocol, 0, 0, 0)),
            incarnation=1,
            state=members.State.ALIVE,
            changed_at=0.0,
        )
        self._post = outbox.Outbox(
            me=self._me, table=self._table, timings=timings, wrapping=wrapping, counters=self.counters
        )
        self._claims = claims.Claims(
            me=self._me,
            table=self._table,
            post=self._post,
            timings=timings,
            counters=self.counters,
            first_sequence=int(chance.random() * 2**31),
        )
        self._detector = self._claims.detector
        self._reported: dict[str, bytes] = {}
        self._stall_limit = max(_LEAST_STALL, timings.probe_interval / 4)
        self._last_seen = -math.inf
        self._wake_at = math.inf
        self._probe_at = self._push_pull_at = math.inf

    # ------------------------------------------------------------------ what the shell calls

    def start(self, now: float) -> None:
        """Become a cluster of one."""
        self._me.changed_at = now
        self._table.add(self._me)
        self._last_seen = now
        if self._timings.probe_interval:
            self._probe_at = now + self._chance.random() * self._timings.probe_interval
        if self._timings.push_pull_interval:
            self._push_pull_at = now + (1 + self._chance.random()) * self._timings.push_pull_interval
        self._post.tell(members.describe(self._me), now)
        self._finish(now)

    def receive_packet(self, data: bytes, source: outputs.Endpoint, now: float) -> None:
        """Take one packet; `source` is who sent it."""
        self._notice_stall(now)
        self.counters.packets_received += 1
        try:
            parts, key = self._post.wrapping.unwrap_sealed(data)
            self._post.note_key(source, key)
        except malformed.MalformedError:
            self.counters.malformed += 1
            parts = []
        for part in parts:
            try:
                message = messages.parse_packet(part)
            except malformed.MalformedError:
                self.counters.malformed += 1
                continue
            if message is not None:
                self._handle(message, source, now)
        self._finish(now)

    def tick(self, now: float) -> None:
        """Do everything that is due."""
        self._notice_stall(now)
        self._detector.tick(now)
        if not self._claims.leaving:
            if now >= self._probe_at:
                self._probe_at = now + self._timings.probe_interval
                self._detector.probe_next(now)
            if now >= self._claims.announce_at:
                self._claims.announce_at = math.inf
                self._claims.refute(0, now)
                self._push_pull()
        if now >= self._push_pull_at:
            self._push_pull_at = now + self._push_pull_interval()
            self._push_pull()
        if now >= self._post.gossip_at:
            self._post.gossip(now, leaving=self._claims.leaving)
        self._finish(now)

    def next_deadline(self) -> float:
        """When `tick` is due; infinity when it never is."""
        return self._wake_at

    def take_outputs(self) -> list[outputs.Output]:
        """What has to be done, in order. They are given once."""
        taken, self._post.pending = self._post.pending, []
        return taken

    def answer_ping(self, ping: messages.Ping) -> messages.Ack | None:
        """The answer to a ping over TCP, None if it is meant for somebody else."""
        if ping.node not in ("", self.name):
            return None
        return messages.Ack(sequence=ping.sequence)

    def answered_by_tcp(self, sequence: int, now: float) -> None:
        """The ping over TCP with this number was answered."""
        self._notice_stall(now)
        self._detector.hear_tcp(sequence, now)
        self._finish(now)

    def local_state(self, join: bool) -> streams.PushPull:
        """All we know, for the other side of a push/pull."""
        return streams.PushPull(
            join=join,
            states=tuple(
                messages.MemberState(
                    node=member.name,
                    address=member.address,
                    port=member.port,
                    meta=member.meta,
                    incarnation=member.incarnation,
                    state=int(member.state),
                    versions=member.versions,
                )
                for member in self._table
            ),
        )

    def merge(self, remote: streams.PushPull, now: float) -> str | None:
        """Take what the other side of a push/pull knows. The reason if it is refused as a whole, else None."""
        self._notice_stall(now)
        vectors = [state.versions for state in remote.states if state.state == members.State.ALIVE]
        vectors += [member.versions for member in self._table if member.state is members.State.ALIVE]
        refusal = members.incompatibility(vectors)
        if refusal is not None:
            self.counters.merges_refused += 1
            return refusal
        self.counters.merges += 1
        for state in remote.states:
            self._claims.merge(state, now)
        self._finish(now)
        return None

    def leave(self, now: float) -> None:
        """Tell every member that we go. We answer still, and judge nobody any more."""
        self._notice_stall(now)
        if not self._claims.leaving:
            self._probe_at = self._push_pull_at = math.inf
            self._claims.leave(now)
        self._finish(now)

    @property
    def departed(self) -> bool:
        """Whether our leaving has been told as often as it will be."""
        return self._claims.leaving and (not self._post.is_telling(self.name) or not self._claims.others_present())

    @property
    def health_score(self) -> int:
        """0 when well; each point makes us slower to accuse others."""
        return self._detector.health.score

    def rewrap(self, wrapping: envelope.Envelope) -> None:
        """Wrap and unwrap packets this way from now on."""
        self._post.rewrap(wrapping)

    def heard_key(self, endpoint: outputs.Endpoint) -> int | None:
        """The number of the key that whoever is at the endpoint was heard with last, None for the usual one."""
        return self._post.heard_key(endpoint)

    @property
    def wrapping(self) -> envelope.Envelope:
        """How packets are wrapped now."""
        return self._post.wrapping

    @property
    def endpoint(self) -> outputs.Endpoint:
        """Where others reach us."""
        return self._me.endpoint

    def present(self) -> frozenset[str]:
        """The names of the members that are alive or merely suspected, ours among them unless we left."""
        return frozenset(member.name for member in self._table if member.present)

    def metadata(self) -> dict[str, bytes]:
        """What each of those present says of itself: up to 512 bytes, empty where it says nothing."""
        return {member.name: member.meta for member in self._table if member.present}

    def set_metadata(self, meta: bytes, now: float) -> None:
        """Say `meta` of ourselves. The same again says nothing. Raises ValueError if it is too long."""
        if len(meta) > messages.META_LIMIT:
            raise ValueError(f"{len(meta)} bytes of metadata exceed {messages.META_LIMIT}")
        if meta != self._me.meta:
            self._notice_stall(now)
            self._claims.describe_anew(meta, now)
            self._finish(now)

    def suspects(self) -> frozenset[str]:
        """The names of the members under suspicion."""
        return self._detector.suspects()

    # ------------------------------------------------------------------ messages

    def _handle(self, message: messages.Packet, source: outputs.Endpoint, now: float) -> None:
        if isinstance(message, messages.Ping):
            self._answer(message, source)
        elif isinstance(message, messages.Ack):
            self._detector.hear_ack(message.sequence, now)
        elif isinstance(message, messages.Nack):
            self._detector.hear_nack(message.sequence)
        elif isinstance(message, messages.IndirectPing):
            self._detector.relay(message, source, now)
        elif isinstance(message, messages.Alive):
            self._claims.hear_alive(message, now)
        elif isinstance(message, messages.Suspect):
            self._claims.hear_suspect(message, now)
        else:
            self._claims.hear_dead(message, now)

    def _answer(self, ping: messages.Ping, source: outputs.Endpoint) -> None:
        ack = self.answer_ping(ping)
        if ack is None:
            return
        if ping.source_address and ping.source_port:
            source = ping.source_address, ping.source_port
        self._post.send_with_gossip(source, ping.source_node, messages.serialise(ack))

    def _notice_stall(self, now: float) -> None:
        if now - self._wake_at > self._stall_limit:
            stall = now - max(self._last_seen, self._wake_at - self._timings.probe_interval)
            self.counters.stalls += 1
            self._detector.delay(stall)
            self._wake_at = math.inf
        self._last_seen = now

    def _push_pull(self) -> None:
        for member in self._table.pick(
            1, lambda member: member is not self._me and member.state is members.State.ALIVE
        ):
            self._post.pending.append(outputs.DialPushPull(endpoint=member.endpoint))

    def _push_pull_interval(self) -> float:
        known = len(self._table)
        if known <= _PUSH_PULL_THRESHOLD:
            return self._timings.push_pull_interval
        return self._timings.push_pull_interval * (math.ceil(math.log2(known / _PUSH_PULL_THRESHOLD)) + 1)

    def _finish(self, now: float) -> None:
        """Report a changed membership and work out when we are needed next."""
        if self._claims.changed:
            self._claims.changed = False
            present = self.metadata()
            if present != self._reported:
                self._reported = present
                self._post.pending.append(outputs.Changed(members=frozenset(present)))
        self._wake_at = min(
            self._probe_at,
            self._post.gossip_at,
            self._push_pull_at,
            self._claims.announce_at,
            min(self._detector.deadlines(), default=math.inf),
        )
