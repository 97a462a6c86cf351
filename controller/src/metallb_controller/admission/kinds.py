"""PURE. The kinds that are checked: where the API server asks about each, and when. Paths and names are those of MetalLB's chart."""

import dataclasses
from typing import Final

from metallb_core.api import v1beta1, v1beta2

Wire = (
    v1beta1.IPAddressPool
    | v1beta1.L2Advertisement
    | v1beta1.BGPAdvertisement
    | v1beta1.Community
    | v1beta1.BFDProfile
    | v1beta2.BGPPeer
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind. `field` is its place in `compiled.Resources`; older versions arrive as `version`, converted by the API server."""

    name: str
    plural: str
    version: str
    wire: type[Wire]
    field: str
    operations: tuple[str, ...] = ("CREATE", "UPDATE")

    @property
    def path(self) -> str:
        """Where the API server asks."""
        return f"/validate-metallb-io-{self.version}-{self.name.lower()}"

    @property
    def webhook(self) -> str:
        """The name that refusals carry."""
        return f"{self.name.lower()}validationwebhook.{v1beta1.GROUP}"


ALL: Final = (
    Kind(name="BGPPeer", plural="bgppeers", version="v1beta2", wire=v1beta2.BGPPeer, field="peers"),
    Kind(
        name="BFDProfile",
        plural="bfdprofiles",
        version="v1beta1",
        wire=v1beta1.BFDProfile,
        field="bfd_profiles",
        operations=("CREATE", "UPDATE", "DELETE"),
    ),
    Kind(
        name="BGPAdvertisement",
        plural="bgpadvertisements",
        version="v1beta1",
        wire=v1beta1.BGPAdvertisement,
        field="bgp_advertisements",
    ),
    Kind(name="Community", plural="communities", version="v1beta1", wire=v1beta1.Community, field="communities"),
    Kind(name="IPAddressPool", plural="ipaddresspools", version="v1beta1", wire=v1beta1.IPAddressPool, field="pools"),
    Kind(
        name="L2Advertisement",
        plural="l2advertisements",
        version="v1beta1",
        wire=v1beta1.L2Advertisement,
        field="l2_advertisements",
    ),
)
BY_NAME: Final = {each.name: each for each in ALL}
