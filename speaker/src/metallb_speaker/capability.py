"""What a speaker tells the others of its node: the interfaces it can announce through, in the metadata of its membership.

- A first byte of 1, then the names, with a line feed between them, in UTF-8. Whatever does not begin so says nothing (MetalLB's speakers send
  no metadata), and neither does a list that would not fit: such a node is taken to have every interface it is asked for.
- Where not all of them serve both families, one more line, the last: a slash and a sign for each name, in the order of the names. It looks
  like a name, but none that anybody can ask for, so a speaker that knows only the names reads them as before.
- Names without such a line, or with one that does not fit them, are for both families.
"""

from metallb_core.domain import addresses, interfaces

LIMIT = 512
_VERSION = b"\x01"
_BOTH = frozenset(addresses.Family)
_SIGNS = {
    _BOTH: "+",
    frozenset({addresses.Family.IPV4}): "4",
    frozenset({addresses.Family.IPV6}): "6",
}
_FAMILIES = {sign: families for families, sign in _SIGNS.items()}


def encode(usable: interfaces.Usable) -> bytes:
    """The names of the usable interfaces as metadata, at most 512 bytes."""
    names = sorted(usable.any)
    signs = "".join(_SIGNS[usable.families(name)] for name in names)
    plain = not signs.strip(_SIGNS[_BOTH])
    text = _VERSION + "\n".join(names if plain else [*names, interfaces.SEPARATOR + signs]).encode()
    return text if len(text) <= LIMIT else b""


def decode(meta: bytes) -> interfaces.Usable | None:
    """The names of the usable interfaces; None where the metadata says nothing of them."""
    if not meta.startswith(_VERSION):
        return None
    try:
        text = meta[1:].decode()
    except UnicodeDecodeError:
        return None
    if not text:
        return interfaces.NOTHING
    *names, last = text.split("\n")
    if not last.startswith(interfaces.SEPARATOR):
        return interfaces.Usable.both(*names, last)
    signs = last.removeprefix(interfaces.SEPARATOR)
    if len(signs) != len(names):
        return interfaces.Usable.both(*names)
    told = [(name, _FAMILIES.get(sign, _BOTH)) for name, sign in zip(names, signs, strict=True)]
    return interfaces.Usable(
        ipv4=frozenset(name for name, families in told if addresses.Family.IPV4 in families),
        ipv6=frozenset(name for name, families in told if addresses.Family.IPV6 in families),
    )
