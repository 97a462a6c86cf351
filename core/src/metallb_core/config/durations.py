"""Durations as Go's `time.ParseDuration` reads them, since users' files were written for it.

- A sign, then numbers with a unit each: 90s, 1m30s, 1.5h, -250ms. Units: ns, us (also µs), ms, s, m, h. A bare 0 needs no unit; nothing else may
  do without.
- What is finer than a nanosecond is cut off, what does not fit 64 bits of nanoseconds is refused; both as there.
"""

import re

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_MOST = (1 << 63) - 1
# More digits than these overflow before a point, and are finer than a nanosecond of an hour behind it.
_WHOLE_DIGITS, _FRACTION_DIGITS = 19, 18


class DurationError(ValueError):
    """Text that is no duration. The message names the text and says what to write."""


def parse(text: str) -> float:
    """The duration in seconds. Raises DurationError."""
    return nanoseconds(text) / 1e9


def nanoseconds(text: str) -> int:
    """The duration in nanoseconds, exact. Raises DurationError."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    if not rest:
        raise _error(text, "there is no number")
    total, position = 0, 0
    while position < len(rest):
        part = _PART.match(rest, position)
        # Every piece of the pattern may be empty, so it matches anywhere.
        whole, fraction, unit = part.groups() if part else ("", "", "")
        if not whole and not fraction:
            raise _error(text, "there is no number")
        if not unit:
            raise _error(text, "the unit is missing")
        if unit not in _UNITS:
            raise _error(text, f"there is no unit {unit!r}")
        whole = whole.lstrip("0")
        if len(whole) > _WHOLE_DIGITS:
            raise _error(text, "it is too long")
        total += int(whole or "0") * _UNITS[unit]
        if fraction:
            fraction = fraction[:_FRACTION_DIGITS]
            total += int(fraction) * _UNITS[unit] // 10 ** len(fraction)
        if total > _MOST:
            raise _error(text, "it is too long")
        position += len(part.group()) if part else 1
    return -total if text[0] == "-" else total


def _error(text: str, why: str) -> DurationError:
    return DurationError(f"invalid duration {text!r}: {why}; write a number and a unit, such as 90s, 1m30s or 500ms")
