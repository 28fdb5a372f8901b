"""The bias behind an INT8 product is stored as int32 with a DequantizeLinear: then product and bias are one integer kernel.

    before   z = DQ(q, s) · DQ(w₈, t) + b            t one scale, or one per output channel
    after    z = DQ(q, s) · DQ(w₈, t) + DQ(b₃₂, s·t)      b₃₂ = round(b / (s·t)), zero-point 0

A product's sums are multiples of s·t, which is the grid of b₃₂: |z' − z| ≤ s·t/2, a fraction of an INT8 step. ONNX Runtime
makes a Gemm of a product and its bias, and runs it as an integer kernel only if the bias is quantized.
"""

from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compile.graphs.insert import Inserter
from compile.graphs.match import NoMatch, matches
from compile.graphs.nodes import constant, input_at, integer, label, nodes_of
from compile.graphs.quantizers import DEQUANTIZE, dequantizers_behind, quantizer_of, zero_point

NAME = "quantize_biases"
Floats: TypeAlias = NDArray[np.float64]
LARGEST = 2**31 - 1


def quantize_biases(model: ir.Model) -> tuple[ir.Model, int]:
    """Rewrite every Add that matches; return how many."""
    count = 0
    for node, (index, bias, scale) in matches(match, nodes_of(model, "Add")):
        inserter = Inserter(model, node, label(node), NAME)
        inputs = [
            inserter.constant(np.rint(bias / scale).astype(np.int32), "bias"),
            inserter.constant(scale.astype(np.float32), "scale"),
            inserter.constant(np.zeros(scale.shape, np.int32), "zero_point"),
        ]
        output = inserter.node(DEQUANTIZE, inputs, bias.shape, "dequantized", axis=0)
        output.type = ir.TensorType(ir.DataType.FLOAT)
        node.replace_input_with(index, output)
        count += 1
    return model, count


def match(node: ir.Node) -> tuple[int, Floats, Floats]:
    """Return the index of an Add's constant, the constant, and the scale of each of its elements, in float64.

    Raises:
        NoMatch: it adds no vector to an INT8 product of a constant matrix, or the vector is too large for int32.
    """
    for index in (0, 1):
        product, bias = input_at(node, 1 - index), constant(input_at(node, index))
        if bias is not None and product is not None:
            values = bias.astype(np.float64)
            return index, values, _scale(product, values)
    raise NoMatch("it adds no constant")


def _scale(product: ir.Value, bias: Floats) -> Floats:
    node = product.producer()
    if node is None or node.op_type != "MatMul" or len(list(product.uses())) != 1:
        raise NoMatch("it adds to no product that it alone reads")
    activation, weight = (dequantizers_behind(value) for value in node.inputs)
    if len(activation) != 1 or len(weight) != 1 or quantizer_of(weight[0]) is not None:
        raise NoMatch("the product is not of INT8 with a constant matrix")
    scales = [constant(input_at(one, 1)) for one in (activation[0], weight[0])]
    if scales[0] is None or scales[1] is None or scales[0].size != 1 or zero_point(weight[0]) is None:
        raise NoMatch("a scale is no constant, or one for each channel of the activation")
    if bias.ndim != 1 or scales[1].size not in (1, bias.size) or not _by_column(weight[0], node.inputs[1]):
        raise NoMatch("its scales are not those of the output channels")
    one, each = (np.asarray(scale, np.float64).ravel() for scale in scales)
    scale = np.broadcast_to(one * each, bias.shape)
    if np.abs(bias / scale).max(initial=0.0) > LARGEST:
        raise NoMatch("the bias is too large for int32 at this scale")
    return np.asarray(scale)


def _by_column(dequantize: ir.Node, weight: ir.Value | None) -> bool:
    """Say whether a matrix has one scale, or one for each of its columns as the product reads it, turned or not."""
    scale, reader = constant(input_at(dequantize, 1)), None if weight is None else weight.producer()
    if scale is None or scale.size == 1:
        return True
    stored, axis = constant(input_at(dequantize, 0)), integer(dequantize, "axis", 1)
    if stored is None or stored.ndim != 2 or reader is None:
        return False
    turned = reader.op_type == "Transpose" and input_at(reader, 0) is dequantize.outputs[0]
    return axis in (1, -1) if reader is dequantize else turned and axis in (0, -2)
