"""What a decision about announcing depends on, beside the Service itself: one immutable value."""

import dataclasses
from collections.abc import Mapping

from metallb_core.config import compiled
from metallb_core.domain import nodes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The cluster as one speaker sees it.

    - `members`: names of the nodes whose speaker is alive, by membership's verdict; None where membership is off, and every Node counts.
    - `links`: for the nodes that said so, the names of the interfaces that can announce now (up, with carrier, not excluded). A node that said
      nothing (a speaker of another make) is taken to have whatever is asked of it.
    - `ignore_exclude_label`: announce also from nodes that carry the exclude label.
    """

    config: compiled.Config
    nodes: Mapping[str, nodes.Node]
    members: frozenset[str] | None = None
    links: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    ignore_exclude_label: bool = False
