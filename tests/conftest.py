"""The options of ``pytest tests/regression``: which bundle to judge, and how; and no telemetry from any test."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from bundle.base.isolated import isolate
from bundle.base.telemetry import switch_off_telemetry
from targets.judge_options import JUDGING, add_options


def pytest_configure(config: pytest.Config) -> None:
    """Switch telemetry off before a test imports OpenVINO or ONNX Runtime itself; import nothing from a working directory."""
    isolate()
    switch_off_telemetry()
    if getattr(config.option, "numprocesses", None):  # the processes begin with it: NumPy reads it when it is imported
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
    add_options(group.addoption, *(name for name in JUDGING if name != "threads"))
