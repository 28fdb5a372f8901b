"""The proof by NVIDIA's parser and builder; the builds themselves run where TensorRT-RTX is installed (make prove)."""

from pathlib import Path

import onnx_ir as ir
import pytest

from bundle.base.errors import ConfigError, GraphError
from compile.tensorrt_checks import rtx_build as prove
from targets.jetson.rtx import Kernel, RtxBuild, Tensor, unavailable
from tests.cli.run import tdss
from tests.compile.tensorrt_checks.rules.made import GOOD, parse

NAMED = GOOD.replace("m = MatMul (d, v)", "[product] m = MatMul (d, v)")
ATTENTION = """g (float[2,8,16] q, float[2,16,8] k, float[2,8,16] v) => (float[2,8,16] o) {
    [first] l = MatMul (q, k)
    [soft] p = Softmax (l)
    o = MatMul (p, v)
}"""
MACS = 64 * 32 * 32


def tensors(*types: str) -> tuple[Tensor, ...]:
    """Tensors of a thousand elements."""
    return tuple(Tensor(shape=(10, 100), type=kind) for kind in types)


def kernel(kind: str, inputs: tuple[str, ...], *nodes: str, name: str = "k", weights: tuple[str, ...] = ()) -> Kernel:
    """One kernel of an engine; it writes a thousand float32."""
    return Kernel(
        name=name,
        kind=kind,
        tactic="",
        inputs=tensors(*inputs),
        constants=tensors(*weights),
        outputs=tensors("Float"),
        nodes=nodes,
    )


@pytest.mark.parametrize(
    ("text", "macs"),
    [
        ("g (float[1,8,5,5] x, float[6,4,3,3] w) => (float[1,6,3,3] y) { [n] y = Conv <group = 2> (x, w) }", 54 * 36),
        (
            "g (float[1,4,5,5] x, float[4,3,2,2] w) => (float[1,3,10,10] y) { [n] y = ConvTranspose <strides = [2, 2]> (x, w) }",
            100 * 12,
        ),
        ("g (float[2,7,5] x, float[2,5,3] w) => (float[2,7,3] y) { [n] y = MatMul (x, w) }", 2 * 7 * 3 * 5),
        (
            "g (float[5,7] x, float[3,5] w) => (float[7,3] y) { [n] y = Gemm <transA = 1, transB = 1> (x, w) }",
            7 * 3 * 5,
        ),
    ],
)
def test_the_work_of_an_operator(text: str, macs: int) -> None:
    assert prove.products(parse(text)) == {"n": macs}


def test_work_of_unknown_size_is_not_counted() -> None:
    assert prove.products(parse("g (float[n,5] x, float[5,3] w) => (float[n,3] y) { [n] y = MatMul (x, w) }")) == {}


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [
        ([kernel("gemm", ("Int8",), "n", weights=("Int8", "Float"))], "int8"),
        ([kernel("gemm", ("Int8", "Int8"), "n")], "int8"),
        ([kernel("gemm", ("Half", "Int8"), "n", weights=("Int8",))], "int8"),  # the half is a residual to add
        (
            [kernel("gemm", ("Half",), "n"), kernel("kgen", ("Int8",), "n", weights=("Int8",))],
            "fp16",
        ),  # the kgen converts
        ([kernel("kgen", ("Int8",), "n", weights=("Int8",))], "int8"),  # so small that it is a pointwise kernel
        ([kernel("runtime_fusion", ("Int8", "Half"), "n")], "fp16"),  # its weight was dequantized by another kernel
        (
            [kernel("runtime_fusion", ("Int8",), "n", name="__myl_CastMulCastCastMulFc_myl0_1", weights=("Int8",))],
            "float",
        ),  # it dequantizes both, then multiplies
        (
            [kernel("kgen", ("Int8",), "n", name="__myl_FcCastMulRelu_myl0_1", weights=("Int8",))],
            "int8",
        ),  # it multiplies, then casts the sum
        ([kernel("gemm", ("Int8",), "other", weights=("Int8",))], "float"),
        ([], "float"),
    ],
)
def test_a_product_counts_for_the_type_its_kernel_reads(kernels: list[Kernel], expected: str) -> None:
    assert prove.precision("n", kernels) == expected


