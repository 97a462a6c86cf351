"""PURE. The kinds that are checked: where the API server asks about each, and when. Paths and names are those of MetalLB's chart."""

import dataclasses
from typing import Final

from metallb_core.api import v1beta1
from metallb_core.config import admission


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind. Older versions arrive as `version`, converted by the API server."""

    name: str
    plural: str
    version: str
    operations: tuple[str, ...] = ("CREATE", "UPDATE")

    @property
    def wire(self) -> type[admission.Incoming]:
        """What an object of it is read as."""
        return admission.WIRES[self.name]

    @property
    def field(self) -> str:
        """Its place in `compiled.Resources`."""
        return admission.FIELDS[self.name]

    @property
    def path(self) -> str:
        """Where the API server asks."""
        return f"/validate-metallb-io-{self.version}-{self.name.lower()}"

    @property
    def webhook(self) -> str:
        """The name that refusals carry."""
        return f"{self.name.lower()}validationwebhook.{v1beta1.GROUP}"


ALL: Final = (
    Kind(name="BGPPeer", plural="bgppeers", version="v1beta2"),
    Kind(name="BFDProfile", plural="bfdprofiles", version="v1beta1", operations=("CREATE", "UPDATE", "DELETE")),
    Kind(name="BGPAdvertisement", plural="bgpadvertisements", version="v1beta1"),
    Kind(name="Community", plural="communities", version="v1beta1"),
    Kind(name="IPAddressPool", plural="ipaddresspools", version="v1beta1"),
    Kind(name="L2Advertisement", plural="l2advertisements", version="v1beta1"),
)
BY_NAME: Final = {each.name: each for each in ALL}
