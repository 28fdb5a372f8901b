"""A joint projection of queries, keys and values becomes three; ONNX Runtime's answer to the joint one says what is right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.passes.split_projections import split_projections
from tests.compile.graphs.passes.made import operators, run, shaped

BATCH, TOKENS, HEADS, DEPTH, WIDTH = 2, 5, 3, 4, 7


def joint(
    batch: int = BATCH,
    tokens: int = TOKENS,
    heads: int = HEADS,
    depth: int = DEPTH,
    *,
    tail: str = "",
    outputs: str = "y",
) -> str:
    """An attention whose queries, keys and values are one product, as the exporter writes it."""
    wide = 3 * heads * depth
    numbers = np.random.default_rng(0).normal(size=(WIDTH + 1, wide)).round(3)
    weights, bias = (", ".join(map(str, part.ravel())) for part in (numbers[:WIDTH], numbers[WIDTH]))
    shapes = {"y": (batch, tokens, heads * depth), "b": (batch, tokens, wide), "e": (batch, tokens, wide)}
    made = ", ".join(f"float[{','.join(map(str, shapes[name]))}] {name}" for name in outputs.split())
    return f"""
g (float[{batch},{tokens},{WIDTH}] x) => ({made})
<float[{WIDTH},{wide}] w = {{{weights}}}, float[{wide}] bias = {{{bias}}}, int64[5] cut = {{{batch}, {tokens}, 3, {heads}, {depth}}},
 int64[3] flat = {{{batch}, {tokens}, {heads * depth}}}, int64[1] n0 = {{0}}, int64[1] n1 = {{1}}, int64[1] n2 = {{2}}, int64[1] n3 = {{3}}>
{{
    m = MatMul (x, w)
    b = Add (m, bias)
    c = Reshape (b, cut)
    t = Transpose <perm = [2, 0, 3, 1, 4]> (c)
    s0 = Slice (t, n0, n1, n0)
    q = Squeeze (s0, n0)
    s1 = Slice (t, n1, n2, n0)
    k = Squeeze (s1, n0)
    s2 = Slice (t, n2, n3, n0)
    v = Squeeze (s2, n0)
    kt = Transpose <perm = [0, 1, 3, 2]> (k)
    scores = MatMul (q, kt)
    p = Softmax <axis = -1> (scores)
    o = MatMul (p, v)
    h = Transpose <perm = [0, 2, 1, 3]> (o)
    y = Reshape (h, flat)
    {tail}
}}
"""


def image(batch: int = BATCH, tokens: int = TOKENS) -> np.ndarray:
    """Tokens to attend to."""
    return np.random.default_rng(1).normal(size=(batch, tokens, WIDTH)).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 4), st.integers(1, 5))
def test_each_of_the_three_has_a_product_of_its_own(batch: int, tokens: int, heads: int, depth: int) -> None:
    text, x = joint(batch, tokens, heads, depth), image(batch, tokens)
    model, sites = split_projections(shaped(text))
    assert sites == 1
    found = operators(model)
    assert (found["MatMul"], found["Add"], found["Slice"], found["Squeeze"]) == (5, 3, 0, 0)
    assert max(len(node.outputs[0].shape or ()) for node in model.graph) == 4
    want, [got] = run(shaped(text), x=x)[0], run(model, x=x)
    assert np.abs(got - want).max() <= 1e-5 * max(1, np.abs(want).max())


def test_a_projection_without_a_bias_is_split_too() -> None:
    text = joint().replace("m = MatMul (x, w)", "b = MatMul (x, w)").replace("    b = Add (m, bias)\n", "")
    model, sites = split_projections(shaped(text))
    assert sites == 1 and operators(model)["Add"] == 0
    assert np.allclose(run(model, x=image())[0], run(shaped(text), x=image())[0], atol=1e-5)


def test_keys_are_transposed_as_an_image_is() -> None:
    model, _ = split_projections(shaped(joint()))
    orders = sorted(tuple(node.attributes["perm"].as_ints()) for node in model.graph if node.op_type == "Transpose")
    assert orders == [(0, 2, 1, 3), (0, 2, 1, 3), (0, 2, 1, 3), (0, 3, 1, 2)]  # q, v, what joins the heads; and k


def test_a_second_run_finds_nothing() -> None:
    model, _ = split_projections(shaped(joint()))
    assert split_projections(model)[1] == 0


@pytest.mark.parametrize(
    "text",
    [
        joint(outputs="y b"),  # the joint product is an answer itself
        joint(tail="e = Relu (b)", outputs="y e"),  # and here something else reads it
        joint().replace("q = Squeeze (s0, n0)", "q = Squeeze (s2, n0)"),  # columns that two of them read
        joint(batch=TOKENS).replace("perm = [2, 0, 3, 1, 4]", "perm = [2, 1, 3, 0, 4]"),  # rows change their batch
    ],
)
def test_it_does_not_fire(text: str) -> None:
    model, sites = split_projections(shaped(text))
    assert sites == 0 and operators(model) == operators(shaped(text))
