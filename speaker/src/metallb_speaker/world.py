"""What a speaker knows: its informers' stores, the configuration compiled from them, and what the deadline process reported.

`view()` is one immutable value, made anew only after something in it changed; a decision reads nothing else.
"""

import dataclasses
from collections.abc import Iterable, Mapping

from metallb_core.announcement import view
from metallb_core.api import v1beta1, v1beta2, workloads
from metallb_core.config import compiled
from metallb_core.domain import addresses, endpoints, interfaces, nodes, pools, services
from metallb_core.kube import store

BY_SERVICE = "service"


def _service_of(piece: endpoints.EndpointSlice) -> tuple[services.ServiceKey]:
    return (piece.service,)


def readable(texts: Iterable[str]) -> list[addresses.Interval]:
    """The intervals that can be read."""
    found = []
    for text in texts:
        try:
            found.append(addresses.Interval.parse(text))
        except addresses.AddressError:
            continue
    return found


Named = tuple[str, str]
# Fields below have the modules' names.
Services = store.Store[services.ServiceKey, services.Service]
Nodes = store.Store[str, nodes.Node]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What informers hold."""

    services: Services = dataclasses.field(default_factory=store.Store)
    slices: store.Store[Named, endpoints.EndpointSlice] = dataclasses.field(default_factory=store.Store)
    nodes: Nodes = dataclasses.field(default_factory=store.Store)
    pools: store.Store[Named, v1beta1.IPAddressPool] = dataclasses.field(default_factory=store.Store)
    l2_advertisements: store.Store[Named, v1beta1.L2Advertisement] = dataclasses.field(default_factory=store.Store)
    bgp_advertisements: store.Store[Named, v1beta1.BGPAdvertisement] = dataclasses.field(default_factory=store.Store)
    peers: store.Store[Named, v1beta2.BGPPeer] = dataclasses.field(default_factory=store.Store)
    bfd_profiles: store.Store[Named, v1beta1.BFDProfile] = dataclasses.field(default_factory=store.Store)
    communities: store.Store[Named, v1beta1.Community] = dataclasses.field(default_factory=store.Store)
    secrets: store.Store[Named, workloads.Secret] = dataclasses.field(default_factory=store.Store)


def _holds_less(now: pools.Pool | None, before: pools.Pool) -> bool:
    """Whether an address of `before` may be in `now` no more."""
    return now is None or (now.intervals, now.avoid_buggy_ips) != (before.intervals, before.avoid_buggy_ips)


class World:
    """The stores are filled by informers; members and links by the deadline process. One owner, the event loop."""

    def __init__(self, stores: Stores, *, ignore_exclude_label: bool, drain_taint: str = "") -> None:
        self.stores = stores
        self.services = stores.services
        self.nodes = stores.nodes
        stores.slices.index(BY_SERVICE, _service_of)
        self.config = compiled.EMPTY
        self._ignore_exclude_label = ignore_exclude_label
        self._drain_taint = drain_taint
        self._leaving = False
        self._members: frozenset[str] | None = None
        self._links: Mapping[str, interfaces.Usable] = {}
        self._own_links: Mapping[str, interfaces.Usable] = {}
        self._view: view.View | None = None

    def view(self) -> view.View:
        """The cluster as it is seen now."""
        if self._view is None:
            self._view = view.View(
                config=self.config,
                nodes=dict(self.nodes.items()),
                members=self._members,
                links=self._links,
                ignore_exclude_label=self._ignore_exclude_label,
                drain_taint=self._drain_taint,
                leaving=self._leaving,
            )
        return self._view

    def forget_view(self) -> None:
        """Something a decision reads has changed: the next one makes a new view."""
        self._view = None

    def recompile(self, *, layer2: bool = True, bgp: bool = True) -> bool:
        """Compile the configuration from the stores; whether it changed. A bad object leaves its last good form in force.

        `layer2`, `bgp`: whether all kinds of it are known yet. Half a configuration would be a wrong one.
        """
        before = self.config
        found = self.stores
        self.config = compiled.compile(
            compiled.Resources(
                pools=tuple(found.pools.values()),
                l2_advertisements=tuple(found.l2_advertisements.values()) if layer2 else (),
                bgp_advertisements=tuple(found.bgp_advertisements.values()) if bgp else (),
                peers=tuple(found.peers.values()) if bgp else (),
                bfd_profiles=tuple(found.bfd_profiles.values()) if bgp else (),
                communities=tuple(found.communities.values()) if bgp else (),
                # Which namespaces may use a pool matters to whoever allocates, not here.
                namespaces=(),
            ),
            before,
        )
        self.forget_view()
        now = self.config
        return (before.pools, before.l2, before.bgp, before.peers) != (now.pools, now.l2, now.bgp, now.peers)

    def strands(self) -> bool:
        """Whether a Service has an address of a pool in force that would be in no pool if the pools were compiled now."""
        due = compiled.compile(compiled.Resources(pools=tuple(self.stores.pools.values())), self.config)
        changed = [pool for name, pool in self.config.pools.items() if _holds_less(due.pools.get(name), pool)]
        if not changed:
            return False
        return any(
            service.is_load_balancer
            and not service.ingress_extra
            and pools.containing(changed, service.ingress) is not None
            and pools.containing(due.pools.values(), service.ingress) is None
            for service in self.services.values()
        )

    def node_matters(self, old: nodes.Node | None, new: nodes.Node | None) -> bool:
        """Whether a decision may read the difference between two states of a Node."""
        if old is None or new is None:
            return old is not new
        seen = [(each.labels, each.network_unavailable, self._drain_taint in each.taints) for each in (old, new)]
        return seen[0] != seen[1]

    def drains(self, node: str) -> bool:
        """Whether the node of that name is being drained."""
        found = self.nodes.get(node)
        return found is not None and self.view().drains(found)

    def set_leaving(self, leaving: bool) -> None:
        """Whether this node, being drained, still advertises for a moment."""
        self._leaving = leaving
        self.forget_view()

    def secrets(self) -> dict[str, workloads.Secret]:
        """The Secrets with passwords, by name."""
        return {secret.metadata.name: secret for secret in self.stores.secrets.values()}

    def intervals(self) -> list[addresses.Interval]:
        """Where announced addresses can lie: in the pools in force, and in what can be read of those that are left out."""
        found = [interval for pool in self.config.pools.values() for interval in pool.intervals]
        for wire in self.stores.pools.values():
            if wire.metadata.name in self.config.left_out:
                found += readable(wire.spec.addresses)
        return found

    def set_members(self, members: Mapping[str, interfaces.Usable | None]) -> None:
        """Membership's verdict: the live nodes, and for those that said so, the interfaces they can announce through."""
        self._members = frozenset(members)
        said = {name: usable for name, usable in members.items() if usable is not None}
        self._links = {**said, **self._own_links}
        self.forget_view()

    def set_own_links(self, node: str, usable: interfaces.Usable) -> None:
        """Our own interfaces; what membership echoes of them is older."""
        self._own_links = {node: usable}
        self._links = {**self._links, **self._own_links}
        self.forget_view()

    def serving(self, key: services.ServiceKey) -> frozenset[str]:
        """Names of the nodes with an endpoint of the Service that can serve."""
        return endpoints.serving_nodes(self.stores.slices.by_index(BY_SERVICE, key))
