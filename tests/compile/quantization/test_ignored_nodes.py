"""What stays in float, found in small graphs."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bundle.formats.artifacts import Simplified
from compile.graphs.end_nodes import HEAD, TAIL
from compile.graphs.passes.table import apply_passes
from compile.quantization.ignored_nodes import GATE, THIN, TRANSFORM, ignored_nodes, value_names
from compile.stage.graph_info import GRAPH_FILE
from targets.base import IgnoredPattern, QuantizationScheme, RunConfig
from targets.jetson.scheme import scheme as jetson_scheme
from targets.table import TARGETS
from tests.compile import made

GATED = """<ir_version: 10, opset_import: ["" : 20]>
g (float[1,8,8,16] image) => (float[1,8,8,16] answer)
<float[16,16] a = {ONES}, float[16,16] b = {ONES}, float[16,16] v = {ONES}, int64[2] axes = {1, 2}, float[16] bias = {FEW}>
{
    [pixels] scaled = Mul (image, bias)
    [first] h = MatMul (scaled, a)
    [shifted] s = Add (h, bias)
    [pool] p = ReduceMean <keepdims = 0> (s, axes)
    [logits] l = Gemm (p, v, bias)
    [soft] w = Softmax (l)
    [applied] m = Mul (s, w)
    [second] o = MatMul (m, b)
    [out] answer = Sigmoid (o)
}
"""


@pytest.fixture
def gated(tmp_path: Path) -> Path:
    """A graph with a head, a gate path and a tail."""
    text = GATED.replace("ONES", ", ".join(["1"] * 256)).replace("FEW", ", ".join(["1"] * 16))
    ir.save(ir.from_onnx_text(text), tmp_path / "g.onnx")
    return tmp_path / "g.onnx"


def scheme(*, thin_below: int, ignored: tuple[IgnoredPattern, ...], heads: str = "int8") -> QuantizationScheme:
    """The Jetson scheme with other exceptions."""
    able = TARGETS["jetson"].capabilities(RunConfig(device="emulation"))
    return jetson_scheme(able).model_copy(update={"thin_below": thin_below, "ignored": ignored, "heads": heads})


def test_head_gate_path_and_tail_are_found_by_structure(gated: Path) -> None:
    found = ignored_nodes(gated, scheme(thin_below=0, ignored=()))
    assert found == {"pixels": HEAD, "pool": GATE, "logits": GATE, "soft": GATE, "applied": GATE, "out": TAIL}


def test_a_transposed_weight_does_not_end_the_gate_path(gated: Path) -> None:
    model = ir.load(gated)
    [gemm] = [node for node in model.graph if node.name == "logits"]
    output = ir.Value(name="vt", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([16, 16]))
    turned = ir.Node("", "Transpose", [gemm.inputs[1]], outputs=[output], name="turn")
    model.graph.insert_before(gemm, turned)
    gemm.replace_input_with(1, output)
    ir.save(model, gated)
    found = ignored_nodes(gated, scheme(thin_below=0, ignored=()))
    assert {name: found.get(name) for name in ("pool", "logits", "soft", "applied")} == dict.fromkeys(
        ("pool", "logits", "soft", "applied"), GATE
    )
    assert "second" not in found


def test_a_pattern_adds_what_it_names_in_full(gated: Path) -> None:
    pattern = IgnoredPattern(pattern="sec.*|hift", reason="because")
    found = ignored_nodes(gated, scheme(thin_below=0, ignored=(pattern,)))
    assert found["second"] == "because"
    assert "shifted" not in found


def test_thin_products_say_their_size(gated: Path) -> None:
    assert "first" not in ignored_nodes(gated, scheme(thin_below=16, ignored=()))
    found = ignored_nodes(gated, scheme(thin_below=17, ignored=()))
    assert found["first"] == "thin: M 64, K 16, N 16; INT8 wants at least 17"


def test_a_thin_product_of_a_gate_is_kept_as_part_of_the_gate(gated: Path) -> None:
    found = ignored_nodes(gated, scheme(thin_below=17, ignored=()))
    assert found["logits"] == GATE and found["second"].startswith(THIN)


@pytest.mark.parametrize(
    ("channels", "groups", "least", "few"), [(3, 1, 16, True), (4, 1, 16, False), (3, 1, 0, True), (1, 32, 17, False)]
)
def test_a_convolution_of_three_channels_stays_in_float_whatever_its_k(
    channels: int, groups: int, least: int, few: bool, tmp_path: Path
) -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[1,{channels * groups},8,8] x, float[32,{channels},4,4] w) => (float[1,32,5,5] y) {{ [conv] y = Conv <group = {groups}> (x, w) }}"""
    ir.save(ir.from_onnx_text(text), tmp_path / "g.onnx")
    found = ignored_nodes(tmp_path / "g.onnx", scheme(thin_below=least, ignored=()))
    assert found == ({"conv": "few channels: 3; an INT8 layout packs 4 into one element"} if few else {})


HEADS = """<ir_version: 10, opset_import: ["" : 20]>
g (float[1,32,8,8] x, float[32,32,{size},{size}] w, float[64,32,1,1] m, float[20,64,1,1] c) => (float[1,20,16,16] answer)
<float[4] scales = {{1.0, 1.0, 2.0, 2.0}}>
{{
    [body] b = Conv <auto_pad = "SAME_UPPER"> (x, w)
    {between}
    [mix] h = Conv (n, m)
    [act] r = Relu (h)
    [classify] k = Conv (r, c)
    [grow] answer = Resize (k, , scales)
}}
"""


