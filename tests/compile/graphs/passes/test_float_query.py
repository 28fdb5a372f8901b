"""Attention quantized in half gets a float query; and attention in float altogether."""

import numpy as np
import pytest

from compile.graphs.attention import attentions
from compile.graphs.match import reason_against
from compile.graphs.passes.float_attention import float_attention
from compile.graphs.passes.float_query import float_query, match
from compile.graphs.quantizers import dequantizers_behind
from tests.compile.graphs.passes.made import run, shaped

PAIR = "{0}q = QuantizeLinear ({0}, s, z)\n {0}d = DequantizeLinear ({0}q, s, z)\n "
HALF = (
    "g (float[2,3,8,16] q, float[2,3,8,16] k, float[2,3,8,16] v) => (float[2,3,8,16] o)\n<float s = {0.05}, int8 z = {0}>\n{\n "
    + PAIR.format("q")
    + PAIR.format("k")
    + """t = Transpose <perm = [0, 1, 3, 2]> (kd)
    [first] l = MatMul (qd, t)
    p = Softmax (l)
    [second] o = MatMul (p, v)
}"""
)
WHOLE = HALF.replace("[second] o = MatMul (p, v)", PAIR.format("p") + PAIR.format("v") + "[second] o = MatMul (pd, vd)")


def feeds(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(2, 3, 8, 16)).astype(np.float32) for name in "qkv"}


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """softmax(q·kᵀ)·v in float64, which shares nothing with the runtime or the pass."""
    logits = q.astype(np.float64) @ np.swapaxes(k.astype(np.float64), -1, -2)
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True) @ v.astype(np.float64)


def rounded(x: np.ndarray) -> np.ndarray:
    step = np.float64(np.float32(0.05))
    return step * np.clip(np.rint(x.astype(np.float64) / step), -128, 127)


@pytest.mark.parametrize("seed", range(4))
def test_the_query_is_float_and_the_key_still_rounded(seed: int) -> None:
    feed = feeds(seed)
    model, count = float_query(shaped(HALF))
    [one] = attentions(model.graph)
    assert count == 1
    assert [bool(dequantizers_behind(value)) for value in one.first.inputs] == [False, True]
    [after] = run(model, **feed)
    np.testing.assert_allclose(after, attend(feed["q"], rounded(feed["k"]), feed["v"]), atol=1e-5)


@pytest.mark.parametrize("text", [HALF, WHOLE])
def test_attention_in_float_is_exact(text: str) -> None:
    feed = feeds(9)
    model, count = float_attention(shaped(text))
    assert count == 1
    [after] = run(model, **feed)
    np.testing.assert_allclose(after, attend(**feed), atol=1e-5)


@pytest.mark.parametrize("rewrite", [float_query, float_attention])
def test_it_is_idempotent(rewrite) -> None:
    model, _ = rewrite(shaped(HALF))
    assert rewrite(model)[1] == 0


def test_a_product_that_is_no_attention_keeps_its_pairs() -> None:
    text = HALF.replace("p = Softmax (l)", "p = Relu (l)")
    assert float_query(shaped(text))[1] == float_attention(shaped(text))[1] == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HALF.replace("MatMul (qd, t)", "MatMul (q, t)"), "its query is float"),
        (HALF.replace("(kd)", "(k)"), "its key is float"),
        (WHOLE, "second product is in INT8"),
    ],
)
def test_it_does_not_fire(text: str, reason: str) -> None:
    model, count = float_query(shaped(text))
    assert count == 0
    [one] = attentions(model.graph)
    assert reason in (reason_against(match, one) or "")


def test_another_reader_of_the_query_keeps_it_rounded() -> None:
    feed = feeds(3)
    text = (
        HALF.replace("=> (float[2,3,8,16] o)", "=> (float[2,3,8,16] o, float[2,3,8,16] e)").rstrip("}")
        + " e = Identity (qd)\n}"
    )
    model, _ = float_query(shaped(text))
    after, other = run(model, **feed)
    np.testing.assert_allclose(other, rounded(feed["q"]), atol=1e-6)
    np.testing.assert_allclose(after, attend(feed["q"], rounded(feed["k"]), feed["v"]), atol=1e-5)
