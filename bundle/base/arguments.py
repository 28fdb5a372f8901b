"""What a wrong command line ends with, numbers within bounds, and the parser of the commands that argparse reads."""

import argparse
from collections.abc import Callable
from typing import NoReturn, TypeVar

from bundle.base.errors import InputError
from bundle.base.limits import LIMITS

NumberT = TypeVar("NumberT", int, float)


def refused_words(program: str, *, expected: str, got: str) -> InputError:
    """Return the error for words that a program does not take; the caller raises it."""
    return InputError(
        "the command line is wrong",
        expected=expected,
        got=got,
        where=program,
        fix=f"correct it; {program} --help shows all arguments and options",
    )


class Parser(argparse.ArgumentParser):
    """A parser that refuses wrong words with one of our errors."""

    def error(self, message: str) -> NoReturn:
        """Refuse the words.

        Raises:
            InputError: always.
        """
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        raise refused_words(self.prog, expected=usage, got=message)


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
