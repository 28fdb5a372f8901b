"""Operators that only move elements, read as views."""

import numpy as np
import onnx_ir as ir

from compile.folding.linear.network import Network, View
from compile.folding.linear.views import expand, reshape, take, transpose
from compile.folding.reading.context import NotLinear, integers, known, known_shape, moved, view_of
from compile.graphs.nodes import integer


def read_reshape(network: Network, node: ir.Node) -> View:
    """Read a change of shape.

    Raises:
        NotLinear: it separates images that a convolution of weights made at run time has side by side in its channels. Read
            as channels, each linear map behind it would be one dense matrix over all images.
    """
    view, shape = view_of(network, node.inputs[0]), known_shape(node.outputs[0])
    origin = None if node.inputs[0] is None else node.inputs[0].producer()
    made = origin is not None and origin.op_type == "Conv" and origin in network.opaque
    if made and shape[:2] != view.shape[:2]:
        raise NotLinear("it separates images that are side by side in the channels")
    return moved(reshape(network.moves, view, shape))


def read_transpose(network: Network, node: ir.Node) -> View:
    """Read a change of the order of axes."""
    view = view_of(network, node.inputs[0])
    perm = node.attributes.get("perm")
    order = tuple(reversed(range(len(view.axes)))) if perm is None else tuple(perm.as_ints())
    return transpose(network.moves, view, order)


def read_slice(network: Network, node: ir.Node) -> View:
    """Read a cut along some axes."""
    view = view_of(network, node.inputs[0])
    starts, ends = integers(node, 1, "starts"), integers(node, 2, "ends")
    axes = integers(node, 3, "axes", range(len(starts)))
    steps = integers(node, 4, "steps", [1] * len(starts))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        bounds = slice(start, end if abs(end) < 2**31 - 1 else (None if (end > 0) == (step > 0) else end), step)
        size = view.shape[axis]
        chosen = np.arange(size)[bounds]
        if chosen.size != size or step != 1:
            how = ("slice", bounds.indices(size)) if step > 0 else ("gather", tuple(chosen.tolist()))
            view = take(network.moves, view, axis % len(view.axes), chosen, how)
    return view


def read_split(network: Network, node: ir.Node) -> list[View]:
    """Read a cut into parts along one axis."""
    view, axis = view_of(network, node.inputs[0]), integer(node, "axis", 0) % len(known_shape(node.inputs[0]))
    sizes = [known_shape(output)[axis] for output in node.outputs]
    ends = np.cumsum(sizes)
    spans = [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return [take(network.moves, view, axis, span, ("slice", (int(span[0]), int(span[-1]) + 1, 1))) for span in spans]


def read_gather(network: Network, node: ir.Node) -> View:
    """Read places that a constant chooses along one axis."""
    view = view_of(network, node.inputs[0])
    axis, chosen = integer(node, "axis", 0) % len(view.axes), known(node, 1).astype(np.int64)
    chosen = np.where(chosen < 0, chosen + view.shape[axis], chosen)
    if chosen.ndim > 1:
        raise NotLinear("its indices have more than one axis")
    one = take(network.moves, view, axis, chosen.reshape(-1), ("gather", tuple(chosen.reshape(-1).tolist())))
    return moved(reshape(network.moves, one, known_shape(node.outputs[0]))) if chosen.ndim == 0 else one


def read_expand(network: Network, node: ir.Node) -> View:
    """Read a repetition along axes of length 1."""
    return expand(network.moves, view_of(network, node.inputs[0]), known_shape(node.outputs[0]))


def read_identity(network: Network, node: ir.Node) -> View:
    """Read what changes nothing."""
    return view_of(network, node.inputs[0])
