"""What a speaker is told about its place: the node it runs on, and what it was started with."""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """See the module. `member_labels` empty: no membership. Times in seconds.

    `bgp_drain`: how long routes ask to be avoided before they are withdrawn. `drain_taint`: key of the taint by which a node is drained, empty
    for none.
    """

    node: str
    namespace: str
    load_balancer_class: str = ""
    ignore_exclude_label: bool = False
    member_labels: str = ""
    member_address: str = ""
    member_advertised: str = ""
    member_port: int = 7946
    member_profile: str = "fast"
    member_override: str = ""
    key_folder: pathlib.Path | None = None
    exclude: tuple[str, ...] = ()
    linger: float = 1.0
    bgp_drain: float = 1.0
    drain_taint: str = ""

    @property
    def has_members(self) -> bool:
        """Whether membership is on."""
        return bool(self.member_labels and self.member_address)
