"""What each malformed message costs: the NOTIFICATION that an RFC demands, or the milder outcomes of RFC 7606."""

import pytest

from metallb_core.domain import addresses, routes
from metallb_speaker.bgp.wire import (
    attributes,
    context,
    decoding,
    families,
    framing,
    malformed,
    messages,
    notifications,
)

MARKER = b"\xff" * 16
V4, V6 = families.IPV4_UNICAST, families.IPV6_UNICAST
EXTERNAL = context.Context(families=frozenset({V4, V6}))
INTERNAL = context.Context(families=frozenset({V4, V6}), ibgp=True)
OLD = context.Context(four_octet_as=False)
ONLY_V6 = context.Context(families=frozenset({V6}))


def message(kind: int, body: str | bytes, length: int | None = None) -> bytes:
    octets = bytes.fromhex(body) if isinstance(body, str) else body
    return MARKER + (19 + len(octets) if length is None else length).to_bytes(2, "big") + bytes((kind,)) + octets


def opening(
    parameters: str = "00", *, version: str = "04", asn: str = "fde9", hold: str = "005a", identity: str = "c0000201"
) -> bytes:
    return message(1, f"{version} {asn} {hold} {identity} {parameters}")


def update(attribute_text: str, nlri: str = "08 0a", withdrawn: str = "") -> bytes:
    fields, gone = bytes.fromhex(attribute_text), bytes.fromhex(withdrawn)
    body = len(gone).to_bytes(2, "big") + gone + len(fields).to_bytes(2, "big") + fields + bytes.fromhex(nlri)
    return message(2, body)


ORIGIN, AS_PATH, NEXT_HOP = "40 01 01 00 ", "40 02 06 02 01 0000fde9 ", "40 03 04 c0000201 "
MANDATORY = ORIGIN + AS_PATH + NEXT_HOP
HOP6 = "20010db8000000000000000000000001"
REACH = f"80 0e 1c 0002 01 10 {HOP6} 00 30 20010db80001 "
UNREACH = "80 0f 0a 0002 01 30 20010db80001 "
ROUTE4 = routes.Prefix(addresses.Address.parse("10.0.0.0"), 8)
ROUTE6 = routes.Prefix(addresses.Address.parse("2001:db8:1::"), 48)

