"""What the API server is to answer when an object of the configuration is written or deleted.

- An object is judged together with all others, and against what they are in force as: of two that clash, the one that is being written is the
  one to blame, whatever its age and name.
- A mistake that is there already, in another object, is no reason to refuse this one. One that this one makes in another (an aggregate that
  would reach beyond the changed pool) is.
- A name that nothing answers to is worth a warning: what it names may come next. It hides no other mistake.
- An object that is being deleted may be written whatever it says, or its finalizers could not be taken off.
"""

import dataclasses
from collections.abc import Callable, Mapping

from metallb_core.api import v1beta1, v1beta2
from metallb_core.config import compiled, problems, references

Incoming = (
    v1beta1.IPAddressPool
    | v1beta1.L2Advertisement
    | v1beta1.BGPAdvertisement
    | v1beta1.BFDProfile
    | v1beta1.Community
    | v1beta2.BGPPeer
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`refusals`: why not, a sentence each; none means that it is allowed. `warnings` are for whoever writes the object."""

    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the object may be written."""
        return not self.refusals


FIELDS: Mapping[str, str] = {
    "IPAddressPool": "pools",
    "L2Advertisement": "l2_advertisements",
    "BGPAdvertisement": "bgp_advertisements",
    "BGPPeer": "peers",
    "BFDProfile": "bfd_profiles",
    "Community": "communities",
}
"""The kinds that are judged, and where `Resources` holds them."""
WIRES: Mapping[str, type[Incoming]] = {
    "IPAddressPool": v1beta1.IPAddressPool,
    "L2Advertisement": v1beta1.L2Advertisement,
    "BGPAdvertisement": v1beta1.BGPAdvertisement,
    "BGPPeer": v1beta2.BGPPeer,
    "BFDProfile": v1beta1.BFDProfile,
    "Community": v1beta1.Community,
}
"""What an object of each is read as, whichever version it was written in."""


def judge(existing: compiled.Resources, incoming: Incoming, kind: str) -> Verdict:
    """Whether `incoming`, created or updated, may stand beside `existing`. Raises KeyError for a kind that is not judged."""
    if incoming.metadata.deletion_timestamp is not None:
        return Verdict()
    name = incoming.metadata.name
    proposed = _with(existing, incoming, kind)
    before = compiled.compile(existing, references=False)
    after = compiled.compile(proposed, before, references=False)
    known = {_identity(each) for each in before.problems if (each.kind, each.name) != (kind, name)}
    refusals = [each.complaint for each in after.problems if _identity(each) not in known]
    dangling_before = {each for each in references.dangling(existing) if (each.kind, each.name) != (kind, name)}
    warnings = [str(each) for each in references.dangling(proposed) if each not in dangling_before]
    warnings += _deprecated(incoming)
    return Verdict(refusals=tuple(refusals), warnings=tuple(warnings))


def judge_deletion(existing: compiled.Resources, name: str, kind: str) -> Verdict:
    """Whether the object may be deleted: a BFDProfile that a BGPPeer names may not."""
    if kind != "BFDProfile":
        return Verdict()
    users = sorted(peer.metadata.name for peer in existing.peers if peer.spec.bfd_profile == name)
    if not users:
        return Verdict()
    named = ", ".join(f'"{user}"' for user in users[:3]) + (f" and {len(users) - 3} more" if len(users) > 3 else "")
    return Verdict(
        refusals=(
            f'failed to delete BFDProfile "{name}": used by BGPPeer {named}; remove spec.bfdProfile there, or name another profile',
        )
    )


def _identity(problem: problems.Problem) -> tuple[object, ...]:
    """By which a mistake is known again: an object that is set aside may be so for other reasons than before, one in force may lose no more."""
    if problem.partly:
        return problem.kind, problem.name, problem.complaint
    return problem.kind, problem.name


def _with(existing: compiled.Resources, incoming: Incoming, kind: str) -> compiled.Resources:
    """`existing` with `incoming` in the place of its namesake."""
    field = FIELDS[kind]
    others = tuple(each for each in getattr(existing, field) if each.metadata.name != incoming.metadata.name)
    replace: Callable[..., compiled.Resources] = dataclasses.replace
    return replace(existing, **{field: (*others, incoming)})


def _deprecated(incoming: Incoming) -> list[str]:
    if isinstance(incoming, v1beta2.BGPPeer) and incoming.spec.disable_mp:
        return [
            f'BGPPeer "{incoming.metadata.name}": spec.disableMP is deprecated and has no effect: a session carries the family it runs'
            " over, and both with dualStackAddressFamily; remove it"
        ]
    return []
