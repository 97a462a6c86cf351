"""PURE. The condition `metallb.io/Allocated` of a Service, from the decision about its address.

- The status says whether there is an address, the reason whether all is as asked for: an address that is kept while a new wish cannot be met is
  True, with the reason of the refusal.
- A Service without an address is not announced either: `metallb.io/Announced` says so in the same patch, rather than in one of its own.
- A Service that is no load balancer has neither condition.
"""

from typing import Final

from metallb_core.allocation import converge
from metallb_core.domain import conditions, reasons, remedies, services

ALLOCATED: Final = "metallb.io/Allocated"
ANNOUNCED: Final = "metallb.io/Announced"
BOTH: Final = (ALLOCATED, ANNOUNCED)

# The reason of a Service that has all it asks for.
GIVEN: Final = "Allocated"

_NO_ADDRESS: Final = conditions.Condition(
    type=ANNOUNCED,
    status=conditions.Status.FALSE,
    reason=reasons.Reason.NO_ADDRESS.label,
    message=remedies.told(
        reasons.Refusal(
            reasons.Reason.NO_ADDRESS,
            "the Service has no load balancer address; condition metallb.io/Allocated says why",
        )
    ),
)


def wanted(service: services.Service, plan: converge.Plan) -> tuple[conditions.Condition, ...]:
    """What `plan` says of `service`; no condition where it is no load balancer."""
    if not service.is_load_balancer:
        return ()
    told = remedies.told(plan.refusal) if plan.refusal is not None else ""
    reason = plan.refusal.reason.label if plan.refusal is not None else GIVEN
    if not plan.addresses:
        refused = conditions.Condition(
            type=ALLOCATED,
            status=conditions.Status.FALSE,
            reason=reason,
            message=conditions.shortened(told),
        )
        return refused, _NO_ADDRESS
    held = f"{', '.join(map(str, plan.addresses))} from IPAddressPool {plan.pool}"
    message = f"{held} is kept, since the wish cannot be met: {told}" if told else held
    given = conditions.Condition(
        type=ALLOCATED, status=conditions.Status.TRUE, reason=reason, message=conditions.shortened(message)
    )
    return (given,)


def stale(service: services.Service) -> tuple[str, ...]:
    """Types of the conditions that a Service which is no load balancer still carries."""
    return tuple(each.type for each in service.conditions if each.type in BOTH)
