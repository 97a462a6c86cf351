"""What a speaker knows: its informers' stores, the configuration compiled from them, and what the deadline process reported.

`view()` is one immutable value, made anew only after something in it changed; a decision reads nothing else.
"""

from collections.abc import Iterable, Mapping

from metallb_core.announcement import view
from metallb_core.api import v1beta1
from metallb_core.config import compiled
from metallb_core.domain import addresses, endpoints, nodes, services
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


class World:
    """The stores are filled by informers; members and links by the deadline process. One owner, the event loop."""

    def __init__(
        self,
        *,
        services: store.Store[services.ServiceKey, services.Service],
        slices: store.Store[tuple[str, str], endpoints.EndpointSlice],
        nodes: store.Store[str, nodes.Node],
        pools: store.Store[tuple[str, str], v1beta1.IPAddressPool],
        advertisements: store.Store[tuple[str, str], v1beta1.L2Advertisement],
        ignore_exclude_label: bool,
    ) -> None:
        self.services = services
        self.slices = slices
        self.slices.index(BY_SERVICE, _service_of)
        self.nodes = nodes
        self.pools = pools
        self.advertisements = advertisements
        self.config = compiled.EMPTY
        self._ignore_exclude_label = ignore_exclude_label
        self._members: frozenset[str] | None = None
        self._links: Mapping[str, frozenset[str]] = {}
        self._own_links: Mapping[str, frozenset[str]] = {}
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
            )
        return self._view

    def forget_view(self) -> None:
        """Something a decision reads has changed: the next one makes a new view."""
        self._view = None

    def recompile(self) -> bool:
        """Compile the configuration from the stores; whether it changed. A bad object leaves its last good form in force."""
        before = self.config
        self.config = compiled.compile(
            compiled.Resources(
                pools=tuple(self.pools.values()),
                l2_advertisements=tuple(self.advertisements.values()),
                # Which namespaces may use a pool matters to whoever allocates, not here.
                namespaces=(),
            ),
            before,
        )
        self.forget_view()
        return (before.pools, before.l2) != (self.config.pools, self.config.l2)

    def intervals(self) -> list[addresses.Interval]:
        """Where announced addresses can lie: in the pools in force, and in what can be read of those that are left out."""
        found = [interval for pool in self.config.pools.values() for interval in pool.intervals]
        for wire in self.pools.values():
            if wire.metadata.name in self.config.left_out:
                found += readable(wire.spec.addresses)
        return found

    def set_members(self, members: Mapping[str, frozenset[str] | None]) -> None:
        """Membership's verdict: the live nodes, and for those that said so, the interfaces they can announce through."""
        self._members = frozenset(members)
        said = {name: usable for name, usable in members.items() if usable is not None}
        self._links = {**said, **self._own_links}
        self.forget_view()

    def set_own_links(self, node: str, usable: frozenset[str]) -> None:
        """Our own interfaces; what membership echoes of them is older."""
        self._own_links = {node: usable}
        self._links = {**self._links, **self._own_links}
        self.forget_view()

    def serving(self, key: services.ServiceKey) -> frozenset[str]:
        """Names of the nodes with an endpoint of the Service that can serve."""
        return endpoints.serving_nodes(self.slices.by_index(BY_SERVICE, key))
