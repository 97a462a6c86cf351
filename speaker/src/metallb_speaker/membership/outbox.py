"""How messages leave: alone, with gossip in the room that is left, or as gossip.

- Bad news, and the refutation of bad news, is gossiped at once, though never more often than every 10 ms; the rest waits for
  the gossip interval. An empty queue needs no timer.
- Who has bad news first, or refutes it, tells up to 16 members itself: in a small cluster everybody, with no chance in it.
- Gossip also goes to members that died lately: it is how one that lives after all learns that it has to object.
- A checksum is added for members known to understand it.
- A member is written to with the key that it was heard with last (`encryption`). That is noted only where it is not the usual one, of so many
  at most, since a packet can be sent again from any address; and it begins anew when the keys change.
"""

import math

from metallb_speaker.membership import broadcasts, envelope, members, messages, outputs, settings

_URGENT_GAP = 0.01
_LEAVE_GAP = 0.02
_TOLD_DIRECTLY = 16
_HEARD_LIMIT = 4096

News = messages.Alive | messages.Suspect | messages.Dead


class Outbox:
    """The packets to send and the gossip to spread; `gossip_at` is when the next gossip is due."""

    def __init__(
        self,
        *,
        me: members.Member,
        table: members.Table,
        timings: settings.Settings,
        wrapping: envelope.Envelope,
        counters: outputs.Counters,
    ) -> None:
        self.wrapping = wrapping
        self.pending: list[outputs.Output] = []
        self.gossip_at = math.inf
        self._gossiped_at = -math.inf
        self._me = me
        self._table = table
        self._timings = timings
        self._counters = counters
        self._queue = broadcasts.Broadcasts()
        self._heard: dict[outputs.Endpoint, int] = {}

    def rewrap(self, wrapping: envelope.Envelope) -> None:
        """Wrap packets this way from now on."""
        self.wrapping = wrapping
        self._heard.clear()

    def note_key(self, source: outputs.Endpoint, key: int | None) -> None:
        """Whoever is at `source` sealed with the key of that number, or sent plaintext."""
        where = _plain(source)
        if key is None or key == self.wrapping.sealing_key(None):
            self._heard.pop(where, None)
        elif len(self._heard) < _HEARD_LIMIT or where in self._heard:
            self._heard[where] = key

    def heard_key(self, endpoint: outputs.Endpoint) -> int | None:
        """The number of the key for whoever is at the endpoint, None for the usual one."""
        return self._heard.get(_plain(endpoint))

    def is_telling(self, name: str) -> bool:
        """Whether news about the member is still being gossiped."""
        return name in self._queue

    def tell(self, news: News, now: float, *, urgent: bool = False) -> None:
        """Gossip this, in place of older news about the same member."""
        self._queue.put(news.node, messages.serialise(news))
        wait = max(0.0, self._gossiped_at + _URGENT_GAP - now) if urgent else self._timings.gossip_interval
        self.gossip_at = min(self.gossip_at, now + wait)

    def announce(self, news: News, now: float) -> None:
        """Say this to others directly, as the one it comes from, and gossip it."""
        message = messages.serialise(news)
        for member in self._table.pick(_TOLD_DIRECTLY, lambda member: member is not self._me and member.present):
            self.send(member, [message])
        self.tell(news, now, urgent=True)

    def gossip(self, now: float, *, leaving: bool) -> None:
        """One round of gossip."""
        self._gossiped_at = now
        remember = self._timings.gossip_to_the_dead_time

        def listens(member: members.Member) -> bool:
            lately = member.state is members.State.DEAD and now - member.changed_at <= remember
            return member is not self._me and (member.present or lately)

        chosen = self._table.pick(self._timings.gossip_nodes, listens)
        for member in chosen:
            parts = self._take(0)
            if not parts:
                break
            self.send(member, parts)
        if chosen and len(self._queue):
            self.gossip_at = now + (_LEAVE_GAP if leaving else self._timings.gossip_interval)
        else:
            # With nobody to tell, what is queued waits for the next member: it comes with a message that wakes us.
            self.gossip_at = math.inf

    def send(self, member: members.Member, parts: list[bytes]) -> None:
        """Send these messages to a member, and nothing else."""
        for start in range(0, len(parts), envelope.COMPOUND_LIMIT):
            self._send(member.endpoint, member, parts[start : start + envelope.COMPOUND_LIMIT])

    def send_with_gossip(self, endpoint: outputs.Endpoint, name: str, message: bytes) -> None:
        """Send a message to whoever is at the endpoint, and gossip in the room it leaves. `name` may be unknown or empty."""
        room_used = len(message) + envelope.COMPOUND_ENTRY
        parts = [message, *self._take(room_used)[: envelope.COMPOUND_LIMIT - 1]]
        self._send(endpoint, self._table.get(name), parts)

    def _take(self, used: int) -> list[bytes]:
        room = self.wrapping.room(self._timings.udp_buffer_size) - used
        limit = broadcasts.transmit_limit(self._timings.retransmit_mult, len(self._table))
        return self._queue.take(room, envelope.COMPOUND_ENTRY, limit)

    def _send(self, endpoint: outputs.Endpoint, member: members.Member | None, parts: list[bytes]) -> None:
        checksum = member is not None and member.protocol_limit >= envelope.CHECKSUM_VERSION
        self._counters.packets_sent += 1
        self.pending.append(
            outputs.Send(endpoint=endpoint, data=self.wrapping.wrap(parts, checksum, self.heard_key(endpoint)))
        )


def _plain(endpoint: outputs.Endpoint) -> outputs.Endpoint:
    return members.plain_address(endpoint[0]), endpoint[1]
