"""Where each element of a moved tensor comes from: chains of operators that only copy, as one array of indices.

``trace`` walks back from a value over Reshape, Transpose, Slice, Split, Concat, Pad, Squeeze and Unsqueeze to the one
value they all read. It returns, for each element of the value it began at, the flat index in the one it ends at; −1
stands for a zero that a Pad added. The array has the value's shape, so two chains can be compared and composed without running them.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compile.graphs.nodes import constant
from compile.graphs.nodes import shape_of as shape_of  # its readers find it here too

Indices = NDArray[np.int64]
ZERO = -1


class Moved(NamedTuple):
    """A value as a rearrangement of ``source``; ``nodes`` are the operators between, nearest to the value first."""

    source: ir.Value
    indices: Indices
    nodes: tuple[ir.Node, ...]


def trace(value: ir.Value) -> Moved | None:
    """Return ``value`` as a rearrangement of the nearest value that something computes; None if there is not one such."""
    producer, shape = value.producer(), shape_of(value)
    if shape is None:
        return None
    if producer is None or producer.op_type not in MOVES or producer.domain != "":
        return Moved(value, np.arange(np.prod(shape, dtype=np.int64)).reshape(shape), ())
    data = [value for value in producer.inputs if value is not None]
    count = len(data) if producer.op_type == "Concat" else 1  # the others say how, not what
    moved = [found for one in data[:count] if (found := trace(one)) is not None]
    if len(moved) < count or len({id(one.source) for one in moved}) != 1:
        return None
    made = MOVES[producer.op_type](producer, [one.indices for one in moved], value)
    if made is None or made.shape != shape:
        return None
    between = dict.fromkeys([producer, *(node for one in moved for node in one.nodes)])
    return Moved(moved[0].source, made, tuple(between))


def _reshape(node: ir.Node, inputs: list[Indices], output: ir.Value) -> Indices | None:
    return inputs[0].reshape(shape_of(output) or ())


def _transpose(node: ir.Node, inputs: list[Indices], output: ir.Value) -> Indices | None:
    perm = node.attributes.get("perm")
    return inputs[0].transpose(None if perm is None else tuple(perm.as_ints()))


def _slice(node: ir.Node, inputs: list[Indices], output: ir.Value) -> Indices | None:
    given = [constant(value) for value in node.inputs[1:]]
    if len(given) < 2 or any(array is None for array, value in zip(given, node.inputs[1:], strict=True) if value):
        return None
    starts, ends = (np.asarray(array).tolist() for array in given[:2])
    axes = list(range(len(starts))) if len(given) < 3 or given[2] is None else given[2].tolist()
    steps = [1] * len(starts) if len(given) < 4 or given[3] is None else given[3].tolist()
    cut = [slice(None)] * inputs[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cut[axis] = slice(start, end, step)
    return inputs[0][tuple(cut)] if min(steps) > 0 else None


def _split(node: ir.Node, inputs: list[Indices], output: ir.Value) -> Indices | None:
    attribute = node.attributes.get("axis")
    axis = 0 if attribute is None else attribute.as_int()
    sizes = [(shape_of(value) or (0,) * inputs[0].ndim)[axis] for value in node.outputs]
    index = list(node.outputs).index(output)
    return np.split(inputs[0], np.cumsum(sizes)[:-1], axis)[index]


def _concat(node: ir.Node, inputs: list[Indices], output: ir.Value) -> Indices | None:
    return np.concatenate(inputs, node.attributes["axis"].as_int())


def _pad(node: ir.Node, inputs: list[Indices], output: ir.Value) -> Indices | None:
    mode, pads = node.attributes.get("mode"), constant(node.inputs[1])
    fill = constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(())
    plain = mode is None or mode.as_string() == "constant"
    if (
        not plain
        or len(node.inputs) > 3
        or pads is None
        or fill is None
        or fill.any()
        or (pads.astype(np.int64) < 0).any()
    ):
        return None
    return np.pad(inputs[0], list(zip(*np.split(pads, 2), strict=True)), constant_values=ZERO)


MOVES: dict[str, Callable[[ir.Node, list[Indices], ir.Value], Indices | None]] = {
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Pad": _pad,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
}
