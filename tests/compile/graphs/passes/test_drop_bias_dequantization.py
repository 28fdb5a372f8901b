"""An int32 bias with a DequantizeLinear becomes a float initializer."""

import numpy as np
import pytest

from compile.graphs.match import reason_against
from compile.graphs.nodes import nodes_of
from compile.graphs.passes.drop_bias_dequantization import drop_bias_dequantization, match
from tests.compile.graphs.passes.made import graph, operators, run

BIAS = """
g (float[1,2] x) => (float[1,2] y)
<int32[2] q = {1000, -7}, float[2] s = {0.5, 0.25}>
{
    b = DequantizeLinear <axis = 0> (q, s)
    y = Add (x, b)
}
"""
X = np.array([[1.0, 2.0]], np.float32)


@pytest.mark.parametrize(
    "text", [BIAS, BIAS.replace("float[2] s = {0.5, 0.25}", "float s = {0.5}").replace(" <axis = 0>", "")]
)
def test_the_same_numbers_without_the_node(text: str) -> None:
    model, modified = drop_bias_dequantization(graph(text))
    assert modified
    assert operators(model) == {"Add": 1}
    assert np.array_equal(run(model, x=X)[0], run(graph(text), x=X)[0])


def test_every_reader_gets_the_initializer() -> None:
    text = BIAS.replace("y = Add (x, b)", "t = Add (x, b)\n    y = Mul (t, b)")
    model, _ = drop_bias_dequantization(graph(text))
    assert np.array_equal(run(model, x=X)[0], run(graph(text), x=X)[0])


def test_it_is_idempotent() -> None:
    model, _ = drop_bias_dequantization(graph(BIAS))
    assert drop_bias_dequantization(model)[1] is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BIAS.replace("int32[2] q = {1000, -7}", "int8[2] q = {100, -7}"), "int8"),
        (
            BIAS.replace("int32[2] q = {1000, -7}, ", "").replace("(float[1,2] x)", "(float[1,2] x, int32[2] q)"),
            "something computed",
        ),
        (BIAS.replace("=> (float[1,2] y)", "=> (float[1,2] y, float[2] b)"), "leaves the graph"),
    ],
)
def test_it_does_not_fire(text: str, reason: str) -> None:
    model, modified = drop_bias_dequantization(graph(text))
    assert modified is False
    [node] = nodes_of(model, "DequantizeLinear")
    assert reason in (reason_against(match, node) or "")
