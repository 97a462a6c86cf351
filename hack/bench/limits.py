"""What a benchmark's command line takes: a number out of range is refused before anything is measured, not by a division in the end."""

import argparse
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """Reads a whole number for argparse; what is none, or less, is refused."""

    def number(text: str) -> int:
        try:
            read = int(text)
        except ValueError:
            read = least - 1
        if read < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return read

    return number
