"""The options of ``pytest tests/regression``: which bundle to judge, and how; and no telemetry from any test."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from bundle.base.isolated import isolate
from bundle.base.telemetry import switch_off_telemetry


def pytest_configure() -> None:
    """Switch telemetry off before a test imports OpenVINO or ONNX Runtime itself; import nothing from a working directory."""
    isolate()
    switch_off_telemetry()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one thread for each of several processes
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    if find_spec("hypothesis") is not None:  # a device has none
        _let_properties_be_slow()


def _let_properties_be_slow() -> None:
    """A busy machine is no failure of a property: no deadline, and no health check of how long an example takes to draw."""
    from hypothesis import HealthCheck, settings

    settings.register_profile("no-clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("no-clock")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options; they are here because pytest reads them from the root of the tests only."""
    group = parser.getgroup("regression", "judge a compiled bundle on this machine (tests/regression)")
    group.addoption("--bundle", type=Path, metavar="DIR", help="build/<model>/<target>; without it nothing is judged")
    group.addoption(
        "--data",
        type=Path,
        metavar="DIR",
        help="a labelled folder: judge on a split of it instead of the bundle's images",
    )
    group.addoption("--split", default="val", metavar="NAME", help="which split of --data (default: val)")
    group.addoption(
        "--reference",
        type=Path,
        metavar="FILE",
        help="with --data: the reference's per-image arrays, from tdss evaluate --arrays on the host",
    )
    group.addoption(
        "--baseline",
        type=Path,
        metavar="FILE",
        help="an earlier regression.json: compare image by image, and fail if this run is worse",
    )
    group.addoption(
        "--out", type=Path, metavar="FILE", help="write the report here (default: the bundle's regression.json)"
    )
    group.addoption(
        "--two-sided", action="store_true", help="an improvement beyond the budget fails as well: it wants explaining"
    )
    group.addoption(
        "--time-limit", type=float, default=300.0, metavar="SECONDS", help="the longest one image may take; 0: no limit"
    )
    group.addoption(
        "--execute",
        choices=("auto", "device", "emulation"),
        default="auto",
        help="run on the device itself, imitate it, or take what is here (default: auto; what ran is recorded)",
    )
    group.addoption(
        "--variant",
        default="",
        metavar="NAME",
        help="a precision of the bundle (default: the one that choice.json names)",
    )
    group.addoption("--key", type=Path, metavar="FILE", help="refuse a bundle that is not signed with this public key")
    group.addoption("--device", default="", metavar="NAME", help="a device of the target, e.g. CPU, GPU, NPU, AUTO")
    group.addoption(
        "--allow-inconclusive", action="store_true", help="let a verdict pass that the images cannot settle"
    )
