"""BFDProfile compiled. The definition holds the same limits; an object may have been stored under others."""

from metallb_core.api import v1beta1
from metallb_core.config import problems
from metallb_core.domain import bfd


def compile_one(wire: v1beta1.BFDProfile) -> bfd.BFDProfile:
    """One profile by itself. Raises InvalidError."""
    spec = wire.spec
    numbers = {
        name: value
        for name, value in (
            ("receive_interval", spec.receive_interval),
            ("transmit_interval", spec.transmit_interval),
            ("detect_multiplier", spec.detect_multiplier),
            ("echo_interval", spec.echo_interval),
            ("minimum_ttl", spec.minimum_ttl),
        )
        if value is not None
    }
    for name, value in numbers.items():
        least, most = bfd.LIMITS[name]
        if not least <= value <= most:
            field = problems.camel_case(name)
            raise problems.InvalidError(f"spec.{field}", f"{value} is out of range; use {least} to {most}")
    return bfd.BFDProfile(
        name=wire.metadata.name, echo_mode=bool(spec.echo_mode), passive_mode=bool(spec.passive_mode), **numbers
    )
