"""Layers of Q/DQ graphs: what each costs, and a graph in which some went back to float."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from bundle.base.errors import GraphError
from compile.quantization.dequantize import dequantize_layers, layers_of, read_macs
from compile.quantization.formats import ONNX

# Two products read one quantizer through a split; the third reads a sum. Biases as NNCF shifts them: b + 1.
HEAD = '<ir_version: 9, opset_import: ["": 19]>\nmade (float[1,4,6] x) => (float[1,4,5] y, float[1,4,5] z)'
INITIAL = "float[3,5] w1 = {%s}, float[3,5] w2 = {%s}, float[5,5] w3 = {%s}, float[5] b = {%s}"
FLOAT_BODY = """{
  [s] a, c = Split <axis = 2, num_outputs = 2> (x)
  [m1] p = MatMul (a, w1)
  [add] q = Add (p, b)
  [m2] z = MatMul (c, w2)
  [sum] r = Add (q, z)
  [m3] y = MatMul (r, w3)
}"""
QUANTIZED_BODY = """{
  [qx] x8 = QuantizeLinear (x, sx, zero)
  [dx] xq = DequantizeLinear (x8, sx, zero)
  [s] a, c = Split <axis = 2, num_outputs = 2> (xq)
  [d1] v1 = DequantizeLinear (w1q, sw, zero)
  [m1] p = MatMul (a, v1)
  [add] q = Add (p, b_shifted)
  [d2] v2 = DequantizeLinear (w2q, sw, zero)
  [m2] z = MatMul (c, v2)
  [sum] r = Add (q, z)
  [qr] r8 = QuantizeLinear (r, sx, zero)
  [dr] rq = DequantizeLinear (r8, sx, zero)
  [d3] v3 = DequantizeLinear (w3q, sw, zero)
  [m3] y = MatMul (rq, v3)
}"""
NAMES = ("m1", "m2", "m3")
GENERATOR = np.random.default_rng(0)
WEIGHTS = [GENERATOR.normal(size=shape).astype(np.float32) for shape in ((3, 5), (3, 5), (5, 5), (5,))]
STEP_X, STEP_W = np.float32(0.05), np.float32(0.03)


def numbers(array: np.ndarray) -> str:
    """Write an array as ONNX text."""
    return ", ".join(repr(float(one)) if array.dtype == np.float32 else str(int(one)) for one in array.reshape(-1))


def integers(array: np.ndarray) -> np.ndarray:
    """Quantize a weight."""
    return np.clip(np.rint(array / STEP_W), -128, 127).astype(np.int8)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The float graph and the quantized one."""
    folder = tmp_path_factory.mktemp("graphs")
    floats = INITIAL % tuple(numbers(one) for one in WEIGHTS)
    w1, w2, w3, bias = WEIGHTS
    quantized = (
        f"int8[3,5] w1q = {{{numbers(integers(w1))}}}, int8[3,5] w2q = {{{numbers(integers(w2))}}}, "
        f"int8[5,5] w3q = {{{numbers(integers(w3))}}}, float[5] b_shifted = {{{numbers(bias + np.float32(1))}}}, "
        f"float sx = {{{STEP_X}}}, float sw = {{{STEP_W}}}, int8 zero = {{0}}"
    )
    for name, head, body in (("float", floats, FLOAT_BODY), ("quantized", quantized, QUANTIZED_BODY)):
        model = onnx.parser.parse_model(f"{HEAD} <{head}> {body}")
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, folder / f"{name}.onnx")
    return folder / "float.onnx", folder / "quantized.onnx"


def answer(x: np.ndarray, returned: frozenset[str]) -> tuple[np.ndarray, np.ndarray]:
    """What the graph gives with these products in float, in NumPy."""
    w1, w2, w3, bias = WEIGHTS

    def rounded(value: np.ndarray, name: str) -> np.ndarray:
        return value if name in returned else np.clip(np.rint(value / STEP_X), -128, 127) * STEP_X

    def weight(value: np.ndarray, name: str) -> np.ndarray:
        return value if name in returned else integers(value) * STEP_W

    q = rounded(x, "m1")[..., :3] @ weight(w1, "m1") + (bias if "m1" in returned else bias + 1)
    z = rounded(x, "m2")[..., 3:] @ weight(w2, "m2")
    return rounded(q + z, "m3") @ weight(w3, "m3"), z


def test_macs_and_layers(graphs: tuple[Path, Path]) -> None:
    macs = read_macs(graphs[0])
    assert macs == {"m1": 4 * 3 * 5, "m2": 4 * 3 * 5, "m3": 4 * 5 * 5}
    layers = layers_of(ir.load(graphs[1]), macs)
    assert [(layer.name, layer.macs) for layer in layers] == [("m1", 60), ("m2", 60), ("m3", 100)]


def test_a_convolution_counts_its_kernel_and_groups(tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["": 19]> made (float[1,4,6,6] x) => (float[1,8,4,4] y)
    <float[8,2,3,3] w = {%s}> { [c] y = Conv <group = 2, kernel_shape = [3,3]> (x, w) }"""
    onnx.save(onnx.parser.parse_model(text % ", ".join(["1.0"] * 144)), tmp_path / "g.onnx")
    assert read_macs(tmp_path / "g.onnx") == {"c": 8 * 4 * 4 * 2 * 3 * 3}


@given(st.frozensets(st.sampled_from(NAMES)))
@settings(max_examples=8, deadline=None)
def test_what_is_returned_is_float_and_nothing_else_is(graphs: tuple[Path, Path], returned: frozenset[str]) -> None:
    model = ir.load(graphs[1])
    assert dequantize_layers(model, ir.load(graphs[0]), returned) == len(returned)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    x = np.random.default_rng(1).normal(size=(1, 4, 6)).astype(np.float32)
    got = ReferenceEvaluator(proto).run(None, {"x": x})
    for ours, theirs in zip(got, answer(x, returned), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert [layer.name for layer in layers_of(model, read_macs(graphs[0]))] == [n for n in NAMES if n not in returned]


def test_it_is_idempotent_and_nothing_to_do_copies_the_file(graphs: tuple[Path, Path], tmp_path: Path) -> None:
    original, quantized = graphs
    assert ONNX.return_to_float(quantized, original, {}, tmp_path / "out.onnx") == ("out.onnx",)
    assert (tmp_path / "out.onnx").read_bytes() == quantized.read_bytes()
    once, twice = tmp_path / "once.onnx", tmp_path / "twice.onnx"
    ONNX.return_to_float(quantized, original, {"m2": ""}, once)
    ONNX.return_to_float(once, original, {"m2": ""}, twice)
    x = {"x": np.ones((1, 4, 6), np.float32)}
    results = [ReferenceEvaluator(str(path)).run(None, x) for path in (once, twice)]
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_an_unknown_name_is_refused(graphs: tuple[Path, Path]) -> None:
    with pytest.raises(GraphError, match="no weighted operator 'm9'"):
        dequantize_layers(ir.load(graphs[1]), ir.load(graphs[0]), ["m1", "m9"])
