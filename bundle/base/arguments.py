"""Numbers within bounds, for a command line that argparse reads."""

import argparse
from collections.abc import Callable
from typing import TypeVar

from bundle.base.limits import LIMITS

NumberT = TypeVar("NumberT", int, float)


def within(least: int, limit: str, kind: Callable[[str], NumberT]) -> Callable[[str], NumberT]:
    """Return what argparse reads a number of a ``kind`` with that is between ``least`` and ``LIMITS[limit]``."""
    most = LIMITS[limit].most

    def read(text: str) -> NumberT:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number of this kind") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between {least} and {most}")
        return value

    return read
