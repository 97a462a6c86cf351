"""What a Service asks for: addresses, a pool, a sharing key.

Annotations are read under `metallb.io/`, and under the older `metallb.universe.tf/` only where the new one is absent; an empty new one counts.
"""

import dataclasses

from metallb_core.domain import addresses as ip  # a request has a field called addresses
from metallb_core.domain import annotations, reasons, services

PREFIX, LEGACY_PREFIX = annotations.PREFIX, annotations.LEGACY_PREFIX
ADDRESSES, POOL, SHARE = annotations.ADDRESSES, annotations.POOL, annotations.SHARE
ORIGIN, ALLOCATED_FROM = annotations.ORIGIN, annotations.ALLOCATED_FROM


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`addresses` holds at most one of each family; empty means any. `pool` empty means any."""

    addresses: tuple[ip.Address, ...] = ()
    pool: str = ""
    sharing_key: str = ""


def annotation(service: services.Service, name: str) -> str:
    """The value of an annotation of ours, or an empty text."""
    return annotations.read(service.annotations, name)


def uses_legacy(service: services.Service) -> bool:
    """Whether it carries an annotation of the older prefix."""
    return any(key.startswith(LEGACY_PREFIX) for key in service.annotations)


def parse(service: services.Service) -> Request | reasons.Refusal:
    """Read the request. A refusal names the annotation or field, and the fix."""
    wanted = annotation(service, ADDRESSES)
    field = f"annotation {PREFIX}{ADDRESSES}"
    if service.load_balancer_ip:
        if wanted:
            return _refuse(f"both spec.loadBalancerIP and {field} ask for an address; remove one of the two")
        wanted, field = service.load_balancer_ip, "spec.loadBalancerIP"
    found: list[ip.Address] = []
    for text in wanted.split(",") if wanted.strip() else ():
        try:
            address = ip.Address.parse(text.strip())
        except ip.AddressError as error:
            return _refuse(f"{field}: {error}")
        if any(address.family == other.family for other in found):
            return _refuse(
                f"{field}: {wanted!r} has two {address.family.kubernetes_name} addresses; give one of each family"
            )
        found.append(address)
    return Request(
        addresses=tuple(found), pool=annotation(service, POOL).strip(), sharing_key=annotation(service, SHARE)
    )


def _refuse(detail: str) -> reasons.Refusal:
    return reasons.Refusal(reasons.Reason.INVALID_REQUEST, detail)
