"""The codec: what is written is read back, what is read a byte at a time is the same, and garbage is MalformedError."""

import os
import random

import hypothesis
import pytest
from hypothesis import strategies

from metallb_speaker.membership import (
    aead,
    encryption,
    envelope,
    lzw,
    malformed,
    messages,
    msgpack,
    streams,
)

_FUZZ = int(os.environ.get("METALLB_FUZZ", "100000"))

names = strategies.text(max_size=64)
addresses = strategies.binary(min_size=4, max_size=4) | strategies.binary(min_size=16, max_size=16)
ports = strategies.integers(0, 0xFFFF)
numbers = strategies.integers(0, 0xFFFFFFFF)
metas = strategies.binary(max_size=messages.META_LIMIT)
vectors = strategies.binary(min_size=6, max_size=6) | strategies.just(b"")
sources = {"source_address": addresses | strategies.just(b""), "source_port": ports, "source_node": names}
packets = strategies.one_of(
    strategies.builds(messages.Ping, sequence=numbers, node=names, **sources),
    strategies.builds(
        messages.IndirectPing,
        sequence=numbers,
        target=addresses,
        port=ports,
        node=names,
        nack=strategies.booleans(),
        **sources,
    ),
    strategies.builds(messages.Ack, sequence=numbers, payload=strategies.binary(max_size=100)),
    strategies.builds(messages.Nack, sequence=numbers),
    strategies.builds(messages.Suspect, incarnation=numbers, node=names, accuser=names),
    strategies.builds(messages.Dead, incarnation=numbers, node=names, accuser=names),
    strategies.builds(
        messages.Alive,
        incarnation=numbers,
        node=names,
        address=addresses,
        port=ports,
        meta=metas,
        versions=vectors,
    ),
)
states = strategies.builds(
    messages.MemberState,
    node=names,
    address=addresses,
    port=ports,
    meta=metas,
    incarnation=numbers,
    state=strategies.integers(0, 3),
    versions=vectors,
)
stream_messages = strategies.one_of(
    strategies.builds(
        streams.PushPull,
        join=strategies.booleans(),
        states=strategies.lists(states, max_size=5).map(tuple),
        user_state=strategies.binary(max_size=40),
    ),
    strategies.builds(streams.User, body=strategies.binary(max_size=40)),
    strategies.builds(messages.Ping, sequence=numbers, node=names, **sources),
    strategies.builds(messages.Ack, sequence=numbers),
    strategies.builds(messages.Error, text=names),
)
_KEYS = (b"k" * 32, b"j" * 16)


def _envelope(*, label: bytes = b"", keys: tuple[bytes, ...] = (), version: int = 1, compression: bool = False):
    return envelope.Envelope(label=label, keyring=aead.load_keyring(keys, version=version), compression=compression)


_WRAPPINGS = {
    "plain": _envelope(),
    "label": _envelope(label=b"blue"),
    "compressed": _envelope(compression=True),
    "encrypted": _envelope(keys=_KEYS),
    "encrypted-padded": _envelope(keys=_KEYS, version=0),
    "everything": _envelope(label=b"blue", keys=_KEYS, compression=True),
}
wrappings = strategies.sampled_from(list(_WRAPPINGS.values()))


@hypothesis.given(packets)
@hypothesis.settings(deadline=None)
def test_a_message_is_read_back(message: messages.Packet) -> None:
    assert messages.parse_packet(messages.serialise(message)) == message


@hypothesis.given(strategies.lists(packets, min_size=1, max_size=4), wrappings, strategies.booleans())
@hypothesis.settings(deadline=None)
def test_a_packet_is_unwrapped_to_what_was_wrapped(
    batch: list[messages.Packet], wrapping: envelope.Envelope, checksum: bool
) -> None:
    parts = [messages.serialise(message) for message in batch]
    assert wrapping.unwrap(wrapping.wrap(parts, checksum)) == parts


@hypothesis.given(stream_messages, wrappings, strategies.booleans())
@hypothesis.settings(max_examples=60, deadline=None)
def test_a_stream_reads_the_same_however_it_is_cut(
    message: streams.Message, wrapping: envelope.Envelope, connected: bool
) -> None:
    data = streams.wrap(message, wrapping, connected=connected)
    assert streams.StreamReader(wrapping, accepted=connected).feed(data) == message
    reader = streams.StreamReader(wrapping, accepted=connected)
    heard = [reader.feed(data[index : index + 1]) for index in range(len(data))]
    assert heard[:-1] == [None] * (len(data) - 1)
    assert heard[-1] == message


