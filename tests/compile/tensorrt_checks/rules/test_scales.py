"""Rule 2: constant positive scales, one per activation, per output channel of a weight."""

import pytest

from tests.compile.tensorrt_checks.rules.made import GOOD, SIZE, broken, eye, lint, many

RULE = "constant-scales"


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("float s = {0.02}", "float s = {0}", "not above 0"),
        ("float s = {0.02}", "float s = {-0.02}", "not above 0"),
        ("ws = {0.01, ", "ws = {0, ", "not above 0"),
        ("axis = 1> (w", "axis = 0> (w", "on axis 1, they are on 0"),
        (f"float[{SIZE}] ws = {many(0.01)}", "float[2] ws = {1, 1}", "2 scales on axis 1"),
    ],
)
def test_wrong_scales(old: str, new: str, word: str) -> None:
    text = GOOD.replace(old, new)
    assert text != GOOD
    found = [finding for finding in lint(text) if finding.rule == RULE]
    assert len(found) == 1 and word in found[0].effect


def test_a_computed_scale_is_dynamic_quantization() -> None:
    text = GOOD.replace("float s = {0.02}, ", "").replace("x) =>", "x, float s) =>")
    [finding, *_] = [finding for finding in lint(text) if finding.rule == RULE]
    assert "dynamic" in finding.effect


@pytest.mark.parametrize("made", ["Identity (s0)", "Add (s0, s0)"])
def test_a_scale_made_of_constants_is_a_constant(made: str) -> None:
    text = GOOD.replace("float s = {0.02}", "float s0 = {0.02}").replace("    q = ", f"    s = {made}\n    q = ")
    assert lint(text) == []


def test_an_activation_has_one_scale() -> None:
    text = GOOD.replace("float s = {0.02}, int8 z = {0}", f"float[{SIZE}] s = {many(0.02)}, int8[{SIZE}] z = {many(0)}")
    text = text.replace("QuantizeLinear (x", "QuantizeLinear <axis = 1> (x").replace(
        "Linear (q", "Linear <axis = 1> (q"
    )
    [finding] = lint(text)
    assert (finding.rule, finding.severity) == (RULE, "error")
    assert f"{SIZE} scales for one activation" in finding.effect


@pytest.mark.parametrize(
    ("operator", "axis", "good"), [("Gemm", 1, True), ("Gemm <transB = 1>", 1, False), ("Gemm <transB = 1>", 0, True)]
)
def test_the_axis_of_a_gemm_follows_its_transposition(operator: str, axis: int, good: bool) -> None:
    text = GOOD.replace("MatMul", operator).replace("axis = 1> (w", f"axis = {axis}> (w")
    assert (RULE in broken(text)) is not good


@pytest.mark.parametrize(("axis", "good"), [(0, True), (1, False)])
def test_the_axis_of_a_convolution_is_its_first(axis: int, good: bool) -> None:
    text = f"""
    g (float[1,{SIZE},8,8] x) => (float[1,{SIZE},8,8] y)
    <float s = {{0.02}}, int8 z = {{0}}, int8[{SIZE},{SIZE},1,1] w = {eye()}, float[{SIZE}] ws = {many(0.01)}>
    {{
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        v = DequantizeLinear <axis = {axis}> (w, ws)
        y = Conv (d, v)
    }}
    """
    assert broken(text) == ([] if good else [RULE])


@pytest.mark.parametrize(
    ("product", "x", "y"), [("MatMul (v, d)", f"{SIZE},16", "16"), ("MatMul (d, v)", f"16,{SIZE}", "16")]
)
def test_a_vector_has_no_output_channels(product: str, x: str, y: str) -> None:
    text = f"""
    g (float[{x}] x) => (float[{y}] y)
    <float s = {{0.02}}, int8 z = {{0}}, int8[{SIZE}] w = {many(3)}, float[{SIZE}] ws = {many(0.01)}>
    {{
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        v = DequantizeLinear <axis = 0> (w, ws)
        y = {product}
    }}
    """
    [finding] = lint(text)  # one row or one column, and nothing else
    assert (finding.rule, finding.severity) == ("float-operator", "warning")
