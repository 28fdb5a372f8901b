"""A runtime that is not installed ends with exit code 3 and the command that brings it."""

import sys

import pytest

from bundle.errors import TargetUnavailable
from targets.base import RunConfig
from targets.intel import runtime
from targets.table import target


@pytest.mark.parametrize(
    ("name", "package"), [("intel", "openvino"), ("reference", "onnxruntime"), ("jetson", "onnxruntime")]
)
def test_names_the_extra_to_install(monkeypatch, name: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    runtime.shared_core.cache_clear()
    with pytest.raises(TargetUnavailable, match=f"{package} is not installed") as caught:
        target(name).capabilities(RunConfig())
    assert caught.value.exit_code == 3
    assert caught.value.fix.startswith("pip install -e .[")
