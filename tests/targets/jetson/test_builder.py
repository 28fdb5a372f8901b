"""The builder's control flow, with a recorded FAKE of TensorRT, and once with NVIDIA's own builder where that is at hand."""

import sys
from pathlib import Path

import onnx
import pytest

from bundle.base.errors import ArtifactError, GraphError, TargetUnavailable
from targets.jetson import builder
from targets.jetson.builder import BuilderConfig, EngineFile, ensure_engine
from targets.jetson.device import Device
from tests.contract.graphs import CASES
from tests.targets.jetson.fake_tensorrt import OUT_OF_MEMORY, FakeTensorRt

ORIN = Device(board="NVIDIA Jetson Orin Nano", compute_capability="8.7", jetson_linux="36.4.0", tensorrt="10.3.0.30")


@pytest.fixture
def onnx_path(tmp_path: Path) -> Path:
    path = tmp_path / "int8.onnx"
    path.write_bytes(b"a graph")
    return path


def use(monkeypatch: pytest.MonkeyPatch, fake: FakeTensorRt) -> FakeTensorRt:
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(builder, "tensorrt_version", lambda: ORIN.tensorrt)
    return fake


def build(onnx_path: Path, device: Device = ORIN, config: BuilderConfig | None = None) -> EngineFile:
    return ensure_engine(onnx_path, onnx_path.parent, device, "int8", config or BuilderConfig())


def test_an_engine_is_built_once_and_its_timings_kept(monkeypatch, onnx_path: Path) -> None:
    fake = use(monkeypatch, FakeTensorRt())
    first = build(onnx_path)
    assert first.content == (onnx_path.parent / "engines" / first.name).read_bytes() == b"an engine"
    assert build(onnx_path) == first
    assert [name for name, _ in fake.log].count("build") == 1
    build(onnx_path, config=BuilderConfig(workspace_mib=64))
    assert [data for name, data in fake.log if name == "timing cache"] == [b"", b"timings"]
    assert ("workspace", 64 << 20) in fake.log
    build(onnx_path, ORIN.model_copy(update={"compute_capability": "8.6"}))
    assert [data for name, data in fake.log if name == "timing cache"][
        -1
    ] == b""  # another device's timings are not ours


@pytest.mark.parametrize(("version", "flags"), [("10.3.0.30", 2), ("10.13.1", 2), ("11.0.0.1", 0)])
def test_networks_are_strongly_typed_and_float32_is_not_tf32(monkeypatch, onnx_path: Path, version: str, flags) -> None:
    fake = use(monkeypatch, FakeTensorRt())
    build(onnx_path, ORIN.model_copy(update={"tensorrt": version}))
    assert ("network", flags) in fake.log and ("clear", "tf32") in fake.log


@pytest.mark.parametrize("change", [{"tensorrt": "10.4.0"}, {"compute_capability": "8.6"}, {"jetson_linux": "36.3.0"}])
def test_whatever_decides_the_bytes_makes_another_engine(monkeypatch, onnx_path: Path, change: dict[str, str]) -> None:
    use(monkeypatch, FakeTensorRt())
    first = build(onnx_path)
    assert build(onnx_path, ORIN.model_copy(update=change)).name != first.name
    assert build(onnx_path, config=BuilderConfig(flags=())).name != first.name
    assert build(onnx_path, config=BuilderConfig(optimization_level=5)).name != first.name
    onnx_path.write_bytes(b"another graph")
    assert build(onnx_path).name != first.name


def test_an_altered_engine_is_never_loaded(monkeypatch, onnx_path: Path) -> None:
    use(monkeypatch, FakeTensorRt())
    (onnx_path.parent / "engines" / build(onnx_path).name).write_bytes(b"An engine")
    with pytest.raises(ArtifactError, match="was altered") as caught:
        build(onnx_path)
    assert "delete the folder" in caught.value.fix


def test_a_refused_graph_names_the_node(monkeypatch, onnx_path: Path) -> None:
    use(monkeypatch, FakeTensorRt(accepts=False))
    with pytest.raises(GraphError) as caught:
        build(onnx_path)
    assert "gate/Softmax: Assertion failed" in caught.value.got


def test_a_failed_build_leaves_nothing_and_says_what_tensorrt_said(monkeypatch, onnx_path: Path) -> None:
    use(monkeypatch, FakeTensorRt(builds=False, says="no tactic for gate/MatMul"))
    with pytest.raises(TargetUnavailable, match="TensorRT built no engine") as caught:
        build(onnx_path)
    assert "no tactic for gate/MatMul" in caught.value.got and "chatter" not in caught.value.got
    assert not (onnx_path.parent / "engines").exists()


def test_memory_that_ran_out_is_named_with_what_to_do(monkeypatch, onnx_path: Path) -> None:
    use(monkeypatch, FakeTensorRt(builds=False, says=OUT_OF_MEMORY))
    with pytest.raises(TargetUnavailable, match="ran out of memory while TensorRT built an engine") as caught:
        build(onnx_path)
    assert "--workspace 512" in caught.value.fix and "swap" in caught.value.fix
    assert "MiB free" in caught.value.got


def test_an_engine_of_torch_tensorrt_is_found_or_asked_for(monkeypatch, onnx_path: Path) -> None:
    fake = use(monkeypatch, FakeTensorRt())
    with pytest.raises(TargetUnavailable, match="no int8 engine from torch-tensorrt") as caught:
        build(onnx_path, config=BuilderConfig(builder="torch-tensorrt"))
    assert "compile/torch_engine.py" in caught.value.fix and fake.log == []


@pytest.mark.filterwarnings("ignore:.*TensorRT-RTX:DeprecationWarning")  # it keeps no timings; a Jetson's does
def test_nvidias_own_builder_takes_the_same_calls(monkeypatch, tmp_path: Path) -> None:
    """TensorRT for RTX builds on the CPU, with the API of TensorRT 11: the calls are real, the engine is no Jetson's."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs the extra 'proof' (x86-64)")
    monkeypatch.setitem(sys.modules, "tensorrt", rtx)
    monkeypatch.setattr(builder, "tensorrt_version", lambda: rtx.__version__)
    onnx.save(CASES["q_dq"].model, tmp_path / "g.onnx")
    device = ORIN.model_copy(update={"tensorrt": "11.0.0.0"})
    built = ensure_engine(tmp_path / "g.onnx", tmp_path, device, "int8", BuilderConfig(workspace_mib=256))
    assert len(built.content) > 1000
    (tmp_path / "g.onnx").write_bytes(b"no graph")
    with pytest.raises(GraphError, match="parser refuses"):
        ensure_engine(tmp_path / "g.onnx", tmp_path, device, "int8", BuilderConfig())
