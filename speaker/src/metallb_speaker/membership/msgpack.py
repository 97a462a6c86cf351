"""The part of MessagePack that memberlist speaks, in the dialect of its Go codec library.

- Written: the old specification, which has one "raw" type for text and bytes and neither `str8` nor `bin`.
- Read: raw, `str8`, `bin`, and every integer width, signed or not, since peers differ in which they choose.
- `nil` reads as the empty value of whatever was expected, as it does in Go.
- Lengths are checked against the bytes present before anything is copied, nesting is bounded.
"""

from metallb_speaker.membership import malformed

_DEPTH_LIMIT = 16

# First byte of an integer -> (bytes that follow, signed).
_INTEGERS = {
    0xCC: (1, False),
    0xCD: (2, False),
    0xCE: (4, False),
    0xCF: (8, False),
    0xD0: (1, True),
    0xD1: (2, True),
    0xD2: (4, True),
    0xD3: (8, True),
}
# First byte of text or bytes -> bytes of its length.
_RAW_LENGTHS = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4}
# First byte of a value without content of interest -> bytes to skip: floats, fixed extensions.
_OPAQUE = {0xCA: 4, 0xCB: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
# First byte of an extension -> bytes of its length; one byte of type follows.
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}


def append_unsigned(out: bytearray, value: int) -> None:
    """Append a non-negative integer below 2**64 in its shortest form."""
    if value < 0x80:
        out.append(value)
    elif value < 0x100:
        out += bytes((0xCC, value))
    elif value < 0x10000:
        out.append(0xCD)
        out += value.to_bytes(2, "big")
    elif value < 0x100000000:
        out.append(0xCE)
        out += value.to_bytes(4, "big")
    else:
        out.append(0xCF)
        out += value.to_bytes(8, "big")


def append_raw(out: bytearray, value: bytes) -> None:
    """Append text or bytes as the old specification's raw type."""
    length = len(value)
    if length < 32:
        out.append(0xA0 | length)
    elif length < 0x10000:
        out.append(0xDA)
        out += length.to_bytes(2, "big")
    else:
        out.append(0xDB)
        out += length.to_bytes(4, "big")
    out += value


def append_boolean(out: bytearray, value: bool) -> None:
    """Append true or false."""
    out.append(0xC3 if value else 0xC2)


def append_nil(out: bytearray) -> None:
    """Append the value Go writes for an absent byte slice."""
    out.append(0xC0)


def append_map_header(out: bytearray, entries: int) -> None:
    """Append the head of a map of fewer than 16 entries."""
    out.append(0x80 | entries)


class Reader:
    """A position in bytes. Every method raises MalformedError, or its kind TruncatedError when the bytes end too early."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position

    def take(self, length: int) -> bytes:
        """The next `length` bytes, as they are."""
        end = self.position + length
        if end > len(self.data):
            raise malformed.TruncatedError(f"{length} bytes announced, {len(self.data) - self.position} present")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def read_map_header(self) -> int:
        """The number of entries of the map that begins here; `nil` counts as an empty map."""
        first = self._first()
        if first & 0xF0 == 0x80:
            return first & 0x0F
        if first == 0xDE:
            return self._length(2)
        if first == 0xDF:
            return self._length(4)
        if first == 0xC0:
            return 0
        raise malformed.MalformedError(f"map expected, found type 0x{first:02x}")

    def read_unsigned(self, limit: int) -> int:
        """An integer from 0 to `limit`; `nil` reads as 0."""
        first = self._first()
        if first < 0x80:
            value = first
        elif first in _INTEGERS:
            size, signed = _INTEGERS[first]
            value = int.from_bytes(self.take(size), "big", signed=signed)
        elif first == 0xC0:
            value = 0
        elif first >= 0xE0:
            value = first - 0x100
        else:
            raise malformed.MalformedError(f"integer expected, found type 0x{first:02x}")
        if not 0 <= value <= limit:
            raise malformed.MalformedError(f"integer {value} outside 0..{limit}")
        return value

    def read_raw(self, limit: int) -> bytes:
        """Text or bytes of at most `limit` bytes; `nil` reads as empty."""
        first = self._first()
        if first & 0xE0 == 0xA0:
            length = first & 0x1F
        elif first in _RAW_LENGTHS:
            length = self._length(_RAW_LENGTHS[first])
        elif first == 0xC0:
            length = 0
        else:
            raise malformed.MalformedError(f"text or bytes expected, found type 0x{first:02x}")
        if length > limit:
            raise malformed.MalformedError(f"{length} bytes exceed the limit of {limit}")
        return self.take(length)

    def read_text(self, limit: int) -> str:
        """UTF-8 text of at most `limit` bytes; `nil` reads as empty."""
        try:
            return self.read_raw(limit).decode()
        except UnicodeDecodeError as error:
            raise malformed.MalformedError(f"text is not UTF-8: {error.reason}") from None

    def read_boolean(self) -> bool:
        """True or false; `nil` reads as false."""
        first = self._first()
        if first in (0xC0, 0xC2):
            return False
        if first == 0xC3:
            return True
        raise malformed.MalformedError(f"boolean expected, found type 0x{first:02x}")

    def skip(self, depth: int = 0) -> None:
        """Pass over one value of any type."""
        if depth > _DEPTH_LIMIT:
            raise malformed.MalformedError(f"values nested deeper than {_DEPTH_LIMIT}")
        first = self._first()
        children = 0
        if first < 0x80 or first >= 0xE0 or first in (0xC0, 0xC2, 0xC3):
            return
        if first & 0xE0 == 0xA0:
            self.take(first & 0x1F)
        elif first in _INTEGERS:
            self.take(_INTEGERS[first][0])
        elif first in _RAW_LENGTHS:
            self.take(self._length(_RAW_LENGTHS[first]))
        elif first in _OPAQUE:
            self.take(_OPAQUE[first])
        elif first in _EXTENSIONS:
            self.take(self._length(_EXTENSIONS[first]) + 1)
        elif first & 0xF0 == 0x80:
            children = 2 * (first & 0x0F)
        elif first & 0xF0 == 0x90:
            children = first & 0x0F
        elif first in (0xDE, 0xDF):
            children = 2 * self._length(2 if first == 0xDE else 4)
        elif first in (0xDC, 0xDD):
            children = self._length(2 if first == 0xDC else 4)
        else:
            raise malformed.MalformedError(f"unknown type 0x{first:02x}")
        for _ in range(children):  # bounded by the bytes present: each child takes at least one
            self.skip(depth + 1)

    def _first(self) -> int:
        if self.position >= len(self.data):
            raise malformed.TruncatedError("a value is missing")
        first = self.data[self.position]
        self.position += 1
        return first

    def _length(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")