def test_shares_moves_and_casts_of_a_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The build is a FAKE, its kernels are invented: nothing ran on hardware."""
    kernels = (
        kernel("gemm", ("Int8",), "product", weights=("Int8",)),
        kernel("kgen", ("Float",), name="__myl_ReshTran_myl0_1"),
        kernel("kgen", ("Float",), name="__myl_MulMinMaxRounCast_myl0_2"),
        kernel("kgen", ("Float",), name="__myl_AddReluMove_myl0_3"),
    )
    answer = RtxBuild(version="1", parsed=True, built=True, complaints=(), kernels=kernels, engine_bytes=9)
    monkeypatch.setattr(prove, "unavailable", lambda: None)
    monkeypatch.setattr(prove, "build_graph", lambda path, shapes: answer)
    ir.save(parse(NAMED), tmp_path / "int8.onnx")
    [one] = prove.prove([tmp_path / "int8.onnx"]).graphs
    assert (one.macs, one.int8_share, one.kernels, one.moves, one.casts) == (MACS, 1.0, 4, 1, 1)
    assert (one.read_bytes, one.written_bytes, one.weight_bytes) == (1000 + 3 * 4000, 4 * 4000, 1000)


def test_a_kernels_bytes_stand_for_its_nodes_in_equal_parts() -> None:
    kernels = (kernel("gemm", ("Int8",), "a", "b"), kernel("kgen", ("Half",), "b"), kernel("kgen", ("Half",)))
    assert prove.node_bytes(kernels) == {"a": 2500.0, "b": 2500.0 + 6000.0}


@pytest.mark.parametrize(
    ("nodes", "lost"),
    [
        ([("first", "soft", "node_of_o")], ()),  # what the parser calls a node without a name
        ([("first",), ("soft",), ("node_of_o",)], ("first",)),
        ([("first", "soft"), ("node_of_o",)], ("first",)),
    ],
)
def test_an_attention_is_fused_where_one_kernel_computes_all_of_it(
    nodes: list[tuple[str, ...]], lost: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The build is a FAKE, its kernels are invented: nothing ran on hardware."""
    kernels = tuple(kernel("kgen", ("Half",), *one) for one in nodes)
    answer = RtxBuild(version="1", parsed=True, built=True, complaints=(), kernels=kernels, engine_bytes=9)
    monkeypatch.setattr(prove, "unavailable", lambda: None)
    monkeypatch.setattr(prove, "build_graph", lambda path, shapes: answer)
    ir.save(parse(ATTENTION), tmp_path / "f16.onnx")
    [one] = prove.prove([tmp_path / "f16.onnx"]).graphs
    assert (one.attentions, one.fused, one.not_fused) == (1, 1 - len(lost), lost)


def test_a_refusal_names_graph_and_complaint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The refusal is a FAKE, its complaint invented: nothing ran on hardware."""
    answer = RtxBuild(version="1", parsed=False, built=False, complaints=("In node 3: no",), kernels=(), engine_bytes=0)
    monkeypatch.setattr(prove, "unavailable", lambda: None)
    monkeypatch.setattr(prove, "build_graph", lambda path, shapes: answer)
    ir.save(parse(NAMED), tmp_path / "int8.onnx")
    proof = prove.prove([tmp_path / "int8.onnx"])
    assert proof.status == "refused" and proof.reason == "int8.onnx: In node 3: no"


def test_a_graph_that_cannot_be_judged_is_exit_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The death is a FAKE: nothing ran on hardware."""
    answer = RtxBuild(version="1", parsed=False, built=False, complaints=(), kernels=(), engine_bytes=0, died="signal")
    monkeypatch.setattr(prove, "unavailable", lambda: None)
    monkeypatch.setattr(prove, "build_graph", lambda path, shapes: answer)
    ir.save(parse(NAMED), tmp_path / "int8.onnx")
    code, out, _ = tdss("prove", str(tmp_path / "int8.onnx"), capsys=capsys)
    assert code == 3
    assert out.startswith("not judged: int8.onnx: TensorRT-RTX died: signal\n")


@pytest.mark.parametrize("text", ["x", "x=", "=2x3", "x=2x0", "x=2,3", "x=-1x3"])
def test_a_shape_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="no shape of an input"):
        prove.read_shapes([text])


def test_shapes_are_named_as_they_are_typed() -> None:
    assert prove.read_shapes(["a=1x3x8x8", "b=c=7"]) == {"a": (1, 3, 8, 8), "b=c": (7,)}


