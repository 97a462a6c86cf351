"""AES-GCM by way of `cryptography`, imported when the first key is set and not before: without a key it is 10 MB saved."""

import os

from metallb_speaker.membership import encryption


def load_keyring(keys: tuple[bytes, ...], version: int) -> encryption.Keyring | None:
    """The keyring of these keys, first the one that seals; None where all are PLAIN. ValueError for a key not 16, 24 or 32 long."""
    unique = tuple(key for key in dict.fromkeys(keys) if key != encryption.PLAIN)
    if not unique:
        return None
    from cryptography import exceptions
    from cryptography.hazmat.primitives.ciphers import aead

    class _AesGcm:
        __slots__ = ("_aes",)

        def __init__(self, key: bytes) -> None:
            self._aes = aead.AESGCM(key)

        def seal(self, nonce: bytes, plain: bytes, bound: bytes) -> bytes:
            return self._aes.encrypt(nonce, plain, bound)

        def open(self, nonce: bytes, sealed: bytes, bound: bytes) -> bytes | None:
            try:
                return self._aes.decrypt(nonce, sealed, bound)
            except exceptions.InvalidTag:
                return None

    return encryption.Keyring(
        ciphers=tuple(_AesGcm(key) for key in unique),
        nonce=lambda: os.urandom(encryption.NONCE_SIZE),
        version=version,
    )
