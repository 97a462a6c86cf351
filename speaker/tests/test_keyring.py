"""Keys: derived byte for byte as MetalLB derives them, and rotated so that any two nodes can always talk."""

import hashlib
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metallb_speaker import keyring
from metallb_speaker.membership import encryption

OLD, NEW, NEWER = b"o" * 32, b"n" * 32, b"m" * 32
PLAIN = keyring.PLAIN
PHASE = keyring.PHASE_SECONDS


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        pytest.param(b"abc", b"abc" + hashlib.sha256(b"").digest()[:29], id="short-secret-is-padded"),
        pytest.param(b"x" * 40, b"x" * 32, id="long-secret-is-cut"),
        pytest.param(b"abc\n", b"abc\n" + hashlib.sha256(b"").digest()[:28], id="a-trailing-newline-counts"),
    ],
)
def test_derive(secret: bytes, key: bytes) -> None:
    assert encryption.derive_key(secret) == key


def test_an_empty_file_means_plain_text(tmp_path: pathlib.Path) -> None:
    (tmp_path / "secretkey").write_bytes(b"")
    assert keyring.read(tmp_path) == keyring.PLAIN


def test_a_missing_file_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError):
        keyring.read(tmp_path)


@pytest.mark.parametrize(
    ("observations", "at", "keys"),
    [
        pytest.param([], 0, (OLD,), id="no-change"),
        pytest.param([(NEW, 10)], 10, (OLD, NEW), id="accepted-first"),
        pytest.param([(NEW, 10)], 10 + PHASE, (NEW, OLD), id="then-used"),
        pytest.param([(NEW, 10)], 10 + 2 * PHASE, (NEW,), id="old-key-goes-last"),
        pytest.param([(NEW, 10), (OLD, 20)], 20, (OLD,), id="taken-back-while-only-accepted"),
        pytest.param([(NEW, 10), (NEW, 10 + 2 * PHASE), (NEWER, 1000)], 1000, (NEW, NEWER), id="a-second-rotation"),
        pytest.param([(NEW, 10), (NEWER, 20)], 20, (OLD, NEWER), id="changed-again-while-only-accepted"),
    ],
)
def test_rotation(observations: list[tuple[bytes, float]], at: float, keys: tuple[bytes, ...]) -> None:
    rotation = keyring.Rotation(OLD)
    for key, now in observations:
        rotation.observe(key, now)
    assert rotation.keys(at) == keys


@pytest.mark.parametrize(
    ("start", "observations", "at", "keys"),
    [
        pytest.param(PLAIN, [], 0, (PLAIN,), id="no-key"),
        pytest.param(PLAIN, [(NEW, 10)], 10, (PLAIN, NEW), id="a-first-key-is-accepted-first"),
        pytest.param(PLAIN, [(NEW, 10)], 10 + PHASE, (NEW, PLAIN), id="then-used"),
        pytest.param(PLAIN, [(NEW, 10)], 10 + 2 * PHASE, (NEW,), id="plain-text-goes-last"),
        pytest.param(PLAIN, [(NEW, 10), (PLAIN, 20)], 20, (PLAIN,), id="emptied-while-only-accepted"),
        pytest.param(OLD, [(PLAIN, 10)], 1000, (OLD,), id="an-emptied-file-takes-nothing-away"),
        pytest.param(OLD, [(NEW, 10), (PLAIN, 20)], 20, (OLD, NEW), id="nor-does-it-stop-a-change"),
        pytest.param(
            PLAIN, [(NEW, 10), (PLAIN, 10 + 2 * PHASE)], 2000, (NEW,), id="emptied-after-the-first-key-was-used"
        ),
    ],
)
def test_plain_text_is_left_and_never_come_back_to(
    start: bytes, observations: list[tuple[bytes, float]], at: float, keys: tuple[bytes, ...]
) -> None:
    rotation = keyring.Rotation(start)
    for key, now in observations:
        rotation.observe(key, now)
    assert rotation.keys(at) == keys


@given(st.sampled_from([OLD, PLAIN]), st.floats(0, PHASE - 1), st.floats(0, 4 * PHASE))
def test_two_nodes_that_see_the_change_at_different_times_always_understand_each_other(
    start: bytes, lag: float, at: float
) -> None:
    early, late = keyring.Rotation(start), keyring.Rotation(start)
    early.observe(NEW, 0)
    if at >= lag:
        late.observe(NEW, lag)
    assert early.keys(at)[0] in late.keys(at)
    assert late.keys(at)[0] in early.keys(at)
