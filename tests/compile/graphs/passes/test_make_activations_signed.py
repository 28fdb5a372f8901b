"""uint8 activations become int8 with the same range."""

import numpy as np
import pytest

from compile.graphs.match import reason_against
from compile.graphs.nodes import constant, nodes_of
from compile.graphs.passes.make_activations_signed import make_activations_signed, match
from tests.compile.graphs.passes.made import graph, operators, run

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


ABSENT = UNSIGNED.replace("(r, s, z)", "(r, s)").replace("(q, s, z)", "(q, s)")


@pytest.mark.parametrize(
    ("text", "opset"),
    [
        (ABSENT, 20),
        (ABSENT.replace("(q, s)", "(q, s, z)"), 20),
        (ABSENT.replace("Linear (r", "Linear <output_dtype = 2> (r"), 21),
    ],
)
def test_an_absent_zero_point_is_uint8_0(text: str, opset: int) -> None:
    model, modified = make_activations_signed(graph(text, opset))
    [quantize], [dequantize] = nodes_of(model, "QuantizeLinear"), nodes_of(model, "DequantizeLinear")
    zero, scale = constant(quantize.inputs[2]), constant(quantize.inputs[1])
    assert modified and zero is not None and scale is not None
    assert zero.dtype == np.int8 and quantize.inputs[2] is dequantize.inputs[2]
    assert float(scale) * 127 == pytest.approx(0.02 * 255)
    assert "output_dtype" not in quantize.attributes
    assert np.abs(run(model, x=X)[0] - run(graph(text, opset), x=X)[0]).max() < 0.04


def test_the_relu_that_a_quantizer_left_to_uint8_comes_back() -> None:
    text = UNSIGNED.replace("r = Relu (x)", "r = Add (x, s)")
    model, modified = make_activations_signed(graph(text))
    assert modified and operators(model)["Relu"] == 1
    before, after = run(graph(text), x=X)[0], run(model, x=X)[0]
    assert after.min() == before.min() == 0
    assert np.abs(before - after).max() < 0.04
    assert make_activations_signed(model)[1] is False


@pytest.mark.parametrize(
    ("producers", "clamped"),
    [
        ("r = Sigmoid (x)", False),
        ("r = Softmax (x)", False),
        ("r = Clip (x, s)", False),
        ("n = Neg (s)\n r = Clip (x, n)", True),
        ("r = Clip (x, , s)", True),
        ("a = Relu (x)\n b = Abs (x)\n c = Add (a, b)\n r = Mul (c, s)", False),
        ("a = Relu (x)\n c = Add (a, x)\n r = Mul (c, s)", True),
        ("a = Relu (x)\n b = Reshape (a, shape)\n r = Concat <axis = 1> (b)", False),
        ("a = Relu (x)\n r = Sub (a, s)", True),
        ("a = QuantizeLinear (x, s, z)\n r = DequantizeLinear (a, s, z)", True),  # the first of the two gets it
        ("r = Identity (x)", True),
    ],
)
def test_nothing_is_added_where_the_value_is_known_not_to_be_negative(producers: str, clamped: bool) -> None:
    text = UNSIGNED.replace("r = Relu (x)", producers).replace("uint8 z", "int64[2] shape = {1, 8}, uint8 z")
    model, modified = make_activations_signed(graph(text))
    assert modified
    assert operators(model)["Relu"] - operators(graph(text))["Relu"] == clamped
    assert np.abs(run(graph(text), x=X)[0] - run(model, x=X)[0]).max() < 0.05


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
    assert reason in (reason_against(match, quantize) or "")
