"""What this speaker says in its ConfigurationState, `speaker-<node>`: is the configuration valid, which links are usable, how are sessions, and
which flags it was started with that decide about nodes.

- Each of these is said whole whenever it may have changed; what stands already is not written.
- Of the links only those are named that an advertisement asks for: the others come and go with every pod, and a thousand nodes would write.
- Nothing waits for it. A speaker that may not write here announces all the same.
"""

from collections.abc import Iterable

from metallb_core.config import compiled
from metallb_core.domain import conditions, interfaces
from metallb_core.kube import client as clients
from metallb_core.kube import configuration_state, ownership
from metallb_core.runtime import clock, log, supervise

LOG = log.get("speaker")


class State:
    """See the module. `owner`: this speaker's Pod, so that the object goes with it."""

    def __init__(
        self,
        client: clients.Client,
        clock: clock.Clock,
        *,
        namespace: str,
        node: str,
        owner: ownership.Owner,
    ) -> None:
        self._usable: interfaces.Usable | None = None
        self._asked_for: frozenset[str] = frozenset()
        self._informer, self._reporter = configuration_state.follow(
            client,
            clock,
            configuration_state.Identity.of_speaker(namespace, node, owner),
            logger=LOG,
            on_error=self._failed,
        )

    def parts(self) -> list[supervise.Part]:
        """What runs."""
        return [
            supervise.Part(name="watch own configurationstate", run=self._informer.run),
            supervise.Part(name="own configurationstate", run=self._reporter.run),
        ]

    def started(self, *, ignores_exclude_label: bool, drain_taint: str) -> None:
        """The speaker was started with these flags."""
        said = configuration_state.settings(ignores_exclude_label=ignores_exclude_label, drain_taint=drain_taint)
        self._reporter.say(configuration_state.SETTINGS, said)

    def configured(self, config: compiled.Config) -> None:
        """This configuration is in force."""
        manager = configuration_state.CONFIGURATION
        self._reporter.say(manager, [configuration_state.validity(manager, config.problems)])
        self._asked_for = frozenset().union(*(ad.interfaces for ad in config.l2))
        self._say_links()

    def links(self, usable: interfaces.Usable) -> None:
        """These interfaces can announce now."""
        self._usable = usable
        self._say_links()

    def sessions(self, held: Iterable[conditions.Condition]) -> None:
        """The BGP sessions, a condition `peer.metallb.io/<BGPPeer>` each."""
        self._reporter.say(configuration_state.SESSIONS, held)

    def _say_links(self) -> None:
        if self._usable is not None:
            self._reporter.say(configuration_state.LINKS, [configuration_state.links(self._usable, self._asked_for)])

    def _failed(self, manager: str, error: Exception) -> None:
        LOG.warn("could not write the ConfigurationState; trying again", manager=manager, error=error)
