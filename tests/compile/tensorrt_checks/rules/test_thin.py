"""Rule 7: what stays in float."""

import pytest

from tests.compile.tensorrt_checks.rules.made import GOOD, lint, many


def product(rows: int, depth: int, columns: int) -> str:
    """A quantized product of that size."""
    return f"""
    g (float[{rows},{depth}] x) => (float[{rows},{columns}] y)
    <float s = {{0.02}}, int8 z = {{0}}, int8[{depth},{columns}] w = {many(3, depth * columns)}>
    {{
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        v = DequantizeLinear (w, s, z)
        y = MatMul (d, v)
    }}
    """


@pytest.mark.parametrize(
    ("size", "word"),
    [
        ((64, 8, 32), "K 8"),
        ((64, 32, 4), "N 4"),
        ((1, 32, 32), "M 1"),
        ((64, 32, 1), "N 1"),
        ((64, 4, 8), "K 4 and N 8"),
    ],
)
def test_a_thin_product(size: tuple[int, int, int], word: str) -> None:
    [finding] = lint(product(*size))
    assert (finding.rule, finding.severity) == ("float-operator", "warning")
    assert word in finding.effect


def test_sixteen_is_enough() -> None:
    assert lint(product(16, 16, 16)) == []


def test_a_thin_product_in_float_is_as_it_should_be() -> None:
    assert lint("g (float[64,8] x, float[8,4] w) => (float[64,4] y) { y = MatMul (x, w) }") == []


def test_a_convolution_of_three_channels() -> None:
    text = f"""
    g (float[1,3,8,8] x) => (float[1,16,2,2] y)
    <float s = {{0.02}}, int8 z = {{0}}, int8[16,3,4,4] w = {many(3, 768)}>
    {{
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        v = DequantizeLinear (w, s, z)
        y = Conv <strides = [4, 4]> (d, v)
    }}
    """
    [finding] = lint(text)
    assert finding.rule == "float-operator" and "3 input channels" in finding.effect and "tile" not in finding.effect


@pytest.mark.parametrize("operator", ["Softmax", "Gelu", "Erf"])
def test_a_quantized_input_of_what_computes_in_float(operator: str) -> None:
    text = GOOD.replace("y = Add (m, b)", f"n = Add (m, b)\n    y = {operator} (d)")
    assert ("float-operator", "d") in {(finding.rule, finding.tensor) for finding in lint(text)}


def test_a_softmax_may_be_quantized_behind() -> None:
    text = GOOD.replace("(x, s, z)", "(p, s, z)").replace("q = Q", "p = Softmax (x)\n    q = Q")
    assert lint(text) == []


@pytest.mark.parametrize(("groups", "word"), [(32, ""), (1, "K 9")])
def test_a_depthwise_convolution_has_a_small_k_by_design(groups: int, word: str) -> None:
    text = f"""
    g (float[1,{groups},8,8] x) => (float[1,32,6,6] y)
    <float s = {{0.02}}, int8 z = {{0}}, int8[32,1,3,3] w = {many(3, 288)}>
    {{
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        v = DequantizeLinear (w, s, z)
        y = Conv <group = {groups}> (d, v)
    }}
    """
    assert [word in finding.effect for finding in lint(text)] == ([True] if word else [])
