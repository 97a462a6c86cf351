"""UPDATE: RFC 4271 section 4.3, 6.3; RFC 4760; RFC 7606; End-of-RIB of RFC 4724 section 2.

- What can be survived is in `problems`, and the routes are read as RFC 7606 says: `announced` and `gone` have it applied already.
- A problem that would withdraw the routes ends the session where no routes can be found to withdraw (RFC 7606 section 5.2).
- Written, MP_REACH_NLRI or MP_UNREACH_NLRI comes first whatever its number, so that a receiver finds the routes however bad the rest is
  (RFC 7606 section 5.1); the other attributes follow in order of type.
"""

import dataclasses
import struct

from metallb_core.domain import addresses, routes
from metallb_speaker.bgp.wire import attributes as wire_attributes
from metallb_speaker.bgp.wire import context as wire_context
from metallb_speaker.bgp.wire import decoding, header, malformed, multiprotocol, notifications
from metallb_speaker.bgp.wire import families as wire_families
from metallb_speaker.bgp.wire import prefixes as wire_prefixes

MINIMUM_BODY = 4
_Type = wire_attributes.Type
_Subcode = notifications.Update


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """UPDATE message (RFC 4271 section 4.3). `withdrawn` and `nlri` are the IPv4 fields; `reach` and `unreach` those of any family."""

    withdrawn: tuple[routes.Prefix, ...] = ()
    attributes: wire_attributes.PathAttributes = wire_attributes.NONE
    nlri: tuple[routes.Prefix, ...] = ()
    reach: multiprotocol.Reach | None = None
    unreach: multiprotocol.Unreach | None = None
    problems: tuple[decoding.Problem, ...] = ()

    @property
    def treat_as_withdraw(self) -> bool:
        """Whether its routes count as withdrawn (RFC 7606 section 2)."""
        return any(problem.outcome is decoding.Outcome.TREAT_AS_WITHDRAW for problem in self.problems)

    @property
    def announced(self) -> tuple[routes.Prefix, ...]:
        """All prefixes that can be reached now."""
        if self.treat_as_withdraw:
            return ()
        return self.nlri + (() if self.reach is None else self.reach.prefixes)

    @property
    def gone(self) -> tuple[routes.Prefix, ...]:
        """All prefixes that cannot be reached any more. One that is in `announced` too can be (RFC 4271 section 4.3)."""
        found = self.withdrawn + (() if self.unreach is None else self.unreach.prefixes)
        if self.treat_as_withdraw:
            found += self.nlri + (() if self.reach is None else self.reach.prefixes)
        return found

    @property
    def end_of_rib(self) -> wire_families.Family | None:
        """The family whose routes have all been sent, if this says so (RFC 4724 section 2)."""
        if self.withdrawn or self.nlri or self.reach or self.problems or self.attributes != wire_attributes.NONE:
            return None
        if self.unreach is None:
            return wire_families.IPV4_UNICAST
        return None if self.unreach.prefixes else self.unreach.family

    @classmethod
    def parse(cls, body: bytes, context: wire_context.Context) -> "Update":
        """The part after the header (RFC 4271 section 4.3). Raises MalformedError (1/2, 3/x)."""
        withdrawn_field, attribute_field, nlri_field = _fields(body)
        withdrawn = _prefixes(withdrawn_field, "withdrawn")
        nlri = _prefixes(nlri_field, "announced")
        draft = decoding.decode(attribute_field, context)
        _forgive_next_hop(draft, nlri)
        _check_mandatory(draft, nlri)
        problem = _first_withdrawing(draft)
        if problem is not None and not _can_withdraw(draft, nlri):
            raise problem.error()
        if (withdrawn or nlri) and wire_families.IPV4_UNICAST not in context.families:
            withdrawn, nlri = (), ()
            draft.problems.append(
                decoding.Problem(
                    outcome=decoding.Outcome.IGNORED,
                    attribute=None,
                    subcode=_Subcode.INVALID_NETWORK_FIELD,
                    data=b"",
                    text="IPv4 routes, a family that was not agreed on",
                )
            )
        return cls(
            withdrawn=withdrawn,
            attributes=draft.attributes(),
            nlri=nlri,
            reach=draft.reach,
            unreach=draft.unreach,
            problems=tuple(draft.problems),
        )

    def serialise(self, *, four_octet_as: bool = True) -> bytes:
        """The whole message; `problems` are not written. ValueError where it would be longer than any message may be."""
        first = b""
        if self.unreach is not None:
            first += _multiprotocol(_Type.MP_UNREACH_NLRI, self.unreach.serialise())
        if self.reach is not None:
            first += _multiprotocol(_Type.MP_REACH_NLRI, self.reach.serialise())
        return assemble(
            wire_prefixes.serialise_all(self.withdrawn),
            first + wire_attributes.serialise(self.attributes, four_octet_as=four_octet_as),
            wire_prefixes.serialise_all(self.nlri),
        )


