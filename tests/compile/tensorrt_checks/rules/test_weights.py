"""Rule 4: the weight's DQ is its operator's neighbour."""

import pytest

from tests.compile.tensorrt_checks.rules.made import GOOD, SIZE, lint, many


@pytest.mark.parametrize(
    "between",
    ["t = Transpose <perm = [1, 0]> (v)", "t = Mul (v, s)", "r = Transpose <perm = [1, 0]> (v)\n    t = Mul (r, s)"],
)
def test_something_between_is_an_error(between: str) -> None:
    text = GOOD.replace("m = MatMul (d, v)", f"{between}\n    m = MatMul (d, t)")
    [finding] = [finding for finding in lint(text) if finding.rule == "adjacent-weight"]
    assert (finding.severity, finding.tensor) == ("error", "v")
    assert between.split("= ")[1].split(" ")[0] in finding.effect


def test_a_float_weight_with_q_and_dq_is_fine() -> None:
    text = GOOD.replace("int8[32,32] w = ", "float[32,32] f = ").replace(
        "v = Deq", "w = QuantizeLinear <axis = 1> (f, ws, wz)\n    v = Deq"
    )
    assert lint(text) == []


def test_an_activation_may_be_transposed() -> None:
    text = GOOD.replace("m = MatMul (d, v)", "t = Transpose <perm = [0, 1]> (d)\n    m = MatMul (t, v)")
    assert lint(text) == []


def test_a_dequantized_constant_that_no_product_reads_is_fine() -> None:
    text = GOOD.replace(f"float[{SIZE}] b = {many(0.5)}", f"int8[1,{SIZE}] i = {many(7)}").replace(
        "y = Add (m, b)", "c = DequantizeLinear (i, s)\n    r = Reshape (c, h)\n    y = Add (m, r)"
    )
    text = text.replace("<float s", f"<int64[2] h = {{1, {SIZE}}}, float s")
    assert "adjacent-weight" not in [finding.rule for finding in lint(text)]
