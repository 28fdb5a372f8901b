"""Operators that are linear over positions: means, sums, pooling, resizing and padding."""

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from scipy import sparse

from compile.folding.linear.matrices import Matrix, select
from compile.folding.linear.moves import Shape, Step
from compile.folding.linear.network import CHANNEL, POSITION, Network, Term, View
from compile.folding.linear.views import reshape
from compile.folding.reading.context import NotLinear, integers, known, known_shape, moved, stand_in, text, view_of
from compile.graphs.interpolation import resize_weights
from compile.graphs.nodes import input_at, integer


def _mapped(network: Network, view: View, factors: dict[int, "sparse.csr_array"], step: Step) -> View:
    """Return the view with position axes mapped by weights of their own."""
    weights = [factors.get(axis) for axis in range(len(view.move.shape))]
    return view._replace(move=network.moves.compose(network.moves.axes(view.move.shape, weights, (step,)), view.move))


def kept_apart(network: Network, node: ir.Node, view: View) -> View:
    """Return a value that is a view whose positions were averaged or interpolated, so that it may be kept as it is."""
    if view.move.is_selection:
        return view
    matrix = select(view.channels.reshape(-1), network.values[view.value].channels)
    term = Term(view.value, view.move, None, matrix)
    return network.linear(node.outputs[0], view.shape, view.axes, (term,), np.zeros(matrix.rows))


def read_reduction(network: Network, node: ir.Node, *, mean: bool) -> View:
    """Read a mean or a sum over axes."""
    view = view_of(network, node.inputs[0])
    rank = len(view.axes)
    axes = [axis % rank for axis in integers(node, 1, "axes", range(rank))]
    keep = bool(integer(node, "keepdims", 1))
    channels = [axis for axis in axes if view.axes[axis] == CHANNEL and view.shape[axis] > 1]
    view = _reduce_positions(network, view, [axis for axis in axes if axis not in channels], mean=mean)
    if channels:
        view = _reduce_channels(network, node.outputs[0], view, channels, mean=mean)
    if not keep:
        shape = tuple(size for axis, size in enumerate(view.shape) if axis not in axes)
        view = moved(reshape(network.moves, view, shape))
    return moved(reshape(network.moves, view, known_shape(node.outputs[0])))


def _reduce_positions(network: Network, view: View, axes: Sequence[int], *, mean: bool) -> View:
    inner = [view.axis_of(axis) for axis in axes if view.axes[axis] == POSITION and view.shape[axis] > 1]
    if not inner:
        return view
    sizes = view.move.shape
    weights = {axis: sparse.csr_array(np.full((1, sizes[axis]), 1 / sizes[axis] if mean else 1.0)) for axis in inner}
    shape = tuple(1 if axis in inner else size for axis, size in enumerate(sizes))
    return _mapped(network, view, weights, Step("mean" if mean else "sum", tuple(inner), shape))


def _reduce_channels(network: Network, tensor: ir.Value, view: View, axes: Sequence[int], *, mean: bool) -> View:
    inner = tuple(view.axis_of(axis) for axis in axes)
    left = np.moveaxis(view.channels, inner, range(len(inner))).reshape(
        prod(view.channels.shape[one] for one in inner), -1
    )
    total: Matrix | None = None
    for row in left:
        part = select(row, network.values[view.value].channels, 1 / len(left) if mean else 1.0)
        total = part if total is None else total + part
    if total is None:
        raise NotLinear("it reduces no axis")
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(view.shape))
    term = Term(view.value, view.move, None, total)
    return network.linear(stand_in(tensor, shape), shape, view.axes, (term,), np.zeros(total.rows))


def read_global_pool(network: Network, node: ir.Node) -> View:
    """Read a mean over all positions."""
    view = view_of(network, node.inputs[0])
    axes = range(2, len(view.axes))
    if any(view.axes[axis] == CHANNEL and view.shape[axis] > 1 for axis in axes):
        raise NotLinear("it averages channels")
    return _reduce_positions(network, view, axes, mean=True)


def read_average_pool(network: Network, node: ir.Node) -> View:
    """Read a mean over windows that do not overlap."""
    view = view_of(network, node.inputs[0])
    kernel = integers(node, None, "kernel_shape")
    strides, pads = (
        integers(node, None, "strides", [1] * len(kernel)),
        integers(node, None, "pads", [0] * 2 * len(kernel)),
    )
    spatial = range(2, 2 + len(kernel))
    whole = all(view.shape[axis] % size == 0 for axis, size in zip(spatial, kernel, strict=True))
    if kernel != strides or any(pads) or not whole or any(view.axes[axis] == CHANNEL for axis in spatial):
        raise NotLinear("its windows overlap, are padded, or do not fill the grid")
    return _halved(network, view, dict(zip(spatial, kernel, strict=True)))


