"""What passes and lint rules share: how nodes and values are read, and the pairs of Q and DQ nodes around a tensor.

A pass maps a model to (model, sites it rewrote or whether it did) and edits the model it is given; ``compile.passes.table`` runs them.
"""

from collections.abc import Callable, Collection, Iterator
from math import prod
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Pass: TypeAlias = Callable[[ir.Model], tuple[ir.Model, int]]
Array: TypeAlias = NDArray[np.generic]

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# TensorRT moves a Q or DQ across these, so that what stands beyond still runs in INT8 (guide: "commuting layers").
COMMUTING = frozenset(
    {
        "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Relu", "Reshape", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
SEVERAL_DATA = frozenset({"Concat"})  # of these every input is data; of the other commuting ones only the first


def is_standard(node: ir.Node) -> bool:
    """Say whether a node's operator is ONNX's own."""
    return node.domain in ("", "ai.onnx")


def place(node: ir.Node, index: int) -> ir.Value | None:
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
    left, right, out = shape_of(place(node, 0)), shape_of(place(node, 1)), shape_of(node.outputs[0])
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


def dequantizers_behind(value: ir.Value | None) -> tuple[ir.Node, ...]:
    """Return the DQ nodes a value comes from, straight or across ``COMMUTING`` operators; none if any part of it is float.

    The first input's come first. Each value is looked at once: shifts split and join a tensor again and again.
    """
    waiting, seen, found = [value], set[ir.Value](), list[ir.Node]()
    while waiting:
        current = waiting.pop()
        node = None if current is None else current.producer()
        if current is None or node is None or not is_standard(node):
            return ()
        if current in seen:
            continue
        seen.add(current)
        if node.op_type == DEQUANTIZE:
            found.append(node)
        elif node.op_type in COMMUTING:
            waiting += reversed(node.inputs if node.op_type in SEVERAL_DATA else node.inputs[:1])
        else:
            return ()
    return tuple(found)


def quantizer_of(dequantize: ir.Node) -> ir.Node | None:
    """Return the Q node whose output a DQ node reads; None where it reads a constant or something else."""
    value = place(dequantize, 0)
    node = None if value is None else value.producer()
    return node if node is not None and is_standard(node) and node.op_type == QUANTIZE else None


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
    """Say whether two nodes have the same constant scale, and the same constant zero-point or both none."""
    pairs = [(constant(place(one, index)), constant(place(other, index))) for index in (1, 2)]
    equal = [a is not None and b is not None and a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs]
    return equal[0] and (equal[1] or (place(one, 2) is None and place(other, 2) is None))


def zero_point_obstacle(node: ir.Node) -> str:
    """Return why a Q node's scale and zero-point cannot be rewritten as constants, or nothing."""
    if constant(place(node, 1)) is None:
        return "its scale is not a constant"
    if place(node, 2) is None:
        return "it has no zero-point"
    return "" if constant(place(node, 2)) is not None else "its zero-point is not a constant"


def set_parameters(model: ir.Model, quantize: ir.Node, readers: tuple[ir.Node, ...], scale: Array, zero: Array) -> None:
    """Give a Q node and its DQ nodes one new scale and zero-point, as initializers named after the Q node."""
    for index, (suffix, array) in enumerate((("scale", scale), ("zero_point", zero)), start=1):
        value = add_constant(model, f"{quantize.name}/{suffix}", array)
        for node in (quantize, *readers):
            node.replace_input_with(index, value)


def add_constant(model: ir.Model, name: str, array: Array) -> ir.Value:
    """Add an initializer; a name that is taken gets a number."""
    unique = free_name(model.graph, name)
    tensor = ir.tensor(array, name=unique)
    value = ir.Value(name=unique, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    model.graph.register_initializer(value)
    return value


def free_name(graph: ir.Graph, name: str) -> str:
    """Return a name for a new value and the node that makes it; one that is taken gets a number."""
    return unused(name, names_of(graph))


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
    numbered = (f"{name}_{count}" for count in range(1, len(taken) + 2))
    return next(one for one in (name, *numbered) if one not in taken)
