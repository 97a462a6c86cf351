"""Settings from flags and the environment, in the manner of Go's `flag` package, since users' manifests are written for it.

- `--flag=value`, `--flag value`, `-flag value`; a boolean is `--flag` or `--flag=false`, never `--flag false`.
- A flag beats its environment variable, which beats the default; an empty variable counts as unset. The last of two flags counts.
- What cannot be read is refused with the flag, the value and what is allowed; nothing is guessed.
"""

import dataclasses
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class SettingsError(Exception):
    """A setting that cannot be used. The message is for the user."""


class HelpRequested(Exception):  # noqa: N818 - not an error
    """`--help` was given. The message is the help."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Flag(Generic[T]):
    """One setting. Values are looked up by the flag itself.

    `parse` raises ValueError; `allowed` says, after "expected", what it takes, and `shown` the same after an equals sign in the help.
    """

    name: str
    default: T
    help: str
    parse: Callable[[str], T]
    allowed: str
    env: str = ""
    boolean: bool = False
    shown: str = "TEXT"


class Values:
    """What was set. `values[FLAG]` has the flag's type."""

    __slots__ = ("_given", "_values")

    def __init__(self, values: Mapping[Flag[Any], Any], given: frozenset[Flag[Any]]) -> None:
        self._values = dict(values)
        self._given = given

    def __getitem__(self, flag: Flag[T]) -> T:
        value: T = self._values[flag]
        return value

    def given(self, flag: Flag[Any]) -> bool:
        """Whether a user set it, by flag or environment."""
        return flag in self._given

    def as_fields(self) -> dict[str, object]:
        """All of them by name, for one log line at start."""
        return {flag.name: value for flag, value in self._values.items()}


def text(name: str, default: str, help: str, *, env: str = "") -> Flag[str]:  # noqa: A002
    """Any text."""
    return Flag(name, default, help, str, "text", env)


def boolean(name: str, default: bool, help: str, *, env: str = "") -> Flag[bool]:  # noqa: A002
    """True or false."""
    return Flag(name, default, help, _parse_boolean, "true or false", env, boolean=True)


def integer(
    name: str,
    default: int,
    help: str,  # noqa: A002
    *,
    minimum: int,
    maximum: int,
    env: str = "",
) -> Flag[int]:
    """A whole number, both bounds included."""

    def parse(value: str) -> int:
        number = int(value)
        if not minimum <= number <= maximum:
            raise ValueError(value)
        return number

    shown = f"{minimum}..{maximum}"
    return Flag(name, default, help, parse, f"a whole number from {minimum} to {maximum}", env, shown=shown)


def port(name: str, default: int, help: str, *, env: str = "") -> Flag[int]:  # noqa: A002
    """A port number; 0 turns the service off."""
    return integer(name, default, help, minimum=0, maximum=65535, env=env)


def choice(name: str, default: str, help: str, *, choices: Sequence[str], env: str = "") -> Flag[str]:  # noqa: A002
    """One of a few words."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(value)
        return value

    allowed = f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    return Flag(name, default, help, parse, allowed, env, shown="|".join(choices))


def parse(flags: Sequence[Flag[Any]], arguments: Sequence[str], environ: Mapping[str, str]) -> Values:
    """Read all settings. Raises SettingsError, HelpRequested."""
    known = {flag.name: flag for flag in flags}
    if len(known) != len(flags):
        raise ValueError("two flags have one name")
    values: dict[Flag[Any], Any] = {flag: flag.default for flag in flags}
    given: set[Flag[Any]] = set()
    for flag in flags:
        value = environ.get(flag.env, "") if flag.env else ""
        if value:
            values[flag] = _parse_value(flag, value, f"environment variable {flag.env}")
            given.add(flag)
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--" and not rest:
            break
        if len(argument) < 2 or not argument.startswith("-") or argument == "--":
            raise SettingsError(f"unexpected argument {argument!r}; settings are given as --flag=value")
        name, equals, value = argument.removeprefix("-").removeprefix("-").partition("=")
        if name in ("h", "help") and name not in known:
            raise HelpRequested(describe(flags))
        found = known.get(name)
        if found is None:
            raise SettingsError(f"unknown flag --{name}{_similar(name, known)}")
        if not equals:
            if found.boolean:
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise SettingsError(f"flag --{name} needs a value: expected {found.allowed}")
        values[found] = _parse_value(found, value, f"flag --{name}")
        given.add(found)
    return Values(values, frozenset(given))


def parse_or_exit(flags: Sequence[Flag[Any]], arguments: Sequence[str], environ: Mapping[str, str]) -> Values:
    """As `parse`, for a program's main: help goes to standard output (status 0), a mistake to standard error (status 1)."""
    try:
        return parse(flags, arguments, environ)
    except HelpRequested as request:
        sys.stdout.write(f"{request}\n")
        raise SystemExit(0) from None
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None


def describe(flags: Sequence[Flag[Any]]) -> str:
    """Help for all flags: what they take and mean; their default, if they have one; the variable that is read in their place."""
    lines = []
    for flag in sorted(flags, key=lambda flag: flag.name):
        lines.append(f"  --{flag.name}" + ("" if flag.boolean else f"={flag.shown}"))
        default = str(flag.default).lower() if flag.boolean else str(flag.default)
        notes = [f"default {default}"] if flag.default != "" and flag.default is not False else []
        notes += [f"environment variable {flag.env}"] if flag.env else []
        described = flag.help + (f" ({'; '.join(notes)})" if notes else "")
        indent = " " * 8
        lines += textwrap.wrap(
            described, width=100, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
    return "Flags, which beat their environment variables:\n" + "\n".join(lines)


def _parse_value(flag: Flag[T], value: str, source: str) -> T:
    try:
        return flag.parse(value)
    except ValueError:
        raise SettingsError(f"{source}: invalid value {value!r}, expected {flag.allowed}") from None


def _parse_boolean(value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ValueError(value)


def _similar(name: str, known: Mapping[str, Flag[Any]]) -> str:
    # Imported for the mistake only.
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean --{close[0]}?" if close else "; --help lists them"
