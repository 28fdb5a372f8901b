"""The session's control flow, with recorded FAKES of TensorRT and CUDA: nothing ran on hardware."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bundle.base.errors import ArtifactError, InputError, TargetUnavailable
from bundle.formats.engines import write_engine_file
from targets.base import Capabilities, SessionInfo
from targets.jetson import session as session_module
from targets.jetson.builder import EngineFile
from targets.jetson.session import TensorRtSession
from tests.targets.jetson.fake_tensorrt import OUT_OF_MEMORY, FakeCuda, FakeTensorRt

ABLE = Capabilities(device="cuda:0", device_name="a fake", isa=(), precisions=("f16",), runtime="tensorrt 10.3")
INFO = SessionInfo(target="jetson", capabilities=ABLE, precision="f16", executed_on="device", settings={})
ENGINE = EngineFile("f16-abc.engine", b"an engine")
FEED = {"in": np.array([[1.5, -2.0]], np.float32)}


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """The folder of a bundle that holds an engine."""
    write_engine_file(tmp_path, ENGINE.name, ENGINE.content)
    return tmp_path


def open_fake(monkeypatch, engine: Path, fake: FakeTensorRt) -> TensorRtSession:
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(session_module, "tensorrt_version", lambda: "10.3.0.30")
    monkeypatch.setattr(session_module, "Cuda", FakeCuda)
    return TensorRtSession(ENGINE, engine, INFO, 2048)


def test_bytes_go_in_and_come_out_and_everything_is_freed(monkeypatch, engine: Path) -> None:
    fake = FakeTensorRt()
    with open_fake(monkeypatch, engine, fake) as session:
        first = session.infer(FEED)["output0"]
        np.testing.assert_array_equal(first, [[3.0, -4.0]])
        session.infer({"in": np.zeros((1, 2), np.float32)})
        np.testing.assert_array_equal(first, [[3.0, -4.0]])
        cuda = session._cuda
    assert cuda.freed == 4 + 100 and cuda.kept == {}
    assert fake.log == [("load", b"an engine"), ("execute", 7), ("execute", 7)]


def test_time_is_told_by_events_with_and_without_copies(monkeypatch, engine: Path) -> None:
    with open_fake(monkeypatch, engine, FakeTensorRt()) as session:
        latency = session.timed(FEED)
        assert (latency.total_ms, latency.compute_ms) == (3.0, 1.0)
        with pytest.raises(InputError):
            session.timed({})


def test_tensors_with_other_names_are_those_of_the_bundle(monkeypatch, engine: Path) -> None:
    names = {"in": "image", "output0": "depth"}
    path = write_engine_file(engine, "f16-abc.names.json", json.dumps(names).encode())
    with open_fake(monkeypatch, engine, FakeTensorRt()) as session:
        assert [spec.name for spec in (*session.inputs, *session.outputs)] == ["image", "depth"]
        np.testing.assert_array_equal(session.infer({"image": FEED["in"]})["depth"], [[3.0, -4.0]])
    path.write_text(json.dumps({"in": "image", "output0": "edge"}))
    with pytest.raises(ArtifactError, match="was altered"):
        open_fake(monkeypatch, engine, FakeTensorRt())


def test_an_engine_of_another_device_is_refused_with_tensorrts_words(monkeypatch, engine: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot run this engine") as caught:
        open_fake(monkeypatch, engine, FakeTensorRt(loads=False, says="incompatible device"))
    assert "incompatible device" in caught.value.got and "engines/" in caught.value.fix


def test_memory_that_runs_out_is_said_with_what_to_do(monkeypatch, engine: Path) -> None:
    with pytest.raises(TargetUnavailable, match="ran out of memory") as caught:
        open_fake(monkeypatch, engine, FakeTensorRt(loads=False, says=OUT_OF_MEMORY))
    assert "systemctl isolate" in caught.value.fix and "--workspace 512" in caught.value.fix


def test_what_was_allocated_is_free_again_where_the_rest_cannot_be(monkeypatch, engine: Path) -> None:
    opened: list[FakeCuda] = []

    class Small(FakeCuda):
        def __init__(self) -> None:
            super().__init__()
            opened.append(self)

        def allocate(self, size: int) -> int:
            if self.kept:
                raise TargetUnavailable("a CUDA call failed", expected="0", got="2: out of memory", where="c", fix="d")
            return super().allocate(size)

    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt())
    monkeypatch.setattr(session_module, "tensorrt_version", lambda: "10.3.0.30")
    monkeypatch.setattr(session_module, "Cuda", Small)
    with pytest.raises(TargetUnavailable, match="a CUDA call failed"):
        TensorRtSession(ENGINE, engine, INFO, 2048)
    assert opened[0].kept == {} and opened[0].freed == 2 + 100
