"""Who a bearer token belongs to, and whether that user may read a path of ours: TokenReview, then SubjectAccessReview.

Answers are remembered for a short while, by a hash of the token: yes for a minute, no for ten seconds, so that a right just given works soon
and a wrong token does not cost the API server two requests each time. When the API server cannot be asked nobody is let in.
"""

import collections
import hashlib
from typing import Final

from metallb_core.api import reviews
from metallb_core.kube import client as clients
from metallb_core.kube import errors, resources
from metallb_core.runtime import clock, metrics

YES_SECONDS: Final = 60.0
NO_SECONDS: Final = 10.0
REMEMBERED: Final = 256


class Reviewer:
    """See the module; what `metrics.serve` takes as its gatekeeper."""

    def __init__(self, client: clients.Client, clock: clock.Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: collections.OrderedDict[tuple[bytes, str, str], tuple[float, metrics.Verdict]] = (
            collections.OrderedDict()
        )

    async def review(self, token: str, path: str, verb: str) -> metrics.Verdict:
        """Whether the token's owner may do `verb` (get) on the non-resource `path`."""
        key = (hashlib.sha256(token.encode()).digest(), path, verb)
        known = self._known.get(key)
        if known is not None and self._clock.monotonic() < known[0]:
            return known[1]
        try:
            verdict = await self._ask(token, path, verb)
        except (errors.ApiError, errors.Unreachable):
            return metrics.Verdict.UNDECIDED
        lifetime = YES_SECONDS if verdict is metrics.Verdict.ALLOWED else NO_SECONDS
        self._known[key] = (self._clock.monotonic() + lifetime, verdict)
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return verdict

    async def _ask(self, token: str, path: str, verb: str) -> metrics.Verdict:
        who = await self._client.create(
            resources.TOKEN_REVIEWS, reviews.TokenReview(spec=reviews.TokenReviewSpec(token=token))
        )
        if not who.status.authenticated:
            return metrics.Verdict.UNKNOWN_TOKEN
        user = who.status.user
        spec = reviews.SubjectAccessReviewSpec(
            non_resource_attributes=reviews.NonResourceAttributes(path=path, verb=verb),
            user=user.username,
            groups=user.groups,
            uid=user.uid,
            extra=user.extra,
        )
        answer = await self._client.create(resources.SUBJECT_ACCESS_REVIEWS, reviews.SubjectAccessReview(spec=spec))
        return metrics.Verdict.ALLOWED if answer.status.allowed else metrics.Verdict.FORBIDDEN
