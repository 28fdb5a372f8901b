"""The builder's control flow, with a recorded FAKE of TensorRT: no engine is built here."""

import sys
from pathlib import Path

import pytest

from bundle.errors import ArtifactError, GraphError, TargetUnavailable
from targets.jetson import builder
from targets.jetson.builder import BuilderConfig, ensure_engine
from targets.jetson.device import Device
from tests.targets.jetson.fake_tensorrt import FakeTensorRt

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


def build(onnx_path: Path, device: Device = ORIN, config: BuilderConfig | None = None) -> Path:
    return ensure_engine(onnx_path, onnx_path.parent, device, "int8", config or BuilderConfig())


def test_an_engine_is_built_once_and_its_timings_kept(monkeypatch, onnx_path: Path) -> None:
    fake = use(monkeypatch, FakeTensorRt())
    first = build(onnx_path)
    assert (first.read_bytes(), first.parent.name) == (b"an engine", "engines")
    assert build(onnx_path) == first
    assert [name for name, _ in fake.log].count("build") == 1
    build(onnx_path, config=BuilderConfig(workspace_mib=64))
    assert [data for name, data in fake.log if name == "timing cache"] == [b"", b"timings"]
    assert ("workspace", 64 << 20) in fake.log


@pytest.mark.parametrize(("version", "flags"), [("10.3.0.30", 2), ("10.13.1", 2), ("11.0.0.1", 0)])
def test_networks_are_strongly_typed(monkeypatch, onnx_path: Path, version: str, flags: int) -> None:
    fake = use(monkeypatch, FakeTensorRt())
    build(onnx_path, ORIN.model_copy(update={"tensorrt": version}))
    assert ("network", flags) in fake.log


@pytest.mark.parametrize("change", [{"tensorrt": "10.4.0"}, {"compute_capability": "8.6"}, {"jetson_linux": "36.3.0"}])
def test_whatever_decides_the_bytes_makes_another_engine(monkeypatch, onnx_path: Path, change: dict[str, str]) -> None:
    use(monkeypatch, FakeTensorRt())
    assert build(onnx_path) != build(onnx_path, ORIN.model_copy(update=change))


def test_another_graph_makes_another_engine(monkeypatch, onnx_path: Path) -> None:
    use(monkeypatch, FakeTensorRt())
    first = build(onnx_path)
    onnx_path.write_bytes(b"another graph")
    assert build(onnx_path) != first


def test_an_altered_engine_is_never_loaded(monkeypatch, onnx_path: Path) -> None:
    use(monkeypatch, FakeTensorRt())
    build(onnx_path).write_bytes(b"An engine")
    with pytest.raises(ArtifactError, match=r"\.engine was altered") as caught:
        build(onnx_path)
    assert "delete the folder" in caught.value.fix


def test_a_refused_graph_names_the_node(monkeypatch, onnx_path: Path) -> None:
    use(monkeypatch, FakeTensorRt(accepts=False))
    with pytest.raises(GraphError) as caught:
        build(onnx_path)
    assert "gate/Softmax: Assertion failed" in caught.value.got


def test_a_failed_build_leaves_nothing_and_speaks_of_memory(monkeypatch, onnx_path: Path) -> None:
    use(monkeypatch, FakeTensorRt(builds=False))
    with pytest.raises(TargetUnavailable, match="TensorRT built no engine") as caught:
        build(onnx_path)
    assert "memory" in caught.value.fix
    assert not (onnx_path.parent / "engines").exists()
