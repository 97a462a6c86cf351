"""Flags and environment, as Go's `flag` package takes them."""

import pytest

from metallb_core.runtime import settings

PORT = settings.port("port", 9120, "port of the metrics", env="T_PORT")
LEVEL = settings.choice("log-level", "info", "how much to say", choices=("info", "debug"))
NAME = settings.text("name", "", "a name", env="T_NAME")
ON = settings.boolean("on", False, "whether", env="T_ON")
OFF = settings.boolean("off", True, "whether not")
FLAGS = (PORT, LEVEL, NAME, ON, OFF)
KIND = settings.choice("kind", "a", "of which there is one", choices=("a",))


@pytest.mark.parametrize(
    ("arguments", "environ", "flag", "value"),
    [
        pytest.param([], {}, PORT, 9120, id="default"),
        pytest.param(["--port=1"], {}, PORT, 1, id="equals"),
        pytest.param(["--port", "1"], {}, PORT, 1, id="next-argument"),
        pytest.param(["-port", "1"], {}, PORT, 1, id="single-dash"),
        pytest.param(["-port=1"], {}, PORT, 1, id="single-dash-equals"),
        pytest.param(["--port=1", "--port=2"], {}, PORT, 2, id="last-counts"),
        pytest.param([], {"T_PORT": "3"}, PORT, 3, id="environment"),
        pytest.param(["--port=1"], {"T_PORT": "3"}, PORT, 1, id="flag-beats-environment"),
        pytest.param([], {"T_PORT": ""}, PORT, 9120, id="empty-environment-is-unset"),
        pytest.param(["--name="], {"T_NAME": "x"}, NAME, "", id="empty-flag-is-set"),
        pytest.param(["--name=a=b"], {}, NAME, "a=b", id="value-with-equals"),
        pytest.param(["--name", "--on"], {}, NAME, "--on", id="value-that-looks-like-a-flag"),
        pytest.param(["--on"], {}, ON, True, id="boolean-alone"),
        pytest.param(["--on=T"], {}, ON, True, id="boolean-t"),
        pytest.param(["--off=false"], {}, OFF, False, id="boolean-false"),
        pytest.param([], {"T_ON": "1"}, ON, True, id="boolean-environment"),
        pytest.param(["--log-level=debug"], {}, LEVEL, "debug", id="choice"),
        pytest.param(["--on", "--"], {}, ON, True, id="final-dashes"),
    ],
)
def test_what_is_read(
    arguments: list[str], environ: dict[str, str], flag: settings.Flag[object], value: object
) -> None:
    values = settings.parse(FLAGS, arguments, environ)
    assert values[flag] == value
    assert values.given(flag) == bool(arguments or any(environ.values()))


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        pytest.param(
            ["--port=x"], {}, "flag --port: invalid value 'x', expected a whole number from 0 to 65535", id="no-number"
        ),
        pytest.param(
            ["--port=70000"],
            {},
            "flag --port: invalid value '70000', expected a whole number from 0 to 65535",
            id="range",
        ),
        pytest.param(
            [],
            {"T_PORT": "x"},
            "environment variable T_PORT: invalid value 'x', expected a whole number from 0 to 65535",
            id="environment",
        ),
        pytest.param(
            ["--log-level=loud"], {}, "flag --log-level: invalid value 'loud', expected one of info, debug", id="choice"
        ),
        pytest.param(["--kind=b"], {}, "flag --kind: invalid value 'b', expected a", id="no-choice"),
        pytest.param(["--on=maybe"], {}, "flag --on: invalid value 'maybe', expected true or false", id="boolean"),
        pytest.param(
            ["--on", "false"], {}, "unexpected argument 'false'; settings are given as --flag=value", id="boolean-next"
        ),
        pytest.param(["--port"], {}, "flag --port needs a value: expected a whole number from 0 to 65535", id="none"),
        pytest.param(["--prot=1"], {}, "unknown flag --prot; did you mean --port?", id="typo"),
        pytest.param(["--zzzzzz"], {}, "unknown flag --zzzzzz; --help lists them", id="unknown"),
        pytest.param(["x"], {}, "unexpected argument 'x'; settings are given as --flag=value", id="positional"),
        pytest.param(["-"], {}, "unexpected argument '-'; settings are given as --flag=value", id="dash"),
    ],
)
def test_what_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(SystemExit) as left:
        settings.parse_or_exit((*FLAGS, KIND), arguments, environ)
    assert left.value.code == 1
    assert capsys.readouterr().err == message + "\n"


@pytest.mark.parametrize("argument", ["--help", "-h", "-help"])
def test_help_names_every_flag(capsys: pytest.CaptureFixture[str], argument: str) -> None:
    with pytest.raises(SystemExit) as left:
        settings.parse_or_exit(FLAGS, [argument], {})
    assert left.value.code == 0
    printed = capsys.readouterr().out
    for flag in FLAGS:
        assert f"--{flag.name}" in printed


HELP = """\
Flags, which beat their environment variables:
  --log-level=info|debug
        how much to say (default info)
  --name=TEXT
        a name (environment variable T_NAME)
  --off
        whether not (default true)
  --on
        whether (environment variable T_ON)
  --port=0..65535
        port of the metrics (default 9120; environment variable T_PORT)"""


def test_help_says_what_each_flag_takes() -> None:
    assert settings.describe(FLAGS) == HELP


def test_a_zero_is_a_default() -> None:
    assert "(default 0)" in settings.describe([settings.integer("wait", 0, "how long", minimum=0, maximum=9)])


def test_values_go_into_one_log_line() -> None:
    fields = settings.parse(FLAGS, ["--on"], {}).as_fields()
    assert fields == {"port": 9120, "log-level": "info", "name": "", "on": True, "off": True}


def test_two_flags_of_one_name_are_our_mistake() -> None:
    with pytest.raises(ValueError, match="one name"):
        settings.parse((PORT, settings.text("port", "", "again")), [], {})