def _halved(network: Network, view: View, sizes: dict[int, int]) -> View:
    """Return the mean of each window of ``sizes`` places: the axis cut into (window, place), and the place averaged."""
    shape = tuple(
        part
        for axis, size in enumerate(view.shape)
        for part in ((size // sizes[axis], sizes[axis]) if axis in sizes else (size,))
    )
    cut = moved(reshape(network.moves, view, shape))
    averaged = [axis + 1 + sum(1 for other in sizes if other < axis) for axis in sizes]
    mean = _reduce_positions(network, cut, averaged, mean=True)
    return moved(
        reshape(network.moves, mean, tuple(size // sizes.get(axis, 1) for axis, size in enumerate(view.shape)))
    )


def read_resize(network: Network, node: ir.Node) -> View:
    """Read a linear or nearest resize of positions."""
    view, shape = view_of(network, node.inputs[0]), known_shape(node.outputs[0])
    resized = [axis for axis, (one, other) in enumerate(zip(view.shape, shape, strict=True)) if one != other]
    if any(view.axes[axis] == CHANNEL for axis in resized) or len(view.axes) < 3:
        raise NotLinear("it resizes channels")
    attributes = {name: node.attributes[name].value for name in node.attributes}
    mode, coordinates = (
        str(attributes.get("mode", "nearest")),
        str(attributes.get("coordinate_transformation_mode", "half_pixel")),
    )
    rounding = str(attributes.get("nearest_mode", "round_prefer_floor"))
    plain = not attributes.get("antialias") and not attributes.get("exclude_outside") and "axes" not in attributes
    if (
        not plain
        or input_at(node, 1) is not None
        or coordinates == "tf_crop_and_resize"
        or mode not in ("linear", "nearest")
    ):
        raise NotLinear(f"a {mode} resize with these attributes is not read")
    sizes = {axis: (view.shape[axis], shape[axis]) for axis in resized}
    _require_exact_scales(node, view.shape, shape)
    if (
        mode == "linear"
        and coordinates in ("half_pixel", "pytorch_half_pixel")
        and sizes
        and all(a == 2 * b for a, b in sizes.values())
    ):
        return _halved(network, view, dict.fromkeys(sizes, 2))
    weights = {view.axis_of(axis): resize_weights(*pair, mode, coordinates, rounding) for axis, pair in sizes.items()}
    target = tuple(weights[axis].shape[0] if axis in weights else size for axis, size in enumerate(view.move.shape))
    return _mapped(network, view, weights, Step("resize", (), target, kinds=(mode, coordinates, rounding)))


def _require_exact_scales(node: ir.Node, before: Shape, after: Shape) -> None:
    if input_at(node, 2) is None:
        return
    scales = known(node, 2)
    if scales.size and not np.allclose(scales, np.divide(after, before), rtol=1e-6):
        raise NotLinear("its scales are not the ratio of the sizes")


def read_pad(network: Network, node: ir.Node) -> View:
    """Read a padding of positions with zeros."""
    view = view_of(network, node.inputs[0])
    pads = integers(node, 1, "pads")
    if input_at(node, 3) is not None or str(text(node, "mode", "constant")) != "constant":
        raise NotLinear("it pads with more than zeros")
    if input_at(node, 2) is not None and known(node, 2).any():
        raise NotLinear("it pads with more than zeros")
    rank, weights = len(view.axes), {}
    for axis in range(rank):
        begin, end, size = pads[axis], pads[axis + rank], view.shape[axis]
        if begin or end:
            if view.axes[axis] == CHANNEL or min(begin, end) < 0:
                raise NotLinear("it pads channels, or cuts")
            weights[view.axis_of(axis)] = sparse.csr_array(sparse.eye_array(size + begin + end, size, k=-begin))
    inner = [axis for axis in range(rank) if view.axes[axis] == POSITION]
    ends = (tuple(pads[axis] for axis in inner), tuple(pads[axis + rank] for axis in inner))
    grid = tuple(size + one + other for size, one, other in zip(view.move.shape, *ends, strict=True))
    return _mapped(network, view, weights, Step("pad", (*ends[0], *ends[1]), grid)) if weights else view
