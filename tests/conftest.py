"""The options of ``pytest tests/regression``: which bundle to judge, and how."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options; they stand here because pytest reads them from the root of the tests only."""
    group = parser.getgroup("regression", "judge a compiled bundle on this machine (tests/regression)")
    group.addoption("--bundle", type=Path, metavar="DIR", help="build/<model>/<target>; without it nothing is judged")
    group.addoption(
        "--data",
        type=Path,
        metavar="DIR",
        help="a labelled folder: check that the bundle's images and labels are its own",
    )
    group.addoption(
        "--execute", choices=("auto", "device", "emulation"), default="auto",
        help="run on the device itself, imitate it, or take what is here (default: auto; what ran is recorded)",
    )  # fmt: skip
    group.addoption(
        "--variant", default="", metavar="NAME", help="a precision of the bundle (default: the shipped one)"
    )
    group.addoption("--device", default="", metavar="NAME", help="a device of the target, e.g. CPU, GPU, NPU, AUTO")
    group.addoption(
        "--allow-inconclusive", action="store_true", help="let a verdict pass that the images cannot settle"
    )