@hypothesis.given(strategies.binary(max_size=3000))
@hypothesis.settings(deadline=None)
def test_compression_is_undone(data: bytes) -> None:
    assert lzw.decompress(lzw.compress(data), len(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"a" * 100_000, id="one-letter"),
        pytest.param(random.Random(1).randbytes(60_000), id="noise, the table overflows"),
        pytest.param(bytes(range(256)) * 200, id="cycle"),
    ],
)
def test_compression_of_more_than_a_table_is_undone(data: bytes) -> None:
    assert lzw.decompress(lzw.compress(data), len(data)) == data


@pytest.mark.parametrize("length", [*range(3820, 3850), *range(7660, 7690)])
def test_compression_ends_around_a_full_table(length: int) -> None:
    data = random.Random(2).randbytes(length)
    assert lzw.decompress(lzw.compress(data), length) == data


def test_a_full_table_is_used_until_it_is_cleared() -> None:
    """A writer need not clear a full table; codes stay 12 bits wide and keep their meaning."""
    bits = held = 0
    width, newest = 9, 257

    def put(code: int) -> None:
        nonlocal bits, held
        bits |= code << held
        held += width

    literals = random.Random(3).randbytes(6000)
    put(256)
    for literal in literals:
        put(literal)
        newest += 1
        if newest == 1 << width and width < 12:
            width += 1
        newest = min(newest, 4095)
    put(4000)
    put(257)
    plain = lzw.decompress(bits.to_bytes((held + 7) // 8, "little"), 7000)
    # The first literal defines nothing, so entry 258 is the first pair and entry n the pair at n - 258.
    assert plain == literals + literals[4000 - 258 : 4000 - 258 + 2]


@pytest.mark.parametrize(
    ("data", "limit"),
    [
        pytest.param(b"", 10, id="nothing"),
        pytest.param(lzw.compress(b"abcabc")[:-1], 10, id="no end code"),
        pytest.param(lzw.compress(b"a" * 11), 10, id="more than allowed"),
        pytest.param((256 | 300 << 9).to_bytes(3, "little"), 10, id="unknown code"),
        pytest.param((256 | 258 << 9).to_bytes(3, "little"), 10, id="next code right after a clear"),
    ],
)
def test_bad_compression_is_malformed(data: bytes, limit: int) -> None:
    with pytest.raises(malformed.MalformedError):
        lzw.decompress(data, limit)


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        pytest.param("05", 5, id="fixint"),
        pytest.param("ccff", 255, id="uint8"),
        pytest.param("cdffff", 65535, id="uint16"),
        pytest.param("ce00010000", 65536, id="uint32"),
        pytest.param("cf0000000000000001", 1, id="uint64"),
        pytest.param("d07f", 127, id="int8"),
        pytest.param("d100c8", 200, id="int16"),
        pytest.param("d200000001", 1, id="int32"),
        pytest.param("d30000000000000001", 1, id="int64"),
        pytest.param("c0", 0, id="nil"),
    ],
)
def test_every_width_of_integer_is_read(encoded: str, value: int) -> None:
    assert msgpack.Reader(bytes.fromhex(encoded)).read_unsigned(messages.UINT32) == value


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param("ff", id="negative fixint"),
        pytest.param("d0ff", id="negative int8"),
        pytest.param("cf0000000100000000", id="above the limit"),
        pytest.param("a161", id="text"),
    ],
)
def test_what_is_no_unsigned_number_is_malformed(encoded: str) -> None:
    with pytest.raises(malformed.MalformedError):
        msgpack.Reader(bytes.fromhex(encoded)).read_unsigned(messages.UINT32)


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param("a161", id="fixraw"),
        pytest.param("d90161", id="str8"),
        pytest.param("da000161", id="raw16"),
        pytest.param("db0000000161", id="raw32"),
        pytest.param("c40161", id="bin8"),
        pytest.param("c5000161", id="bin16"),
        pytest.param("c60000000161", id="bin32"),
    ],
)
def test_every_form_of_text_is_read(encoded: str) -> None:
    assert msgpack.Reader(bytes.fromhex(encoded)).read_text(10) == "a"


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param("ca00000000", id="float32"),
        pytest.param("cb0000000000000000", id="float64"),
        pytest.param("93010203", id="array"),
        pytest.param("dc0001c0", id="array16"),
        pytest.param("dd00000001c0", id="array32"),
        pytest.param("81a161c3", id="map"),
        pytest.param("de0001a161c2", id="map16"),
        pytest.param("df00000001a161c2", id="map32"),
        pytest.param("d6ff00000000", id="timestamp"),
        pytest.param("c7010500", id="ext8"),
        pytest.param("c800010500", id="ext16"),
        pytest.param("c90000000105ff", id="ext32"),
        pytest.param("d30000000000000000", id="int64"),
        pytest.param("d90161", id="str8"),
    ],
)
def test_an_unknown_field_of_any_type_is_skipped(encoded: str) -> None:
    data = bytearray((messages.Kind.NACK, 0x82))
    msgpack.append_raw(data, b"Strange")
    data += bytes.fromhex(encoded)
    msgpack.append_raw(data, b"SeqNo")
    msgpack.append_unsigned(data, 7)
    assert messages.parse_packet(bytes(data)) == messages.Nack(sequence=7)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="empty"),
        pytest.param(bytes((messages.Kind.LABEL,)), id="label without a size"),
        pytest.param(bytes((messages.Kind.LABEL, 0, 0)), id="empty label"),
        pytest.param(bytes((messages.Kind.LABEL, 5)) + b"ab", id="label cut short"),
        pytest.param(bytes((messages.Kind.LABEL, 2)) + b"ab\x00", id="label not ours"),
        pytest.param(bytes((messages.Kind.CHECKSUM, 0, 0, 0, 0, 2)), id="wrong checksum"),
        pytest.param(bytes((messages.Kind.COMPOUND,)), id="compound without a count"),
        pytest.param(bytes((messages.Kind.COMPOUND, 2, 0, 1)), id="compound lengths cut short"),
        pytest.param(bytes((messages.Kind.COMPOUND, 1, 0, 0)), id="compound with an empty part"),
        pytest.param(
            messages.serialise(messages.Compressed(algorithm=1, data=lzw.compress(b"x"))), id="algorithm unknown"
        ),
        pytest.param(envelope.compress(bytes(1 << 19)), id="stands for half a megabyte"),
        pytest.param(
            envelope.join([envelope.compress(bytes(200_000)), envelope.compress(bytes(200_000))]),
            id="stands for too much in two parts",
        ),
    ],
)
def test_a_bad_packet_is_malformed(packet: bytes) -> None:
    with pytest.raises(malformed.MalformedError):
        _WRAPPINGS["plain"].unwrap(packet)


