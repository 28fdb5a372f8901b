"""Products of channels with constants: MatMul, Gemm, Einsum and convolutions."""

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from scipy import sparse

from compile.folding.linear.matrices import Array, Matrix, select
from compile.folding.linear.moves import Shape
from compile.folding.linear.network import CHANNEL, POSITION, Network, Term, View
from compile.folding.linear.views import reshape, retype, transpose
from compile.folding.linear.windows import Geometry, window
from compile.folding.reading.context import (
    NotLinear,
    floating,
    floats,
    integers,
    known,
    known_shape,
    moved,
    per_channel,
    stand_in,
    text,
    view_of,
)
from compile.graphs.nodes import input_at, integer

MOST_ENTRIES = 2**26  # of the matrix over all channels that an einsum is


def _contract(
    network: Network, tensor: ir.Value, view: View, letters: str, weight: Array, weight_letters: str, out: str
) -> View:
    """Return the value that sums a view over the letters that a constant shares with it and ``out`` lacks, as einsum does."""
    shared = set(letters) & set(weight_letters)
    axes = "".join(CHANNEL if letter in shared else kind for letter, kind in zip(letters, view.axes, strict=True))
    view = moved(retype(network.moves, view, axes))
    order = sorted(range(len(letters)), key=lambda axis: (axes[axis] == CHANNEL, out.find(letters[axis])))
    view, letters = transpose(network.moves, view, tuple(order)), "".join(letters[axis] for axis in order)
    kinds = dict(zip(letters, view.axes, strict=True))
    out_axes = "".join(kinds.get(letter, CHANNEL) for letter in out)
    inner = [letter for letter in letters if kinds[letter] == CHANNEL]
    outer = [letter for letter in out if kinds.get(letter, CHANNEL) == CHANNEL]
    matrix = _channel_map(view.channels.shape, inner, weight, weight_letters, outer)
    read = select(view.channels.reshape(-1), network.values[view.value].channels)
    sizes = dict(zip(letters, view.shape, strict=True)) | dict(zip(weight_letters, weight.shape, strict=True))
    shape = tuple(sizes[letter] for letter in out)
    term = Term(view.value, view.move, None, matrix @ read)
    return network.linear(stand_in(tensor, shape), shape, out_axes, (term,), np.zeros(matrix.rows))


def _channel_map(sizes: Shape, inner: Sequence[str], weight: Array, letters: str, outer: Sequence[str]) -> Matrix:
    """Return the matrix of an einsum over channel letters: its answer for every unit vector."""
    total = prod(sizes)
    if len(inner) == 1 and len(letters) == 2 and len(outer) == 1:
        return Matrix(np.ascontiguousarray(weight.T if letters[0] == inner[0] else weight))
    names = {letter: chr(ord("A") + number) for number, letter in enumerate([*inner, *letters, *outer])}
    if total * prod(size for letter, size in zip(letters, weight.shape, strict=True) if letter in outer) > MOST_ENTRIES:
        raise NotLinear("its matrix over all channels would be too large")
    basis = np.eye(total).reshape(*sizes, total)
    left, middle, right = ("".join(names[letter] for letter in part) for part in (inner, letters, outer))
    found = np.einsum(f"{left}z,{middle}->{right}z", basis, weight, optimize=True)
    return Matrix(np.ascontiguousarray(found.reshape(-1, total)))


def read_matmul(network: Network, node: ir.Node) -> View:
    """Read a product with a constant, whichever side it stands on."""
    left, right = (floats(value) for value in node.inputs)
    if (left is None) == (right is None):
        raise NotLinear("it multiplies two tensors that the image decides")
    position = 0 if left is None else 1
    weight = right if left is None else left
    view = view_of(network, node.inputs[position])
    if weight is None or weight.ndim < 2 or len(view.axes) < 2:
        raise NotLinear("one side is a vector")
    batch = "abcdefgh"[: max(len(view.axes), weight.ndim) - 2]
    own = {"x": batch[len(batch) + 2 - len(view.axes) :], "w": batch[len(batch) + 2 - weight.ndim :]}
    shape = known_shape(node.outputs[0])
    x = own["x"] + ("mk" if position == 0 else "kn")
    w = own["w"] + ("kn" if position == 0 else "mk")
    weight, w = _without_ones(weight, w)
    view, x = _letters(network, view, x, w, dict(zip(batch, shape, strict=False)))
    return _contract(network, node.outputs[0], view, x, weight, w, batch + "mn")


def _without_ones(weight: Array, letters: str) -> tuple[Array, str]:
    """Drop the batch axes of length 1 of a weight."""
    kept = [axis for axis in range(weight.ndim) if weight.shape[axis] != 1 or axis >= weight.ndim - 2]
    return weight.reshape([weight.shape[axis] for axis in kept]), "".join(letters[axis] for axis in kept)


