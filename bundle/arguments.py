"""What a command line without typer says of numbers out of bounds and of a file system's refusals: exit code 2, no traceback."""

import argparse
from collections.abc import Callable

from bundle.errors import InputError


def at_least(least: int) -> Callable[[str], int]:
    """Return what argparse reads a whole number with that must not be below ``least``."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return read


def refused_by_system(error: OSError) -> InputError:
    """Return the error for a file or folder that the system would not read or write; the caller raises it."""
    return InputError(
        "the system refused a file", expected="a file that can be read or written", got=error.strerror or str(error),
        where=str(error.filename or "unknown"), fix="look at the path, its permissions and the space that is left",
    )  # fmt: skip