@pytest.mark.parametrize(
    ("size", "between", "last"),
    [
        (3, "[norm] n = Sigmoid (b)", {"mix", "classify"}),  # a 3×3 convolution ends the head
        (1, "[norm] n = Sigmoid (b)", {"body", "mix", "classify"}),
        (1, "[s] f = Softmax (b)  [product] n = MatMul (b, f)", {"mix", "classify"}),
    ],
)
def test_a_head_of_1x1_convolutions_stays_in_float_where_the_scheme_says_so(
    size: int, between: str, last: set[str], tmp_path: Path
) -> None:
    ir.save(ir.from_onnx_text(HEADS.format(size=size, between=between)), tmp_path / "g.onnx")
    kept = {
        heads: {
            name
            for name in ignored_nodes(tmp_path / "g.onnx", scheme(thin_below=0, ignored=(), heads=heads))
            if name in ("body", "mix", "classify", "product")
        }
        for heads in ("float", "int8")
    }
    assert kept == {"float": last, "int8": set()}


def test_the_names_openvino_uses_are_those_of_the_values(gated: Path) -> None:
    assert value_names(gated, {"pool": GATE, "out": TAIL}) == {"pool": "p", "out": "answer"}


def test_the_tiny_model_keeps_gates_and_ends_in_float(simplified: Simplified) -> None:
    found = ignored_nodes(simplified.file(GRAPH_FILE), scheme(thin_below=0, ignored=()))
    gate = "adapter.stages.1.blocks.0.banks.mlp"
    assert {found[f"{gate}.gate/ReduceMean"], found[f"{gate}.gate.logits/Gemm"], found[f"{gate}/Mul"]} == {GATE}
    assert found["decoders.depth.head/Resize_1"] == TAIL
    assert not {name for name in found if name.endswith(".mlp.fc1/MatMul") or ".attn" in name}


INTEL = tuple(TARGETS["intel"].rewrites(TARGETS["intel"].capabilities(RunConfig())))


@pytest.mark.parametrize("io", ["raw"], indirect=True)
@pytest.mark.parametrize("passes", [("resize_as_products",), INTEL], ids=["alone", "with those behind it"])
def test_the_products_of_a_rewritten_resize_are_part_of_the_tail(
    simplified: Simplified, tmp_path: Path, passes: tuple[str, ...]
) -> None:
    """A pass that puts another node in a product's place leaves it a resize's: flatten_tokens does so."""
    apply_passes(passes, simplified.file(GRAPH_FILE), tmp_path / "g.onnx")
    found = ignored_nodes(tmp_path / "g.onnx", scheme(thin_below=0, ignored=()))
    products = [
        str(node.name)
        for node in ir.load(tmp_path / "g.onnx").graph
        if node.op_type == "MatMul" and "/resize_as_products/" in str(node.name)
    ]
    assert len(products) == 2 * len(made.TASKS)
    assert {name: found.get(name) for name in products} == dict.fromkeys(products, TAIL)
    assert "decoders.depth.head.classify/Conv" not in found


def products(tmp_path: Path, left: np.ndarray, right: np.ndarray) -> Path:
    """Write left·(image·first)·right: a product that learns, then one of a constant from each side."""
    rows, columns = left.shape[1], right.shape[0]
    text = f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[1,2,{rows},{columns}] image) => (float[1,2,{left.shape[0]},{right.shape[1]}] answer)
    {{ [first] h = MatMul (image, a)
       [along] u = MatMul (l, h)
       [across] answer = MatMul (u, r) }}"""
    model = ir.from_onnx_text(
        text,
        initializers=[
            ir.tensor(array.astype(np.float32), name=name)
            for name, array in {
                "a": np.random.default_rng(0).normal(size=(columns, columns)),
                "l": left,
                "r": right,
            }.items()
        ],
    )
    ir.save(model, tmp_path / "p.onnx")
    return tmp_path / "p.onnx"


def test_a_fourier_transform_stays_in_float(tmp_path: Path) -> None:
    """As two products of real matrices, with NumPy's own transform: real and imaginary parts above each other."""
    scheme = TARGETS["intel"].scheme(TARGETS["intel"].capabilities(RunConfig()))
    full = np.fft.fft(np.eye(28), norm="ortho")
    along = np.block([[full.real, -full.imag], [full.imag, full.real]])
    half = np.fft.rfft(np.eye(28), norm="ortho")
    across = np.concatenate([half.real, half.imag], 1).T  # two of its 30 rows are 0
    found = ignored_nodes(products(tmp_path, along, across), scheme)
    assert found == {"along": TRANSFORM, "across": TRANSFORM}


def test_a_learned_matrix_is_no_transform(tmp_path: Path) -> None:
    scheme = TARGETS["intel"].scheme(TARGETS["intel"].capabilities(RunConfig()))
    draw = np.random.default_rng(1)
    turned = np.linalg.qr(draw.normal(size=(24, 24)))[0]
    moved = turned + 1e-3 * draw.normal(size=(24, 24))  # as an orthogonal start after a step
    assert ignored_nodes(products(tmp_path, moved, np.zeros((24, 20))), scheme) == {}
    assert ignored_nodes(products(tmp_path, turned, np.ones((24, 1))), scheme) == {"along": TRANSFORM}
