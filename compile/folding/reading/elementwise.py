"""Sums, products and concatenations of tensors, and their products with constants."""

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from compile.folding.linear.matrices import Array, Index, select
from compile.folding.linear.moves import Shape
from compile.folding.linear.network import CHANNEL, POSITION, Network, Term, View, parts_of
from compile.folding.linear.views import expand, join, leading, retype
from compile.folding.reading.context import NotLinear, floating, floats, known, known_shape, moved, per_channel, view_of
from compile.graphs.nodes import integer


def read_add(network: Network, node: ir.Node) -> View:
    """Read a sum."""
    return _sum(network, node, [1.0] * len(node.inputs))


def read_subtract(network: Network, node: ir.Node) -> View:
    """Read a difference."""
    return _sum(network, node, [1.0, -1.0])


def read_mean(network: Network, node: ir.Node) -> View:
    """Read a mean of several tensors."""
    return _sum(network, node, [1 / len(node.inputs)] * len(node.inputs))


def _sum(network: Network, node: ir.Node, signs: Sequence[float]) -> View:
    shape, tensor = known_shape(node.outputs[0]), node.outputs[0]
    arrays = [floats(value) for value in node.inputs]
    views = [view_of(network, value) for value, array in zip(node.inputs, arrays, strict=True) if array is None]
    axes = _common_axes(network, views, shape)
    views = [_broadcast(network, view, shape, axes) for view in views]
    scales = [sign for sign, array in zip(signs, arrays, strict=True) if array is None]
    terms = tuple(
        Term(view.value, view.move, None, select(view.channels.reshape(-1), network.values[view.value].channels, scale))
        for view, scale in zip(views, scales, strict=True)
    )
    bias = np.zeros(terms[0].matrix.rows)
    for sign, array in zip(signs, arrays, strict=True):
        if array is not None:
            bias = bias + sign * per_channel(array, shape, axes)
    return network.linear(tensor, shape, axes, terms, bias)


def _common_axes(network: Network, views: Sequence[View], shape: Shape) -> str:
    """Return the kinds of the axes of a result that tensors are broadcast to: where they are longer than 1, they agree."""
    kinds: list[set[str]] = [set() for _ in shape]
    fallback = ["p"] * len(shape)
    for view in views:
        offset = len(shape) - len(view.axes)
        for axis, (size, kind) in enumerate(zip(view.shape, view.axes, strict=True)):
            fallback[axis + offset] = kind
            if size != 1:
                kinds[axis + offset].add(kind)
    if any(len(one) > 1 for one in kinds):
        raise NotLinear("its inputs differ in which axis holds the channels")
    return "".join(next(iter(one)) if one else other for one, other in zip(kinds, fallback, strict=True))


def _broadcast(network: Network, view: View, shape: Shape, axes: str) -> View:
    view = leading(network.moves, view, len(shape))
    kinds = "".join(kind if size == 1 else one for size, one, kind in zip(view.shape, view.axes, axes, strict=True))
    return expand(network.moves, moved(retype(network.moves, view, kinds)), shape)


def read_multiply(network: Network, node: ir.Node) -> View:
    """Read a product with a constant, or with a vector that the image decides."""
    arrays = [floats(value) for value in node.inputs]
    shape = known_shape(node.outputs[0])
    if arrays[0] is None and arrays[1] is None:
        return _gate(network, node, shape)
    position = 0 if arrays[0] is None else 1
    scale = arrays[1 - position]
    return _scaled(network, node, position, np.asarray(scale, np.float64), shape)


def read_divide(network: Network, node: ir.Node) -> View:
    """Read a quotient by a constant."""
    by = floats(node.inputs[1])
    if by is None or not by.all():
        raise NotLinear("it divides by what the image decides, or by zero")
    return _scaled(network, node, 0, 1.0 / by, known_shape(node.outputs[0]))


def read_negate(network: Network, node: ir.Node) -> View:
    """Read a change of sign."""
    return _scaled(network, node, 0, -np.ones(()), known_shape(node.outputs[0]))


def _scaled(network: Network, node: ir.Node, position: int, scale: Array, shape: Shape) -> View:
    view = view_of(network, node.inputs[position])
    axes = _scaled_axes(network, view, scale, shape)
    view = _broadcast(network, view, shape, axes)
    factors = per_channel(scale, shape, axes)
    matrix = select(view.channels.reshape(-1), network.values[view.value].channels, factors)
    return network.linear(
        node.outputs[0], shape, axes, (Term(view.value, view.move, None, matrix),), np.zeros(matrix.rows)
    )


def _scaled_axes(network: Network, view: View, scale: Array, shape: Shape) -> str:
    """Return the kinds of a scaled tensor's axes: an axis that only the constant has is a channel axis."""
    axes = list(_common_axes(network, [view], shape))
    wide = (1,) * (len(shape) - scale.ndim) + scale.shape
    own = (1,) * (len(shape) - len(view.axes)) + view.shape
    for axis, (size, mine) in enumerate(zip(wide, own, strict=True)):
        if size != 1 and mine == 1:
            axes[axis] = CHANNEL
    return "".join(axes)


