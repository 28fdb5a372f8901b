"""Nodes and values of a graph: how they are read, named and added."""

from collections.abc import Callable, Collection, Iterator
from math import prod
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.generic]

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def is_standard(node: ir.Node) -> bool:
    """Say whether a node's operator is ONNX's own."""
    return node.domain in ("", "ai.onnx")


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """Return a node's input, None where it has none there."""
    return node.inputs[index] if index < len(node.inputs) else None


def integer(node: ir.Node, name: str, default: int) -> int:
    """Return an integer attribute."""
    attribute = node.attributes.get(name)
    return default if attribute is None or attribute.is_ref() else attribute.as_int()


def shape_of(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return a value's static shape, None if any axis is unknown."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(int(str(size)) for size in value.shape)


def gemm_size(node: ir.Node) -> tuple[int, int, int] | None:
    """Return (M, K, N) of a weighted operator as the matrix product it is; None where a shape is unknown.

    A convolution's K is what one output sums over: the input channels of its group times the kernel's area.
    """
    left, right, out = shape_of(input_at(node, 0)), shape_of(input_at(node, 1)), shape_of(node.outputs[0])
    if not left or not right or out is None:
        return None
    if node.op_type == "Conv":
        return prod(out[2:]), prod(right[1:]), out[1]
    if node.op_type == "ConvTranspose":
        return prod(out[2:]), right[0] // integer(node, "group", 1) * prod(right[2:]), out[1]
    depth = left[0] if integer(node, "transA", 0) else left[-1]
    if len(right) == 1:  # a vector on the right is one column
        return prod(out), depth, 1
    if len(left) == 1:  # and one on the left is one row
        return 1, depth, out[-1]
    shared = len(right) == 2  # one weight for all leading axes: they are rows of one product
    return prod(out[:-1]) if shared else out[-2], depth, out[-1]


def is_constant(value: ir.Value | None) -> bool:
    """Say whether a value is made of constants only: an initializer, or computed from nothing else."""
    waiting, seen = [value], set[int]()
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen or current.const_value is not None:
            continue
        seen.add(id(current))
        node = current.producer()
        if node is None:
            return False
        waiting.extend(node.inputs)
    return value is not None


def constant(value: ir.Value | None) -> Array | None:
    """Return the array behind a value: an initializer's, a Constant's, or such a one moved or cast (``FORWARDED``).

    None if the value is absent, or computed: from the image, or (``is_constant``) from constants in another way.
    """
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    if tensor is not None:
        return tensor.numpy()
    node = None if value is None else value.producer()
    if node is None or node.op_type not in FORWARDED or not is_standard(node):
        return None
    array = constant(node.inputs[0])
    return None if array is None else FORWARDED[node.op_type](node, array)


def _cast(node: ir.Node, array: Array) -> Array | None:
    attribute = node.attributes.get("to")
    kind = None if attribute is None or attribute.is_ref() else ir.DataType(attribute.as_int())
    return array.astype(kind.numpy()) if kind in CAST_TO else None


def _reshaped(node: ir.Node, array: Array) -> Array | None:
    shape = shape_of(node.outputs[0])
    return array.reshape(shape) if shape is not None and prod(shape) == array.size else None


def _transposed(node: ir.Node, array: Array) -> Array | None:
    perm = node.attributes.get("perm")
    return None if perm is not None and perm.is_ref() else array.transpose(None if perm is None else perm.as_ints())


CAST_TO = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.INT8, ir.DataType.INT32})
FORWARDED: dict[str, Callable[[ir.Node, Array], Array | None]] = {
    "Cast": _cast,
    "Flatten": _reshaped,
    "Identity": lambda _, array: array,
    "Reshape": _reshaped,
    "Squeeze": _reshaped,
    "Transpose": _transposed,
    "Unsqueeze": _reshaped,
}


def nodes_of(model: ir.Model, operator: str) -> Iterator[ir.Node]:
    """Yield the main graph's nodes of one standard operator, as they are at the start."""
    yield from [node for node in model.graph if node.op_type == operator and node.domain == ""]


def label(node: ir.Node) -> str:
    """Return a node's name, its first output's where it has none: what a pass names its own nodes after."""
    return node.name or str(node.outputs[0].name)


def add_constant(model: ir.Model, name: str, array: Array, taken: set[str | None] | None = None) -> ir.Value:
    """Add an initializer; see ``free_name`` for what becomes of a name that is taken."""
    return register(model, free_name(model.graph, name, taken), array)


def register(model: ir.Model, name: str, array: Array) -> ir.Value:
    """Add an initializer whose name is known to be free: to ask the graph for each of many takes long."""
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    model.graph.register_initializer(value)
    return value


def free_name(graph: ir.Graph, name: str, taken: set[str | None] | None = None) -> str:
    """Return a name for a new value and the node that makes it; one that is taken gets a number.

    To ask the graph for its names takes long. A pass with many sites asks once, and gives them as ``taken``, which gets this one.
    """
    taken = names_of(graph) if taken is None else taken
    found = unused(name, taken)
    taken.add(found)
    return found


def names_of(graph: ir.Graph) -> set[str | None]:
    """Return the names of all values and nodes."""
    taken = set[str | None]()
    for part in (graph, *graph.subgraphs()):
        taken |= {value.name for value in part.inputs} | set(part.initializers)
        for node in part:
            taken |= {node.name, *(value.name for value in node.outputs)}
    return taken


def unused(name: str, taken: Collection[str | None]) -> str:
    """Return ``name``, or with the first number that makes it none of ``taken``."""
    if name not in taken:
        return name
    return next(one for count in range(1, len(taken) + 2) if (one := f"{name}_{count}") not in taken)
