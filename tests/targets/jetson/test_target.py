import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from bundle.base.errors import ArtifactError, TargetUnavailable
from targets.base import RunConfig, Variant
from targets.jetson import device
from targets.jetson.scheme import F16, F32, INT8
from targets.jetson.target import JETSON
from tests.contract.graphs import CASES

PROBE = device._probe  # before the fixture below replaces it


def test_an_import_that_hangs_is_no_tensorrt(monkeypatch) -> None:
    def hang(command: list[str], **options: object) -> None:
        raise subprocess.TimeoutExpired(command, 120)

    monkeypatch.setattr(device, "_probe", PROBE.__wrapped__)
    monkeypatch.setattr(device.subprocess, "run", hang)
    with pytest.raises(TargetUnavailable, match="cannot be imported") as caught:
        device.tensorrt_version()
    assert caught.value.got == "no answer in 120 s"


@pytest.fixture(autouse=True)
def a_host_without_tensorrt(monkeypatch) -> None:
    answer = subprocess.CompletedProcess([], 1, "", "Traceback\nModuleNotFoundError: No module named 'tensorrt'\n")
    monkeypatch.setattr(device, "_probe", lambda: answer)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in VARIANT.files:
        onnx.save(CASES["q_dq"].model, tmp_path / name)
    return tmp_path


VARIANT = Variant(recipe=INT8, files=("int8.onnx", "int8.emulation.onnx"))


def test_a_host_defers_the_engine_and_says_why(folder: Path) -> None:
    engine = JETSON.build(folder, (VARIANT,), RunConfig())
    assert engine.status == "deferred"
    assert "only be built on the device" in engine.reason
    assert "No module named 'tensorrt'" in engine.reason
    assert sorted(path.name for path in folder.iterdir()) == sorted(VARIANT.files)


@pytest.mark.parametrize("execute", ["auto", "emulation"])
def test_a_host_emulates_and_says_so(folder: Path, execute) -> None:
    with JETSON.open(folder, VARIANT, RunConfig(), execute, keep=folder) as session:
        assert session.info.executed_on == "emulation"
        assert session.info.capabilities.device == "emulation"
        assert session.info.settings["graph_optimizations"] == "off"


def test_execute_device_never_falls_back(folder: Path) -> None:
    with pytest.raises(TargetUnavailable, match="TensorRT cannot be imported") as caught:
        JETSON.open(folder, VARIANT, RunConfig(), "device", keep=folder)
    assert caught.value.exit_code == 3
    with pytest.raises(TargetUnavailable):
        JETSON.open(folder, VARIANT, RunConfig(device="cuda:0"), "auto", keep=folder)
    with pytest.raises(TargetUnavailable):
        JETSON.capabilities(RunConfig(device="cuda:0"))


@pytest.mark.parametrize("recipe", [F16, INT8])
def test_a_graph_with_half_is_emulated_by_its_own_graph_or_not_at_all(folder: Path, recipe) -> None:
    with pytest.raises(ArtifactError, match="cannot be emulated as it is"):
        JETSON.open(folder, Variant(recipe=recipe, files=(f"{recipe.name}.onnx",)), RunConfig(), "auto", keep=folder)
    onnx.save(CASES["gelu"].model, folder / "f16.emulation.onnx")
    with JETSON.open(
        folder, Variant(recipe=F16, files=("f16.onnx", "f16.emulation.onnx")), RunConfig(), "auto", keep=folder
    ) as session:
        assert session.info.settings["emulated_graph"] == "f16.emulation.onnx"


def test_it_offers_all_three_precisions_and_names_its_passes() -> None:
    assert JETSON.variants(JETSON.capabilities(RunConfig())) == (F32, F16, INT8)
    assert JETSON.passes != ()


@pytest.mark.parametrize(
    ("version", "usable"), [("8.6.1", False), ("10.2.0", False), ("10.3.0.30", True), ("11.4.1", True)]
)
def test_only_tensorrt_10_3_and_newer_is_used(monkeypatch, version: str, usable: bool) -> None:
    monkeypatch.setattr(device, "_probe", lambda: subprocess.CompletedProcess([], 0, f'a banner\n"{version}"\n', ""))
    if usable:
        assert device.tensorrt_version() == version
    else:
        with pytest.raises(TargetUnavailable, match="too old"):
            device.tensorrt_version()


def test_an_import_that_ends_the_process_is_reported(monkeypatch) -> None:
    monkeypatch.undo()
    device._probe.cache_clear()
    monkeypatch.setattr(device, "PROBE", "import os; os.abort()")
    with pytest.raises(TargetUnavailable) as caught:
        device.tensorrt_version()
    assert caught.value.got == "exit code -6"
    assert caught.value.where == sys.executable
    device._probe.cache_clear()


def test_a_library_that_tensorrt_misses_is_named_in_the_fix(monkeypatch) -> None:
    """FAKE of the import: the Jetson Linux of JetPack 7.2 has no libnvdla_compiler.so, which older images ask for."""
    said = "ImportError: libnvdla_compiler.so: cannot open shared object file: No such file or directory"
    monkeypatch.setattr(device, "_probe", lambda: subprocess.CompletedProcess([], 1, "", f"Traceback\n{said}\n"))
    with pytest.raises(TargetUnavailable, match="cannot be imported") as caught:
        device.tensorrt_version()
    assert "library libnvdla_compiler.so is not" in caught.value.fix and "container" in caught.value.fix


@pytest.mark.parametrize("name", ["GPU", "cuda:1", "CPU"])
def test_a_device_of_another_kind_is_refused_not_ignored(folder: Path, name: str) -> None:
    run = RunConfig(device=name)
    for asked in (
        lambda: JETSON.open(folder, VARIANT, run, "auto", keep=folder),
        lambda: JETSON.build(folder, (VARIANT,), run),
        lambda: JETSON.open(folder, VARIANT, run, "emulation", keep=folder),
        lambda: JETSON.capabilities(run),
    ):
        with pytest.raises(TargetUnavailable, match=f"no device '{name}'"):
            asked()
