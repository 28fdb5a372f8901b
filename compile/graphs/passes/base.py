"""What passes and lint rules share: how nodes and values are read, and the pairs of Q and DQ nodes around a tensor.

A pass maps a model to (model, sites it rewrote or whether it did) and edits the model it is given; ``compile.graphs.passes.table`` runs them.
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
    "Cast": _cast, "Flatten": _reshaped, "Identity": lambda _, array: array, "Reshape": _reshaped, "Squeeze": _reshaped,
    "Transpose": _transposed, "Unsqueeze": _reshaped,
}  # fmt: skip


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
        if not same_parameters(quantize, reader):
            return f"{reader.name} has another scale or zero-point"
    return readers


def same_parameters(one: ir.Node, other: ir.Node) -> bool:
    """Say whether two Q or DQ nodes have the same constant scale and zero-point; an absent zero-point is zeros."""
    scales, zeros = (constant(place(one, 1)), constant(place(other, 1))), (_zeros(one), _zeros(other))
    if place(one, 2) is None or place(other, 2) is None:
        return _equal(scales) and all(zero is not None and not zero.any() for zero in zeros)
    return _equal(scales) and _equal(zeros)


def _zeros(node: ir.Node) -> Array | None:
    return np.zeros(()) if place(node, 2) is None else constant(place(node, 2))


def _equal(pair: tuple[Array | None, Array | None]) -> bool:
    a, b = pair
    return a is not None and b is not None and a.dtype == b.dtype and np.array_equal(a, b)


def quantized_type(node: ir.Node) -> ir.DataType | None:
    """Return the type a Q node makes: its zero-point's, ``output_dtype``, else uint8, as ONNX defines it."""
    zero = place(node, 2)
    if zero is not None:
        return zero.dtype
    kind = integer(node, "output_dtype", 0)
    return ir.DataType(kind) if kind else ir.DataType.UINT8


def zero_point(node: ir.Node) -> Array | None:
    """Return a Q node's zero-point, zeros of the scale's shape where it has none; None where either is not a constant."""
    if place(node, 2) is not None:
        return constant(place(node, 2))
    scale, kind = constant(place(node, 1)), quantized_type(node)
    return None if scale is None or kind is None else np.zeros(scale.shape, kind.numpy())


def zero_point_obstacle(node: ir.Node) -> str:
    """Return why a Q node's scale and zero-point cannot be rewritten as constants, or nothing."""
    if constant(place(node, 1)) is None:
        return "its scale is not a constant"
    return "" if zero_point(node) is not None else "its zero-point is not a constant"


def set_parameters(model: ir.Model, quantize: ir.Node, readers: tuple[ir.Node, ...], scale: Array, zero: Array) -> None:
    """Give a Q node and its DQ nodes one new scale and zero-point, as initializers named after the Q node."""
    for index, (suffix, array) in enumerate((("scale", scale), ("zero_point", zero)), start=1):
        value = add_constant(model, f"{label(quantize)}/{suffix}", array)
        for node in (quantize, *readers):
            node.resize_inputs(max(len(node.inputs), index + 1))
            node.replace_input_with(index, value)
    quantize.attributes.pop("output_dtype", None)  # the zero-point says it


def add_constant(model: ir.Model, name: str, array: Array) -> ir.Value:
    """Add an initializer; a name that is taken gets a number."""
    return register(model, free_name(model.graph, name), array)


def register(model: ir.Model, name: str, array: Array) -> ir.Value:
    """Add an initializer whose name is known to be free: to ask the graph for each of many takes long."""
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
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
    if name not in taken:
        return name
    return next(one for count in range(1, len(taken) + 2) if (one := f"{name}_{count}") not in taken)
