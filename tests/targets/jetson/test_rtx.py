"""What the builder's log says about kernels, and what happens where there is no TensorRT-RTX."""

from pathlib import Path

import pytest

from bundle.errors import TargetUnavailable
from targets.jetson import rtx

GEMM = (
    "Name: a/MatMul_U418_myl0_14, LayerType: gemm, Inputs: [ { Name: t1, Dimensions: [128,49,50], Strides: [2450,50,1], "
    "StrideOrder: [2,1,0], Datatype: Int8, Format: (Linear) Row major linear format }], Constants: [ { Name: w, Dimensions: [1], "
    "Strides: [1], StrideOrder: [0], Datatype: Float, Format: (Linear) Row major linear format }], Outputs: [ { Name: o, "
    "Dimensions: [128,49,24], Strides: [1176,24,1], StrideOrder: [2,1,0], Datatype: Half, Format: (Linear) Row major linear "
    "format }], TacticName: , StreamId: 0, Metadata: [ONNX Layer: a/MatMul][ONNX Layer: a/Add][ONNX Layer: a/MatMul]"
)
WAIT = "Name: x_myl0_3, LayerType: wait, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, EventId: 1, Metadata: "


def test_a_kernel_has_its_types_and_its_nodes() -> None:
    kernel = rtx.read_kernel(GEMM)
    assert kernel is not None
    assert (kernel.kind, kernel.inputs, kernel.outputs) == ("gemm", ("Int8",), ("Half",))
    assert kernel.nodes == ("a/MatMul", "a/Add")


@pytest.mark.parametrize("line", [WAIT, "Bindings:", ""])
def test_what_is_no_kernel(line: str) -> None:
    assert rtx.read_kernel(line) is None


def test_another_machine_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "x86-64" in rtx.why_not() and "aarch64" in rtx.why_not()


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtx, "MODULE", "tensorrt_rtx_of_which_there_is_none")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(TargetUnavailable, match="cannot be proven here") as caught:
        rtx.build_graph(Path("model.onnx"))
    assert "proof" in caught.value.fix


def test_a_library_that_dies_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rtx, "why_not", lambda: "")
    monkeypatch.setattr(rtx, "module", lambda *command: ["/bin/sh", "-c", "echo no GPU >&2; exit 7"])
    with pytest.raises(TargetUnavailable, match="died") as caught:
        rtx.build_graph(tmp_path / "model.onnx")
    assert "exit code 7: no GPU" in caught.value.got


def test_a_library_that_hangs_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rtx, "why_not", lambda: "")
    monkeypatch.setattr(rtx, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(rtx, "module", lambda *command: ["/bin/sh", "-c", "exec sleep 9"])
    with pytest.raises(TargetUnavailable, match="died") as caught:
        rtx.build_graph(tmp_path / "model.onnx")
    assert "no answer" in caught.value.got
