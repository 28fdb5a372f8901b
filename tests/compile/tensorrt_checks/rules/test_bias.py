"""Rule 3: biases stay float."""

from tests.compile.tensorrt_checks.rules.made import GOOD, SIZE, lint, many

WIDE = GOOD.replace(
    f"float[{SIZE}] b = {many(0.5)}", f"int32[{SIZE}] i = {many(7)}, float[{SIZE}] is = {many(0.01)}"
).replace("y = Add (m, b)", "b = DequantizeLinear <axis = 0> (i, is)\n    y = Add (m, b)")


def test_an_int32_bias_is_rejected() -> None:
    [finding] = lint(WIDE)
    assert (finding.rule, finding.severity) == ("float-bias", "error")
    assert "int32" in finding.effect and "drop_bias_dequantization" in finding.fix


def test_an_int8_bias_does_not_fuse() -> None:
    [finding] = lint(WIDE.replace(f"int32[{SIZE}] i", f"int8[{SIZE}] i"))
    assert finding.rule == "float-bias" and finding.tensor == "b" and "fusion" in finding.effect


def test_an_int32_bias_of_a_gemm_is_one_finding() -> None:
    text = WIDE.replace("m = MatMul (d, v)\n", "").replace("y = Add (m, b)", "y = Gemm (d, v, b)")
    assert [finding.rule for finding in lint(text)] == ["float-bias"]


def test_a_quantized_map_that_is_added_is_no_bias() -> None:
    text = GOOD.replace("y = Add (m, b)", "y = Add (m, d)")
    assert "float-bias" not in [finding.rule for finding in lint(text)]
