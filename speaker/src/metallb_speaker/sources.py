"""What a speaker follows: one informer for each kind, in two groups that wait for nothing of each other.

- Layer 2 starts when what it reads is known, whether or not the kinds of BGP can be listed, and the other way round for what is BGP's own.
- Neither waits for status objects: they are reports, and a cluster whose definitions are older has none.
- A kind of BGP's own that the server does not have, or does not let us list, keeps a speaker from being ready where BGP is used: a rollout then
  stops at the first node, rather than take the routes of all. Where nobody uses BGP it keeps nothing.
"""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from metallb_core.api import v1beta1, workloads
from metallb_core.domain import endpoints, nodes, services
from metallb_core.kube import client as clients
from metallb_core.kube import following, informer, resources
from metallb_core.runtime import clock, log, supervise
from metallb_speaker import world
from metallb_speaker.bgp import desired
from metallb_speaker.status import objects

LOG = log.get("speaker")

W = TypeVar("W", bound=resources.Object)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Named = tuple[str, str]
Informer = informer.Informer[Any, Any, Any]


class Sources:
    """See the module. `on_server_back()`: the API server answers again. Each other `on_*` is an informer's `on_change(key, old, new)`.

    `member_labels` empty: the speakers' pods are not followed.
    """

    def __init__(
        self,
        client: clients.Client,
        *,
        clock: clock.Clock,
        namespace: str,
        node: str,
        member_labels: str,
        on_service: Callable[[services.ServiceKey, object, object], None],
        on_server_back: Callable[[], None],
        on_slice: Callable[[Named, endpoints.EndpointSlice | None, endpoints.EndpointSlice | None], None],
        on_node: Callable[[str, nodes.Node | None, nodes.Node | None], None],
        on_pool: Callable[[Named, v1beta1.IPAddressPool | None, v1beta1.IPAddressPool | None], None],
        on_configuration: Callable[[object, object, object], None],
        on_layer2_status: Callable[[Named, v1beta1.ServiceL2Status | None, v1beta1.ServiceL2Status | None], None],
        on_bgp_status: Callable[[Named, v1beta1.ServiceBGPStatus | None, v1beta1.ServiceBGPStatus | None], None],
        on_pod: Callable[[Named, workloads.Pod | None, workloads.Pod | None], None],
    ) -> None:
        def ours(
            resource: resources.Resource[W, K, V],
            on_change: Callable[[K, V | None, V | None], None],
            *,
            labelled: str | None = None,
            with_field: str | None = None,
        ) -> informer.Informer[W, K, V]:
            return following.follow(
                client,
                resource,
                namespace=namespace,
                label_selector=labelled,
                field_selector=with_field,
                on_change=on_change,
                clock=clock,
                logger=LOG,
            )

        def everywhere(
            resource: resources.Resource[W, K, V],
            on_change: Callable[[K, V | None, V | None], None],
            on_recovered: Callable[[], None] | None = None,
        ) -> informer.Informer[W, K, V]:
            return following.follow(
                client, resource, on_change=on_change, on_recovered=on_recovered, clock=clock, logger=LOG
            )

        self.services = everywhere(resources.SERVICES, on_service, on_server_back)
        self.slices = everywhere(resources.ENDPOINT_SLICES, on_slice)
        self.nodes = everywhere(resources.NODES, on_node)
        self.pools = ours(resources.IP_ADDRESS_POOLS, on_pool)
        self.l2_advertisements = ours(resources.L2_ADVERTISEMENTS, on_configuration)
        self.layer2_statuses = ours(resources.SERVICE_L2_STATUSES, on_layer2_status)
        self.pods = ours(resources.PODS, on_pod, labelled=member_labels or None)
        self._follows_pods = bool(member_labels)
        self.bgp_advertisements = ours(resources.BGP_ADVERTISEMENTS, on_configuration)
        self.peers = ours(resources.BGP_PEERS, on_configuration)
        self.bfd_profiles = ours(resources.BFD_PROFILES, on_configuration)
        self.communities = ours(resources.COMMUNITIES, on_configuration)
        # Other Secrets of the namespace, large ones of Helm among them, are nothing to a speaker.
        self.secrets = ours(resources.SECRETS, on_configuration, with_field=f"type={desired.SECRET_TYPE}")
        # Each node clears up after itself: sessions tell a router all there is to know of a dead one.
        self.bgp_statuses = ours(resources.SERVICE_BGP_STATUSES, on_bgp_status, labelled=f"{objects.NODE_LABEL}={node}")

    def stores(self) -> world.Stores:
        """What they hold."""
        return world.Stores(
            services=self.services.store,
            slices=self.slices.store,
            nodes=self.nodes.store,
            pools=self.pools.store,
            l2_advertisements=self.l2_advertisements.store,
            bgp_advertisements=self.bgp_advertisements.store,
            peers=self.peers.store,
            bfd_profiles=self.bfd_profiles.store,
            communities=self.communities.store,
            secrets=self.secrets.store,
        )

    @property
    def shared(self) -> list[Informer]:
        """What both protocols read."""
        return [self.services, self.slices, self.nodes, self.pools]

    @property
    def layer2(self) -> list[Informer]:
        """What layer 2 reads."""
        return [*self.shared, self.l2_advertisements, *([self.pods] if self._follows_pods else [])]

    @property
    def bgp(self) -> list[Informer]:
        """What BGP reads."""
        return [*self.shared, *self._own_of_bgp]

    @property
    def _own_of_bgp(self) -> list[Informer]:
        return [self.bgp_advertisements, self.peers, self.bfd_profiles, self.communities, self.secrets]

    @property
    def all(self) -> list[Informer]:
        """Every informer once."""
        return list(dict.fromkeys((*self.layer2, *self.bgp, self.layer2_statuses, self.bgp_statuses)))

    def failing(self) -> dict[str, str]:
        """What keeps a speaker from being ready, by plural of the kind."""
        dispensable = set() if self._may_use_bgp else {each for each in self._own_of_bgp if each.refused}
        return {
            each.resource.plural: each.problem or "not yet listed"
            for each in dict.fromkeys((*self.layer2, *self.bgp))
            if not each.synced and each not in dispensable
        }

    @property
    def _may_use_bgp(self) -> bool:
        """Whether anybody uses BGP, as far as can be known."""
        if any(each.store for each in (self.bgp_advertisements, self.peers)):
            return True
        return not self.bgp_advertisements.synced and not self.bgp_advertisements.absent

    def parts(self) -> list[supervise.Part]:
        """What runs them."""
        return [supervise.Part(name=f"watch {each.resource.plural}", run=each.run) for each in self.all]


async def wait_synced(followed: list[Informer]) -> None:
    """Wait until all of these have listed what there is."""
    for each in followed:
        await each.wait_synced()
