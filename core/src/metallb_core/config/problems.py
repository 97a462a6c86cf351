"""What is wrong with an object: the field, the reason, and a sentence that says how to mend it."""

import dataclasses

from metallb_core.domain import reasons


class InvalidError(Exception):
    """An object that cannot be used. `field` is a path such as spec.addresses[1]."""

    def __init__(self, field: str, detail: str, reason: reasons.Reason = reasons.Reason.INVALID_OBJECT) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.refusal = reasons.Refusal(reason, detail)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An invalid object. `kept`: an earlier, good form of it stays in force meanwhile."""

    kind: str
    namespace: str
    name: str
    uid: str
    field: str
    refusal: reasons.Refusal
    kept: bool

    def __str__(self) -> str:
        consequence = "its last good form stays in force" if self.kept else "it is left out"
        return f'{self.kind} "{self.name}": {self.field}: {self.refusal}; {consequence}'


def refuse_duplicates(field: str, texts: list[str]) -> None:
    """Raise InvalidError if a text appears twice."""
    seen: set[str] = set()
    for position, text in enumerate(texts):
        if text in seen:
            raise InvalidError(f"{field}[{position}]", f"duplicate entry {text!r}; remove one of the two")
        seen.add(text)