# Input, context, NOTIFICATION: code, subcode, data in hexadecimal.
RESETS: dict[str, tuple[bytes, context.Context, tuple[int, int, str]]] = {
    # RFC 4271 section 6.1.
    "marker": (b"\xfe" + message(4, "")[1:], EXTERNAL, (1, 1, "")),
    "length-below-a-header": (message(4, "", 18), EXTERNAL, (1, 2, "0012")),
    "length-above-the-maximum": (message(2, "", 4097), EXTERNAL, (1, 2, "1001")),
    "length-of-keepalive": (message(4, "00"), EXTERNAL, (1, 2, "0014")),
    "length-of-open": (message(1, bytes(9)), EXTERNAL, (1, 2, "001c")),
    "length-of-update": (message(2, "0000 00"), EXTERNAL, (1, 2, "0016")),
    "length-of-notification": (message(3, "06"), EXTERNAL, (1, 2, "0014")),
    "type-zero": (message(0, ""), EXTERNAL, (1, 3, "00")),
    "type-unknown": (message(6, ""), EXTERNAL, (1, 3, "06")),
    # RFC 8654 section 4: these stay short.
    "long-open": (
        message(1, bytes(4078)),
        context.Context(maximum_length=context.EXTENDED_MAXIMUM_LENGTH),
        (1, 2, "1001"),
    ),
    # RFC 2918, RFC 7313 section 5.
    "refresh-too-short": (message(5, "0001 00"), EXTERNAL, (1, 2, "0016")),
    "refresh-too-long": (message(5, "0001 00 01 00"), EXTERNAL, (1, 2, "0018")),
    "refresh-mark-too-long": (
        message(5, "0001 01 01 00"),
        EXTERNAL,
        (7, 1, message(5, "0001 01 01 00").hex()),
    ),
    # RFC 4271 section 6.2.
    "version": (opening(version="03"), EXTERNAL, (2, 1, "0004")),
    "as-zero": (opening(asn="0000"), EXTERNAL, (2, 2, "")),
    "as-zero-in-capability": (opening("08 02 06 41 04 00000000"), EXTERNAL, (2, 2, "")),
    "identifier-zero": (opening(identity="00000000"), EXTERNAL, (2, 3, "")),
    "hold-time-one": (opening(hold="0001"), EXTERNAL, (2, 6, "")),
    "hold-time-two": (opening(hold="0002"), EXTERNAL, (2, 6, "")),
    "parameter-unknown": (opening("03 07 01 00"), EXTERNAL, (2, 4, "")),
    "parameter-authentication": (opening("03 01 01 00"), EXTERNAL, (2, 4, "")),
    "parameters-longer-than-message": (opening("04 02 01"), EXTERNAL, (2, 0, "")),
    "parameters-shorter-than-message": (opening("02 02 00 00"), EXTERNAL, (2, 0, "")),
    "parameter-beyond-the-end": (opening("02 02 02"), EXTERNAL, (2, 0, "")),
    "parameter-of-one-byte": (opening("01 02"), EXTERNAL, (2, 0, "")),
    "capability-beyond-the-end": (opening("04 02 02 01 04"), EXTERNAL, (2, 0, "")),
    "capability-of-one-byte": (opening("03 02 01 01"), EXTERNAL, (2, 0, "")),
    "multiprotocol-of-three-bytes": (opening("07 02 05 01 03 000100"), EXTERNAL, (2, 0, "")),
    "four-octet-as-of-two-bytes": (opening("06 02 04 41 02 fde9"), EXTERNAL, (2, 0, "")),
    "extended-parameters-cut-off": (opening("ff ff 00"), EXTERNAL, (2, 0, "")),
    "extended-parameters-too-long": (opening("ff ff 0009 02 0002 02 00"), EXTERNAL, (2, 0, "")),
    # RFC 4271 section 6.3 where RFC 7606 leaves it.
    "withdrawn-beyond-the-end": (message(2, "0001 0000"), EXTERNAL, (3, 1, "")),
    "attributes-beyond-the-end": (message(2, "0000 0001"), EXTERNAL, (3, 1, "")),
    "well-known-unrecognized": (update(MANDATORY + "40 63 01 00"), EXTERNAL, (3, 2, "40630100")),
    "nlri-length-33": (update(MANDATORY, "21 0a00000000"), EXTERNAL, (3, 10, "")),
    "nlri-cut-off": (update(MANDATORY, "18 0a00"), EXTERNAL, (3, 10, "")),
    "withdrawn-length-33": (update("", "", "21 0a00000000"), EXTERNAL, (3, 10, "")),
    "withdrawn-cut-off": (update("", "", "20 0a0000"), EXTERNAL, (3, 10, "")),
    # RFC 7606 sections 3 (g), 5.3, 7.11, 7.12.
    "reach-twice": (update(REACH + REACH + ORIGIN + AS_PATH, ""), EXTERNAL, (3, 1, "")),
    "unreach-twice": (update(UNREACH + UNREACH, ""), EXTERNAL, (3, 1, "")),
    "reach-of-four-bytes": (update("80 0e 04 0002 01 00"), EXTERNAL, (3, 9, "800e0400020100")),
    "reach-next-hop-of-four-bytes": (
        update("80 0e 09 0002 01 04 c0000201 00", ""),
        EXTERNAL,
        (3, 9, "800e0900020104c000020100"),
    ),
    "reach-ipv6-next-hop-not-agreed": (
        update(f"80 0e 15 0001 01 10 {HOP6} 00", ""),
        EXTERNAL,
        (3, 9, f"800e1500010110{HOP6}00"),
    ),
    "reach-ends-in-next-hop": (update("80 0e 05 0002 01 10 20", ""), EXTERNAL, (3, 9, "800e050002011020")),
    "reach-prefix-of-129": (
        update(f"80 0e 16 0002 01 10 {HOP6} 00 81", ""),
        EXTERNAL,
        (3, 9, f"800e1600020110{HOP6}0081"),
    ),
    "unreach-of-two-bytes": (update("80 0f 02 0002", ""), EXTERNAL, (3, 9, "800f020002")),
    "unreach-prefix-cut-off": (update("80 0f 04 0002 01 30", ""), EXTERNAL, (3, 9, "800f0400020130")),
    # RFC 7606 section 5.2: nothing was found that could be withdrawn.
    "bad-origin-without-routes": (update("40 01 01 03", ""), EXTERNAL, (3, 6, "40010103")),
    "bad-flags-without-routes": (update("80 01 01 00", ""), EXTERNAL, (3, 4, "80010100")),
    "bad-length-without-routes": (update("40 01 02 0000", ""), EXTERNAL, (3, 5, "4001020000")),
    "bad-next-hop-without-routes": (update("40 03 04 e0000001", ""), EXTERNAL, (3, 8, "400304e0000001")),
    "bad-as-path-without-routes": (update("40 02 01 02", ""), EXTERNAL, (3, 11, "")),
    "bad-communities-without-routes": (update("c0 08 00", ""), EXTERNAL, (3, 9, "c00800")),
    "bad-list-with-withdrawn-only": (update("40 01", "", "08 0a"), EXTERNAL, (3, 1, "")),
    "bad-list-behind-unreach": (update(UNREACH + "40 01", ""), EXTERNAL, (3, 1, "")),
}


