"""One BFDProfile by itself: limits and defaults."""

import pytest

from metallb_core.config import bfd_profiles, problems
from metallb_core.domain import bfd
from metallb_core.testing import builders

LIMITS = [(name, least, most) for name, (least, most) in bfd.LIMITS.items()]


def test_unset_fields_have_the_documented_values() -> None:
    assert bfd_profiles.compile_one(builders.bfd_object("p")) == bfd.BFDProfile(
        name="p",
        receive_interval=300,
        transmit_interval=300,
        detect_multiplier=3,
        echo_interval=50,
        echo_mode=False,
        passive_mode=False,
        minimum_ttl=254,
    )


@pytest.mark.parametrize(("name", "least", "most"), LIMITS, ids=[each[0] for each in LIMITS])
def test_limits(name: str, least: int, most: int) -> None:
    for value in (least, most):
        assert getattr(bfd_profiles.compile_one(builders.bfd_object("p", **{name: value})), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(problems.InvalidError, match=f"use {least} to {most}") as caught:
            bfd_profiles.compile_one(builders.bfd_object("p", **{name: value}))
        assert caught.value.field == f"spec.{problems.camel_case(name)}"


def test_modes() -> None:
    found = bfd_profiles.compile_one(builders.bfd_object("p", echo_mode=True, passive_mode=True))
    assert (found.echo_mode, found.passive_mode) == (True, True)
