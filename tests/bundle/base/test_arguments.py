"""Numbers out of bounds are refused."""

import argparse

import pytest

from bundle.base.arguments import within
from bundle.base.limits import LIMITS


@pytest.mark.parametrize(
    "text", ["-1", "0", "1.5", "many", "", "nan", "inf", "9" * 5000, str(LIMITS["count"].most + 1)]
)
def test_what_is_no_number_within_bounds_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        within(1, "count", int)(text)


def test_a_number_within_bounds_is_read() -> None:
    assert (within(0, "count", int)("0"), within(1, "count", int)("12")) == (0, 12)


@pytest.mark.parametrize("text", ["-0.1", "nan", "inf", "long"])
def test_a_time_is_within_bounds_too(text: str) -> None:
    assert within(0, "seconds", float)("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError):
        within(0, "seconds", float)(text)
