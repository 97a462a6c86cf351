"""Object metadata (meta/v1), the fields in use."""

import msgspec


class Wire(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """Base of every struct that mirrors JSON of the API: camelCase names, absent means default, unknown fields are skipped."""


def repr_without(struct: msgspec.Struct, *secret: str) -> str:
    """The usual repr of a struct, with the values of the fields `secret` left out."""
    shown = (
        f"{name}={'...' if name in secret and getattr(struct, name) else repr(getattr(struct, name))}"
        for name in struct.__struct_fields__
    )
    return f"{type(struct).__name__}({', '.join(shown)})"


class OwnerReference(Wire, frozen=True):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Wire, frozen=True):
    name: str = ""
    generate_name: str | None = None
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None
    owner_references: list[OwnerReference] | None = None


class LabelSelectorRequirement(Wire, frozen=True):
    key: str
    operator: str
    values: list[str] | None = None


class LabelSelector(Wire, frozen=True):
    match_labels: dict[str, str] | None = None
    match_expressions: list[LabelSelectorRequirement] | None = None


class ListMeta(Wire, frozen=True):
    resource_version: str = ""
    # The API calls it `continue`, which Python reserves.
    continue_: str | None = msgspec.field(default=None, name="continue")


class Condition(Wire, frozen=True, omit_defaults=False):
    """One condition (meta/v1). Every field is written, since all but `observed_generation` are required; read, any may be missing.

    `status` is True, False or Unknown; `last_transition_time` is RFC 3339 in whole seconds, and changes with `status` only.
    """

    type: str = ""
    status: str = ""
    observed_generation: int = 0
    last_transition_time: str | None = None
    reason: str = ""
    message: str = ""
