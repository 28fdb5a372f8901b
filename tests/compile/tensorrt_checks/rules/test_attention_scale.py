"""Rule 8: scale first."""

import pytest

from tests.compile.tensorrt_checks.rules.made import lint

LATE = """
g (float[2,8,16] q, float[2,16,8] k) => (float[2,8,8] y)
<float c = {0.25}, float[1,8,8] mask = {MASK}>
{
    l = MatMul (q, k)
    t = Mul (l, c)
    y = Softmax (t)
}
""".replace("{MASK}", "{" + ", ".join(["0"] * 64) + "}")
EARLY = LATE.replace("l = MatMul (q, k)\n    t = Mul (l, c)", "r = Mul (q, c)\n    t = MatMul (r, k)")


@pytest.mark.parametrize(
    "text",
    [
        LATE,
        LATE.replace("Mul (l, c)", "Mul (c, l)"),
        LATE.replace("Mul (l, c)", "Div (l, c)"),
        LATE.replace("y = Softmax (t)", "m = Add (t, mask)\n    y = Softmax (m)"),
    ],
)
def test_a_scale_behind_the_product(text: str) -> None:
    [finding] = lint(text)
    assert (finding.rule, finding.severity, finding.tensor) == ("attention-scale", "warning", "l")


@pytest.mark.parametrize(
    "text",
    [
        EARLY,
        LATE.replace("y = Softmax (t)", "y = Relu (t)"),  # no attention
        LATE.replace("float c = {0.25}", "float[1,8,8] c = " + "{" + ", ".join(["1"] * 64) + "}"),  # no single number
        LATE.replace("Mul (l, c)", "Div (c, l)"),
    ],
)
def test_anything_else(text: str) -> None:
    assert lint(text) == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("float c = {0.25}", "float c = {-0.25}", "not above 0"),
        ("=> (float[2,8,8] y)", "=> (float[2,8,8] y, float[2,8,8] l)", "unscaled logits"),
    ],
)
def test_the_pass_is_named_as_the_mend_only_where_it_mends(old: str, new: str, reason: str) -> None:
    [good], [finding] = lint(LATE), lint(LATE.replace(old, new))
    assert "(the pass scale_query_first)" in good.fix
    assert "(the pass" not in finding.fix and reason in finding.fix
