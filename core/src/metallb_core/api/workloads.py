"""The few fields read of a Pod, a Secret (core/v1) and a Deployment (apps/v1): who owns us, and the key that speakers share."""

import msgspec

from metallb_core.api import meta


class PodStatus(meta.Wire, frozen=True):
    pod_ip: str = msgspec.field(default="", name="podIP")


class Pod(meta.Wire, frozen=True):
    metadata: meta.ObjectMeta
    status: PodStatus = PodStatus()


class Deployment(meta.Wire, frozen=True):
    metadata: meta.ObjectMeta


class Secret(meta.Wire, frozen=True):
    """`data` maps keys to base64. Its values are never shown."""

    metadata: meta.ObjectMeta
    type: str = ""
    data: dict[str, str] | None = None

    def __repr__(self) -> str:
        return meta.repr_without(self, "data")
