"""Which pool a Service's addresses are from: what advertisements name.

A pool that cannot be read now, but did give the addresses, still counts: a speaker that restarts knows no good form of it, and addresses in use
must not fall silent for that.
"""

from metallb_core.announcement import view
from metallb_core.domain import annotations, pools, reasons, services


def pool_of(service: services.Service, seen: view.View) -> str | reasons.Refusal:
    """The name of the pool that gave `service` its addresses, or why there is none."""
    if not service.is_load_balancer or not service.ingress or service.ingress_extra:
        return reasons.Refusal(reasons.Reason.NO_ADDRESS, "the Service has no load balancer address")
    pool = pools.containing(seen.config.pools.values(), service.ingress)
    if pool is not None:
        return pool.name
    said = annotations.read(service.annotations, annotations.ORIGIN)
    if said in seen.config.left_out:
        return said
    texts = ", ".join(map(str, service.ingress))
    return reasons.Refusal(reasons.Reason.ADDRESS_NOT_ALLOWED, f"no IPAddressPool holds {texts}")
