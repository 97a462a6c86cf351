"""The configuration as the controller follows it: every kind of object, compiled into one value, and what is wrong told on each object.

- All kinds are followed, also those that only speakers act on: one place judges all objects, and the leader tells of each bad one once.
- Only pools, advertisements of layer 2 and namespaces are waited for before addresses are given; a kind whose definition is missing keeps nobody
  without an address. Readiness and the webhook wait for all of them, but not for one of the others that the server does not have or does not
  let us list: an upgrade that brings the program before the definitions goes on, and the ConfigurationState says Unknown meanwhile.
- A change of counters in a pool's status is no change of the configuration.
"""

from collections.abc import Callable
from typing import Any

from metallb_core.api import v1beta1
from metallb_core.config import compiled, problems
from metallb_core.domain import conditions, namespaces
from metallb_core.kube import client as clients
from metallb_core.kube import configuration_state, events, following, informer, resources
from metallb_core.runtime import clock, log

LOG = log.get("controller")

# The version that an Event gives for each kind.
API_VERSIONS = {each.kind: each.api_version for each in resources.CONFIGURATION}


class Configuration:
    """See the module. `on_changed()` says that it should be compiled anew; `on_pool(name)` that a pool was written, its status perhaps."""

    def __init__(
        self,
        client: clients.Client,
        clock: clock.Clock,
        namespace: str,
        *,
        on_changed: Callable[[], None],
        on_pool: Callable[[str], None],
    ) -> None:
        self._on_changed = on_changed
        self._on_pool = on_pool
        self._namespace = namespace
        self._told: dict[tuple[str, str], list[problems.Problem]] = {}
        self.current = compiled.EMPTY

        def follow(
            resource: resources.Resource[Any, Any, Any], on_change: Callable[[Any, Any, Any], None]
        ) -> informer.Informer[Any, Any, Any]:
            where = namespace if resource.namespaced else None
            return following.follow(client, resource, namespace=where, on_change=on_change, clock=clock, logger=LOG)

        self.namespaces = follow(resources.NAMESPACES, self._namespace_changed)
        self.pools = follow(resources.IP_ADDRESS_POOLS, self._pool_changed)
        self.l2_advertisements = follow(resources.L2_ADVERTISEMENTS, self._changed)
        self.bgp_advertisements = follow(resources.BGP_ADVERTISEMENTS, self._changed)
        self.peers = follow(resources.BGP_PEERS, self._changed)
        self.bfd_profiles = follow(resources.BFD_PROFILES, self._changed)
        self.communities = follow(resources.COMMUNITIES, self._changed)

    @property
    def followed(self) -> tuple[informer.Informer[Any, Any, Any], ...]:
        """All that is followed."""
        return (*self.needed, self.bgp_advertisements, self.peers, self.bfd_profiles, self.communities)

    @property
    def needed(self) -> tuple[informer.Informer[Any, Any, Any], ...]:
        """What has to be known before an address is given."""
        return (self.namespaces, self.pools, self.l2_advertisements)

    @property
    def whole(self) -> bool:
        """Whether all has been listed once."""
        return all(each.synced for each in self.followed)

    def resources(self) -> compiled.Resources:
        """The objects there are."""
        return compiled.Resources(
            pools=tuple(self.pools.store.values()),
            l2_advertisements=tuple(self.l2_advertisements.store.values()),
            bgp_advertisements=tuple(self.bgp_advertisements.store.values()),
            peers=tuple(self.peers.store.values()),
            bfd_profiles=tuple(self.bfd_profiles.store.values()),
            communities=tuple(self.communities.store.values()),
            namespaces=tuple(self.namespaces.store.values()),
        )

    @property
    def namespace_ending(self) -> bool:
        """Whether the namespace of all this is being deleted."""
        found = self.namespaces.store.get(self._namespace)
        return found is not None and found.deleting

    async def wait_needed(self) -> None:
        """Wait until what is `needed` has been listed."""
        for each in self.needed:
            await each.wait_synced()

    @property
    def awaited(self) -> tuple[informer.Informer[Any, Any, Any], ...]:
        """What is yet to be listed, without what the server refuses and addresses do not need."""
        return tuple(each for each in self.followed if not each.synced and (each in self.needed or not each.refused))

    async def wait_answered(self) -> None:
        """Wait until nothing is `awaited`: for who can do without a kind that is refused."""
        await self.wait_needed()
        for each in self.followed:
            await each.wait_answered()

    async def wait_synced(self) -> None:
        """Wait until all has been listed."""
        for each in self.followed:
            await each.wait_synced()

    def compile(self) -> compiled.Config:
        """Compile what there is now; the result stays in `current`."""
        self.current = compiled.compile(self.resources(), self.current, references=self.whole)
        return self.current

    def problems(self) -> list[str]:
        """All that is wrong, for a person: objects out of order, and those that cannot even be read."""
        unread = [
            f'{each.resource.kind} "{key[1]}": {text}; its last readable form stays in force'
            for each in self.followed
            if each.resource.namespaced
            for key, text in sorted(each.invalid.items())
        ]
        return [*map(str, self.current.problems), *unread]

    def condition(self) -> conditions.Condition:
        """What the controller makes of it."""
        return configuration_state.validity(configuration_state.POOLS, self.problems())

    def tell(self, recorder: events.EventRecorder) -> None:
        """An Event on each object that is wrong in a way not told yet."""
        now: dict[tuple[str, str], list[problems.Problem]] = {}
        for problem in self.current.problems:
            now.setdefault((problem.kind, problem.name), []).append(problem)
        for place, found in now.items():
            for problem in found:
                if problem in self._told.get(place, ()):
                    continue
                LOG.error("invalid object", kind=problem.kind, name=problem.name, problem=str(problem))
                regarding = events.ObjectRef(
                    api_version=API_VERSIONS[problem.kind],
                    kind=problem.kind,
                    namespace=problem.namespace,
                    name=problem.name,
                    uid=problem.uid,
                )
                recorder.emit(regarding, "Warning", "InvalidConfiguration", str(problem))
        self._told = now

    # What informers say

    def _changed(self, *_: object) -> None:
        self._on_changed()

    def _namespace_changed(self, _key: str, old: namespaces.Namespace | None, new: namespaces.Namespace | None) -> None:
        if old is None or new is None or old.labels != new.labels:
            self._on_changed()

    def _pool_changed(
        self, key: tuple[str, str], old: v1beta1.IPAddressPool | None, new: v1beta1.IPAddressPool | None
    ) -> None:
        if old is None or new is None or (old.spec, old.metadata.labels) != (new.spec, new.metadata.labels):
            self._on_changed()
        if new is not None:
            self._on_pool(key[1])
