"""uint8 activations become int8 with the same range."""

import numpy as np
import pytest

from compile.passes.base import constant, nodes_of
from compile.passes.make_activations_signed import make_activations_signed, why_not
from tests.compile.passes.made import graph, operators, run

RELU = """
g (float[1,8] x) => (float[1,8] y)
<float s = {0.02}, uint8 z = {ZERO}>
{
    r = Relu (x)
    q = QuantizeLinear (r, s, z)
    y = DequantizeLinear (q, s, z)
}
"""
UNSIGNED = RELU.replace("{ZERO}", "{0}")
X = np.linspace(-1, 5.0, 8, dtype=np.float32)[None]


def test_the_range_stays_and_the_step_grows() -> None:
    model, modified = make_activations_signed(graph(UNSIGNED))
    assert modified
    [quantize] = nodes_of(model, "QuantizeLinear")
    scale, zero = constant(quantize.inputs[1]), constant(quantize.inputs[2])
    assert scale is not None and zero is not None
    assert zero.dtype == np.int8 and not zero.any()
    assert float(scale) * 127 == pytest.approx(0.02 * 255)
    assert operators(model) == operators(graph(UNSIGNED))


def test_numbers_agree_to_half_a_step_where_a_reinterpretation_clips_at_half_the_range() -> None:
    [before], [after] = run(graph(UNSIGNED), x=X), run(make_activations_signed(graph(UNSIGNED))[0], x=X)
    step = 0.02 * 255 / 127
    assert np.abs(before - after).max() <= 0.5 * (step + 0.02) + 1e-6
    assert after.max() > 4.9  # 127 · 0.02 = 2.54 is what reading the uint8 as int8 would leave


def test_both_readers_of_one_quantizer_change() -> None:
    text = UNSIGNED.replace("=> (float[1,8] y)", "=> (float[1,8] y, float[1,8] w)").replace(
        "y = Dequ", "w = DequantizeLinear (q, s, z)\n    y = Dequ"
    )
    model, modified = make_activations_signed(graph(text))
    before, after = run(graph(text), x=X), run(model, x=X)
    assert modified
    assert np.array_equal(after[0], after[1])
    assert np.abs(before[1] - after[1]).max() < 0.04


def test_it_is_idempotent() -> None:
    model, _ = make_activations_signed(graph(UNSIGNED))
    assert make_activations_signed(model)[1] is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (RELU.replace("{ZERO}", "{3}"), "zero-point is not 0"),
        (UNSIGNED.replace("uint8 z", "int8 z"), "int8"),
        (
            UNSIGNED.replace("float s = {0.02}, ", "").replace("(float[1,8] x)", "(float[1,8] x, float s)"),
            "not a constant",
        ),
        (
            UNSIGNED.replace("(x, s, z)", "(x, s)").replace("(r, s, z)", "(r, s)").replace("(q, s, z)", "(q, s)"),
            "no zero-point",
        ),
        (UNSIGNED.replace("=> (float[1,8] y)", "=> (float[1,8] y, uint8[1,8] q)"), "leaves the graph"),
        (UNSIGNED.replace("y = DequantizeLinear (q, s, z)", "c = Cast <to = 1> (q)\n y = Mul (c, s)"), "read by Cast"),
        (
            UNSIGNED.replace("uint8 z = {0}", "uint8 z = {0}, float t = {0.03}").replace("(q, s, z)", "(q, t, z)"),
            "another scale",
        ),
    ],
)
def test_it_does_not_fire(text: str, reason: str) -> None:
    model, modified = make_activations_signed(graph(text))
    assert modified is False
    [quantize] = nodes_of(model, "QuantizeLinear")
    assert reason in why_not(quantize)
