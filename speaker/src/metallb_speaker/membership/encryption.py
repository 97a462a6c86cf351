"""AES-GCM envelopes and the keys that open them.

- Layout: version byte, 12-byte nonce, ciphertext with its 16-byte tag. Version 0 pads the plaintext to 16 bytes with bytes
  that each hold the pad's length; version 1 does not pad. Both are read; protocol version 1 writes 0, every later one 1.
- The first key of a ring seals, every key opens: with the new key added second, then put first, then the old one removed, a
  running cluster changes its key without a member lost.
- Who seals with a key has it. So each is answered with the key that it used itself: a member that started in the middle of a change knows
  only the new key, and those who know both reach it before they use the new one among themselves.
- The cipher itself and the nonces come from outside: this module holds no randomness.

Facts: hashicorp/memberlist v0.5.1 security.go; the key rule is MetalLB's.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Protocol

from metallb_speaker.membership import malformed

NONCE_SIZE = 12
_TAG_SIZE = 16
_BLOCK_SIZE = 16
_LAST_VERSION = 1
OVERHEAD = 1 + NONCE_SIZE + _TAG_SIZE
# Among keys: no encryption. First, it is what is sent; anywhere, plain text is accepted.
PLAIN = b""


class Cipher(Protocol):
    """One AES-GCM key."""

    def seal(self, nonce: bytes, plain: bytes, bound: bytes) -> bytes:
        """Ciphertext and tag; `bound` is authenticated with it, not sent."""

    def open(self, nonce: bytes, sealed: bytes, bound: bytes) -> bytes | None:
        """The plaintext, or None when this key did not seal it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The keys in force: the first seals. `nonce` gives 12 fresh random bytes a call."""

    ciphers: tuple[Cipher, ...]
    nonce: Callable[[], bytes]
    version: int = 1

    def sealed_size(self, plain: int) -> int:
        """The size of the envelope around `plain` bytes."""
        padding = _BLOCK_SIZE - plain % _BLOCK_SIZE if self.version == 0 else 0
        return OVERHEAD + plain + padding

    def seal(self, plain: bytes, bound: bytes = b"", key: int = 0) -> bytes:
        """The envelope around `plain`, sealed with the key of that number."""
        if self.version == 0:
            padding = _BLOCK_SIZE - len(plain) % _BLOCK_SIZE
            plain += bytes((padding,)) * padding
        nonce = self.nonce()
        return bytes((self.version,)) + nonce + self.ciphers[key].seal(nonce, plain, bound)

    def open(self, envelope: bytes, bound: bytes = b"") -> tuple[bytes, int]:
        """What is in the envelope, and the number of the key that sealed it. Raises MalformedError when it is none, or no key opens it."""
        if not envelope:
            raise malformed.MalformedError("nothing to decrypt")
        version = envelope[0]
        if version > _LAST_VERSION:
            raise malformed.MalformedError(f"encryption version {version} is unknown, is the peer sending plaintext?")
        if len(envelope) < OVERHEAD + (_BLOCK_SIZE if version == 0 else 0):
            raise malformed.MalformedError(f"{len(envelope)} bytes are too few to decrypt")
        nonce = envelope[1 : 1 + NONCE_SIZE]
        sealed = envelope[1 + NONCE_SIZE :]
        for key, cipher in enumerate(self.ciphers):
            plain = cipher.open(nonce, sealed, bound)
            if plain is not None:
                return plain if version else _unpad(plain), key
        raise malformed.MalformedError("no key of ours decrypts this")


def _unpad(plain: bytes) -> bytes:
    padding = plain[-1] if plain else 0
    if not 1 <= padding <= min(_BLOCK_SIZE, len(plain)):
        raise malformed.MalformedError("the padding of a decrypted message is wrong")
    return plain[:-padding]


def derive_key(secret: bytes) -> bytes:
    """The key MetalLB derives from its secret: the first 32 bytes of it followed by the SHA-256 of nothing."""
    return (secret + hashlib.sha256(b"").digest())[:32]


def key_from_secret(secret: str) -> bytes | None:
    """The key derived from a secret's text.

    The text is taken as it is, a trailing newline included. An empty secret is None: plaintext.
    """
    if not secret:
        return None
    return derive_key(secret.encode())
