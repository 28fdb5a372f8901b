"""Rule 6: the skip input of a residual connection."""

from tests.compile.tensorrt_checks.rules.made import GOOD, lint

FLOAT_SKIP = GOOD.replace("y = Add (m, b)", "n = Add (m, b)\n    y = Add (n, x)")


def test_a_float_skip_input() -> None:
    [finding] = lint(FLOAT_SKIP)
    assert (finding.rule, finding.severity, finding.tensor) == ("residual-input", "warning", "x")


def test_the_order_of_the_inputs_does_not_matter() -> None:
    assert [finding.tensor for finding in lint(FLOAT_SKIP.replace("Add (n, x)", "Add (x, n)"))] == ["x"]


def test_a_quantized_skip_input() -> None:
    assert lint(FLOAT_SKIP.replace("Add (n, x)", "Add (n, d)")) == []


def test_a_sum_of_two_float_branches_is_none_of_its_business() -> None:
    assert lint("g (float[4,8] x) => (float[4,8] y) { r = Relu (x)\n y = Add (x, r) }") == []


def test_a_bias_is_no_skip() -> None:
    assert lint(GOOD) == []
