"""What a decision about announcing depends on, beside the Service itself: one immutable value."""

import dataclasses
from collections.abc import Mapping

from metallb_core.config import compiled
from metallb_core.domain import interfaces, nodes

# A field below has the module's name.
Node = nodes.Node


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The cluster as one speaker sees it.

    - `members`: names of the nodes whose speaker is alive, by membership's verdict; None where membership is off, and every Node counts.
    - `links`: for the nodes that said so, the names of the interfaces that can announce now (up, with carrier, not excluded), by family. A node
      that said nothing (a speaker of another make) is taken to have whatever is asked of it.
    - `ignore_exclude_label`: announce also from nodes that carry the exclude label.
    - `drain_taint`: key of the taint that keeps announcements off a node; empty for none. `leaving`: this node was tainted a moment ago and
      still advertises to BGP peers, asking them to prefer others.
    """

    config: compiled.Config
    nodes: Mapping[str, Node]
    members: frozenset[str] | None = None
    links: Mapping[str, interfaces.Usable] = dataclasses.field(default_factory=dict)
    ignore_exclude_label: bool = False
    drain_taint: str = ""
    leaving: bool = False

    def drains(self, node: Node) -> bool:
        """Whether `node` is being drained."""
        return bool(self.drain_taint) and self.drain_taint in node.taints
