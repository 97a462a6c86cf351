"""Structured logs: one JSON object a line on standard output, with `level`, `ts` (RFC 3339, UTC), `caller`, `msg` and the fields given.

- Field order is fixed, so that logs can be compared as text.
- A `Secret` prints as `<retracted>` wherever it stands; so does a field whose name says that it holds one.
- A filtered call costs one comparison: nothing is formatted before the level is known.
- What libraries send to `logging` comes out in the same form.
"""

import logging
import os
import sys
from typing import BinaryIO, Final

import msgspec

from metallb_core.runtime import clock as clocks

LEVELS: Final = {"all": 0, "debug": 10, "info": 20, "warn": 30, "error": 40, "none": 100}
RETRACTED: Final = "<retracted>"
_SECRET_NAMES: Final = frozenset(
    {"password", "passphrase", "secret", "secretkey", "secret_key", "token", "authorization", "private_key"}
)


class Secret:
    """A text that never appears in a log, a message or a traceback."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        return RETRACTED

    __repr__ = __str__


def _printable(value: object) -> object:
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return str(value)


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_printable)


class _Output:
    """Where lines go; one for the process."""

    def __init__(self) -> None:
        self.level = LEVELS["info"]
        self.stream: BinaryIO | None = None
        self.clock: clocks.Clock = clocks.SystemClock()

    def write(self, level: str, caller: str, component: str, message: str, fields: dict[str, object]) -> None:
        line: dict[str, object] = {
            "level": level,
            "ts": self.clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "caller": caller,
        }
        if component:
            line["component"] = component
        line["msg"] = message
        for name, value in fields.items():
            # NamedTuples are keys here, which read better as they print than as arrays.
            if isinstance(value, tuple) and hasattr(value, "_fields"):
                value = str(value)
            elif isinstance(value, (set, frozenset)):
                value = sorted(map(str, value))
            line[name] = RETRACTED if name.lower() in _SECRET_NAMES else value
        try:
            encoded = _ENCODER.encode(line)
        except (TypeError, ValueError, UnicodeError, msgspec.MsgspecError):
            # A log line must not be what stops a process: an odd key type or a lone surrogate is printed as Python shows it.
            encoded = _ENCODER.encode({name: ascii(value) for name, value in line.items()})
        stream = self.stream if self.stream is not None else sys.stdout.buffer
        stream.write(encoded + b"\n")
        stream.flush()


_OUTPUT: Final = _Output()


class Logger:
    """Writes lines for one component, with fields bound to all of them."""

    __slots__ = ("_bound", "component")

    def __init__(self, component: str, bound: dict[str, object] | None = None) -> None:
        self.component = component
        self._bound = bound or {}

    def bind(self, **fields: object) -> "Logger":
        """A logger that adds `fields` to each line."""
        return Logger(self.component, self._bound | fields)

    def enabled(self, level: str) -> bool:
        """Whether a line of `level` would be written, for callers whose fields are dear to compute."""
        return LEVELS[level] >= _OUTPUT.level

    def debug(self, message: str, **fields: object) -> None:
        """What only a developer wants."""
        if _OUTPUT.level <= 10:
            self._write("debug", message, fields)

    def info(self, message: str, **fields: object) -> None:
        """What happened."""
        if _OUTPUT.level <= 20:
            self._write("info", message, fields)

    def warn(self, message: str, **fields: object) -> None:
        """What somebody should look at some time."""
        if _OUTPUT.level <= 30:
            self._write("warn", message, fields)

    def error(self, message: str, **fields: object) -> None:
        """What is broken."""
        if _OUTPUT.level <= 40:
            self._write("error", message, fields)

    def _write(self, level: str, message: str, fields: dict[str, object]) -> None:
        frame = sys._getframe(2)
        caller = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        _OUTPUT.write(level, caller, self.component, message, self._bound | fields if self._bound else fields)


class _Bridge(logging.Handler):
    """Brings the lines of libraries into the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        level = (
            "error"
            if record.levelno >= 40
            else "warn"
            if record.levelno >= 30
            else "info"
            if record.levelno >= 20
            else "debug"
        )
        if LEVELS[level] < _OUTPUT.level:
            return
        fields: dict[str, object] = {}
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = record.exc_info[1]
        _OUTPUT.write(level, f"{record.filename}:{record.lineno}", record.name, record.getMessage(), fields)


_BRIDGE: Final = _Bridge()


def get(component: str = "") -> Logger:
    """The logger of a component."""
    return Logger(component)


def configure(level: str = "info", *, stream: BinaryIO | None = None, clock: clocks.Clock | None = None) -> None:
    """Set the level, one of LEVELS, and the outlet (standard output unless given) for the process. Raises KeyError for another level."""
    _OUTPUT.level = LEVELS[level]
    _OUTPUT.stream = stream
    if clock is not None:
        _OUTPUT.clock = clock
    root = logging.getLogger()
    if _BRIDGE not in root.handlers:
        root.addHandler(_BRIDGE)
    # Libraries are chatty below a warning; what they say there helps only who asked for everything.
    root.setLevel(logging.DEBUG if _OUTPUT.level == 0 else logging.WARNING)
