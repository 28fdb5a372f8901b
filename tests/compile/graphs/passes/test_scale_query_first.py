"""Attention is scaled before its product."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.match import reason_against
from compile.graphs.nodes import constant, nodes_of
from compile.graphs.passes.scale_query_first import match, scale_query_first
from compile.graphs.passes.table import check_graph
from compile.tensorrt_checks.run import lint_model
from tests.compile.graphs.passes.made import graph, operators, run, shaped
from tests.compile.tensorrt_checks.rules.test_attention_scale import LATE

QUANTIZED = LATE.replace("float c = {0.25}", "float c = {0.25}, float s = {0.05}, int8 z = {0}").replace(
    "l = MatMul (q, k)", "a = QuantizeLinear (q, s, z)\n    b = DequantizeLinear (a, s, z)\n    l = MatMul (b, k)"
)


def inputs(seed: int) -> dict[str, np.ndarray]:
    """A query and a key."""
    generator = np.random.default_rng(seed)
    return {
        "q": generator.normal(size=(2, 8, 16)).astype(np.float32),
        "k": generator.normal(size=(2, 16, 8)).astype(np.float32),
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    """Of the last axis, in float64."""
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.25, 0.17677669, 3.0]), st.booleans())
def test_float_attention_is_the_oracles(seed: int, factor: float, divide: bool) -> None:
    text = LATE.replace("{0.25}", f"{{{factor}}}").replace("Mul (l, c)", "Div (l, c)" if divide else "Mul (l, c)")
    model, modified = scale_query_first(graph(text))
    feed = inputs(seed)
    scale = 1 / factor if divide else factor
    expected = softmax(scale * feed["q"].astype(np.float64) @ feed["k"].astype(np.float64))
    assert modified
    assert lint_model(model, "after").findings == ()
    assert np.allclose(run(model, **feed)[0], expected, atol=2e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_behind_a_pair_the_integers_stay_the_same(seed: int) -> None:
    model, modified = scale_query_first(graph(QUANTIZED))
    feed = inputs(seed)
    rounded = np.float64(np.float32(0.05)) * np.clip(np.rint(feed["q"] / np.float32(0.05)), -128, 127)
    assert modified
    assert np.allclose(run(model, **feed)[0], softmax(0.25 * rounded @ feed["k"].astype(np.float64)), atol=2e-5)


def test_the_pair_stays_the_products_neighbour_with_the_scaled_scale() -> None:
    model, _ = scale_query_first(graph(QUANTIZED))
    [product] = nodes_of(model, "MatMul")
    dequantize = product.inputs[0].producer() if product.inputs[0] is not None else None
    assert dequantize is not None and dequantize.op_type == "DequantizeLinear"
    scale = constant(dequantize.inputs[1])
    assert scale is not None and float(scale) == pytest.approx(0.0125)


MOVED = """
g (float[8,48] x) => (float[2,8,8] y)
<float s = {0.05}, float c = {0.25}, int8 z = {0}, int64[4] heads = {8, 3, 2, 8}, int64[3] one = {2, 8, 8}>
{
    a = QuantizeLinear (x, s, z)
    b = DequantizeLinear (a, s, z)
    h = Reshape (b, heads)
    m = Transpose <perm = [1, 2, 0, 3]> (h)
    q0, k0, v0 = Split <axis = 0, num_outputs = 3> (m)
    q = Reshape (q0, one)
    k1 = Reshape (k0, one)
    k = Transpose <perm = [0, 2, 1]> (k1)
    l = MatMul (q, k)
    t = Mul (l, c)
    y = Softmax (t)
}
"""
WIDE = np.random.default_rng(3).normal(size=(8, 48)).astype(np.float32)


def test_behind_a_moved_pair_the_product_stays_in_int8() -> None:
    model, modified = scale_query_first(shaped(MOVED))
    assert modified
    assert [finding.rule for finding in lint_model(model, "after").findings if "operator" in finding.rule] == [
        finding.rule for finding in lint_model(shaped(MOVED), "before").findings if "operator" in finding.rule
    ]
    assert not [finding for finding in lint_model(model, "after").findings if finding.rule == "attention-scale"]
    [product] = nodes_of(model, "MatMul")
    dequantize = product.inputs[0].producer() if product.inputs[0] is not None else None
    scale = None if dequantize is None else constant(dequantize.inputs[1])
    assert scale is not None and float(scale) == pytest.approx(0.0125)
    assert np.allclose(run(model, x=WIDE)[0], run(shaped(MOVED), x=WIDE)[0], atol=1e-5)
    check_graph(model, "scale_query_first", ["scale_query_first"])


JOINED = QUANTIZED.replace("float s = {0.05}", "float s = {0.05}, float o = {OTHER}").replace(
    "b = DequantizeLinear (a, s, z)",
    "d = DequantizeLinear (a, s, z)\n e = QuantizeLinear (q, o, z)\n f = DequantizeLinear (e, o, z)\n"
    "n, p = Split <axis = 1, num_outputs = 2> (d)\n r, u = Split <axis = 1, num_outputs = 2> (f)\n"
    "b = Concat <axis = 1> (n, u)",
)


def test_pairs_of_one_scale_that_are_joined_become_one() -> None:
    text = JOINED.replace("OTHER", "0.05")
    model, modified = scale_query_first(shaped(text))
    assert modified
    assert np.allclose(run(model, **inputs(1))[0], run(graph(text), **inputs(1))[0], atol=1e-5)


def test_a_factor_of_as_many_axes_as_the_product_keeps_its_shape() -> None:
    text = LATE.replace("float c = {0.25}", "float[1,1,1] c = {0.25}")
    model, modified = scale_query_first(shaped(text))
    assert modified and np.allclose(run(model, **inputs(1))[0], run(graph(text), **inputs(1))[0], atol=1e-5)


def test_another_reader_of_the_pair_keeps_it() -> None:
    text = QUANTIZED.replace("=> (float[2,8,8] y)", "=> (float[2,8,8] y, float[2,8,16] o)").replace(
        "y = Soft", "o = Relu (b)\n    y = Soft"
    )
    model, modified = scale_query_first(graph(text))
    assert modified and operators(model)["QuantizeLinear"] == 2
    for after, before in zip(run(model, **inputs(1)), run(graph(text), **inputs(1)), strict=True):
        assert np.allclose(after, before, atol=1e-5)


def test_it_is_idempotent() -> None:
    model, _ = scale_query_first(graph(LATE))
    assert scale_query_first(model)[1] is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LATE.replace("{0.25}", "{-0.25}"), "not above 0"),
        (LATE.replace("Mul (l, c)", "Div (l, c)").replace("{0.25}", "{0}"), "not above 0"),
        (
            LATE.replace("float c =", "float[1,1,1,1] c =").replace("=> (float[2,8,8] y)", "=> (float[1,2,8,8] y)"),
            "more axes than the product",
        ),
        (LATE.replace("float c =", "float[2,16,8] w = {W}, float c =").replace("(q, k)", "(q, w)"), "two activations"),
        (JOINED.replace("OTHER", "0.06"), "several scales"),
        (QUANTIZED.replace("(a, s, z)", "(a, c, z)"), "same constant scale"),
        (LATE.replace("y = Softmax (t)", "y = Relu (t)"), "no softmax"),
        (LATE.replace("=> (float[2,8,8] y)", "=> (float[2,8,8] y, float[2,8,8] l)"), "unscaled logits"),
        (LATE.replace("=> (float[2,8,8] y)", "=> (float[2,8,8] y, float[2,8,8] t)"), "leave the graph"),
    ],
)
def test_it_does_not_fire(text: str, reason: str) -> None:
    model, modified = scale_query_first(shaped(text.replace("{W}", "{" + ", ".join(["0.1"] * 256) + "}")))
    assert modified is False
    [node] = [*nodes_of(model, "Mul"), *nodes_of(model, "Div")]
    assert reason in (reason_against(match, node) or "")
