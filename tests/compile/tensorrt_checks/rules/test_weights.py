"""Rule 4: the weight's DQ is its operator's neighbour."""

import pytest

from compile.tensorrt_checks.rules.weights import NAME
from tests.compile.tensorrt_checks.rules.made import GOOD, SIZE, lint, many

CARRIED = [
    "t = Transpose <perm = [0, 1]> (v)",
    "t = Mul (v, s)",
    "t = Identity (v)",
    "r = Identity (v)\n    t = Div (r, s)",
]
FLOAT = ["t = Transpose <perm = [1, 0]> (v)", "t = Add (v, s)", "c = Cast <to = 10> (v)\n    t = Cast <to = 1> (c)"]


@pytest.mark.parametrize(
    ("between", "rule"), [*((one, "not-verified") for one in CARRIED), *((one, NAME) for one in FLOAT)]
)
def test_what_is_between_decides(between: str, rule: str) -> None:
    text = GOOD.replace("m = MatMul (d, v)", f"{between}\n    m = MatMul (d, t)")
    [finding] = lint(text)
    assert (finding.rule, finding.severity) == (rule, "error" if rule == NAME else "warning")
    assert finding.tensor == "v" and between.split("= ")[1].split(" ")[0] in finding.fix


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
