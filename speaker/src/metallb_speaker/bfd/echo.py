"""The echo function of one session: RFC 5880 sections 6.8.8 and 6.8.9, RFC 5881 section 4.

- Echo counts only once a packet of this session has come back. Whether a peer forwards our packets to us depends on its settings and
  on its packet filters, and a path that never carried an echo says nothing by not carrying the next one. Until then one packet a second asks.
- It has failed when as many packets as the multiplier says went out since the last one came back, and the next one is due. Counting packets
  rather than seconds, a pause of this process costs detection time, not the session.
"""

from metallb_speaker.bfd import chance, packets

PROBE = 1.0  # seconds between packets until one came back
SILENT = 5  # packets without an answer after which a peer is said not to send ours back


class Echo:
    """Sends while `start`ed. Time is in seconds, `interval` too."""

    def __init__(self, discriminator: int, token: int, random: chance.Random) -> None:
        self._discriminator = discriminator
        self._token = token
        self._random = random
        self._interval = PROBE
        self._multiplier = 3
        self._next: float | None = None
        self._sequence = 0
        self._unanswered = 0
        self.proven = False

    @property
    def next_deadline(self) -> float | None:
        """When `advance` has something to do; None while stopped."""
        return self._next

    @property
    def unanswered(self) -> int:
        """Packets sent since the last one came back, or since the start."""
        return self._unanswered

    def start(self, interval: float, multiplier: int, now: float) -> None:
        """Send with these settings from now on; a second call only changes them."""
        self._interval, self._multiplier = interval, multiplier
        if self._next is None:
            self._next = now
            self._unanswered = 0
            self.proven = False

    def stop(self) -> None:
        """Send nothing and detect nothing. Idempotent."""
        self._next = None
        self._unanswered = 0
        self.proven = False

    def returned(self, packet: packets.Echo, now: float) -> bool:
        """Take in what came back. False if it is not ours."""
        if self._next is None or (packet.discriminator, packet.token) != (self._discriminator, self._token):
            return False
        if not 0 < packet.sequence <= self._sequence:
            return False
        self._unanswered = 0
        if not self.proven:
            self.proven = True
            self._next = min(self._next, now + chance.jittered(self._interval, self._multiplier, self._random))
        return True

    def advance(self, now: float) -> packets.Echo | None:
        """The packet that is due, if one is. After `failed` none is."""
        if self._next is None or now < self._next or self.failed(now):
            return None
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        self._unanswered += 1
        interval = self._interval if self.proven else max(PROBE, self._interval)
        self._next = now + chance.jittered(interval, self._multiplier, self._random)
        return packets.Echo(self._discriminator, self._token, self._sequence)

    def failed(self, now: float) -> bool:
        """Whether too many packets did not come back."""
        return self.proven and self._next is not None and now >= self._next and self._unanswered >= self._multiplier