def test_nesting_is_bounded() -> None:
    packet = messages.serialise(messages.Nack(sequence=1))
    for _ in range(10):
        packet = envelope.join([packet])
    with pytest.raises(malformed.MalformedError):
        _WRAPPINGS["plain"].unwrap(packet)


def test_a_compound_cut_short_keeps_its_whole_parts() -> None:
    parts = [messages.serialise(messages.Nack(sequence=number)) for number in range(3)]
    assert _WRAPPINGS["plain"].unwrap(envelope.join(parts)[:-2]) == parts[:2]


def test_a_key_of_the_ring_is_enough_and_another_is_not() -> None:
    parts = [messages.serialise(messages.Nack(sequence=1))]
    packet = _envelope(keys=(b"a" * 32,)).wrap(parts, checksum=False)
    assert _envelope(keys=(b"b" * 32, b"a" * 32)).unwrap(packet) == parts
    with pytest.raises(malformed.MalformedError):
        _envelope(keys=(b"b" * 32,)).unwrap(packet)


def test_plaintext_is_taken_only_when_incoming_is_not_verified() -> None:
    parts = [messages.serialise(messages.Nack(sequence=1))]
    packet = _WRAPPINGS["plain"].wrap(parts, checksum=False)
    with pytest.raises(malformed.MalformedError):
        _envelope(keys=_KEYS).unwrap(packet)
    lenient = envelope.Envelope(keyring=aead.load_keyring(_KEYS, version=1), verify_incoming=False)
    assert lenient.unwrap(packet) == parts


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        pytest.param("", None, id="empty is plaintext"),
        pytest.param(
            "abc", b"abc" + bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b78"), id="short"
        ),
        pytest.param(
            "abc\n", b"abc\n" + bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b"), id="newline"
        ),
        pytest.param("x" * 40, b"x" * 32, id="long"),
    ],
)
def test_the_key_is_the_text_and_then_the_hash_of_nothing(secret: str, key: bytes | None) -> None:
    assert encryption.key_from_secret(secret) == key


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000])
def test_the_sealed_size_is_known_beforehand(version: int, size: int) -> None:
    ring = aead.load_keyring(_KEYS, version=version)
    assert ring is not None
    sealed = ring.seal(bytes(size), b"bound")
    assert len(sealed) == ring.sealed_size(size)
    assert ring.open(sealed, b"bound") == (bytes(size), 0)
    with pytest.raises(malformed.MalformedError):
        ring.open(sealed, b"other")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(bytes((messages.Kind.ENCRYPTED, 0xFF, 0xFF, 0xFF, 0xFF)), id="announces 4 gigabytes"),
        pytest.param(bytes((messages.Kind.ENCRYPTED, 0, 0, 0, 0)), id="encrypts nothing"),
        pytest.param(messages.serialise(messages.Ping(sequence=1)), id="plaintext while we have a key"),
    ],
)
def test_a_bad_encrypted_stream_is_malformed_at_once(data: bytes) -> None:
    with pytest.raises(malformed.MalformedError):
        streams.StreamReader(_WRAPPINGS["encrypted"], accepted=True).feed(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            messages.serialise(messages.PushPullHeader(nodes=1, user_state_length=0xFFFFFFFF)), id="user state of 4 GB"
        ),
        pytest.param(messages.serialise(messages.UserHeader(length=0xFFFFFFFF)), id="user message of 4 GB"),
        pytest.param(envelope.compress(b""), id="compresses nothing"),
        pytest.param(envelope.compress(messages.serialise(messages.PushPullHeader(nodes=1))), id="complete, too short"),
        pytest.param(envelope.compress(bytes(5 << 20)), id="stands for five megabytes"),
        pytest.param(bytes((messages.Kind.SUSPECT,)), id="no message for a stream"),
        pytest.param(bytes((messages.Kind.LABEL, 1)) + b"a", id="labelled"),
    ],
)
def test_a_bad_stream_is_malformed_at_once(data: bytes) -> None:
    with pytest.raises(malformed.MalformedError):
        streams.StreamReader(_WRAPPINGS["plain"], accepted=True).feed(data)


