"""What a speaker tells the others of its node: the interfaces it can announce through, in the metadata of its membership.

A first byte of 1, then the names, with a line feed between them, in UTF-8. Whatever does not begin so says nothing (MetalLB's speakers
send no metadata), and neither does a list that would not fit: such a node is taken to have every interface it is asked for.
"""

LIMIT = 512
_VERSION = b"\x01"


def encode(usable: frozenset[str]) -> bytes:
    """The names of the usable interfaces as metadata, at most 512 bytes."""
    text = _VERSION + "\n".join(sorted(usable)).encode()
    return text if len(text) <= LIMIT else b""


def decode(meta: bytes) -> frozenset[str] | None:
    """The names of the usable interfaces; None where the metadata says nothing of them."""
    if not meta.startswith(_VERSION):
        return None
    try:
        text = meta[1:].decode()
    except UnicodeDecodeError:
        return None
    return frozenset(text.split("\n")) if text else frozenset()
