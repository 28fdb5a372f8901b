"""A product gets its own pair, and no number changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.match import reason_against
from compile.graphs.nodes import nodes_of
from compile.graphs.passes.repeat_quantizers import match, repeat_quantizers
from tests.compile.graphs.passes.made import graph, operators, run, shaped
from tests.compile.graphs.passes.optimized import optimized

# A Split is what ONNX Runtime does not fuse across; both halves go to a convolution.
SPLIT = """g (float[1,4,5,5] x) => (float[1,3,5,5] y, float[1,2,5,5] b)
<float s = {0.05}, uint8 z = {128}, float o = {0.1}, int8[3,2,1,1] w = {1,-2,3,4,5,-6}, float v = {0.02}, int8 n = {0}>
{
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    a, b = Split <axis = 1, num_outputs = 2> (d)
    u = DequantizeLinear (w, v, n)
    c = Conv (a, u)
    p = QuantizeLinear (c, o, z)
    y = DequantizeLinear (p, o, z)
}"""


def test_the_input_gets_a_pair_with_the_same_parameters_which_the_runtime_fuses() -> None:
    model, count = repeat_quantizers(shaped(SPLIT))
    before = operators(graph(SPLIT))
    assert count == 1
    assert operators(model) == before + type(before)(QuantizeLinear=1, DequantizeLinear=1)
    assert "QLinearConv" not in optimized(graph(SPLIT)) and "QLinearConv" in optimized(model)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 20))
def test_no_number_changes(seed: int, size: float) -> None:
    x = (size * np.random.default_rng(seed).normal(size=(1, 4, 5, 5))).astype(np.float32)
    for before, after in zip(run(graph(SPLIT), x=x), run(repeat_quantizers(shaped(SPLIT))[0], x=x), strict=True):
        np.testing.assert_array_equal(after, before)


def test_it_is_idempotent() -> None:
    assert repeat_quantizers(repeat_quantizers(shaped(SPLIT))[0])[1] == 0


@pytest.mark.parametrize(
    ("text", "index", "reason"),
    [
        (
            SPLIT.replace("Conv (a, u)", "Conv (f, u)").replace("    c =", "    f = Sigmoid (a)\n    c ="),
            0,
            "does not come",
        ),
        (
            SPLIT.replace(
                "a, b = Split <axis = 1, num_outputs = 2> (d)",
                "b = Relu(d)\n e, f = Split <axis = 1, num_outputs = 2> (q)\n a = DequantizeLinear (e, s, z)",
            ).replace("float[1,2,5,5] b", "float[1,4,5,5] b"),
            0,
            "beside it",
        ),
        (SPLIT, 1, "beside it"),
        (
            SPLIT.replace("Conv (a, u)", "Conv (a, t)").replace("    c =", "    t = Identity (u)\n    c ="),
            1,
            "a constant",
        ),
        (
            SPLIT.replace("float s = {0.05}, uint8 z = {128}", "float[4] s = {1,2,3,4}, uint8[4] z = {128,128,128,128}")
            .replace("QuantizeLinear (c, o, z)", "QuantizeLinear (c, o, k)")
            .replace("DequantizeLinear (p, o, z)", "DequantizeLinear (p, o, k)")
            .replace("int8 n = {0}", "int8 n = {0}, uint8 k = {0}"),
            0,
            "each channel",
        ),
    ],
)
def test_it_does_not_fire(text: str, index: int, reason: str) -> None:
    [product] = nodes_of(shaped(text), "Conv")
    assert reason in (reason_against(match, (product, index)) or "")
    [rewritten] = nodes_of(repeat_quantizers(shaped(text))[0], "Conv")
    assert rewritten.inputs[index].name == product.inputs[index].name  # type: ignore[union-attr]
