"""Q and DQ nodes of a graph: which ones belong together, and their parameters."""

import numpy as np
import onnx_ir as ir

from compile.graphs.match import NoMatch
from compile.graphs.nodes import Array, add_constant, constant, input_at, integer, is_standard, label

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
# TensorRT moves a Q or DQ across these, so that what stands beyond still runs in INT8 (guide: "commuting layers").
COMMUTING = frozenset(
    {
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Relu",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
SEVERAL_DATA = frozenset({"Concat"})  # of these every input is data; of the other commuting ones only the first


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
    value = input_at(dequantize, 0)
    node = None if value is None else value.producer()
    return node if node is not None and is_standard(node) and node.op_type == QUANTIZE else None


def dequantizers(quantize: ir.Node) -> tuple[ir.Node, ...]:
    """Return the DQ nodes that read a Q node's output.

    Raises:
        NoMatch: they are not its counterparts, or something else reads it.
    """
    output = quantize.outputs[0]
    if output.is_graph_output():
        raise NoMatch("its output leaves the graph")
    readers = tuple(reader for reader, _ in output.uses())
    others = sorted({reader.op_type for reader in readers if reader.op_type != DEQUANTIZE})
    if others or not readers:
        raise NoMatch(f"its output is read by {', '.join(others) or 'nothing'}")
    for reader in readers:
        if not same_parameters(quantize, reader):
            raise NoMatch(f"{reader.name} has another scale or zero-point")
    return readers


def scale_axis(node: ir.Node, rank: int) -> int:
    """Return the axis that a Q or DQ node's scales run along in a tensor of ``rank`` axes."""
    axis = integer(node, "axis", 1)
    return axis + rank if axis < 0 else min(axis, rank - 1)


def dequantized(node: ir.Node) -> Array | None:
    """Return what a DQ node makes of a constant, computed in float64 and rounded once; None where it is no constant."""
    data, scale = constant(input_at(node, 0)), constant(input_at(node, 1))
    zero = _zeros(node)
    if data is None or scale is None or zero is None:
        return None
    shape = [1] * data.ndim
    if scale.size > 1:
        shape[scale_axis(node, data.ndim)] = scale.size
    scales, zeros = (np.broadcast_to(one.astype(np.float64), scale.shape).reshape(shape) for one in (scale, zero))
    return np.asarray((data.astype(np.float64) - zeros) * scales).astype(scale.dtype)


def same_parameters(one: ir.Node, other: ir.Node) -> bool:
    """Say whether two Q or DQ nodes have the same constant scale and zero-point; an absent zero-point is zeros."""
    scales, zeros = (constant(input_at(one, 1)), constant(input_at(other, 1))), (_zeros(one), _zeros(other))
    if input_at(one, 2) is None or input_at(other, 2) is None:
        return _equal(scales) and all(zero is not None and not zero.any() for zero in zeros)
    return _equal(scales) and _equal(zeros)


def _zeros(node: ir.Node) -> Array | None:
    return np.zeros(()) if input_at(node, 2) is None else constant(input_at(node, 2))


def _equal(pair: tuple[Array | None, Array | None]) -> bool:
    a, b = pair
    return a is not None and b is not None and a.dtype == b.dtype and np.array_equal(a, b)


def quantized_type(node: ir.Node) -> ir.DataType | None:
    """Return the type a Q node makes: its zero-point's, ``output_dtype``, else uint8, as ONNX defines it."""
    zero = input_at(node, 2)
    if zero is not None:
        return zero.dtype
    kind = integer(node, "output_dtype", 0)
    return ir.DataType(kind) if kind else ir.DataType.UINT8


def zero_point(node: ir.Node) -> Array | None:
    """Return a Q node's zero-point, zeros of the scale's shape where it has none; None where either is not a constant."""
    if input_at(node, 2) is not None:
        return constant(input_at(node, 2))
    scale, kind = constant(input_at(node, 1)), quantized_type(node)
    return None if scale is None or kind is None else np.zeros(scale.shape, kind.numpy())


def scale_and_zero(node: ir.Node) -> tuple[Array, Array]:
    """Return a Q node's scale and zero-point.

    Raises:
        NoMatch: one of them is not a constant.
    """
    scale, zero = constant(input_at(node, 1)), zero_point(node)
    if scale is None or zero is None:
        raise NoMatch(f"its {'scale' if scale is None else 'zero-point'} is not a constant")
    return scale, zero


def set_parameters(model: ir.Model, quantize: ir.Node, readers: tuple[ir.Node, ...], scale: Array, zero: Array) -> None:
    """Give a Q node and its DQ nodes one new scale and zero-point, as initializers named after the Q node."""
    for index, (suffix, array) in enumerate((("scale", scale), ("zero_point", zero)), start=1):
        value = add_constant(model, f"{label(quantize)}/{suffix}", array)
        for node in (quantize, *readers):
            node.resize_inputs(max(len(node.inputs), index + 1))
            node.replace_input_with(index, value)
    quantize.attributes.pop("output_dtype", None)  # the zero-point says it
