"""Rule 5: both inputs of a weighted operator or none, and outputs only for INT8 consumers."""

from tests.compile.tensorrt_checks.rules.made import GOOD, broken, lint

PAIR = "e = QuantizeLinear (y0, s, z)\n    f = DequantizeLinear (e, s, z)\n"


def after(text: str) -> str:
    """The good graph with its result quantized, and ``text`` behind that."""
    return GOOD.replace("y = Add (m, b)", f"y0 = Add (m, b)\n    {PAIR}    {text}")


def test_a_float_input_beside_a_quantized_one() -> None:
    [finding] = [one for one in lint(GOOD.replace("MatMul (d, v)", "MatMul (x, v)")) if one.node == "MatMul of m"]
    assert (finding.rule, finding.severity) == ("whole-operator", "warning")


def test_a_float_weight_beside_a_quantized_input() -> None:
    text = GOOD.replace("v = DequantizeLinear <axis = 1> (w, ws, wz)", "v = Cast <to = 1> (w)")
    assert ("whole-operator", "v") in {(finding.rule, finding.tensor) for finding in lint(text)}


def test_a_pair_that_only_a_softmax_reads_through_a_reshape() -> None:
    text = after("r = Transpose <perm = [1, 0]> (f)\n    y = Sqrt (r)")
    [finding] = lint(text.replace("(float[64,32] y)", "(float[32,64] y)"))
    assert (finding.rule, finding.tensor) == ("whole-operator", "f")
    assert "Sqrt" in finding.effect


def test_a_pair_before_another_product_is_right_even_across_a_transpose() -> None:
    text = after("r = Transpose <perm = [0, 1]> (f)\n    y = MatMul (r, v)")
    assert broken(text) == []


def test_a_graph_without_quantizers_has_nothing_to_say() -> None:
    assert lint("g (float[64,32] x, float[32,8] w) => (float[64,8] y) { y = MatMul (x, w) }") == []


def test_many_shifts_in_a_row_are_looked_through_once() -> None:
    shifts = "".join(
        f"    a{i} = Slice (r{i}, zero, half, zero)\n    b{i} = Slice (r{i}, half, all, zero)\n    r{i + 1} = Concat <axis = 0> (b{i}, a{i})\n"
        for i in range(40)
    )
    text = after(f"r0 = Identity (f)\n{shifts}    y = Sqrt (r40)").replace(
        "<float s", "<int64[1] zero = {0}, int64[1] half = {32}, int64[1] all = {64}, float s"
    )
    assert broken(text) == ["whole-operator"]
