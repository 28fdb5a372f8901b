"""What folding does not touch, it says: a reason for every node that is linear by nature and was left as it is."""

import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from compile.folding.choice.search import search
from compile.folding.reading.operators import OPERATORS
from compile.folding.reading.reader import ELEMENTWISE, NOT_READ, read_network
from tests.compile.folding.engine_cases import RATES
from tests.compile.folding.networks import random_network

HEAD = (
    '<ir_version: 10, opset_import: ["" : 20, "own" : 1]>\nagraph (float[1, 4, 6] x, float[1, 4, 6] z) => (float[%s] y)'
)
CASES = {
    "Mul: it multiplies two tensors that the image decides": ("1, 4, 6", "y = Mul(x, z)"),
    "Div: it divides by what the image decides, or by zero": ("1, 4, 6", "y = Div(x, z)"),
    "MatMul: it multiplies two tensors that the image decides": (
        "1, 4, 4",
        "t = Transpose <perm=[0, 2, 1]> (z)\ny = MatMul(x, t)",
    ),
    "Add: its constant depends on the position": (
        "1, 4, 6",
        "c = Constant <value = float[1, 4, 1] {1, 2, 3, 4}> ()\ny = Add(x, c)",
    ),
    "Reshape: it mixes positions and channels": (
        "1, 3, 8",
        "s = Constant <value_ints = [1, 3, 8]> ()\ny = Reshape(x, s)",
    ),
    "Tile: it is linear, but this operator is not read": (
        "1, 4, 12",
        "s = Constant <value_ints = [1, 1, 2]> ()\ny = Tile(x, s)",
    ),
    "Scramble: an operator of the domain own is not known": ("1, 4, 6", "y = own.Scramble(x)"),
    "Concat: it joins positions of different tensors": ("1, 8, 6", "y = Concat <axis = 1> (x, z)"),
    "Einsum: it multiplies two tensors that the image decides, or reads a diagonal": (
        "1, 4, 4",
        'y = Einsum <equation = "bik,bjk->bij"> (x, z)',
    ),
}


@pytest.mark.parametrize("reason", CASES)
def test_a_node_that_stays_has_a_reason(reason: str) -> None:
    shape, nodes = CASES[reason]
    model = ir.from_onnx_text(f"{HEAD % shape} {{\n{nodes}\n}}")
    for node in model.graph:
        if node.outputs[0].shape is None and node.op_type == "Transpose":
            node.outputs[0].shape = ir.Shape([1, 6, 4])
    assert read_network(model.graph).notes == {"y": reason}


def test_a_sum_of_integers_is_left_as_it_is() -> None:
    nodes = """a = Constant <value_ints = [2]> ()
i = Cast <to = 7> (x)
s = ReduceSum (i, a)
y = Cast <to = 1> (s)"""
    model = ir.from_onnx_text(f"{HEAD % '1, 4, 1'} {{\n{nodes}\n}}")
    network = read_network(ShapeInferencePass()(model).model.graph)
    assert network.notes["s"] == "ReduceSum: it is of integers, and what is folded is float32"
    assert [node.op_type for node in network.opaque] == ["Cast", "ReduceSum", "Cast"]


@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in (40, 80))])
def test_every_node_that_stays_is_nonlinear_or_has_a_reason(first: int) -> None:
    nonlinear = ELEMENTWISE | {"LayerNormalization"}
    for seed in range(first, first + 40):
        network = read_network(random_network(seed).model.graph)
        left = [node for node in network.opaque if str(node.outputs[0].name) not in network.notes]
        assert {node.op_type for node in left} <= nonlinear
        assert all(note.split(":")[0] in OPERATORS for note in network.notes.values())


def test_no_operator_is_in_two_tables() -> None:
    assert not NOT_READ & OPERATORS.keys()
    assert not ELEMENTWISE & OPERATORS.keys()


def test_a_value_that_cannot_go_has_a_reason() -> None:
    """A shift does not pass the padding of a convolution: zeros are not shifted."""
    text = """<ir_version: 10, opset_import: ["" : 20]>
    agraph (float[1, 2, 4, 4] x) => (float[1, 1, 4, 4] y)
        <float[1, 2, 1, 1] c = {1, 2}, float[1, 2, 3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9}> {
        s = Add(x, c)
        y = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (s, w)
    }"""
    model = ir.passes.common.ShapeInferencePass()(ir.from_onnx_text(text)).model
    network = read_network(model.graph)
    found = search(network, RATES)
    assert {network.values[uid].name: reason for uid, reason in found.blocked.items()} == {
        "s": "its constant part does not pass the padding"
    }