def _mutate(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        kind = chance.randrange(4)
        place = chance.randrange(len(changed)) if changed else 0
        if kind == 0 and changed:
            changed[place] = chance.randrange(256)
        elif kind == 1:
            changed[place:place] = chance.randbytes(chance.randrange(4))
        elif kind == 2:
            del changed[place : place + chance.randrange(5)]
        else:
            changed = changed[: place + 1]
    return bytes(changed)


def _seal_stream(wrapping: envelope.Envelope, data: bytes) -> bytes:
    """What a peer with our key and label could send, whatever `data` is."""
    if wrapping.keyring is not None:
        header = bytes((messages.Kind.ENCRYPTED,)) + wrapping.keyring.sealed_size(len(data)).to_bytes(4, "big")
        data = header + wrapping.keyring.seal(data, header + wrapping.label)
    if wrapping.label:
        data = bytes((messages.Kind.LABEL, len(wrapping.label))) + wrapping.label + data
    return data


def _fuzz(rounds: int, seed: int) -> dict[str, int]:
    """Feed garbage at every layer; how many inputs got through as messages."""
    chance = random.Random(seed)
    plain = [
        messages.serialise(
            messages.Ping(sequence=9, node="a", source_address=b"\x7f\0\0\1", source_port=1, source_node="b")
        ),
        messages.serialise(messages.IndirectPing(sequence=9, target=bytes(4), port=2, node="a", nack=True)),
        messages.serialise(messages.Ack(sequence=9, payload=b"p")),
        messages.serialise(messages.Alive(node="a", address=bytes(16), port=1, meta=b"m", versions=bytes(6))),
        messages.serialise(messages.Suspect(incarnation=70_000, node="a", accuser="b")),
    ]
    state = messages.MemberState(node="a", address=b"\x7f\0\0\1", port=7946, incarnation=3, versions=bytes(6))
    whole = streams.serialise(streams.PushPull(join=True, states=(state,) * 3, user_state=b"user"))
    packet_seeds = [*plain, envelope.join(plain), envelope.compress(envelope.join(plain))]
    stream_seeds = [whole, envelope.compress(whole), streams.serialise(streams.User(body=b"user")), *plain]
    choices = list(_WRAPPINGS.values())
    through = {"packets": 0, "streams": 0}
    for _ in range(rounds):
        wrapping = chance.choice(choices)
        depth = chance.randrange(4)  # damage inside the layers, outside, or noise
        packet, stream = chance.choice(packet_seeds), chance.choice(stream_seeds)
        if depth < 2:
            packet, stream = _mutate(chance, packet), _mutate(chance, stream)
        packet, stream = wrapping.wrap([packet], checksum=chance.random() < 0.5), _seal_stream(wrapping, stream)
        if depth == 2:
            packet, stream = _mutate(chance, packet), _mutate(chance, stream)
        elif depth == 3:
            packet = stream = chance.randbytes(chance.randrange(200))
        try:
            for part in wrapping.unwrap(packet):
                messages.parse_packet(part)
                through["packets"] += 1
        except malformed.MalformedError:
            pass
        try:
            reader = streams.StreamReader(wrapping, accepted=True)
            for start in range(0, len(stream), 50):
                if reader.feed(stream[start : start + 50]) is not None:
                    through["streams"] += 1
                    break
        except malformed.MalformedError:
            pass
    return through


def test_garbage_raises_nothing_but_malformed() -> None:
    through = _fuzz(min(_FUZZ, 2_000), seed=11)
    assert min(through.values()) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_much_garbage_raises_nothing_but_malformed() -> None:
    through = _fuzz(_FUZZ, seed=12)
    assert min(through.values()) > 0
