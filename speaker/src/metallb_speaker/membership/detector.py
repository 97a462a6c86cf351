"""Who does not answer: probes, helpers, suspicions and verdicts.

- One regular probe at a time, each member in its turn; a suspicion heard of is checked with a probe beside the turn.
- While a suspicion runs the suspect is pinged every interval, with the accusation attached, so that it can object; any
  answer, however late, holds the verdict.
- Only regular probes say something about our own health, and only once the helpers had time to speak.
- What happened while we did not run counts for nothing: `delay` moves every deadline.

Sources: SWIM section 4, Lifeguard section IV, hashicorp/memberlist v0.5.1 state.go.
"""

import math
from collections.abc import Callable, Iterator

from metallb_speaker.membership import (
    awareness,
    members,
    messages,
    outbox,
    outputs,
    probes,
    settings,
    suspicion,
)

# Protocol versions from which a member answers pings over TCP, and says so when a ping for another stays unanswered.
_TCP_PING_VERSION = 3
_NACK_VERSION = 4


class Detector:
    """The failure detector. `accuse` and `condemn` take what it finds, as if another member had said it."""

    def __init__(
        self,
        *,
        me: members.Member,
        table: members.Table,
        post: outbox.Outbox,
        timings: settings.Settings,
        counters: outputs.Counters,
        first_sequence: int,
        accuse: Callable[[messages.Suspect, float], None],
        condemn: Callable[[messages.Dead, float], None],
    ) -> None:
        self.health = awareness.Awareness(timings.awareness_max_multiplier)
        self.silent = False  # who is leaving judges nobody
        self._me = me
        self._table = table
        self._post = post
        self._timings = timings
        self._counters = counters
        self._accuse = accuse
        self._condemn = condemn
        self._book = probes.ProbeBook(first_sequence)
        self._suspicions: dict[str, suspicion.Suspicion] = {}
        self._checks: dict[str, float] = {}

    def suspects(self) -> frozenset[str]:
        """The members under suspicion."""
        return frozenset(self._suspicions)

    def deadlines(self) -> Iterator[float]:
        """Every point in time at which something here is due."""
        yield from self._book.deadlines()
        if not self.silent:
            yield from self._checks.values()
            for running in self._suspicions.values():
                yield running.deadline

    def delay(self, stall: float) -> None:
        """We did not run for this long."""
        self._book.delay(stall)
        for running in self._suspicions.values():
            running.delay(stall)
        if stall >= self._timings.probe_interval:
            self.health.change(1)

    def tick(self, now: float) -> None:
        """Do everything that is due."""
        self._expire_relays(now)
        for probe in [probe for probe in self._book.probes.values() if probe.due <= now]:
            self._advance(probe, now)
        if not self.silent:
            self._judge(now)
            self._check(now)

    # ------------------------------------------------------------------ probes

    def probe_next(self, now: float) -> None:
        """Probe the member whose turn it is, unless one is being probed still."""
        if self._book.busy:
            return
        member = self._table.next_probe(now, self._me.name, self._timings.gossip_to_the_dead_time)
        if member is not None:
            self._probe(member, now, regular=True)

    def verify(self, member: members.Member, now: float, accusation: messages.Suspect | None = None) -> None:
        """Probe a member of which bad things were heard, unless that is being done; the accusation goes with the ping."""
        if not self.silent and not self._book.is_probing(member.name):
            self._probe(member, now, regular=False, accusation=accusation)

    def _probe(
        self, member: members.Member, now: float, *, regular: bool, accusation: messages.Suspect | None = None
    ) -> None:
        self._counters.probes += 1
        sequence = self._book.next_sequence(member.name)
        self._book.probes[sequence] = probes.Probe(
            target=member.name,
            sequence=sequence,
            incarnation=member.incarnation,
            regular=regular,
            indirect_at=now + self._timings.probe_timeout,
            deadline=now + self.health.scale(self._timings.probe_interval),
        )
        self._send_ping(member, sequence, accusation)

    def _send_ping(self, member: members.Member, sequence: int, accusation: messages.Suspect | None = None) -> None:
        ping = messages.serialise(self._ping(sequence, member.name))
        if accusation is None and member.state is members.State.SUSPECT:
            accusation = messages.Suspect(incarnation=member.incarnation, node=member.name, accuser=self._me.name)
        if accusation is None:
            self._post.send_with_gossip(member.endpoint, member.name, ping)
        else:
            self._post.send(member, [ping, messages.serialise(accusation)])

    def _ping(self, sequence: int, node: str) -> messages.Ping:
        return messages.Ping(
            sequence=sequence,
            node=node,
            source_address=self._me.address,
            source_port=self._me.port,
            source_node=self._me.name,
        )

    def _advance(self, probe: probes.Probe, now: float) -> None:
        if not probe.failed:
            if not probe.asked:
                self._ask_helpers(probe, now)
            if probe.deadline <= now:
                self._fail(probe, now)
        # While we are slow to accuse, the helpers' time is over before ours.
        if probe.failed and probe.nacks_until <= now and self._book.probes.pop(probe.sequence, None) is not None:
            self.health.change(probe.nacks_expected - probe.nacks)

    def _ask_helpers(self, probe: probes.Probe, now: float) -> None:
        probe.asked = True
        target = self._table.get(probe.target)
        if target is None or not target.present:
            return
        helpers = self._table.pick(
            self._timings.indirect_checks,
            lambda member: member.state is members.State.ALIVE and member not in (self._me, target),
        )
        for helper in helpers:
            nack = helper.protocol_limit >= _NACK_VERSION
            probe.nacks_expected += nack
            request = messages.IndirectPing(
                sequence=probe.sequence,
                target=target.address,
                port=target.port,
                node=target.name,
                nack=nack,
                source_address=self._me.address,
                source_port=self._me.port,
                source_node=self._me.name,
            )
            self._post.send_with_gossip(helper.endpoint, helper.name, messages.serialise(request))
        probe.nacks_until = now + max(self._timings.probe_interval, probes.NACK_WINDOW)
        if not self._timings.disable_tcp_pings and target.protocol_limit >= _TCP_PING_VERSION:
            ping = self._ping(probe.sequence, target.name)
            self._post.pending.append(outputs.DialPing(endpoint=target.endpoint, ping=ping, deadline=probe.deadline))

    def _fail(self, probe: probes.Probe, now: float) -> None:
        if probe.answered_by_tcp:
            self._counters.tcp_only_answers += 1
            del self._book.probes[probe.sequence]
            return
        self._counters.probes_failed += 1
        probe.failed = True
        if not probe.regular or not probe.nacks_expected:
            del self._book.probes[probe.sequence]
            if probe.regular:
                self.health.change(1)
        if self.silent:
            return
        accusation = messages.Suspect(incarnation=probe.incarnation, node=probe.target, accuser=self._me.name)
        self._accuse(accusation, now)
        if probe.target in self._checks:
            self._checks[probe.target] = now

    # ------------------------------------------------------------------ answers

    def hear_ack(self, sequence: int, now: float) -> None:
        """A ping of ours was answered."""
        relay = self._book.relays.pop(sequence, None)
        if relay is not None:
            ack = messages.serialise(messages.Ack(sequence=relay.sequence))
            self._post.send_with_gossip(relay.requester, relay.requester_name, ack)
        probe = self._book.probes.pop(sequence, None)
        if probe is not None and probe.regular and not probe.failed:
            self.health.change(-1)
        self._hear_from(sequence, now)

    def hear_nack(self, sequence: int) -> None:
        """A helper pinged for us, and heard nothing."""
        probe = self._book.probes.get(sequence)
        if probe is not None and probe.nacks < probe.nacks_expected:
            probe.nacks += 1

    def hear_tcp(self, sequence: int, now: float) -> None:
        """A ping of ours over TCP was answered."""
        probe = self._book.probes.get(sequence)
        if probe is not None:
            probe.answered_by_tcp = True
        self._hear_from(sequence, now)

    def _hear_from(self, sequence: int, now: float) -> None:
        name = self._book.target_of(sequence)
        running = self._suspicions.get(name) if name is not None else None
        if running is not None:
            running.hold(now)

    # ------------------------------------------------------------------ pings for others

    def relay(self, request: messages.IndirectPing, source: outputs.Endpoint, now: float) -> None:
        """Ping a member for another one."""
        if request.source_address and request.source_port:
            source = request.source_address, request.source_port
        sequence = self._book.next_sequence(request.node)
        self._book.relays[sequence] = probes.Relay(
            requester=source,
            requester_name=request.source_node,
            sequence=request.sequence,
            deadline=now + self._timings.probe_timeout,
            nack=request.nack,
        )
        target = request.target, request.port or self._me.port
        self._post.send_with_gossip(target, request.node, messages.serialise(self._ping(sequence, request.node)))

    def _expire_relays(self, now: float) -> None:
        for sequence, relay in [item for item in self._book.relays.items() if item[1].deadline <= now]:
            del self._book.relays[sequence]
            if relay.nack:
                nack = messages.serialise(messages.Nack(sequence=relay.sequence))
                self._post.send_with_gossip(relay.requester, relay.requester_name, nack)

    # ------------------------------------------------------------------ suspicions

    def begin(self, member: members.Member, accuser: str, now: float) -> None:
        """The member is suspected from now on."""
        present = sum(1 for other in self._table if other.present)
        timings = self._timings
        shortest = suspicion.shortest_timeout(timings.suspicion_mult, present, timings.probe_interval)
        self._suspicions[member.name] = suspicion.Suspicion(
            accuser=accuser,
            # Neither the accused nor its first accuser can confirm. Upstream expects nobody at all when there are too few
            # to confirm as often as it likes; then one isolated member of three condemns the other two at once.
            expected=max(0, min(timings.suspicion_mult - 2, present - 2)),
            shortest=shortest,
            longest=shortest * timings.suspicion_max_timeout_mult,
            now=now,
        )
        self._checks[member.name] = now + timings.probe_interval

    def confirm(self, name: str, accuser: str) -> bool:
        """One more accuser; whether that is news to pass on."""
        running = self._suspicions.get(name)
        return running is not None and running.confirm(accuser)

    def end(self, name: str) -> None:
        """The suspicion, if there was one, is settled."""
        self._suspicions.pop(name, None)
        self._checks.pop(name, None)

    def _judge(self, now: float) -> None:
        for name in [name for name, running in self._suspicions.items() if running.deadline <= now]:
            member = self._table.get(name)
            if member is not None:
                verdict = messages.Dead(incarnation=member.incarnation, node=name, accuser=self._me.name)
                self._condemn(verdict, now)

    def _check(self, now: float) -> None:
        for name in [name for name, due in self._checks.items() if due <= now]:
            member = self._table.get(name)
            if member is not None:
                self._send_ping(member, self._book.next_sequence(name))
            self._checks[name] = now + (self._timings.probe_interval or math.inf)
