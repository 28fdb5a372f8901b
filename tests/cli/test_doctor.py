"""tdss doctor says what is here as the packages themselves do, and names what is missing with the command that installs it."""

import json
import re
import sys
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest

from bundle.base.errors import TargetUnavailable, not_installed
from cli import doctor
from targets.intel import runtime
from targets.intel.runtime import shared_core
from targets.table import TARGETS
from tests.cli.run import tdss


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let some packages seem not installed."""

    def installed(name: str) -> str:
        if name in names:
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor, "version", installed)


def test_it_finds_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = tdss("doctor", "--json", capsys=capsys)
    found = json.loads(out)
    assert code == 0 and list(found["uses"]) == [*TARGETS, "train", "fleet", "prove", "bench"]
    intel = found["uses"]["intel"]
    assert (intel["missing"], intel["install"]) == ([], "")
    assert intel["packages"]["numpy"] == np.__version__ and intel["packages"]["torch"] == version("torch")
    assert "lightning" in found["uses"]["train"]["packages"] and "lightning" not in intel["packages"]
    assert found["devices"] == list(shared_core().available_devices) and "CPU" in found["runtimes"]["intel"]


def test_what_is_missing_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "lightning", "openvino")
    code, out, _ = tdss("doctor", "--json", capsys=capsys)
    uses = json.loads(out)["uses"]
    assert code == 0 and uses["jetson"]["missing"] == [], "one target is enough"
    assert [re.split(r"\W", row)[0] for row in uses["train"]["missing"]] == ["lightning"]
    assert uses["train"]["install"].startswith("cd ") and uses["train"]["install"].endswith("--editable '.[train]'")
    assert f"{sys.executable} -m pip install --constraint constraints/host.txt" in uses["train"]["install"]
    assert uses["train"]["install"] in tdss("doctor", capsys=capsys)[1]
    refused = not_installed("training", "lightning", extra="train", where="here", error=ImportError("no"))
    assert uses["train"]["install"] in refused.fix, "one command, wherever it is named"


def test_an_older_version_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: "1.0" if name == "torch" else version(name))
    code, out, _ = tdss("doctor", "--json", capsys=capsys)
    assert code == 3 and [row.startswith("torch") for row in json.loads(out)["uses"]["jetson"]["missing"]] == [True]


def test_without_a_runtime_it_still_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*given: object) -> None:
        raise TargetUnavailable("no", expected="a", got="b", where="c", fix="d")

    monkeypatch.setattr(runtime, "import_openvino", missing)
    shared_core.cache_clear()
    monkeypatch.setattr(type(doctor.TARGETS["intel"]), "capabilities", missing)
    without(monkeypatch, "onnx")
    code, out, _ = tdss("doctor", "--json", capsys=capsys)
    found = json.loads(out)
    assert code == 3 and found["devices"] == [] and found["runtimes"]["intel"] == "none: no"
