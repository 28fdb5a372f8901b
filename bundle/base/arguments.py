"""Whole numbers within bounds, for a command line that argparse reads."""

import argparse
from collections.abc import Callable

from bundle.base.limits import LIMITS


def within(least: int, limit: str) -> Callable[[str], int]:
    """Return what argparse reads an integer with that is between ``least`` and ``LIMITS[limit]``."""
    most = LIMITS[limit].most

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no integer") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between {least} and {most}")
        return value

    return read
