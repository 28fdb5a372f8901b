"""A product reads its own Q/DQ pair where its input comes from one through operators that only move elements.

    before   d = DQ(Q(x))    y = f(move(d), w)                   f a product or a convolution
    after    d = DQ(Q(x))    y = f(DQ(Q(move(d))), w)            the same scale and zero-point

A moved element is on the grid of its pair already, so the second pair changes no number: Q(DQ(q)) = q. A runtime fuses a
product with the pairs next to it. ONNX Runtime does not see through a Split or a Slice.
"""

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compile.graphs.insert import Inserter
from compile.graphs.match import NoMatch, matches
from compile.graphs.nodes import WEIGHTED, constant, input_at, is_standard, label, shape_of
from compile.graphs.quantizers import DEQUANTIZE, QUANTIZE, dequantizers_behind, quantizer_of, same_parameters

NAME = "repeat_quantizers"


def repeat_quantizers(model: ir.Model) -> tuple[ir.Model, int]:
    """Rewrite every input that matches; return how many."""
    model = ShapeInferencePass()(model).model
    products = [node for node in model.graph if node.op_type in WEIGHTED and is_standard(node)]
    inputs = [(node, index) for node in products for index in (0, 1)]
    count = 0
    for (node, index), (value, pair) in matches(match, inputs):
        inserter = Inserter(model, node, f"{label(node)}/{index}", NAME)
        shape = shape_of(value) or ()
        quantized = inserter.node(QUANTIZE, [value, *pair.inputs[1:]], shape, "quantized")
        quantized.type = pair.inputs[0].type if pair.inputs[0] is not None else None
        output = inserter.node(DEQUANTIZE, [quantized, *pair.inputs[1:]], shape, "dequantized")
        output.type = value.type
        node.replace_input_with(index, output)
        count += 1
    return model, count


def match(at: tuple[ir.Node, int]) -> tuple[ir.Value, ir.Node]:
    """Return the input of a product, and the DQ node of the pair that it comes from through moves.

    Raises:
        NoMatch: it comes from no pair or from several, has one beside it, or the pair has a scale per channel.
    """
    node, index = at
    value = input_at(node, index)
    behind = dequantizers_behind(value)
    if value is None or not behind:
        raise NoMatch("it does not come from a Q/DQ pair")
    first = behind[0]
    if value.producer() is first:
        raise NoMatch("the pair is beside it")
    if any(quantizer_of(one) is None or not same_parameters(first, one) for one in behind):
        raise NoMatch("it is a constant, or comes from pairs of several scales")
    scale = constant(input_at(first, 1))
    if scale is None or scale.size != 1:
        raise NoMatch("its pair has a scale for each channel")
    if shape_of(value) is None:
        raise NoMatch("its shape is unknown")
    return value, first