def test_where_it_cannot_run_nothing_is_proven_and_it_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prove, "unavailable", lambda: "no such machine")
    ir.save(parse(NAMED), tmp_path / "int8.onnx")
    code, out, _ = tdss("prove", str(tmp_path / "int8.onnx"), capsys=capsys)
    assert code == 3
    assert out == "not run: no such machine\n"


@pytest.mark.skipif(bool(unavailable()), reason=f"a build by TensorRT-RTX needs it: {unavailable()}")
def test_nvidias_builder_takes_the_good_graph_in_int8_and_refuses_an_unknown_operator(tmp_path: Path) -> None:
    ir.save(parse(NAMED), tmp_path / "int8.onnx")
    ir.save(parse("g (float[2,2] x) => (float y) { y = Det (x) }"), tmp_path / "det.onnx")
    ir.save(parse("g (float[n,5] x) => (float[n,5] y) { y = Relu (x) }"), tmp_path / "dynamic.onnx")
    good, bad, dynamic = (prove.prove([tmp_path / name]) for name in ("int8.onnx", "det.onnx", "dynamic.onnx"))
    assert dynamic.status == "accepted"
    assert good.status == "accepted" and good.graphs[0].int8_share == 1.0
    assert bad.status == "refused" and "Det" in bad.reason


@pytest.mark.skipif(bool(unavailable()), reason=f"a build by TensorRT-RTX needs it: {unavailable()}")
def test_nvidias_builder_makes_one_kernel_of_a_float_attention_and_the_figures_are_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = "float16[4,8,49,24] q, float16[4,8,24,49] k, float16[4,8,49,24] v"
    text = ATTENTION.replace("float[2,8,16] q, float[2,16,8] k, float[2,8,16] v", size).replace(
        "float[2,8,16] o", "float16[4,8,49,24] o"
    )
    ir.save(parse(text), tmp_path / "f16.onnx")
    [one] = prove.prove([tmp_path / "f16.onnx"]).graphs
    operand = 2 * 32 * 49 * 24
    assert (one.attentions, one.fused) == (1, 1)
    assert one.read_bytes >= 3 * operand and one.written_bytes >= operand
    code, out, _ = tdss("prove", str(tmp_path / "f16.onnx"), capsys=capsys)
    assert code == 0 and "1 of 1 attentions fused" in out


PATCHES = """g (float[1,3,h,w] x) => (float[1,n,8] y)
<float[8,3,4,4] k = {KERNEL}, int64[3] s = {1, 8, -1}, float[1,16,8] p = {POSITION}> {
    e = Conv <strides = [4, 4]> (x, k)
    f = Reshape (e, s)
    t = Transpose <perm = [0, 2, 1]> (f)
    y = Add (t, p)
}""".replace("KERNEL", ", ".join(["1"] * 384)).replace("POSITION", ", ".join(["1"] * 128))
SIZED = "g (float[1,2,4,4] x, int64[4] s) => (float[1,2,h,w] y) { y = Resize (x, , , s) }"


@pytest.mark.skipif(bool(unavailable()), reason=f"a build by TensorRT-RTX needs it: {unavailable()}")
@pytest.mark.parametrize(
    ("text", "shapes", "status"),
    [
        (PATCHES, {}, "not judged"),
        (PATCHES, {"x": (1, 3, 16, 16)}, "accepted"),
        (SIZED, {"s": (1, 2, 8, 8)}, "accepted"),
        ("g (float[n,8] x) => (float[n,8] y) { y = Relu (x) }", {}, "accepted"),
        ("g (float[1,8,8] x) => (int64[2,n] y) { y = NonZero (x) }", {}, "not judged"),
    ],
)
def test_the_three_answers(text: str, shapes: dict[str, tuple[int, ...]], status: str, tmp_path: Path) -> None:
    ir.save(parse(text), tmp_path / "model.onnx")
    proof = prove.prove([tmp_path / "model.onnx"], shapes)
    assert proof.status == status
    assert bool(proof.graphs[0].unjudged) is (status == "not judged")


@pytest.mark.skipif(bool(unavailable()), reason=f"a build by TensorRT-RTX needs it: {unavailable()}")
def test_a_shape_of_no_input(tmp_path: Path) -> None:
    ir.save(parse(PATCHES), tmp_path / "model.onnx")
    with pytest.raises(GraphError, match="has no input 'y'"):
        prove.prove([tmp_path / "model.onnx"], {"y": (1,)})