@pytest.mark.parametrize("name", RESETS)
def test_session_is_reset_with_the_notification(name: str) -> None:
    data, with_context, (code, subcode, text) = RESETS[name]
    reader = framing.Reader(with_context)
    with pytest.raises(malformed.MalformedError) as caught:
        list(reader.feed(data))
    expected = notifications.Notification(code=code, subcode=subcode, data=bytes.fromhex(text))
    assert notifications.Notification.of(caught.value) == expected
    assert str(caught.value)
    with pytest.raises(malformed.MalformedError):  # The stream stays lost.
        list(reader.feed(messages.Keepalive().serialise()))


def test_missing_attributes_are_named_in_the_data() -> None:
    (parsed,) = framing.Reader(EXTERNAL).feed(update(""))
    assert isinstance(parsed, messages.Update)
    assert [problem.data.hex() for problem in parsed.problems] == ["01", "02", "03"]
    assert {problem.subcode for problem in parsed.problems} == {3}


IGNORED, DISCARDED, WITHDRAW = decoding.Outcome.IGNORED, decoding.Outcome.DISCARDED, decoding.Outcome.TREAT_AS_WITHDRAW
# Attributes besides or instead of the mandatory ones, context, what becomes of it. The routes are 10.0.0.0/8.
OUTCOMES: dict[str, tuple[str, context.Context, decoding.Outcome]] = {
    # RFC 7606 section 3 (c), (d), (g); section 4.
    "flags-of-origin": ("c0 01 01 00 " + AS_PATH + NEXT_HOP, EXTERNAL, WITHDRAW),
    "flags-of-med": (MANDATORY + "c0 04 04 00000001", EXTERNAL, WITHDRAW),
    "flags-of-communities": (MANDATORY + "80 08 04 00010001", EXTERNAL, WITHDRAW),
    "flags-of-aggregator": (MANDATORY + "40 07 08 0000fde9 0a000001", EXTERNAL, WITHDRAW),
    "origin-missing": (AS_PATH + NEXT_HOP, EXTERNAL, WITHDRAW),
    "as-path-missing": (ORIGIN + NEXT_HOP, EXTERNAL, WITHDRAW),
    "next-hop-missing": (ORIGIN + AS_PATH, EXTERNAL, WITHDRAW),
    "origin-twice": (ORIGIN + MANDATORY, EXTERNAL, DISCARDED),
    "unknown-twice": (MANDATORY + "c0 63 00 c0 63 00", EXTERNAL, DISCARDED),
    "header-cut-off": (MANDATORY + "c0", EXTERNAL, WITHDRAW),
    "length-cut-off": (MANDATORY + "d0 08 00", EXTERNAL, WITHDRAW),
    "value-cut-off": (MANDATORY + "c0 08 04 0001", EXTERNAL, WITHDRAW),
    # Sections 7.1 to 7.7.
    "origin-of-two-bytes": ("40 01 02 0000 " + AS_PATH + NEXT_HOP, EXTERNAL, WITHDRAW),
    "origin-undefined": ("40 01 01 03 " + AS_PATH + NEXT_HOP, EXTERNAL, WITHDRAW),
    "as-path-segment-unknown": (ORIGIN + "40 02 06 05 01 0000fde9 " + NEXT_HOP, EXTERNAL, WITHDRAW),
    "as-path-confederation": (ORIGIN + "40 02 06 03 01 0000fde9 " + NEXT_HOP, INTERNAL, WITHDRAW),
    "as-path-overrun": (ORIGIN + "40 02 06 02 02 0000fde9 " + NEXT_HOP, EXTERNAL, WITHDRAW),
    "as-path-underrun": (ORIGIN + "40 02 07 02 01 0000fde9 02 " + NEXT_HOP, EXTERNAL, WITHDRAW),
    "as-path-empty-segment": (ORIGIN + "40 02 02 02 00 " + NEXT_HOP, EXTERNAL, WITHDRAW),
    "as-path-of-two-octets": (ORIGIN + "40 02 04 02 01 fde9 " + NEXT_HOP, EXTERNAL, WITHDRAW),
    "as-path-with-zero": (ORIGIN + "40 02 06 02 01 00000000 " + NEXT_HOP, EXTERNAL, WITHDRAW),
    "next-hop-of-five-bytes": (ORIGIN + AS_PATH + "40 03 05 c000020100", EXTERNAL, WITHDRAW),
    "next-hop-empty": (ORIGIN + AS_PATH + "40 03 00", EXTERNAL, WITHDRAW),
    "next-hop-zero": (ORIGIN + AS_PATH + "40 03 04 00000000", EXTERNAL, WITHDRAW),
    "next-hop-multicast": (ORIGIN + AS_PATH + "40 03 04 e0000001", EXTERNAL, WITHDRAW),
    "med-of-three-bytes": (MANDATORY + "80 04 03 000001", EXTERNAL, WITHDRAW),
    "local-pref-external": (MANDATORY + "40 05 04 00000064", EXTERNAL, DISCARDED),
    "local-pref-external-and-bad": (MANDATORY + "40 05 01 64", EXTERNAL, DISCARDED),
    "local-pref-of-one-byte": (MANDATORY + "40 05 01 64", INTERNAL, WITHDRAW),
    "atomic-aggregate-of-one-byte": (MANDATORY + "40 06 01 00", EXTERNAL, DISCARDED),
    "aggregator-of-six-bytes": (MANDATORY + "c0 07 06 fde9 0a000001", EXTERNAL, DISCARDED),
    "aggregator-of-eight-bytes-on-an-old-session": (
        ORIGIN + "40 02 04 02 01 fde9 " + NEXT_HOP + "c0 07 08 0000fde9 0a000001",
        OLD,
        DISCARDED,
    ),
    "aggregator-as-zero": (MANDATORY + "c0 07 08 00000000 0a000001", EXTERNAL, DISCARDED),
    # Sections 7.8 to 7.10, 7.14.
    "communities-of-five-bytes": (MANDATORY + "c0 08 05 0001000100", EXTERNAL, WITHDRAW),
    "communities-empty": (MANDATORY + "c0 08 00", EXTERNAL, WITHDRAW),
    "originator-external": (MANDATORY + "80 09 04 0a000001", EXTERNAL, DISCARDED),
    "originator-of-three-bytes": (MANDATORY + "80 09 03 0a0000", INTERNAL, WITHDRAW),
    "cluster-list-external": (MANDATORY + "80 0a 04 0a000001", EXTERNAL, DISCARDED),
    "cluster-list-of-five-bytes": (MANDATORY + "80 0a 05 0a00000100", INTERNAL, WITHDRAW),
    "extended-communities-of-four-bytes": (MANDATORY + "c0 10 04 00020001", EXTERNAL, WITHDRAW),
    # RFC 8092.
    "large-communities-of-eight-bytes": (MANDATORY + "c0 20 08 0000000100000001", EXTERNAL, WITHDRAW),
    "large-communities-empty": (MANDATORY + "c0 20 00", EXTERNAL, WITHDRAW),
    # RFC 6793 section 4.1 and 6.
    "as4-path-on-a-new-session": (MANDATORY + "c0 11 06 02 01 0000fde9", EXTERNAL, DISCARDED),
    "as4-aggregator-on-a-new-session": (MANDATORY + "c0 12 08 0000fde9 0a000001", EXTERNAL, DISCARDED),
    "as4-path-overrun": (ORIGIN + "40 02 04 02 01 fde9 " + NEXT_HOP + "c0 11 06 02 02 0000fde9", OLD, DISCARDED),
    "as4-path-segment-unknown": (
        ORIGIN + "40 02 04 02 01 fde9 " + NEXT_HOP + "c0 11 06 07 01 0000fde9",
        OLD,
        DISCARDED,
    ),
    # RFC 4760 section 7: a family that was not agreed on.
    "reach-of-a-foreign-family": (MANDATORY + "80 0e 0b 0019 41 04 0a000001 00 0102", EXTERNAL, IGNORED),
    "unreach-of-a-foreign-family": (MANDATORY + "80 0f 05 0019 41 0102", EXTERNAL, IGNORED),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_session_survives(name: str) -> None:
    text, with_context, expected = OUTCOMES[name]
    (parsed,) = framing.Reader(with_context).feed(update(text))
    assert isinstance(parsed, messages.Update)
    assert {problem.outcome for problem in parsed.problems} == {expected}
    assert all(expected.value in str(problem) for problem in parsed.problems)
    assert parsed.nlri == (ROUTE4,)
    withdrawn = expected is WITHDRAW
    assert parsed.treat_as_withdraw is withdrawn
    assert parsed.announced == (() if withdrawn else (ROUTE4,))
    assert parsed.gone == ((ROUTE4,) if withdrawn else ())
    assert parsed.end_of_rib is None


def test_first_of_two_attributes_counts() -> None:
    (parsed,) = framing.Reader(EXTERNAL).feed(update(MANDATORY + "80 04 04 00000001 80 04 04 00000002"))
    assert isinstance(parsed, messages.Update)
    assert parsed.attributes.med == 1


def test_discarded_attribute_leaves_no_trace() -> None:
    (parsed,) = framing.Reader(EXTERNAL).feed(update(MANDATORY + "40 05 04 00000064 c0 07 01 00"))
    assert isinstance(parsed, messages.Update)
    assert (parsed.attributes.local_pref, parsed.attributes.aggregator) == (None, None)


def test_partial_bit_and_needless_long_length_are_no_errors() -> None:
    (parsed,) = framing.Reader(EXTERNAL).feed(update(MANDATORY + "f0 08 0004 00010002 e0 63 01 07"))
    assert isinstance(parsed, messages.Update)
    assert parsed.problems == ()
    assert [str(each) for each in parsed.attributes.communities] == ["1:2"]
    assert parsed.attributes.unknown == (attributes.Unknown(0x63, 0xE0, b"\x07"),)


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        pytest.param(REACH + "40 01 01 03 " + AS_PATH, (ROUTE6,), id="bad-origin"),
        pytest.param(REACH + AS_PATH, (ROUTE6,), id="origin-missing"),
        pytest.param("c0" + REACH[2:] + ORIGIN + AS_PATH, (ROUTE6,), id="flags-of-reach"),
        pytest.param("c0" + UNREACH[2:], (ROUTE6,), id="flags-of-unreach"),
    ],
)
def test_ipv6_routes_are_treated_as_withdrawn(text: str, gone: tuple[routes.Prefix, ...]) -> None:
    (parsed,) = framing.Reader(EXTERNAL).feed(update(text, ""))
    assert isinstance(parsed, messages.Update)
    assert parsed.treat_as_withdraw
    assert parsed.announced == ()
    assert parsed.gone == gone


