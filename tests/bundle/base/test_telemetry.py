"""The switch: ONNX Runtime's variable, and OpenVINO's package that is not to be found."""

import importlib
import os
import sys

import pytest

from bundle.base.telemetry import switch_off_telemetry


def test_it_holds_for_this_process_and_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    switch_off_telemetry()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    with pytest.raises(ModuleNotFoundError, match="openvino_telemetry"):
        importlib.import_module("openvino_telemetry")
    switch_off_telemetry()


def test_a_package_that_was_imported_before_serves_no_later_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", sys)
    switch_off_telemetry()
    with pytest.raises(ModuleNotFoundError, match="openvino_telemetry"):
        importlib.import_module("openvino_telemetry")
