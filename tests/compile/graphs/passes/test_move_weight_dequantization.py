"""A weight's DQ ends up next to its operator, with the same numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.match import reason_against
from compile.graphs.nodes import nodes_of
from compile.graphs.passes.move_weight_dequantization import match, move_weight_dequantization
from compile.tensorrt_checks.run import lint_model
from tests.compile.graphs.passes.made import graph, operators, run

INTEGERS = [[1, -2, 3], [40, -50, 127]]
SCALES = [0.5, 0.25]
TEXT = """
g (float[4,3] x) => (float[4,2] y)
<int8[2,3] w = {1, -2, 3, 40, -50, 127}, float[2] s = {0.5, 0.25}, int8[2] z = {0, 0}, float c = {3}>
{
    v = DequantizeLinear <axis = 0> (w, s, z)
    t = Transpose <perm = [1, 0]> (v)
    y = MatMul (x, t)
}
"""
SCALED = TEXT.replace("t = Transpose <perm = [1, 0]> (v)", "r = Mul (v, c)\n    t = Transpose (r)")
FLOAT = TEXT.replace(
    "int8[2,3] w = {1, -2, 3, 40, -50, 127}", "float[2,3] f = {0.5, -1, 1.5, 10, -12.5, 31.75}"
).replace("v = Deq", "w = QuantizeLinear <axis = 0> (f, s, z)\n    v = Deq")
X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def oracle(factor: float) -> np.ndarray:
    """x · (c·s·q)ᵀ in float64."""
    return X.astype(np.float64) @ (factor * np.array(INTEGERS) * np.array(SCALES)[:, None]).T


@pytest.mark.parametrize(("text", "factor"), [(TEXT, 1), (SCALED, 3), (FLOAT, 1)])
def test_what_stood_between_is_gone_and_the_numbers_are_the_oracles(text: str, factor: float) -> None:
    model, modified = move_weight_dequantization(graph(text))
    assert modified
    assert not {"Transpose", "Mul"} & set(operators(model))
    assert np.allclose(run(model, x=X)[0], oracle(factor), rtol=1e-6, atol=1e-5)
    assert [finding.rule for finding in lint_model(model, "after").errors] == []


def test_the_rule_it_mends_was_broken() -> None:
    assert "not-verified" in {finding.rule for finding in lint_model(graph(TEXT), "before").warnings}


@settings(max_examples=15, deadline=None)
@given(st.permutations([0, 1, 2]), st.integers(0, 2), st.integers(0, 1000))
def test_any_transposition_of_any_axis_is_exact(order: list[int], axis: int, seed: int) -> None:
    generator, shape = np.random.default_rng(seed), (2, 3, 4)
    weight = generator.integers(-128, 128, shape)
    scales = generator.uniform(0.01, 1, shape[axis]).astype(np.float32)
    out = [shape[index] for index in order]
    text = f"""
    g (float[{out[0]},{out[1]},{out[2]}] x) => (float[{out[0]},{out[1]},{out[2]}] y)
    <int8[2,3,4] w = {{{", ".join(map(str, weight.ravel()))}}}, float[{shape[axis]}] s = {{{", ".join(map(str, scales))}}}>
    {{
        v = DequantizeLinear <axis = {axis}> (w, s)
        t = Transpose <perm = {list(order)}> (v)
        y = Add (x, t)
    }}
    """
    model, modified = move_weight_dequantization(graph(text))
    zeros = np.zeros(out, np.float32)
    wide = [1, 1, 1]
    wide[axis] = -1
    expected = (weight.astype(np.float64) * scales.astype(np.float64).reshape(wide)).transpose(order)
    assert modified and operators(model) == {"DequantizeLinear": 1, "Add": 1}
    assert np.array_equal(run(model, x=zeros)[0], expected.astype(np.float32))


def test_a_factor_per_channel_goes_into_the_scales() -> None:
    text = SCALED.replace("float c = {3}", "float[2,1] c = {3, 5}")
    model, modified = move_weight_dequantization(graph(text))
    assert modified and "Mul" not in operators(model)
    assert np.allclose(run(model, x=X)[0], run(graph(text), x=X)[0], rtol=1e-6)


def test_it_is_idempotent() -> None:
    model, _ = move_weight_dequantization(graph(SCALED))
    assert move_weight_dequantization(model)[1] is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            TEXT.replace("y = MatMul (x, t)", "y = MatMul (x, t)\n    k = Relu (v)").replace(
                "[4,2] y)", "[4,2] y, float[2,3] k)"
            ),
            "more than once",
        ),
        (TEXT.replace("(float[4,2] y)", "(float[4,2] y, float[3,2] t)"), "leaves the graph"),
        (SCALED.replace("float c = {3}", "float c = {-3}"), "one per scale"),
        (SCALED.replace("float c = {3}", "float[3] c = {1, 2, 3}"), "one per scale"),
        (
            TEXT.replace("Transpose <perm = [1, 0]> (v)", "Reshape (v, h)").replace(
                "<int8", "<int64[2] h = {3, 2}, int8"
            ),
            "Reshape",
        ),
    ],
)
def test_it_does_not_fire(text: str, reason: str) -> None:
    model, modified = move_weight_dequantization(graph(text))
    assert modified is False
    [node] = nodes_of(model, "DequantizeLinear")
    assert reason in (reason_against(match, node) or "")
