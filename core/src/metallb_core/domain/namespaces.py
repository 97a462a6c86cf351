"""Namespaces: a name and labels, which pools may select."""

import dataclasses

from metallb_core.domain import selectors


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """One Namespace."""

    name: str
    labels: selectors.Labels = dataclasses.field(default_factory=dict, hash=False)
    deleting: bool = False
