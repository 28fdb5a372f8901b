"""How nodes and values are read, and what counts as a pair of Q and DQ."""

import numpy as np
import onnx_ir as ir
import pytest

from compile.graphs.match import reason_against
from compile.graphs.nodes import constant, gemm_size, is_constant, nodes_of
from compile.graphs.quantizers import dequantizers, dequantizers_behind
from tests.compile.graphs.passes.made import graph, shaped

PAIR = """
g (float[1,4,8] x, float[1,4,8] w) => (float[a,b,c] y)
<float s = {0.02}, float t = {0.5}, int8 z = {0}>
{
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    p = QuantizeLinear (w, t, z)
    e = DequantizeLinear (p, t, z)
    BODY
}
"""


@pytest.mark.parametrize(
    ("weight", "groups", "depth"), [("16,32,3,3", 1, 16 * 9), ("16,8,3,3", 4, 4 * 9), ("16,2,1,1", 16, 1)]
)
def test_a_transposed_convolution_sums_over_the_input_channels_of_its_group(
    weight: str, groups: int, depth: int
) -> None:
    text = f"""g (float[1,16,8,8] x, float[{weight}] w) => (float[1,a,b,c] y)
    {{ y = ConvTranspose <group = {groups}> (x, w) }}"""
    model = shaped(text)
    [node] = nodes_of(model, "ConvTranspose")
    shape = [int(size) for size in weight.split(",")]
    assert gemm_size(node) == ((7 + shape[2]) ** 2, depth, shape[1] * groups)


@pytest.mark.parametrize(
    ("left", "right", "out", "size"),
    [
        ("2,5,7", "7,3", "2,5,3", (10, 7, 3)),
        ("2,5,7", "2,7,3", "2,5,3", (5, 7, 3)),
        ("2,5,7", "7", "2,5", (10, 7, 1)),
        ("5,7", "7", "5", (5, 7, 1)),
        ("7", "7,3", "3", (1, 7, 3)),
        ("7", "2,7,3", "2,3", (1, 7, 3)),
    ],
)
def test_a_vector_is_one_row_on_the_left_and_one_column_on_the_right(
    left: str, right: str, out: str, size: tuple[int, int, int]
) -> None:
    [node] = nodes_of(
        shaped(f"g (float[{left}] x, float[{right}] w) => (float[{out}] y) {{ y = MatMul (x, w) }}"), "MatMul"
    )
    assert gemm_size(node) == size


def test_the_product_of_two_vectors_is_one_number() -> None:
    model = shaped("g (float[7] x, float[7] w) => (float y) { y = MatMul (x, w) }")
    [node] = nodes_of(model, "MatMul")
    node.outputs[0].shape = ir.Shape([])
    assert gemm_size(node) == (1, 7, 1)


@pytest.mark.parametrize(
    ("body", "behind"),
    [
        ("y = Identity (d)", "d"),
        ("y = Concat <axis = 1> (d, e)", "de"),
        ("h, i = Split <axis = 1, num_outputs = 2> (d)\n y = Concat <axis = 1> (i, h, e, d)", "de"),
        ("c = Concat <axis = 1> (e, d)\n r = Relu (c)\n y = Concat <axis = 1> (r, d)", "ed"),
        ("y = Concat <axis = 1> (d, w)", ""),
        ("h = Sigmoid (d)\n y = Concat <axis = 1> (h, e)", ""),
        ("y = Identity (x)", ""),
    ],
)
def test_a_value_comes_from_pairs_across_what_moves_elements(body: str, behind: str) -> None:
    model = graph(PAIR.replace("BODY", body))
    found = dequantizers_behind(model.graph.outputs[0])
    assert [node.outputs[0].name for node in found] == list(behind)


@pytest.mark.parametrize(
    ("quantize", "dequantize", "same"),
    [
        ("(x, s, z)", "(q, s, z)", True),
        ("(x, s)", "(q, s)", True),
        ("(x, s)", "(q, s, u)", True),
        ("(x, s, u)", "(q, s)", True),
        ("(x, s)", "(q, s, v)", False),
        ("(x, s, v)", "(q, s)", False),
        ("(x, s)", "(q, t)", False),
    ],
)
def test_a_pair_has_one_zero_point_and_none_is_zero(quantize: str, dequantize: str, same: bool) -> None:
    text = f"""g (float[1,8] x) => (float[1,8] y) <float s = {{0.02}}, float t = {{0.5}}, uint8 z = {{0}}, uint8 u = {{0}}, uint8 v = {{3}}>
    {{ q = QuantizeLinear {quantize}  y = DequantizeLinear {dequantize} }}"""
    [node] = nodes_of(graph(text), "QuantizeLinear")
    assert (reason_against(dequantizers, node) is None) == same


def test_a_value_without_a_producer_or_a_value_at_all_is_float() -> None:
    assert dequantizers_behind(None) == () and dequantizers_behind(ir.Value(name="x")) == ()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("v = Identity (w)", [[1, 2, 3], [4, 5, 6]]),
        ("v = Transpose (w)", [[1, 4], [2, 5], [3, 6]]),
        ("v = Transpose <perm = [0, 1]> (w)", [[1, 2, 3], [4, 5, 6]]),
        ("h = Transpose (w)\n v = Cast <to = 10> (h)", [[1, 4], [2, 5], [3, 6]]),
        ("v = Reshape (w, shape)", [[1, 2], [3, 4], [5, 6]]),
        ("v = Unsqueeze (w, axis)", [[[1, 2, 3], [4, 5, 6]]]),
        ("v = Add (w, w)", None),
        ("v = Add (w, x)", None),
    ],
)
def test_a_constant_is_seen_behind_what_moves_or_casts_it(body: str, expected: list[list[int]] | None) -> None:
    model = shaped(f"""g (float[2,3] x) => (float[2,3] y)
    <float[2,3] w = {{1, 2, 3, 4, 5, 6}}, int64[2] shape = {{3, 2}}, int64[1] axis = {{0}}> {{ {body}\n y = Relu (x) }}""")
    value = next(value for node in model.graph for value in node.outputs if value.name == "v")
    array = constant(value)
    assert (array is None) == (expected is None)
    assert array is None or (np.array_equal(array, expected) and array.dtype == value.dtype.numpy())  # type: ignore[union-attr,arg-type]
    assert is_constant(value) == ("x" not in body.replace("axis", ""))
