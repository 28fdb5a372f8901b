"""A bias becomes int32 on the grid of its product's sums."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.match import reason_against
from compile.graphs.nodes import nodes_of
from compile.graphs.passes.quantize_biases import match, quantize_biases
from tests.compile.graphs.passes.made import graph, run
from tests.compile.graphs.passes.optimized import optimized

S, T, B = 0.05, (0.02, 0.03, 0.5), (1.5, -0.25, 40.0)
TEXT = """g (float[6,4] x) => (float[6,3] y)
<float s = {0.05}, uint8 z = {128}, int8[4,3] w = {1,-2,3,4,5,-6,7,8,9,-10,11,12}, float[3] t = {0.02,0.03,0.5}, int8[3] n = {0,0,0}, float[3] b = {1.5,-0.25,40}>
{
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    v = DequantizeLinear <axis = 1> (w, t, n)
    m = MatMul (d, v)
    y = Add (m, b)
}"""
TRANSPOSED = (
    TEXT.replace("int8[4,3]", "int8[3,4]")
    .replace("<axis = 1> (w", "<axis = 0> (w")
    .replace("    m =", "    u = Transpose <perm = [1, 0]> (v)\n    m =")
    .replace("MatMul (d, v)", "MatMul (d, u)")
)


@pytest.mark.parametrize("text", [TEXT, TRANSPOSED])
def test_the_bias_is_int32_on_the_grid_of_the_sums_and_the_runtime_has_one_kernel(text: str) -> None:
    model, count = quantize_biases(graph(text))
    assert count == 1
    [dequantize] = [node for node in nodes_of(model, "DequantizeLinear") if "quantize_biases" in str(node.name)]
    stored, scale, zero = (value.const_value.numpy() for value in dequantize.inputs)  # type: ignore[union-attr]
    grid = S * np.array(T)
    assert stored.dtype == np.int32 and not zero.any()
    np.testing.assert_allclose(scale, grid, rtol=1e-6)
    np.testing.assert_array_equal(stored, np.rint(np.array(B) / grid))
    assert optimized(graph(text))["QGemm"] == 0 and optimized(model)["QGemm"] == 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_a_number_changes_by_half_a_step_of_the_sums_at_most(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(6, 4)).astype(np.float32)
    [before], [after] = run(graph(TEXT), x=x), run(quantize_biases(graph(TEXT))[0], x=x)
    assert (np.abs(after.astype(np.float64) - before) <= 0.5001 * S * np.array(T) + 1e-5).all()


def test_it_is_idempotent() -> None:
    assert quantize_biases(quantize_biases(graph(TEXT))[0])[1] == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TEXT.replace("MatMul (d, v)", "MatMul (x, v)"), "not of INT8"),
        (TEXT.replace("Add (m, b)", "Add (m, m)"), "adds no constant"),
        (TEXT.replace("    y =", "    r = Relu (m)\n    y =").replace("Add (m, b)", "Add (r, b)"), "no product"),
        (TEXT.replace("{1.5,-0.25,40}", "{1.5,-0.25,1e9}"), "too large"),
        (
            TEXT.replace("<axis = 1> (w, t, n)", "<axis = 0> (w, t, n)")
            .replace("int8[4,3]", "int8[3,3]")
            .replace(",-10,11,12", "")
            .replace("[6,4] x", "[6,3] x"),
            "output channels",
        ),
    ],
)
def test_it_does_not_fire(text: str, reason: str) -> None:
    model: ir.Model = graph(text)
    assert quantize_biases(graph(text))[1] == 0
    [add] = nodes_of(model, "Add")
    assert reason in (reason_against(match, add) or "")
