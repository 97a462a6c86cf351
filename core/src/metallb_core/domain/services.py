"""Services as the load balancer sees them: what was asked for, and what is observed."""

import dataclasses
import enum
from typing import NamedTuple

from metallb_core.domain import addresses, selectors
from metallb_core.domain import conditions as standing  # a Service has a field called conditions


class ServiceKey(NamedTuple):
    """Namespace and name. A NamedTuple, since it keys every index."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class FamilyPolicy(enum.Enum):
    """`spec.ipFamilyPolicy`; an unset one means SingleStack."""

    SINGLE_STACK = "SingleStack"
    PREFER_DUAL_STACK = "PreferDualStack"
    REQUIRE_DUAL_STACK = "RequireDualStack"


class TrafficPolicy(enum.Enum):
    """`spec.externalTrafficPolicy`; an unset one means Cluster."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class Port(NamedTuple):
    """A port of a Service: what two sharers of one address may not both use."""

    protocol: str
    number: int

    def __str__(self) -> str:
        return f"{self.protocol}/{self.number}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One Service.

    - `annotations` holds only those of this project (`metallb.io/` and `metallb.universe.tf/`).
    - `ingress` holds the parsed `status.loadBalancer.ingress[].ip`; `ingress_extra` is True where an entry has no readable `ip` (a host name,
      say), so that "exactly as we wrote it" can be told from "somebody added something".
    - `created` is RFC 3339 in UTC, so that it sorts as text.
    - `selector` is sorted, since sharing compares it as text.
    - `conditions` holds only those of this project (`metallb.io/`), and none where nobody asked for them.
    """

    key: ServiceKey
    uid: str = ""
    created: str = ""
    resource_version: str = ""
    is_load_balancer: bool = True
    load_balancer_class: str | None = None
    load_balancer_ip: str = ""
    cluster_ips: tuple[addresses.Address, ...] = ()
    families: tuple[addresses.Family, ...] = ()
    family_policy: FamilyPolicy = FamilyPolicy.SINGLE_STACK
    traffic_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    selector: tuple[tuple[str, str], ...] = ()
    ports: tuple[Port, ...] = ()
    labels: selectors.Labels = dataclasses.field(default_factory=dict, hash=False)
    annotations: selectors.Labels = dataclasses.field(default_factory=dict, hash=False)
    ingress: tuple[addresses.Address, ...] = ()
    ingress_extra: bool = False
    deleting: bool = False
    conditions: tuple[standing.Condition, ...] = ()
