"""Lempel-Ziv-Welch as memberlist compresses: least significant bit first, 8-bit literals, codes of 9 to 12 bits.

- Code 256 clears the table, code 257 ends the data; both count in the width of their moment.
- A writer clears first and whenever code 4095 would be next. A reader whose table is full keeps it until it is cleared.
- What comes out is bounded by the caller, since a few bytes can stand for megabytes.

Facts: Go's compress/lzw, order LSB, literal width 8.
"""

from metallb_speaker.membership import malformed

_CLEAR = 256
_END = 257
_FIRST_WIDTH = 9
_LAST_WIDTH = 12
_LAST_CODE = (1 << _LAST_WIDTH) - 1
_LITERALS = [bytes((value,)) for value in range(256)]


def compress(data: bytes) -> bytes:
    """The whole of `data` as one compressed stream, its end marked."""
    out = bytearray()
    bits = _CLEAR  # the leading clear code, in the first width
    held = width = _FIRST_WIDTH
    newest = _END
    table: dict[int, int] = {}
    prefix = -1
    for literal in data:
        if prefix < 0:
            prefix = literal
            continue
        key = prefix << 8 | literal
        known = table.get(key)
        if known is not None:
            prefix = known
            continue
        bits |= prefix << held
        held += width
        prefix = literal
        newest += 1
        if newest == 1 << width:
            width += 1
        if newest == _LAST_CODE:
            bits |= _CLEAR << held
            held += width
            width = _FIRST_WIDTH
            newest = _END
            table.clear()
        else:
            table[key] = newest
        whole = held >> 3
        out += (bits & ((1 << (whole << 3)) - 1)).to_bytes(whole, "little")
        bits >>= whole << 3
        held &= 7
    if prefix >= 0:
        bits |= prefix << held
        held += width
        newest += 1
        if newest == 1 << width:
            width += 1
        if newest == _LAST_CODE:
            bits |= _CLEAR << held
            held += width
            width = _FIRST_WIDTH
    bits |= _END << held
    held += width
    out += bits.to_bytes((held + 7) >> 3, "little")
    return bytes(out)


def decompress(data: bytes, limit: int) -> bytes:
    """The bytes that `data` stands for, at most `limit`; MalformedError when it is no whole stream or stands for more."""
    out = bytearray()
    table: list[bytes] = [*_LITERALS, b"", b""]
    previous = b""
    width = _FIRST_WIDTH
    bits = held = position = 0
    end = len(data)
    while True:
        while held < width:
            if position == end:
                raise malformed.MalformedError("compressed data ends without its end code")
            bits |= data[position] << held
            position += 1
            held += 8
        code = bits & ((1 << width) - 1)
        bits >>= width
        held -= width
        if code == _CLEAR:
            del table[258:]
            previous = b""
            width = _FIRST_WIDTH
            continue
        if code == _END:
            return bytes(out)
        size = len(table)
        if code < size:
            entry = table[code]
        elif code == size and previous and size <= _LAST_CODE:
            entry = previous + previous[:1]
        else:
            raise malformed.MalformedError(f"compressed data uses code {code} of a table of {size}")
        out += entry
        if len(out) > limit:
            raise malformed.MalformedError(f"compressed data stands for more than {limit} bytes")
        if previous and size <= _LAST_CODE:
            table.append(previous + entry[:1])
            size += 1
        previous = entry
        # The index of the next entry decides the width: the writer widens at the same moment.
        if size == 1 << width and width < _LAST_WIDTH:
            width += 1
