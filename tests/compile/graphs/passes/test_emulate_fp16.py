"""The emulation of typed graphs, against NumPy in float64 and half precision."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bundle.base.errors import GraphError
from compile.graphs.passes.convert_to_fp16 import convert_to_fp16
from compile.graphs.passes.emulate_fp16 import emulate_fp16
from tests.compile.graphs.passes.made import graph, operators, run
from tests.compile.graphs.passes.oracle import evaluate
from tests.compile.graphs.passes.test_convert_to_fp16 import TEXT, X, quantized, typed

ULP = 2.0**-10  # one unit in FP16's last place, relative: a float32 sum may round to the neighbour of a float64 one's


def emulation(text: str) -> ir.Model:
    """The emulation of a graph's FP16 form."""
    return emulate_fp16(convert_to_fp16(typed(text))[0])[0]


@settings(max_examples=40, deadline=None)
@given(x=arrays(np.float32, (1, 4), elements=st.floats(-30, 30, width=16)), scale=st.floats(0.001, 0.05))
def test_int8_and_half_are_what_numpy_computes_in_float64(x: np.ndarray, scale: float) -> None:
    text = quantized(weight_scale=scale)
    [got] = run(emulation(text), x=x)
    [expected] = evaluate(convert_to_fp16(typed(text))[0], x=x)
    # A sum that lands beside a rounding boundary of Q moves by one step of INT8; nothing moves further.
    step = 8 * 0.03 * 0.015 * 4
    np.testing.assert_allclose(got, expected, rtol=2 * ULP, atol=step)
    assert np.median(np.abs(got - expected)) <= 2 * ULP * max(1.0, np.abs(expected).max())


def test_half_products_are_what_numpy_computes() -> None:
    [got] = run(emulation(TEXT), x=X)
    [expected] = evaluate(convert_to_fp16(typed(TEXT))[0], x=X)
    np.testing.assert_allclose(got, expected, rtol=2 * ULP, atol=2 * ULP)
    assert np.abs(got - run(graph(TEXT), x=X)[0]).max() > 0


OVERFLOW = """
g (float[1,2] x) => (float[1,2] y)
<float[2,2] a = {300, 0, 0, 300}>
{
    h = MatMul (x, a)
    k = Mul (h, h)
    y = MatMul (k, a)
}
"""


def test_an_overflow_becomes_inf_and_a_cast_back_does_not_undo_it() -> None:
    ones = np.ones((1, 2), np.float32)
    [y] = run(emulation(OVERFLOW), x=ones)
    assert not np.isfinite(y).any()
    assert np.isfinite(run(graph(OVERFLOW), x=ones)[0]).all()
    np.testing.assert_array_equal(y, evaluate(convert_to_fp16(typed(OVERFLOW))[0], x=ones)[0])


def test_the_emulation_stays_float32_and_rounds_each_computed_value_once() -> None:
    model = emulation(TEXT)
    kinds = {node.op_type: node.outputs[0].dtype for node in model.graph if node.op_type != "Cast"}
    narrow = [n for n in model.graph if n.op_type == "Cast" and n.outputs[0].dtype == ir.DataType.FLOAT16]
    assert set(kinds.values()) == {ir.DataType.FLOAT}
    assert len(narrow) == 5  # x, h, n, t and o: what the typed graph narrows or computes in FP16
    weights = sum(value.dtype == ir.DataType.FLOAT16 for value in model.graph.initializers.values())
    assert operators(model)["Cast"] == 2 * len(narrow) + weights


def test_operators_that_only_move_values_get_no_casts() -> None:
    moved = TEXT.replace("[tanh] t = Tanh (n)", "[tanh] t0 = Tanh (n)\n    [move] t = Relu (t0)")
    assert operators(emulation(moved))["Cast"] == operators(emulation(TEXT))["Cast"]
    [expected] = evaluate(convert_to_fp16(typed(moved))[0], x=X)
    np.testing.assert_allclose(run(emulation(moved), x=X)[0], expected, rtol=2 * ULP, atol=2 * ULP)


def test_a_float_graph_is_left_alone() -> None:
    model, modified = emulate_fp16(typed(TEXT))
    assert not modified and operators(model)["Cast"] == 0


def test_a_half_interface_is_refused() -> None:
    text = "g (float16[1,2] x) => (float16[1,2] y)\n{\n y = Relu (x)\n}\n"
    with pytest.raises(GraphError, match="cannot be emulated") as caught:
        emulate_fp16(typed(text))
    assert "'x', 'y'" in caught.value.got
