"""A bias stored as int32 with a DequantizeLinear becomes a float initializer: TensorRT rejects an int32 DQ.

before   b̂_c = s_c · q_c                 DequantizeLinear(q int32, s, zero-point absent or 0)
after    b_c = s_c · q_c                 an initializer, the product computed here in float64 and rounded once
"""

import numpy as np
import onnx_ir as ir

from compile.graphs.match import NoMatch, matches
from compile.graphs.nodes import Array, add_constant, constant, nodes_of
from compile.graphs.quantizers import DEQUANTIZE, dequantized


def drop_bias_dequantization(model: ir.Model) -> tuple[ir.Model, bool]:
    """Replace every DQ node that matches by its result."""
    modified = False
    for node, bias in matches(match, nodes_of(model, DEQUANTIZE)):
        value = add_constant(model, f"{node.name}/bias", bias)
        node.outputs[0].replace_all_uses_with(value)
        model.graph.remove(node, safe=True)
        modified = True
    return model, modified


def match(node: ir.Node) -> Array:
    """Return the bias that a DQ node makes.

    Raises:
        NoMatch: it is no bias, or cannot be replaced.
    """
    quantized, bias = constant(node.inputs[0]), dequantized(node)
    if quantized is None or bias is None:
        raise NoMatch("it dequantizes something computed")
    if quantized.dtype != np.int32:
        raise NoMatch(f"it dequantizes {quantized.dtype}")
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if zero is not None and zero.any():
        raise NoMatch("its zero-point is not 0, which the standard forbids for int32")
    if node.outputs[0].is_graph_output():
        raise NoMatch("its output leaves the graph")
    return bias
