"""Attention is scaled before its product."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.lint.run import lint_model
from compile.passes.base import constant, nodes_of
from compile.passes.scale_query_first import scale_query_first, why_not
from tests.compile.lint.test_attention_scale import LATE
from tests.compile.passes.made import graph, operators, run

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
        (LATE.replace("y = Softmax (t)", "y = Relu (t)"), "no softmax"),
        (LATE.replace("=> (float[2,8,8] y)", "=> (float[2,8,8] y, float[2,8,8] l)"), "unscaled logits"),
        (LATE.replace("=> (float[2,8,8] y)", "=> (float[2,8,8] y, float[2,8,8] t)"), "leave the graph"),
    ],
)
def test_it_does_not_fire(text: str, reason: str) -> None:
    model, modified = scale_query_first(graph(text))
    assert modified is False
    [node] = [*nodes_of(model, "Mul"), *nodes_of(model, "Div")]
    assert reason in why_not(node)
