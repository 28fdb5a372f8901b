"""A bias and a mask that are added to the same logits become one constant."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.passes.merge_attention_mask import merge_attention_mask
from tests.compile.graphs.passes.made import operators, run, shaped


def listed(array: np.ndarray) -> str:
    """An array as ONNX text."""
    return ", ".join(f"{value:.3f}" for value in array.ravel())


def attention(windows: int, heads: int, area: int, bias: np.ndarray, mask: np.ndarray, *, left: bool = False) -> str:
    """The logits of a shifted block as the exporter writes them."""
    shape = f"{windows},{heads},{area},{area}"
    added = "Add (b, x)" if left else "Add (x, b)"
    return f"""
g (float[{shape}] x) => (float[{shape}] y)
<float[{heads},{area},{area}] b = {{{listed(bias)}}}, float[{windows},1,{area},{area}] m = {{{listed(mask)}}},
 int64[5] wide = {{1, {shape}}}, int64[4] back = {{{shape}}}>
{{
    one = {added}
    w = Reshape (one, wide)
    two = Add (w, m)
    l = Reshape (two, back)
    y = Softmax <axis = -1> (l)
}}
"""


def made(windows: int, heads: int, area: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, a bias, a mask of 0 and −100."""
    generator = np.random.default_rng(windows * area)
    bias = generator.normal(size=(heads, area, area)).round(3)
    mask = -100.0 * generator.integers(0, 2, (windows, 1, area, area))
    return generator.normal(size=(windows, heads, area, area)).astype(np.float32), bias, mask


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(2, 4), st.booleans())
def test_one_add_computes_the_same(windows: int, heads: int, area: int, left: bool) -> None:
    x, bias, mask = made(windows, heads, area)
    model, sites = merge_attention_mask(shaped(attention(windows, heads, area, bias, mask, left=left)))
    assert sites == 1 and operators(model) == {"Add": 1, "Softmax": 1}
    logits = x.astype(np.float64) + bias + mask
    exponent = np.exp(logits - logits.max(-1, keepdims=True))
    assert np.abs(run(model, x=x)[0] - exponent / exponent.sum(-1, keepdims=True)).max() < 1e-5
    assert merge_attention_mask(model)[1] == 0


@pytest.mark.parametrize(
    "change",
    [
        ("two = Add (w, m)", "two = Mul (w, m)"),
        ("y = Softmax <axis = -1> (l)", "s = Softmax <axis = -1> (l)\n    y = Add (s, one)"),
        ("one = Add (x, b)", "k = Relu (x)\n    one = Add (x, k)"),
        ("y = Softmax <axis = -1> (l)", "s = Softmax <axis = -1> (l)\n    k = Reshape (two, back)\n    y = Add (s, k)"),
    ],
)
def test_it_does_not_fire(change: tuple[str, str]) -> None:
    model = shaped(attention(2, 2, 3, *made(2, 2, 3)[1:]).replace(*change))
    before = operators(model)
    assert merge_attention_mask(model)[1] == 0
    assert operators(model) == before


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_sum_that_the_graph_ends_with_stays(name: str) -> None:
    model = shaped(attention(2, 2, 3, *made(2, 2, 3)[1:]))
    model.graph.outputs.append(next(node.outputs[0] for node in model.graph if node.outputs[0].name == name))
    assert merge_attention_mask(model)[1] == 0


def test_merged_logits_may_end_the_graph() -> None:
    x, bias, mask = made(2, 2, 3)
    text = attention(2, 2, 3, bias, mask).replace(
        "    l = Reshape (two, back)\n    y = Softmax <axis = -1> (l)", "    y = Reshape (two, back)"
    )
    model, sites = merge_attention_mask(shaped(text))
    assert sites == 1 and [value.name for value in model.graph.outputs] == ["y"]
    assert np.abs(run(model, x=x)[0] - (x + bias + mask)).max() < 1e-4
