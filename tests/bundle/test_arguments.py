"""Numbers out of bounds and refusals of the file system end with exit code 2: 1 means that a task regressed."""

import argparse

import pytest

from bundle.arguments import at_least, refused_by_system


@pytest.mark.parametrize("text", ["-1", "0", "1.5", "many", ""])
def test_what_is_no_number_within_bounds_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        at_least(1)(text)


def test_a_number_within_bounds_is_read() -> None:
    assert (at_least(0)("0"), at_least(1)("12")) == (0, 12)


def test_a_refusal_of_the_system_names_the_file() -> None:
    error = refused_by_system(PermissionError(13, "Permission denied", "/a/b"))
    assert error.exit_code == 2 and (error.got, error.where) == ("Permission denied", "/a/b")
