"""Half precision as float32: a network that computes in FP16 or BF16 becomes the float32 network of the same weights.

    weights, constants   the same values in float32, exactly
    Cast                 to float32 where it was to half
    inputs, outputs      float32

Each half is a float32, so nothing is rounded here. What the network rounded between its operators is not rounded any more.
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
TYPES = ("to", "dtype", "output_dtype", "stash_type")  # attributes that hold a type


def widen_halves(model: ir.Model) -> int:
    """Have a model without functions compute in float32 wherever it did in half; return how many values that were."""
    values = [value for value in _values(model) if value.dtype in HALVES]
    for value in values:
        value.type = ir.TensorType(ir.DataType.FLOAT)
        if value.const_value is not None:
            value.const_value = _wide(value.const_value)
    for node in model.graph.all_nodes():
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in HALVES:
                node.attributes[name] = ir.AttrTensor(name, _wide(attribute.as_tensor()))
            elif name in TYPES and attribute.type == ir.AttributeType.INT and attribute.as_int() in HALVES:
                node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
    if values:
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    return len(values)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    yield from list(model.graph.initializers.values())
    for node in model.graph.all_nodes():
        yield from node.outputs


def _wide(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)
