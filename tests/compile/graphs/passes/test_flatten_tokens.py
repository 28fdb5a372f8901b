"""Token products on three axes; ONNX Runtime's answer to the graph as it was says what is right."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.passes.flatten_tokens import flatten_tokens
from tests.compile.graphs.passes.made import graph, operators, run, shaped

SIZES = {"B": 1, "H": 4, "W": 3, "C": 5, "N": 6}


def text(body: str, outputs: str = "y", **sizes: int) -> str:
    """A graph of one map ``x`` [B, H, W, C] with a product's weights ``w`` and a layer's vectors ``b``, ``g``."""
    b, h, w, c, n = (SIZES | sizes).values()
    made = ", ".join(f"float[{b},{h},{w},{n}] {name}" for name in outputs.split())
    numbers = np.random.default_rng(0).normal(size=(c, n)).round(3)
    weights = ", ".join(map(str, numbers.ravel()))
    vector = ", ".join(map(str, numbers.ravel()[:n]))
    return f"""
g (float[{b},{h},{w},{c}] x) => ({made})
<float[{c},{n}] w = {{{weights}}}, float[{n}] b = {{{vector}}}, float[{n}] g = {{{vector}}}, float s = {{2.0}}>
{{
{body}
}}
"""


LAYER = """
    r = Relu (x)
    m = MatMul (r, w)
    a = Add (m, b)
    e = Gelu (a)
    l = LayerNormalization <axis = -1> (e, g, b)
    d = Mul (l, s)
    y = Sub (d, a)
"""


def same(source: str, sites: int, **sizes: int) -> ir.Model:
    """Check that a graph computes what it did, and how many products were flattened; return it."""
    b, h, w, c, _ = (SIZES | sizes).values()
    x = np.random.default_rng(1).normal(size=(b, h, w, c)).astype(np.float32)
    want, names = run(shaped(source), x=x), [value.name for value in shaped(source).graph.outputs]
    model, found = flatten_tokens(shaped(source))
    assert found == sites and [value.name for value in model.graph.outputs] == names
    for got, expected in zip(run(model, x=x), want, strict=True):
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
    return model


def ranks(model: ir.Model, operator: str) -> set[int]:
    """Return how many axes the outputs of an operator have."""
    return {len(node.outputs[0].shape or ()) for node in model.graph if node.op_type == operator}


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
def test_a_layer_is_computed_on_three_axes(batch: int, height: int, width: int, channels: int, wide: int) -> None:
    sizes = {"B": batch, "H": height, "W": width, "C": channels, "N": wide}
    model = same(text(LAYER, **sizes), 2, **sizes)
    assert operators(model) - operators(shaped(text(LAYER))) == {"Reshape": 2}
    assert all(
        ranks(model, operator) == {3} for operator in ("MatMul", "Add", "Gelu", "LayerNormalization", "Mul", "Sub")
    )
    assert ranks(model, "Relu") == {4}


def test_names_stay_so_that_reports_and_patterns_find_the_layers() -> None:
    model, _ = flatten_tokens(shaped(text(LAYER)))
    assert {"m", "a", "e", "l", "d", "y"} <= {value.name for node in model.graph for value in node.outputs}


def test_a_second_run_finds_nothing() -> None:
    model, _ = flatten_tokens(shaped(text(LAYER)))
    assert flatten_tokens(model)[1] == 0


def test_a_normalisation_is_flattened_without_a_product_too() -> None:
    body = "    r = Relu (x)\n    n = LayerNormalization <axis = 3> (r, g)\n    y = Neg (n)"
    model = same(text(body, N=5), 1, N=5)
    assert ranks(model, "LayerNormalization") == ranks(model, "Neg") == {3} and ranks(model, "Relu") == {4}


def test_what_reads_a_map_gets_the_map() -> None:
    body = """
    m = MatMul (x, w)
    a = Add (m, b)
    t = Transpose <perm = [0, 2, 1, 3]> (a)
    z = Transpose <perm = [0, 2, 1, 3]> (t)
    y = Add (a, z)
"""
    model = same(text(body, outputs="y a"), 1)
    assert ranks(model, "Add") == {3} and ranks(model, "Transpose") == {4}


@pytest.mark.parametrize(
    "body",
    [
        "    m = MatMul (x, w)\n    y = Softmax <axis = 1> (m)",
        "    m = MatMul (x, w)\n    y = LayerNormalization <axis = 2> (m, k)",
        "    m = MatMul (x, w)\n    p = ReduceMean <keepdims = 1> (m, axes)\n    y = Mul (m, p)",
    ],
)
def test_what_sees_more_than_a_row_stays_as_it_is(body: str) -> None:
    extra = f"float[3,6] k = {{{', '.join(['0.5'] * 18)}}}, int64[2] axes = {{1, 2}}"
    model = same(text(body).replace("float s = {2.0}", extra), 1)
    assert ranks(model, "MatMul") == {3}
    assert all(ranks(model, operator) <= {4} for operator in ("Softmax", "LayerNormalization", "Mul"))


@pytest.mark.parametrize(
    "source",
    [
        "g (float[2,3,2] x) => (float[2,3,2] y) <float[2,2] w = {1, 0, 0, 1}> { y = MatMul (x, w) }",
        "g (float[1,2,3,4] x) => (float[1,2,3,3] y) { t = Transpose <perm = [0, 1, 3, 2]> (x) y = MatMul (x, t) }",
        "g (float[1,N,3,2] x) => (float[1,N,3,2] y) <float[2,2] w = {1, 0, 0, 1}> { y = MatMul (x, w) }",
        "g (float[1,1,3,2] x) => (float[1,1,3,2] y) <float[1,1,2,2] w = {1, 0, 0, 1}> { y = MatMul (x, w) }",
    ],
)
def test_it_does_not_fire(source: str) -> None:
    assert flatten_tokens(graph(source))[1] == 0
