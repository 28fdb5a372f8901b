"""An activation quantized per channel gets the largest channel's scale."""

import numpy as np
import pytest

from compile.passes.base import constant, nodes_of
from compile.passes.make_activations_per_tensor import make_activations_per_tensor, why_not
from tests.compile.passes.made import graph, operators, run

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
    assert reason in why_not(quantize)