def assemble(withdrawn: bytes, attributes: bytes, nlri: bytes) -> bytes:
    """The whole message of its three fields. ValueError where it is longer than RFC 8654 allows."""
    length = header.LENGTH + MINIMUM_BODY + len(withdrawn) + len(attributes) + len(nlri)
    if length > wire_context.EXTENDED_MAXIMUM_LENGTH:
        raise ValueError(f"an UPDATE of {length} bytes")
    return header.enclose(
        header.Type.UPDATE,
        b"".join((struct.pack("!H", len(withdrawn)), withdrawn, struct.pack("!H", len(attributes)), attributes, nlri)),
    )


def _multiprotocol(kind: wire_attributes.Type, value: bytes) -> bytes:
    return wire_attributes.enclose(kind, wire_attributes.FLAGS[kind], value)


def _error(subcode: notifications.Update, text: str) -> malformed.MalformedError:
    return malformed.MalformedError(notifications.Code.UPDATE_MESSAGE, subcode, b"", text)


def _fields(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Withdrawn routes, path attributes, NLRI."""
    if len(body) < MINIMUM_BODY:
        length = header.LENGTH + len(body)
        raise malformed.MalformedError(
            notifications.Code.MESSAGE_HEADER,
            notifications.Header.BAD_MESSAGE_LENGTH,
            length.to_bytes(2, "big"),
            f"an UPDATE of {length} bytes",
        )
    middle = 2 + int.from_bytes(body[:2], "big")
    if middle + 2 > len(body):
        raise _error(_Subcode.MALFORMED_ATTRIBUTE_LIST, "the withdrawn routes end after the message")
    start = middle + 2
    end = start + int.from_bytes(body[middle:start], "big")
    if end > len(body):
        raise _error(_Subcode.MALFORMED_ATTRIBUTE_LIST, "the path attributes end after the message")
    return body[2:middle], body[start:end], body[end:]


def _prefixes(data: bytes, what: str) -> tuple[routes.Prefix, ...]:
    if not data:
        return ()
    try:
        return wire_prefixes.parse_all(data, addresses.Family.IPV4)
    except wire_prefixes.PrefixError as error:
        raise _error(_Subcode.INVALID_NETWORK_FIELD, f"the {what} routes: {error}") from None


def _check_mandatory(draft: decoding.Draft, nlri: tuple[routes.Prefix, ...]) -> None:
    """RFC 4271 section 5: what every route must have. MP_REACH_NLRI has the next hop of its own routes (RFC 4760 section 3)."""
    if not nlri and not (draft.reach is not None and draft.reach.prefixes):
        return
    for kind in (_Type.ORIGIN, _Type.AS_PATH, *((_Type.NEXT_HOP,) if nlri else ())):
        if kind not in draft.seen:
            draft.problems.append(
                decoding.Problem(
                    outcome=decoding.Outcome.TREAT_AS_WITHDRAW,
                    attribute=kind,
                    subcode=_Subcode.MISSING_WELL_KNOWN_ATTRIBUTE,
                    data=bytes((kind,)),
                    text=f"{decoding.name(kind)} is missing",
                )
            )


def _forgive_next_hop(draft: decoding.Draft, nlri: tuple[routes.Prefix, ...]) -> None:
    """Beside MP_REACH_NLRI alone NEXT_HOP means nothing, whatever it holds (RFC 4760 section 3)."""
    if nlri or _Type.MP_REACH_NLRI not in draft.seen:
        return
    draft.problems = [
        dataclasses.replace(problem, outcome=decoding.Outcome.IGNORED)
        if problem.attribute == _Type.NEXT_HOP
        else problem
        for problem in draft.problems
    ]


def _first_withdrawing(draft: decoding.Draft) -> decoding.Problem | None:
    for problem in draft.problems:
        if problem.outcome is decoding.Outcome.TREAT_AS_WITHDRAW:
            return problem
    return None


def _can_withdraw(draft: decoding.Draft, nlri: tuple[routes.Prefix, ...]) -> bool:
    """Whether the routes that a bad attribute belongs to were found (RFC 7606 section 5.2)."""
    if nlri or draft.foreign_reach or (draft.reach is not None and draft.reach.prefixes):
        return True
    # Of an UPDATE that only withdraws, nothing but the flags of MP_UNREACH_NLRI can be bad.
    return draft.seen == {_Type.MP_UNREACH_NLRI} and all(problem.attribute is not None for problem in draft.problems)
