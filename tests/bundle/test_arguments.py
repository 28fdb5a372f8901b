"""Numbers out of bounds are refused."""

import argparse

import pytest

from bundle.arguments import at_least


@pytest.mark.parametrize("text", ["-1", "0", "1.5", "many", ""])
def test_what_is_no_number_within_bounds_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        at_least(1)(text)


def test_a_number_within_bounds_is_read() -> None:
    assert (at_least(0)("0"), at_least(1)("12")) == (0, 12)
