"""Types and constants of an ONNX graph as torch has them: as the graph says, or with every float in float64."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

Types: TypeAlias = Mapping[ir.DataType, torch.dtype]
Static: TypeAlias = bool | int | float | str | list[int] | list[float]

AS_WRITTEN: Types = {
    ir.DataType.BOOL: torch.bool,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.INT8: torch.int8,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT64: torch.int64,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.DOUBLE: torch.float64,
}
IN_FLOAT64: Types = {kind: torch.float64 if found.is_floating_point else found for kind, found in AS_WRITTEN.items()}


def torch_type(kind: ir.DataType | None, types: Types) -> torch.dtype:
    """Return torch's type.

    Raises:
        ValueError: there is none, or the graph does not say which it is.
    """
    if kind is None or kind not in types:
        raise ValueError(f"a tensor of type {'unknown' if kind is None else kind.name}")
    return types[kind]


def torch_tensor(tensor: ir.TensorProtocol, types: Types) -> Tensor:
    """Return a constant's values, in its own memory where that has the type and may be written to.

    Raises:
        ValueError: torch has no such type.
    """
    kind, array = torch_type(tensor.dtype, types), tensor.numpy()
    if tensor.dtype == ir.DataType.BFLOAT16:
        array = array.astype(np.float32)
    return torch.as_tensor(array, dtype=kind) if array.flags.writeable else torch.tensor(array, dtype=kind)


def python_value(attribute: ir.Attr, types: Types) -> Static | Tensor | torch.dtype:
    """Return an attribute as a call gets it; the number ``to`` of a Cast is a type.

    Raises:
        ValueError: it is a graph, text in a list, a sparse tensor, or a type that torch does not have.
    """
    if attribute.is_ref():
        raise ValueError(f"attribute {attribute.name} refers to a function's")
    if attribute.name == "to":
        return torch_type(ir.DataType(attribute.as_int()), types)
    match attribute.type:
        case ir.AttributeType.TENSOR:
            return torch_tensor(attribute.as_tensor(), types)
        case ir.AttributeType.INT | ir.AttributeType.STRING:
            single: Static = attribute.value
            return single
        case ir.AttributeType.FLOAT:
            return _as_stored(attribute.value)
        case ir.AttributeType.INTS:
            return list(attribute.value)
        case ir.AttributeType.FLOATS:
            return [_as_stored(value) for value in attribute.value]
        case _:
            raise ValueError(f"attribute {attribute.name} of type {attribute.type.name}")


def _as_stored(number: float) -> float:
    """Round to float32: a file holds no other, and a graph in memory must not compute with what its file cannot say."""
    return float(np.float32(number))


def constant_node(node: ir.Node, types: Types) -> Tensor:
    """Return what a Constant holds.

    Raises:
        ValueError: it holds text, or is sparse.
    """
    [attribute] = node.attributes.values()
    value = python_value(attribute, types)
    if isinstance(value, Tensor):
        return value
    floats = attribute.type in (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS)
    return torch.tensor(value, dtype=types[ir.DataType.FLOAT if floats else ir.DataType.INT64])