def read_batch_norm(network: Network, node: ir.Node) -> View:
    """Read a batch norm whose statistics are constant."""
    gain, shift, mean, variance = (known(node, index) for index in range(1, 5))
    scale = gain / np.sqrt(variance + floating(node, "epsilon", 1e-5))
    view = view_of(network, node.inputs[0])
    axes = "".join(CHANNEL if axis == 1 else POSITION for axis in range(len(view.axes)))
    view = moved(retype(network.moves, view, axes))
    matrix = select(view.channels.reshape(-1), network.values[view.value].channels, scale)
    term = Term(view.value, view.move, None, matrix)
    return network.linear(node.outputs[0], known_shape(node.outputs[0]), axes, (term,), shift - mean * scale)


def _one_position(network: Network, node: ir.Node, gate: View) -> View:
    """Return a view of one position of a value that has several as a value of its own: a factor has but one."""
    value = network.values[gate.value]
    if value.positions == 1:
        return gate
    term = Term(value.uid, gate.move, None, select(gate.channels.reshape(-1), value.channels))
    shape = gate.shape
    tensor = ir.Value(name=f"{node.outputs[0].name}/gate", shape=ir.Shape(shape), type=node.outputs[0].type)
    return network.linear(tensor, shape, gate.axes, (term,), np.zeros(gate.channels.size))


def _gate(network: Network, node: ir.Node, shape: Shape) -> View:
    """Read the product of a map and a vector that the image decides: one of the two has a single position."""
    views = [view_of(network, value) for value in node.inputs]
    single = [prod(view.move.shape) == 1 for view in views]
    if single[0] == single[1]:
        raise NotLinear("it multiplies two tensors that the image decides")
    body, gate = (views[1], views[0]) if single[0] else (views[0], views[1])
    axes = _common_axes(network, views, shape)
    body, gate = (_broadcast(network, view, shape, axes) for view in (body, _one_position(network, node, gate)))
    source = network.values[body.value]
    uid, channels = _picked(network, gate)
    network.values[uid].read = True
    rows = np.where(channels < 0, -1, body.channels.reshape(-1))
    terms = tuple(
        Term(source.uid, body.move, network.factor(uid, factor), select(rows, source.channels))
        for rows, factor in _injective(rows, channels, source.channels)
    )
    return network.linear(node.outputs[0], shape, axes, terms, np.zeros(prod(body.channels.shape)))


def _picked(network: Network, gate: View) -> tuple[int, Index]:
    """Return the value whose channels a gate only picks, and which; −1 where the gate is zero for every image."""
    value, channels = network.values[gate.value], gate.channels.reshape(-1)
    channels = np.where(network.known[value.uid][channels] == 0, -1, channels)
    if len(value.terms) != 1 or value.has_bias or value.terms[0].factor is not None:
        return value.uid, channels
    [term] = value.terms
    picks = term.matrix.selection
    if picks is None or not term.move.is_identity or not np.isin(picks.scale[picks.index >= 0], (0, 1)).all():
        return value.uid, channels
    return term.source, np.where(channels < 0, -1, picks.index[np.maximum(channels, 0)])


def _injective(rows: Index, gates: Index, columns: int) -> list[tuple[Index, Index]]:
    """Part rows so that in each part no column is read twice; return of each its rows and the gate of every column.

    A row of −1 reads nothing.
    """
    order = np.argsort(rows, kind="stable")
    counts = np.zeros(rows.size, np.int64)
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts[order] = np.arange(rows.size) - np.repeat(starts, np.diff(np.r_[starts, rows.size]))
    parts = []
    counts[rows < 0] = 0
    for number in range(int(counts.max()) + 1):
        chosen = (counts == number) & (rows >= 0)
        factor = np.full(columns, -1, np.int64)
        factor[rows[chosen]] = gates[chosen]
        parts.append((np.where(chosen, rows, -1), factor))
    return parts


def read_concat(network: Network, node: ir.Node) -> View:
    """Read a concatenation: along positions of one value, or along channels."""
    shape = known_shape(node.outputs[0])
    axis = integer(node, "axis", 0) % len(shape)
    views = [view_of(network, value) for value in node.inputs]
    axes = list(_common_axes(network, views, tuple(-1 for _ in shape)) if len(views) else "")
    if all(view.shape[axis] == 1 for view in views):
        axes[axis] = CHANNEL
    kinds = "".join(axes)
    views = [moved(retype(network.moves, view, kinds)) for view in views]
    whole = join(network.moves, views, axis)
    if whole is not None:
        return whole
    if kinds[axis] == POSITION:
        raise NotLinear("it joins positions of different tensors")
    _, channels = parts_of(shape, kinds)
    inner, begin, terms = kinds[:axis].count(CHANNEL), 0, []
    for view in views:
        size = view.channels.shape[inner]
        rows = np.full(channels, -1, np.int64)
        rows[(slice(None),) * inner + (slice(begin, begin + size),)] = view.channels
        terms.append(Term(view.value, view.move, None, select(rows.reshape(-1), network.values[view.value].channels)))
        begin += size
    return network.linear(node.outputs[0], shape, kinds, tuple(terms), np.zeros(prod(channels)))