def test_next_hop_beside_reach_alone_means_nothing() -> None:
    (parsed,) = framing.Reader(EXTERNAL).feed(update(REACH + ORIGIN + AS_PATH + "40 03 04 00000000", ""))
    assert isinstance(parsed, messages.Update)
    assert parsed.announced == (ROUTE6,)
    assert [problem.outcome for problem in parsed.problems] == [IGNORED]


def test_bad_attribute_beside_routes_of_a_foreign_family_is_survived() -> None:
    (parsed,) = framing.Reader(EXTERNAL).feed(update("80 0e 0b 0019 41 04 0a000001 00 0102 40 01 01 03", ""))
    assert isinstance(parsed, messages.Update)
    assert parsed.treat_as_withdraw
    assert parsed.gone == ()


def test_ipv4_routes_are_ignored_where_the_family_was_not_agreed_on() -> None:
    (parsed,) = framing.Reader(ONLY_V6).feed(update(MANDATORY, "08 0a", "08 0b"))
    assert isinstance(parsed, messages.Update)
    assert (parsed.announced, parsed.gone) == ((), ())
    assert [problem.outcome for problem in parsed.problems] == [IGNORED]
    assert parsed.end_of_rib is None


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param("05 02 03 02 01 00", id="route-refresh-with-a-value"),
        pytest.param("05 02 03 40 01 00", id="graceful-restart-of-one-byte"),
        pytest.param("07 02 05 05 03 000100", id="extended-next-hop-of-three-bytes"),
        pytest.param("0a 02 08 05 06 0001 0101 0002", id="extended-next-hop-of-a-safi-that-is-too-large"),
        pytest.param("04 02 02 80 00", id="unknown"),
    ],
)
def test_capability_that_is_not_understood_is_kept_as_it_came(parameters: str) -> None:
    data = opening(parameters)
    (parsed,) = framing.Reader().feed(data)
    assert isinstance(parsed, messages.Open)
    assert parsed.serialise() == data
    assert len(parsed.capabilities) == 1


def test_long_messages_are_read_once_agreed_on() -> None:
    data = update(MANDATORY, "20 0a000001" * 2000)
    with pytest.raises(malformed.MalformedError):
        list(framing.Reader(EXTERNAL).feed(data))
    (parsed,) = framing.Reader(context.Context(maximum_length=context.EXTENDED_MAXIMUM_LENGTH)).feed(data)
    assert isinstance(parsed, messages.Update)
    assert len(parsed.announced) == 2000
