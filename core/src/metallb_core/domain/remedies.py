"""PURE. What to do about a reason: half a sentence for a person, beside the code whose page says it at length.

A detail that names the fix already, which many do, gets no second one: its reason has no entry here.
"""

from collections.abc import Mapping
from typing import Final

from metallb_core.domain import reasons

REMEDIES: Final[Mapping[reasons.Reason, str]] = {
    reasons.Reason.NO_POOL: "create an IPAddressPool",
    reasons.Reason.POOL_EXHAUSTED: "add addresses to a pool, or delete Services that need theirs no more",
    reasons.Reason.ADDRESS_NOT_IN_POOL: "ask for an address of a pool, or add this one to a pool",
    reasons.Reason.SHARING_CLASH: "ask for another address, or make both Services agree on the terms of sharing",
    reasons.Reason.FAMILY_UNAVAILABLE: "add addresses of that family to a pool, or change the ipFamilies of the Service",
    reasons.Reason.UNKNOWN_POOL: "correct annotation metallb.io/address-pool, or create that pool",
    reasons.Reason.NO_ELIGIBLE_NODE: "change the nodeSelectors or interfaces of the advertisement, or mend the nodes",
    reasons.Reason.NO_READY_ENDPOINT: "see whether the Service's selector matches pods, and whether these are ready",
    reasons.Reason.ADDRESS_NOT_ALLOWED: "add the address to a pool, or let the controller give another one",
}


def told(refusal: reasons.Refusal) -> str:
    """The refusal as one line: the detail, what to do, the code."""
    remedy = REMEDIES.get(refusal.reason)
    if remedy is None:
        return str(refusal)
    return str(reasons.Refusal(refusal.reason, f"{refusal.detail}; {remedy}"))
