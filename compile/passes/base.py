"""What passes share: their type, the constant behind a value, and the pairs of Q and DQ nodes around a tensor.

A pass maps a model to (model, sites it rewrote or whether it did) and edits the model it is given; ``compile.passes.table`` runs them.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Pass: TypeAlias = Callable[[ir.Model], tuple[ir.Model, int]]
Array: TypeAlias = NDArray[np.generic]

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def constant(value: ir.Value | None) -> Array | None:
    """Return the array behind a value: an initializer or a Constant node's output; None if it is computed or absent."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def nodes_of(model: ir.Model, operator: str) -> Iterator[ir.Node]:
    """Yield the main graph's nodes of one standard operator, as they are at the start."""
    yield from [node for node in model.graph if node.op_type == operator and node.domain == ""]


def label(node: ir.Node) -> str:
    """Return a node's name, its first output's where it has none: what a pass names its own nodes after."""
    return node.name or str(node.outputs[0].name)


def dequantizers(quantize: ir.Node) -> tuple[ir.Node, ...] | str:
    """Return the DQ nodes that read a Q node's output, or why they are not its counterparts."""
    output = quantize.outputs[0]
    if output.is_graph_output():
        return "its output leaves the graph"
    readers = tuple(reader for reader, _ in output.uses())
    others = sorted({reader.op_type for reader in readers if reader.op_type != DEQUANTIZE})
    if others or not readers:
        return f"its output is read by {', '.join(others) or 'nothing'}"
    for reader in readers:
        if not _same(quantize, reader):
            return f"{reader.name} has another scale or zero-point"
    return readers


def _same(one: ir.Node, other: ir.Node) -> bool:
    pairs = [(constant(one.inputs[place]), constant(other.inputs[place])) for place in (1, 2)]
    return all(a is not None and b is not None and a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def set_parameters(model: ir.Model, quantize: ir.Node, readers: tuple[ir.Node, ...], scale: Array, zero: Array) -> None:
    """Give a Q node and its DQ nodes one new scale and zero-point, as initializers named after the Q node."""
    for place, (suffix, array) in enumerate((("scale", scale), ("zero_point", zero)), start=1):
        value = add_constant(model, f"{quantize.name}/{suffix}", array)
        for node in (quantize, *readers):
            node.replace_input_with(place, value)


def add_constant(model: ir.Model, name: str, array: Array) -> ir.Value:
    """Add an initializer; a name that is taken gets a number."""
    taken = model.graph.initializers
    unique = next(n for n in (name, *(f"{name}_{count}" for count in range(1, len(taken) + 2))) if n not in taken)
    tensor = ir.tensor(array, name=unique)
    value = ir.Value(name=unique, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    model.graph.register_initializer(value)
    return value
