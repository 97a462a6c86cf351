"""One session: RFC 5880 section 6.8, asynchronous mode, as a machine that takes packets and the time and gives packets.

- Received packets go through the rules of section 6.8.6 in their order; the state changes only through the tables of `machine`.
- An interval that is made longer, or a receive interval that is made shorter, is advertised at once and used when the peer has answered the
  poll (section 6.8.3). What changes while a poll runs gets a poll of its own afterwards: the answer may be to the packet before the change.
- While the session is not Up it asks for one packet a second at most, whatever the configuration (section 6.8.3).
- What the peer does not know yet is told at once, not with the next periodic packet (section 6.8.7).
- Demand mode is honoured if the peer asks for it and never asked for: it saves nothing worth having here.
- The bit C stays clear: this process ends with the speaker that advertises the routes.
- Being shut down is told three times in a fifth of a second and then not any more. Section 6.8.16 suggests a detection time; a process that is
  stopped does not have that long, and one packet may be lost.
"""

from metallb_speaker.bfd import chance, echo, machine, packets, settings

SLOW = 1_000_000  # microseconds: the least interval while not Up, and of control packets beside a working echo
_FAREWELLS = 3
_BETWEEN_FAREWELLS = 0.1
_SECOND = 1_000_000


class Session:
    """Give it packets and the time; take `outgoing` and `echoes` away after each call. Times are in seconds of one monotonic clock."""

    def __init__(self, config: settings.Config, discriminator: int, random: chance.Random, now: float) -> None:
        """`discriminator` is not zero, and no other session's."""
        self.config = config
        self.discriminator = discriminator
        self.outgoing: list[packets.Control] = []
        self.echoes: list[packets.Echo] = []
        self.state = packets.State.DOWN
        self.remote_state = packets.State.DOWN
        self.remote_discriminator = 0
        self.diagnostic: int = packets.Diagnostic.NONE
        self.loops_echo = False
        self.counters = settings.Counters()
        self.desired_min_tx = max(SLOW, config.transmit_interval * 1000)
        self.required_min_rx = config.receive_interval * 1000
        self.polling = False
        self._random = random
        self._echo = echo.Echo(discriminator, random.getrandbits(64), random)
        self._tx_in_use = self.desired_min_tx
        self._rx_in_use = self.required_min_rx
        self._poll_again = False
        self._remote_demand = False
        self._remote_min_rx = 1
        self._remote_min_tx = 0
        self._remote_multiplier = 0
        self._remote_min_echo_rx = 0
        self._last_heard: float | None = None
        self._last_sent: float | None = None
        self._next_transmission = now
        self._farewells = 0

    # What it is

    @property
    def status(self) -> settings.Status:
        """State, diagnostic and the peer's state."""
        return settings.Status(state=self.state, diagnostic=self.diagnostic, remote_state=self.remote_state)

    @property
    def finished(self) -> bool:
        """Whether it was shut down and has said so often enough."""
        return self.state is packets.State.ADMIN_DOWN and self._farewells == 0

    @property
    def transmit_interval(self) -> float:
        """Seconds between two packets before jitter (section 6.8.2)."""
        return max(self._tx_in_use, self._remote_min_rx) / _SECOND

    @property
    def detection_time(self) -> float:
        """Seconds without a packet after which the session is down (section 6.8.4); zero before the first packet."""
        return self._remote_multiplier * max(self._rx_in_use, self._remote_min_tx) / _SECOND

    @property
    def echo_is_silent(self) -> bool:
        """Whether several echo packets went out and none ever came back."""
        return not self._echo.proven and self._echo.unanswered >= echo.SILENT

    def next_deadline(self) -> float | None:
        """When `advance` has something to do; None: only after a packet."""
        if self.state is packets.State.ADMIN_DOWN:
            return self._next_transmission if self._farewells else None
        due = [
            each
            for each in (
                self._next_transmission if self._transmits() else None,
                self._detection_deadline(),
                self._echo.next_deadline,
            )
            if each is not None
        ]
        return min(due, default=None)

    # What happens to it

    def configure(self, config: settings.Config, now: float) -> None:
        """Change everything but the endpoints. Nothing happens if nothing changed."""
        if config == self.config or self.state is packets.State.ADMIN_DOWN:
            self.config = config
            return
        told = self._contents()
        self.config = config
        self._settle_echo(now)
        self._settle_intervals()
        if self._contents() != told:
            self._speak(now)
        self._hurry(now)

    def offer_echo(self, loops: bool, now: float) -> None:
        """Say whether this host sends the peer's echo packets back."""
        if loops != self.loops_echo:
            self.loops_echo = loops
            if self.state is packets.State.UP:
                self._speak(now)

    def shut_down(self, now: float) -> None:
        """Go to AdminDown and tell the peer (section 6.8.16). Idempotent."""
        if self.state is packets.State.ADMIN_DOWN:
            return
        self._enter(machine.Step(packets.State.ADMIN_DOWN, packets.Diagnostic.ADMINISTRATIVELY_DOWN))
        self._echo.stop()
        self._settle_intervals()
        self.polling = self._poll_again = False
        if self._may_speak():
            self._farewells = _FAREWELLS
            self._bid_farewell(now)

    def receive(self, packet: packets.Control, now: float) -> bool:
        """Take in a packet that was found to belong here (section 6.8.6). False if it is discarded."""
        if packet.authenticated:
            return False
        self.counters = self.counters._replace(control_packet_input=self.counters.control_packet_input + 1)
        told = self._contents()
        self.remote_discriminator = packet.my_discriminator
        self.remote_state = packet.state
        self._remote_demand = packet.demand
        self._remote_min_rx = packet.required_min_rx
        self._remote_min_echo_rx = packet.required_min_echo_rx
        self._remote_min_tx = packet.desired_min_tx
        self._remote_multiplier = packet.multiplier
        answered = packet.final and self.polling
        if answered and not self._poll_again:
            self.polling = False
            self._tx_in_use, self._rx_in_use = self.desired_min_tx, self.required_min_rx
        self._last_heard = now
        if self.state is packets.State.ADMIN_DOWN:
            return False
        self._enter(machine.RECEIVED[self.state, packet.state])
        self._settle_echo(now)
        self._settle_intervals()
        if packet.poll:
            self._send(now, final=True)
        if answered and self._poll_again:
            self._poll_again = False
            self._speak(now)
        elif self._contents() != told:
            self._speak(now)
        self._hurry(now)
        return True

    def echo_returned(self, packet: packets.Echo, now: float) -> bool:
        """Take in an echo packet that came back. False if it is not this session's."""
        if not self._echo.returned(packet, now):
            return False
        self.counters = self.counters._replace(echo_packet_input=self.counters.echo_packet_input + 1)
        told = self._contents()
        self._settle_intervals()
        if self._contents() != told:
            self._speak(now)
        return True

    def advance(self, now: float) -> None:
        """Do what is due at `now`. Read what has arrived first: a packet that waits in a socket is not a packet that is missing."""
        if self.state is packets.State.ADMIN_DOWN:
            if self._farewells and now >= self._next_transmission:
                self._bid_farewell(now)
            return
        deadline = self._detection_deadline()
        if deadline is not None and now >= deadline:
            self._fail(machine.EXPIRED[self.state], now)
            self._forget_peer()
        if self._echo.failed(now):
            self._fail(machine.ECHO_LOST[self.state], now)
        packet = self._echo.advance(now)
        if packet is not None:
            self.counters = self.counters._replace(echo_packet_output=self.counters.echo_packet_output + 1)
            self.echoes.append(packet)
        if self._transmits() and now >= self._next_transmission:
            self._speak(now)

    # State

    def _enter(self, step: machine.Step) -> None:
        before, self.state = self.state, step.state
        if step.diagnostic is not None:
            self.diagnostic = step.diagnostic
        if before is step.state:
            return
        if step.state is packets.State.UP:
            self.diagnostic = packets.Diagnostic.NONE
            self.counters = self.counters._replace(session_up_events=self.counters.session_up_events + 1)
        elif before is packets.State.UP:
            self.counters = self.counters._replace(session_down_events=self.counters.session_down_events + 1)

    def _fail(self, step: machine.Step, now: float) -> None:
        before = self.state
        self._enter(step)
        if self.state is not before:
            self._settle_echo(now)
            self._settle_intervals()
            # Before the peer is forgotten, so that the packet carries its discriminator.
            self._speak(now)

    def _forget_peer(self) -> None:
        """A detection time passed without a packet: the variables go back to their first values (section 6.8.1)."""
        self.remote_discriminator = 0
        self._remote_demand = False
        self._remote_min_rx = 1
        self._last_heard = None
        self.polling = self._poll_again = False
        self._tx_in_use, self._rx_in_use = self.desired_min_tx, self.required_min_rx

    def _detection_deadline(self) -> float | None:
        return None if self._last_heard is None else self._last_heard + self.detection_time

    # Parameters

    def _settle_intervals(self) -> None:
        """Advertise the intervals that state, configuration and echo call for, with a poll if they changed (section 6.8.3)."""
        up = self.state is packets.State.UP
        desired = self.config.transmit_interval * 1000
        required = self.config.receive_interval * 1000
        if not up:
            desired = max(SLOW, desired)
        elif self._echo.proven:
            required = max(SLOW, required)
        if (desired, required) != (self.desired_min_tx, self.required_min_rx):
            self.desired_min_tx, self.required_min_rx = desired, required
            if self.remote_discriminator:
                self._poll_again = self.polling
                self.polling = True
        # Without a poll, because the peer is unknown, nobody counts on the former values. Being slow while not Up does not wait; and the peer
        # keeps to the former receive interval until it has heard of the new one, whatever the state is here.
        if not (up and self.polling and desired > self._tx_in_use):
            self._tx_in_use = desired
        if not (self.polling and required < self._rx_in_use):
            self._rx_in_use = required

    def _settle_echo(self, now: float) -> None:
        config = self.config
        if config.echo and not config.multihop and self.state is packets.State.UP and self._remote_min_echo_rx:
            interval = max(config.echo_interval * 1000, self._remote_min_echo_rx) / _SECOND
            self._echo.start(interval, config.multiplier, now)
        else:
            self._echo.stop()

    # Packets

    def _contents(self) -> tuple[object, ...]:
        """What a change of is told at once."""
        return self.state, self.diagnostic, self.desired_min_tx, self.required_min_rx, self.config.multiplier

    def _may_speak(self) -> bool:
        return self._remote_min_rx != 0 and not (self.config.passive and self.remote_discriminator == 0)

    def _transmits(self) -> bool:
        """Whether periodic packets are sent (section 6.8.7)."""
        excused = (
            self._remote_demand
            and self.state is packets.State.UP
            and self.remote_state is packets.State.UP
            and not self.polling
        )
        return self._may_speak() and not excused

    def _speak(self, now: float) -> None:
        """Send a packet now, and the next one an interval later."""
        if self._may_speak():
            self._send(now, final=False)
            self._last_sent = now
            self._next_transmission = now + chance.jittered(
                self.transmit_interval, self.config.multiplier, self._random
            )

    def _hurry(self, now: float) -> None:
        """A shorter interval applies to the packet that is due next (section 6.8.3)."""
        since = now if self._last_sent is None else self._last_sent
        latest = since + chance.jittered(self.transmit_interval, self.config.multiplier, self._random)
        if latest < self._next_transmission - self.transmit_interval / 4:
            self._next_transmission = latest

    def _bid_farewell(self, now: float) -> None:
        self._send(now, final=False)
        self._farewells -= 1
        self._next_transmission = now + min(self.transmit_interval, _BETWEEN_FAREWELLS)

    def _send(self, now: float, *, final: bool) -> None:
        config = self.config
        self.counters = self.counters._replace(control_packet_output=self.counters.control_packet_output + 1)
        self.outgoing.append(
            packets.Control(
                state=self.state,
                diagnostic=self.diagnostic,
                poll=self.polling and not final,
                final=final,
                multiplier=config.multiplier,
                my_discriminator=self.discriminator,
                your_discriminator=self.remote_discriminator,
                desired_min_tx=self.desired_min_tx,
                required_min_rx=self.required_min_rx,
                required_min_echo_rx=config.echo_interval * 1000 if self.loops_echo and not config.multihop else 0,
            )
        )
