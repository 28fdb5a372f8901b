"""Rule 10: LayerNorm is one operator, and it and softmax are FP32."""

import pytest

from tests.compile.tensorrt_checks.rules.made import lint

APART = """
g (float[4,8] x) => (float[4,8] y)
<int64[1] a = {-1}, float e = {0.00001}, float two = {2}>
{
    m = ReduceMean (x, a)
    c = Sub (x, m)
    SQUARE
    v = ReduceMean (p, a)
    w = Add (v, e)
    r = Sqrt (w)
    y = Div (c, r)
}
"""
NATIVE = """
g (float[4,8] x) => (float[4,8] y)
<float[8] w = {1, 1, 1, 1, 1, 1, 1, 1}>
{
    y = LayerNormalization (x, w)
}
"""


@pytest.mark.parametrize("square", ["p = Pow (c, two)", "p = Mul (c, c)", "k = Sub (x, m)\n    p = Mul (k, k)"])
def test_a_layer_norm_in_pieces(square: str) -> None:
    [finding] = lint(APART.replace("SQUARE", square))
    assert (finding.rule, finding.severity, finding.tensor) == ("native-norm", "warning", "c")


def test_squares_that_divide_nothing() -> None:
    assert lint(APART.replace("SQUARE", "p = Mul (c, c)").replace("Div (c, r)", "Mul (c, r)")) == []


def test_products_of_two_tensors_are_no_squares() -> None:
    assert lint(APART.replace("SQUARE", "p = Mul (c, x)")) == []


def test_the_native_operator() -> None:
    assert lint(NATIVE) == []


@pytest.mark.parametrize("text", [NATIVE, NATIVE.replace("LayerNormalization (x, w)", "Softmax (x)")])
def test_half_is_too_narrow_for_its_sums(text: str) -> None:
    [finding] = lint(text.replace("float[", "float16["))
    assert (finding.rule, finding.severity) == ("native-norm", "warning")
    assert "65,504" in finding.effect
