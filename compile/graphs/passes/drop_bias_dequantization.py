"""A bias stored as int32 with a DequantizeLinear becomes a float initializer: TensorRT rejects an int32 DQ.

before   b̂_c = s_c · q_c                 DequantizeLinear(q int32, s, zero-point absent or 0)
after    b_c = s_c · q_c                 an initializer, the product computed here in float64 and rounded once
"""

import numpy as np
import onnx_ir as ir

from compile.graphs.nodes import add_constant, constant, nodes_of
from compile.graphs.quantizers import DEQUANTIZE, dequantized


def drop_bias_dequantization(model: ir.Model) -> tuple[ir.Model, bool]:
    """Replace every DQ node that ``why_not`` has nothing against by its result."""
    modified = False
    for node in nodes_of(model, DEQUANTIZE):
        bias = dequantized(node)
        if bias is None or why_not(node):
            continue
        value = add_constant(model, f"{node.name}/bias", bias)
        node.outputs[0].replace_all_uses_with(value)
        model.graph.remove(node, safe=True)
        modified = True
    return model, modified


def why_not(node: ir.Node) -> str:
    """Return why a DQ node stays as it is, or nothing."""
    quantized, scale = constant(node.inputs[0]), constant(node.inputs[1])
    if quantized is None or scale is None:
        return "it dequantizes something computed"
    if quantized.dtype != np.int32:
        return f"it dequantizes {quantized.dtype}"
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if zero is not None and zero.any():
        return "its zero-point is not 0, which the standard forbids for int32"
    return "its output leaves the graph" if node.outputs[0].is_graph_output() else ""
