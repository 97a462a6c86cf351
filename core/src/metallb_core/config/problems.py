"""What is wrong with an object: the field, the reason, and a sentence that says how to mend it."""

import dataclasses

from metallb_core.domain import reasons


class InvalidError(Exception):
    """An object that cannot be used. `field` is a path such as spec.addresses[1].

    `dangling`: it names an object that does not exist (yet), and is in order as soon as that does.
    """

    def __init__(
        self,
        field: str,
        detail: str,
        reason: reasons.Reason = reasons.Reason.INVALID_OBJECT,
        *,
        dangling: bool = False,
    ) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.refusal = reasons.Refusal(reason, detail)
        self.dangling = dangling


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An invalid object.

    - `kept`: an earlier, good form of it stays in force meanwhile.
    - `partly`: it is in force, but for the part that the message names.
    - `dangling`: it names an object that does not exist; this clears by itself when that comes.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    field: str
    refusal: reasons.Refusal
    kept: bool
    partly: bool = False
    dangling: bool = False

    def __str__(self) -> str:
        return f"{self.complaint}; {self.consequence}"

    @property
    def complaint(self) -> str:
        """What is wrong, without what follows from it."""
        return f'{self.kind} "{self.name}": {self.field}: {self.refusal}'

    @property
    def consequence(self) -> str:
        """What becomes of the object meanwhile."""
        if self.partly:
            return "the rest of it is in force"
        return "its last good form stays in force" if self.kept else "it is left out"


def refuse_duplicates(field: str, texts: list[str]) -> None:
    """Raise InvalidError if a text appears twice."""
    seen: set[str] = set()
    for position, text in enumerate(texts):
        if text in seen:
            raise InvalidError(f"{field}[{position}]", f"duplicate entry {text!r}; remove one of the two")
        seen.add(text)


def camel_case(name: str) -> str:
    """The name that a field has in the API: `hold_time` is holdTime."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
