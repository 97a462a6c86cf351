"""PURE. One question of the API server, and the answer: whether an object may be stored.

- An update is judged as a creation is, against everything else that exists; `metallb_core.config.admission` has the rules.
- Objects belong in the namespace of the installation, for nowhere else are they read.
- What makes nothing worse passes: an update that changes nothing that is read (annotations, finalizers), and any of an object that is being
  deleted. So an object that was stored while nobody checked can still be cleaned up.
- A reference to what does not exist is a warning: what it names may be the next object to come.
- An object that cannot be read is refused with 400, one that is wrong with 403, as MetalLB does.
"""

from metallb_controller.admission import kinds
from metallb_core.api import admission as reviews
from metallb_core.config import admission, compiled


def answer(
    asked: reviews.AdmissionRequest, kind: kinds.Kind, existing: compiled.Resources, namespace: str
) -> reviews.AdmissionReview:
    """Judge. `existing` may hold the object's older form; `namespace` is the installation's."""
    if asked.operation == "DELETE":
        return _deletion(asked, kind, existing, namespace)
    if asked.operation not in kind.operations:
        return reviews.allowed(asked)
    try:
        incoming = reviews.read(kind.wire, asked.object)
    except reviews.UnreadableError as error:
        message = f"{kind.name} cannot be read: {error}"
        return reviews.refused(asked, reviews.AdmissionStatus(message=message, code=400, reason="BadRequest"))
    if _changes_nothing(asked, kind, incoming):
        return reviews.allowed(asked)
    if incoming.metadata.namespace != namespace:
        where = f'resource must be created in {namespace} namespace; it is in "{incoming.metadata.namespace}"'
        return _refused(asked, f'{kind.name} "{incoming.metadata.name}": {where}, where nobody reads it')
    verdict = admission.judge(existing, incoming, kind.name)
    if verdict.allowed:
        return reviews.allowed(asked, verdict.warnings)
    return _refused(asked, "\n".join(verdict.refusals), verdict.warnings)


def _deletion(
    asked: reviews.AdmissionRequest, kind: kinds.Kind, existing: compiled.Resources, namespace: str
) -> reviews.AdmissionReview:
    if "DELETE" not in kind.operations or asked.namespace != namespace:
        return reviews.allowed(asked)
    verdict = admission.judge_deletion(existing, asked.name, kind.name)
    return reviews.allowed(asked) if verdict.allowed else _refused(asked, "\n".join(verdict.refusals))


def _changes_nothing(asked: reviews.AdmissionRequest, kind: kinds.Kind, incoming: admission.Incoming) -> bool:
    """Whether an update leaves spec and labels, all that is read of an object, as they are; or ends in deletion anyway."""
    if asked.operation != "UPDATE":
        return False
    if incoming.metadata.deletion_timestamp is not None:
        return True
    try:
        before = reviews.read(kind.wire, asked.old_object)
    except reviews.UnreadableError:
        return False
    return (before.spec, before.metadata.labels or {}) == (incoming.spec, incoming.metadata.labels or {})


def _refused(asked: reviews.AdmissionRequest, message: str, warnings: tuple[str, ...] = ()) -> reviews.AdmissionReview:
    return reviews.refused(asked, reviews.AdmissionStatus(message=message, code=403, reason="Forbidden"), warnings)
