"""Nodes, as far as announcing is concerned."""

import dataclasses

from metallb_core.domain import selectors

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One Node. `network_unavailable`: its NetworkUnavailable condition is True. `taints`: the keys of its taints."""

    name: str
    labels: selectors.Labels = dataclasses.field(default_factory=dict, hash=False)
    network_unavailable: bool = False
    taints: frozenset[str] = frozenset()

    @property
    def excluded(self) -> bool:
        """Whether the well-known label keeps load balancers off this node; only its presence counts."""
        return EXCLUDE_LABEL in self.labels
