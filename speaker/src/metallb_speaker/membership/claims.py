"""What members say of each other, judged and passed on: the tables of `members` applied.

- Claims come from packets, from the other side of a push/pull, and from our own failure detector; all are judged alike.
- What changes our view is gossiped on. What is untrue about ourselves is refuted with a higher incarnation.
- A suspicion told by another member is checked with a probe of our own before we join in.
- While others hold our name at another address, we say ours again, in growing intervals.

Sources: SWIM section 4.2, hashicorp/memberlist v0.5.1 state.go.
"""

import math

from metallb_speaker.membership import detector, members, messages, outbox, outputs, settings

_VERSIONS_SIZE = 6
_CONFLICT_RETRY = 1.0
_CONFLICT_RETRY_LIMIT = 32.0
# Far above any cluster, and a bound on what forged messages can make us remember.
_MEMBERS_LIMIT = 16384


class Claims:
    """The judge of claims. `changed` is set when a member came, went, or changed state or metadata; `announce_at` when to refute again."""

    def __init__(
        self,
        *,
        me: members.Member,
        table: members.Table,
        post: outbox.Outbox,
        timings: settings.Settings,
        counters: outputs.Counters,
        first_sequence: int,
    ) -> None:
        self.changed = True
        self.leaving = False
        self.announce_at = math.inf
        self._conflict_retry = _CONFLICT_RETRY
        self._me = me
        self._table = table
        self._post = post
        self._counters = counters
        self.detector = detector.Detector(
            me=me,
            table=table,
            post=post,
            timings=timings,
            counters=counters,
            first_sequence=first_sequence,
            accuse=self.hear_suspect,
            condemn=self.hear_dead,
        )

    def leave(self, now: float) -> None:
        """Tell every member that we go; from now on we judge nobody and defend ourselves no more."""
        self.leaving = self.detector.silent = self.changed = True
        self.announce_at = math.inf
        self._me.state = members.State.LEFT
        self._me.changed_at = now
        farewell = messages.Dead(incarnation=self._me.incarnation, node=self._me.name, accuser=self._me.name)
        for member in self.others_present():
            self._post.send(member, [messages.serialise(farewell)])
        self._post.tell(farewell, now, urgent=True)

    def others_present(self) -> list[members.Member]:
        """The members that are alive or merely suspected, without ourselves."""
        return [member for member in self._table if member is not self._me and member.present]

    def hear_alive(self, alive: messages.Alive, now: float) -> None:
        """A member is said to be alive, and where."""
        if not self._is_usable(alive):
            self._counters.malformed += 1
            return
        endpoint = members.plain_address(alive.address), alive.port or self._me.port
        if alive.node == self._me.name:
            self._hear_alive_of_me(alive, endpoint, now)
            return
        member = self._table.get(alive.node)
        replaced = False
        if member is None:
            if len(self._table) >= _MEMBERS_LIMIT:
                self._counters.malformed += 1
                return
            member = members.Member(
                name=alive.node,
                address=alive.address,
                port=endpoint[1],
                meta=b"",
                versions=b"",
                incarnation=0,
                state=members.State.DEAD,
                changed_at=now,
            )
            self._table.add(member)
            replaced = True
        elif (members.plain_address(member.address), member.port) != endpoint:
            if member.present:
                self._counters.conflicts += 1
                return
            replaced = True
        effect = members.OTHERS[member.state, members.Claim.ALIVE, members.age(alive.incarnation, member.incarnation)]
        if effect is not members.Effect.ACCEPT and not replaced:
            return
        self.detector.end(member.name)
        self.changed = self.changed or member.meta != alive.meta
        member.address, member.port, member.meta = alive.address, endpoint[1], alive.meta
        member.versions = alive.versions or member.versions
        member.incarnation = alive.incarnation
        self._change(member, members.State.ALIVE, now)
        self._post.tell(members.describe(member), now)

    def _hear_alive_of_me(self, alive: messages.Alive, endpoint: outputs.Endpoint, now: float) -> None:
        if self.leaving:
            return
        conflict = endpoint != (members.plain_address(self._me.address), self._me.port)
        effect = members.SELF[members.Claim.ALIVE, members.age(alive.incarnation, self._me.incarnation)]
        if effect is members.Effect.COMPARE:
            same = not conflict and alive.meta == self._me.meta and alive.versions == self._me.versions
            effect = members.Effect.IGNORE if same else members.Effect.REFUTE
        if effect is not members.Effect.REFUTE:
            return
        self.refute(alive.incarnation, now)
        if conflict:
            # Others hold our name at another address, most likely the one we had before a restart. They take the new one
            # only once the old one is dead to them, so it has to be said again then.
            self._counters.conflicts += 1
            if self.announce_at == math.inf:
                self.announce_at = now + self._conflict_retry
                self._conflict_retry = min(2 * self._conflict_retry, _CONFLICT_RETRY_LIMIT)

    def hear_suspect(self, claim: messages.Suspect, now: float) -> None:
        """A member is said not to answer."""
        member = self._table.get(claim.node)
        if member is None:
            return
        how_old = members.age(claim.incarnation, member.incarnation)
        if member is self._me:
            self._defend(members.SELF[members.Claim.SUSPECT, how_old], claim, now)
            return
        effect = members.OTHERS[member.state, members.Claim.SUSPECT, how_old]
        if effect is members.Effect.CONFIRM:
            if self.detector.confirm(member.name, claim.accuser):
                self._post.tell(claim, now, urgent=True)
        elif effect is members.Effect.ACCEPT:
            self._counters.suspicions += 1
            member.incarnation = claim.incarnation
            self._change(member, members.State.SUSPECT, now)
            self.detector.begin(member, claim.accuser, now)
            if claim.accuser == self._me.name:
                self._post.announce(claim, now)
            else:
                self._post.tell(claim, now, urgent=True)
                self.detector.verify(member, now)

    def hear_dead(self, claim: messages.Dead, now: float) -> None:
        """A member is said to be dead, or says of itself that it leaves."""
        member = self._table.get(claim.node)
        if member is None:
            return
        how_old = members.age(claim.incarnation, member.incarnation)
        if member is self._me:
            self._defend(members.SELF[members.Claim.DEAD, how_old], claim, now)
            return
        if members.OTHERS[member.state, members.Claim.DEAD, how_old] is not members.Effect.ACCEPT:
            return
        self.detector.end(member.name)
        member.incarnation = claim.incarnation
        if claim.node == claim.accuser:
            self._counters.departures += 1
            self._change(member, members.State.LEFT, now)
        else:
            self._counters.deaths += 1
            self._change(member, members.State.DEAD, now)
            # Should it live after all, this is how it learns that it has to object.
            self._post.send(member, [messages.serialise(claim)])
        if claim.accuser == self._me.name:
            self._post.announce(claim, now)
        else:
            self._post.tell(claim, now, urgent=True)

    def _defend(self, effect: members.Effect, claim: messages.Suspect | messages.Dead, now: float) -> None:
        if effect is not members.Effect.REFUTE or self.leaving:
            return
        self.detector.health.change(1)
        self.refute(claim.incarnation, now)
        accuser = self._table.get(claim.accuser)
        if accuser is not None and accuser is not self._me:
            self._post.send(accuser, [messages.serialise(members.describe(self._me))])

    def refute(self, accused: int, now: float) -> None:
        """Say that we are alive, with an incarnation above `accused`."""
        self._counters.refutations += 1
        self._me.incarnation = min(max(self._me.incarnation, accused) + 1, messages.UINT32)
        self._post.announce(members.describe(self._me), now)

    def describe_anew(self, meta: bytes, now: float) -> None:
        """Say of ourselves what `meta` says from now on, with an incarnation above the last, or the others would not look."""
        self.changed = True
        self._me.meta = meta
        self._me.incarnation = min(self._me.incarnation + 1, messages.UINT32)
        if not self.leaving:
            self._post.announce(members.describe(self._me), now)

    def merge(self, state: messages.MemberState, now: float) -> None:
        """What the other side of a push/pull knows of one member."""
        if state.state == members.State.ALIVE:
            alive = messages.Alive(
                incarnation=state.incarnation,
                node=state.node,
                address=state.address,
                port=state.port,
                meta=state.meta,
                versions=state.versions,
            )
            self.hear_alive(alive, now)
        elif state.state == members.State.LEFT:
            self.hear_dead(messages.Dead(incarnation=state.incarnation, node=state.node, accuser=state.node), now)
        else:
            self._hear_doubt(state, now)

    def _hear_doubt(self, state: messages.MemberState, now: float) -> None:
        """The other side of a push/pull holds a member suspect or dead: a reason to look, not one to accuse."""
        claim = messages.Suspect(incarnation=state.incarnation, node=state.node, accuser=self._me.name)
        if state.node == self._me.name:
            self.hear_suspect(claim, now)
            return
        member = self._table.get(state.node)
        if member is None or member.state is not members.State.ALIVE or state.incarnation < member.incarnation:
            return
        self.detector.verify(member, now, accusation=claim)

    def _is_usable(self, alive: messages.Alive) -> bool:
        vector = alive.versions
        if len(alive.address) not in (4, 16) or not alive.node:
            return False
        return not vector or (len(vector) >= _VERSIONS_SIZE and 0 < vector[0] <= vector[1])

    def _change(self, member: members.Member, state: members.State, now: float) -> None:
        if member.state is not state:
            member.state = state
            member.changed_at = now
            self.changed = True
