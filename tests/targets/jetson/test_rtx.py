"""What the builder's log says about kernels, and what happens where there is no TensorRT-RTX."""

from pathlib import Path

import pytest

from bundle.base.errors import TargetUnavailable
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
    assert (kernel.kind, kernel.tactic, kernel.nodes) == ("gemm", "", ("a/MatMul", "a/Add"))


def test_a_kernel_has_the_size_of_what_it_reads_and_writes() -> None:
    kernel = rtx.read_kernel(GEMM)
    assert kernel is not None
    [read], [written], [weight] = kernel.inputs, kernel.outputs, kernel.constants
    assert (read.type, read.shape, read.size_bytes) == ("Int8", (128, 49, 50), 128 * 49 * 50)
    assert (written.type, written.size_bytes) == ("Half", 2 * 128 * 49 * 24)
    assert (weight.type, weight.size_bytes) == ("Float", 4)


def test_a_fused_attention_has_its_tactic_and_every_node_of_several_lines() -> None:
    """The line is one of TensorRT-RTX 1.7.1 on the shipped model, the strides and names shortened."""
    tensor = "{{ Name: t, Dimensions: [{0}], Strides: [1], StrideOrder: [1,2,0], Datatype: Half, Format: (Arbitrary) Format with stride order = [1,2,0] }}"
    query, key = tensor.format("128,49,24"), tensor.format("128,24,49")
    kernel = rtx.read_kernel(
        f"Name: _gemm_mha_v2_myl0_8, LayerType: kgen, Inputs: [ {query}, {key}, {query}], Constants: [], Outputs: [ {query}], "
        "TacticName: _gemm_mha_v2_0x6257, StreamId: 0, Metadata: [ONNX Layer: a/MatMul_1]\x1f[ONNX Layer: a/Softmax]"
    )
    assert kernel is not None and kernel.tactic == "_gemm_mha_v2_0x6257" and kernel.nodes == ("a/MatMul_1", "a/Softmax")
    assert [tensor.size_bytes for tensor in kernel.inputs] == [2 * 128 * 49 * 24] * 3


def test_a_type_of_unknown_size_is_named() -> None:
    with pytest.raises(TargetUnavailable, match="type of unknown size") as caught:
        rtx.read_kernel(GEMM.replace("Half", "Complex"))
    assert caught.value.got == "Complex"


@pytest.mark.parametrize("line", [WAIT, "Bindings:", ""])
def test_what_is_no_kernel(line: str) -> None:
    assert rtx.read_kernel(line) is None


def test_another_machine_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "x86-64" in rtx.unavailable() and "aarch64" in rtx.unavailable()


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtx, "MODULE", "tensorrt_rtx_of_which_there_is_none")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(TargetUnavailable, match="cannot be proven here") as caught:
        rtx.build_graph(Path("model.onnx"))
    assert "proof" in caught.value.fix


DEAD = [("echo no GPU >&2; exit 7", "exit code 7: no GPU"), ("exec sleep 9", "no answer"), ("exit 0", "exit code 0")]


@pytest.mark.parametrize(("command", "reason"), DEAD)
def test_a_library_that_dies_or_hangs_judges_nothing(
    command: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rtx, "unavailable", lambda: None)
    monkeypatch.setattr(rtx, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(rtx, "module", lambda *command_line: ["/bin/sh", "-c", command])
    built = rtx.build_graph(tmp_path / "model.onnx")
    assert not built.built and reason in built.unjudged


NONE = rtx.RtxBuild(version="1", parsed=True, built=False, complaints=(), kernels=(), engine_bytes=0)


@pytest.mark.parametrize(
    ("complaint", "judged"),
    [  # the words of TensorRT-RTX 1.7.1, shortened
        ("TopK_v: K exceeds the maximum value allowed (3840)", True),
        ("plugin != nullptr: ROIAlign plugin was not found in the plugin registry!", False),
        ("NonZero plugin creator version 1 was not found in plugin registry", False),
        ("Error Code 2: Internal Error (node_of_y has no runners that implement it", False),
        ("Error Code 1: Myelin (MyelinCheckException: operand.h:454: CHECK(is_tensor()) failed.", False),
        ("Error Code 1: Myelin ([type.cpp:186: infer_type] Could not infer output types for operation: acos", True),
    ],
)
def test_what_the_library_lacks_or_fails_at_is_no_refusal(complaint: str, judged: bool) -> None:
    assert (NONE.model_copy(update={"complaints": (complaint,)}).unjudged == "") is judged


@pytest.mark.parametrize(
    "words",
    [
        "broadcast dimensions must be conformable",
        "ISliceLayer y: gather index (64) must be less than length (3) of data",
        "ITopKLayer y: length of reduction axis (4) is smaller than K (64)",
    ],
)
def test_sizes_that_were_assumed_are_no_ground_to_refuse(words: str) -> None:
    built = NONE.model_copy(update={"assumed": {"x": (1, 3, 64, 64)}, "complaints": (words,)})
    assert "--shape x=1x3x64x64" in built.unjudged
    assert built.model_copy(update={"parsed": False}).unjudged == ""  # the parser asks for no size


def test_a_complaint_that_no_size_settles_is_a_refusal() -> None:
    words = "Quantized constant (w) is only allowed before DQ. In validateShapes at /_src/shape.cpp:1"
    assert NONE.model_copy(update={"assumed": {"x": (1, 3)}, "complaints": (words,)}).unjudged == ""
