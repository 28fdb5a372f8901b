"""Rule 11: scalars, and the scales before a Concat."""

from tests.compile.tensorrt_checks.rules.made import lint

CONCAT = """
g (float[1,4,8] x, float[1,4,8] w) => (float[1,8,8] y)
<float s = {0.02}, float t = {0.5}, int8 z = {0}>
{
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    p = QuantizeLinear (w, t, z)
    e = DequantizeLinear (p, t, z)
    y = Concat <axis = 1> (d, e)
}
"""


def found(text: str) -> list[str]:
    """What the rule says."""
    return [finding.effect for finding in lint(text) if finding.rule == "shared-scale"]


def test_two_scales() -> None:
    [effect] = found(CONCAT)
    assert "0.02, 0.5" in effect


def test_one_scale() -> None:
    assert found(CONCAT.replace("(w, t, z)", "(w, s, z)").replace("(p, t, z)", "(p, s, z)")) == []


def test_a_float_input_makes_it_a_float_concat() -> None:
    assert found(CONCAT.replace("Concat <axis = 1> (d, e)", "Concat <axis = 1> (d, w)")) == []


def test_a_scalar() -> None:
    text = """
    g (float x) => (float y) <float s = {0.02}, int8 z = {0}>
    { q = QuantizeLinear (x, s, z)  y = DequantizeLinear (q, s, z) }
    """
    assert any("0-D" in effect for effect in found(text))