def _letters(network: Network, view: View, letters: str, other: str, sizes: dict[str, int]) -> tuple[View, str]:
    """Drop a batch axis of length 1 of the view where the weight has that axis; add one where neither has it."""
    drop = [
        axis
        for axis, letter in enumerate(letters)
        if letter in other and letter in sizes and view.shape[axis] == 1 != sizes[letter]
    ]
    if drop:
        shape = tuple(size for axis, size in enumerate(view.shape) if axis not in drop)
        view, letters = (
            moved(reshape(network.moves, view, shape)),
            "".join(one for axis, one in enumerate(letters) if axis not in drop),
        )
    return view, letters


def read_gemm(network: Network, node: ir.Node) -> View:
    """Read a Gemm with a constant matrix and a bias per channel."""
    view, weight = view_of(network, node.inputs[0]), known(node, 1)
    if integer(node, "transA", 0):
        raise NotLinear("its input is transposed")
    letters = "nk" if integer(node, "transB", 0) else "kn"
    alpha, beta = floating(node, "alpha", 1.0), floating(node, "beta", 1.0)
    view = _contract(network, node.outputs[0], view, "mk", weight * alpha, letters, "mn")
    if input_at(node, 2) is not None:
        network.shift(network.values[view.value], per_channel(known(node, 2) * beta, view.shape, view.axes))
    return view


def read_convolution(network: Network, node: ir.Node) -> View:
    """Read a convolution with constant weights, or a transposed one."""
    weight, group = known(node, 1), integer(node, "group", 1)
    spatial, shape = weight.ndim - 2, known_shape(node.outputs[0])
    if text(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID") or "output_shape" in node.attributes:
        raise NotLinear("its padding is left to the runtime")
    strides, dilations = (tuple(integers(node, None, name, [1] * spatial)) for name in ("strides", "dilations"))
    geometry = Geometry(strides, dilations, tuple(integers(node, None, "pads", [0] * 2 * spatial)))
    source = _as_read(network, node, spatial + 2)
    kernel, grids = weight.shape[2:], (network.values[source.value].grid, (shape[0], *shape[2:]))
    one = window(network.moves, node.op_type, grids, kernel, geometry)
    if prod(kernel) > 1 or set(strides) != {1} or any(geometry.pads) or group > 1:
        network.add_window(one)
    terms = tuple(
        Term(source.value, move, None, matrix)
        for move, matrix in zip(one.places, _taps(weight, group, node.op_type), strict=True)
        if move.weights.nnz
    )
    bias = np.zeros(shape[1]) if input_at(node, 2) is None else known(node, 2)
    return network.linear(node.outputs[0], shape, source.axes, terms, bias)


def _taps(weight: Array, group: int, operator: str) -> Iterator[Matrix]:
    """Yield the channel map of each place of a kernel, one block for each group."""
    parts = weight.reshape(group, -1, weight.shape[1], prod(weight.shape[2:]))
    for number in range(parts.shape[3]):
        blocks = parts[..., number] if operator == "Conv" else parts[..., number].transpose(0, 2, 1)
        if group == 1:
            yield Matrix(np.ascontiguousarray(blocks[0]))
        else:
            yield Matrix(sparse.csr_array(sparse.block_diag(list(blocks), format="csr")))


def _as_read(network: Network, node: ir.Node, rank: int) -> View:
    """Return what a convolution reads as a whole value, channels second: where it is a part of one, as a value of its own."""
    view = view_of(network, node.inputs[0])
    axes = "".join(CHANNEL if axis == 1 else POSITION for axis in range(rank))
    view = moved(retype(network.moves, view, axes))
    value = network.values[view.value]
    whole = view.move.is_identity and view.move.shape == value.grid
    if whole and np.array_equal(view.channels.reshape(-1), np.arange(value.channels)):
        return view
    own = ir.Value(name=f"{node.inputs[0].name}/read", shape=ir.Shape(view.shape))  # type: ignore[union-attr]
    term = Term(view.value, view.move, None, select(view.channels.reshape(-1), value.channels))
    return network.linear(own, view.shape, axes, (term,), np.zeros(view.channels.size))


def read_einsum(network: Network, node: ir.Node) -> View:
    """Read an einsum of a tensor and a constant."""
    equation = str(text(node, "equation", "")).replace(" ", "")
    if "->" not in equation or "." in equation or len(node.inputs) != 2:
        raise NotLinear("its equation has another form than two inputs and named axes")
    (left, right), out = equation.split("->")[0].split(","), equation.split("->")[1]
    first, second = (floats(value) for value in node.inputs)
    if (first is None) == (second is None) or any(len(set(part)) != len(part) for part in (left, right, out)):
        raise NotLinear("it multiplies two tensors that the image decides, or reads a diagonal")
    view = view_of(network, node.inputs[0 if first is None else 1])
    weight = second if first is None else first
    letters, weight_letters = (left, right) if first is None else (right, left)
    if weight is None or not set(out) <= set(letters) | set(weight_letters):
        raise NotLinear("its equation has another form than two inputs and named axes")
    if any(letter not in out and letter not in weight_letters for letter in letters):
        raise NotLinear("it sums an axis that its constant does not have")
    return _contract(network, node.outputs[0], view, letters, weight, weight_letters, out)
