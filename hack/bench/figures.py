"""Figures and how they are printed: one line each, median and worst of all runs."""

import dataclasses
import statistics
import sys


@dataclasses.dataclass(slots=True)
class _Series:
    described: str
    unit: str
    values: list[float] = dataclasses.field(default_factory=list)


class Figures:
    """Series of measurements by name, in the order they first appeared."""

    def __init__(self) -> None:
        self._series: dict[str, _Series] = {}

    def add(self, name: str, described: str, unit: str, value: float) -> None:
        """One measurement. Larger is worse."""
        self._series.setdefault(name, _Series(described, unit)).values.append(value)

    def show(self) -> None:
        """Print a line for each series."""
        for series in self._series.values():
            median, worst = statistics.median(series.values), max(series.values)
            print(
                f"{series.described:<68} {median:>10.2f} {worst:>10.2f} {series.unit:<3} (median, worst of {len(series.values)})"
            )


def progress(text: str) -> None:
    """Say what is being measured, beside the figures."""
    print(f"-- {text}", file=sys.stderr, flush=True)
