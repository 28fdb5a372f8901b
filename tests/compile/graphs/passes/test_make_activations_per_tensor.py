"""An activation quantized per channel gets the largest channel's scale."""

import numpy as np
import pytest

from compile.graphs.match import reason_against
from compile.graphs.nodes import constant, nodes_of
from compile.graphs.passes.make_activations_per_tensor import make_activations_per_tensor, match
from tests.compile.graphs.passes.made import graph, operators, run

DEPTHWISE = """
g (float[1,3,4,4] x) => (float[1,3,4,4] y)
<float[3] s = {0.01, 0.02, 0.04}, int8[3] z = {0, 0, 0}>
{
    q = QuantizeLinear <axis = 1> (x, s, z)
    y = DequantizeLinear <axis = 1> (q, s, z)
}
"""
X = np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)


def test_one_scale_is_left_the_largest() -> None:
    model, modified = make_activations_per_tensor(graph(DEPTHWISE))
    [quantize] = nodes_of(model, "QuantizeLinear")
    scale = constant(quantize.inputs[1])
    assert modified and scale is not None and scale.shape == () and float(scale) == pytest.approx(0.04)
    assert all("axis" not in node.attributes for node in model.graph)
    assert operators(model) == operators(graph(DEPTHWISE))


def test_numbers_move_by_at_most_half_the_common_step_inside_the_old_ranges() -> None:
    [after] = run(make_activations_per_tensor(graph(DEPTHWISE))[0], x=X)
    assert np.abs(after - X).max() <= 0.5 * 0.04 + 1e-6


WEIGHT = """
g (float[8,2] x) => (float[8,3] y)
<float[3,2] w = {0.1, 0.2, 1, 2, 10, 20}, float[3] s = {0.002, 0.02, 0.2}, int8[3] z = {0, 0, 0}>
{
    t = Transpose (w)
    i = Identity (t)
    q = QuantizeLinear <axis = 1> (i, s, z)
    d = DequantizeLinear <axis = 1> (q, s, z)
    y = MatMul (x, d)
}
"""


@pytest.mark.parametrize(
    "text", [WEIGHT, WEIGHT.replace("t = Transpose", "j = Mul (w, w)\n t = Transpose").replace("e (w)", "e (j)")]
)
def test_a_weight_behind_a_transpose_keeps_a_scale_per_channel(text: str) -> None:
    model, modified = make_activations_per_tensor(graph(text))
    [quantize] = nodes_of(model, "QuantizeLinear")
    assert modified is False
    assert reason_against(match, quantize) == "it quantizes a weight"


def test_an_absent_zero_point_of_a_signed_type_is_zeros() -> None:
    text = DEPTHWISE.replace("<axis = 1> (x, s, z)", "<axis = 1, output_dtype = 3> (x, s)").replace(
        "(q, s, z)", "(q, s)"
    )
    model, modified = make_activations_per_tensor(graph(text, opset=21))
    [quantize] = nodes_of(model, "QuantizeLinear")
    zero = constant(quantize.inputs[2])
    assert modified and zero is not None and zero.dtype == np.int8 and zero.shape == ()
    assert np.abs(run(model, x=X)[0] - X).max() <= 0.5 * 0.04 + 1e-6


def test_it_is_idempotent() -> None:
    model, _ = make_activations_per_tensor(graph(DEPTHWISE))
    assert make_activations_per_tensor(model)[1] is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DEPTHWISE.replace("{0, 0, 0}", "{0, 1, 0}"), "no common scale"),
        (
            DEPTHWISE.replace(
                "float[3] s = {0.01, 0.02, 0.04}, int8[3] z = {0, 0, 0}", "float s = {0.01}, int8 z = {0}"
            ).replace(" <axis = 1>", ""),
            "one scale already",
        ),
        (
            DEPTHWISE.replace("<float[3] s", "<float[3] w = {1, 2, 3}, float[3] s")
            .replace("=> (float[1,3,4,4] y)", "=> (float[3] y)")
            .replace("(x, s, z)", "(w, s, z)")
            .replace("axis = 1", "axis = 0"),
            "quantizes a weight",
        ),
        (DEPTHWISE.replace("=> (float[1,3,4,4] y)", "=> (float[1,3,4,4] y, int8[1,3,4,4] q)"), "leaves the graph"),
    ],
)
def test_it_does_not_fire(text: str, reason: str) -> None:
    model, modified = make_activations_per_tensor(graph(text))
    assert modified is False
    [quantize] = nodes_of(model, "QuantizeLinear")
    assert reason in (reason_against(match, quantize) or "")
