"""Convolutions as sums of linear maps: v = Σ_k S_k(u)·W_kᵀ, where S_k reads position k of every window of the kernel.

A convolution with constant weights is then a value like any other. A scale of its channels, a batch norm or a channel map
behind it is eliminated. So is another convolution of the same tensor whose window positions coincide with its own. The terms
of one source whose moves are positions of a known window are emitted as one convolution.
"""

from collections.abc import Sequence
from math import gcd, prod
from typing import Generic, NamedTuple

import numpy as np
from scipy import sparse

from compile.folding.linear.expand import C, Reads
from compile.folding.linear.matrices import Array, Matrix
from compile.folding.linear.moves import Move, Moves, Shape, Step, Weights
from compile.folding.linear.network import Network, Window


class Family(NamedTuple, Generic[C]):
    """The terms of one source that are one convolution."""

    window: Window
    reads: list[Reads[C]]

    @property
    def blocks(self) -> int:
        """Into how many groups of channels it falls."""
        return gcd(*(read.matrix.blocks for read in self.reads))


def window(moves: Moves, operator: str, grids: tuple[Shape, Shape], kernel: Shape, geometry: "Geometry") -> Window:
    """Return the window of a convolution from one grid to another, with its moves; a grid's first axis is the batch."""
    source, shape = grids
    axes = [
        [_place(operator, before, after, geometry, axis, place) for place in range(size)]
        for axis, (before, after, size) in enumerate(zip(source[1:], shape[1:], kernel, strict=True))
    ]
    places = []
    for index in np.ndindex(*kernel):
        factors = [None, *(axis[place] for axis, place in zip(axes, index, strict=True))]
        places.append(moves.axes(source, factors, (Step("window", index, shape),)))
    return Window(operator, source, shape, kernel, geometry.strides, geometry.dilations, geometry.pads, tuple(places))


class Geometry(NamedTuple):
    """How a kernel goes over positions; ``pads`` are all begins, then all ends."""

    strides: Shape
    dilations: Shape
    pads: Shape


def _place(operator: str, before: int, after: int, geometry: Geometry, axis: int, place: int) -> Weights:
    """Return the map along one axis of one place of the kernel: out = in · stride + place, or the other way round."""
    inner, outer = (after, before) if operator == "Conv" else (before, after)
    near = np.arange(inner)
    far = near * geometry.strides[axis] + place * geometry.dilations[axis] - geometry.pads[axis]
    inside = (far >= 0) & (far < outer)
    rows, columns = (near, far) if operator == "Conv" else (far, near)
    entries = (np.ones(int(inside.sum())), (rows[inside], columns[inside]))
    return sparse.csr_array(sparse.coo_array(entries, shape=(after, before)))


def families(network: Network, reads: Sequence[Reads[C]]) -> tuple[list[Family[C]], list[Reads[C]]]:
    """Return the terms that are convolutions, and the others."""
    found: list[Family[C]] = []
    rest = list(reads)
    if not network.windows:
        return found, rest
    for source in dict.fromkeys(read.source for read in reads):
        while (family := _family(network, [read for read in rest if read.source == source])) is not None:
            found.append(family)
            taken = {id(read) for read in family.reads}
            rest = [read for read in rest if id(read) not in taken]
    return found, rest


def _family(network: Network, reads: Sequence[Reads[C]]) -> Family[C] | None:
    """Return the convolution that the most terms of a source are, if any are one."""
    best: Family[C] | None = None
    for one in network.windows_of({(read.move.source, read.move.shape) for read in reads}):
        inside = {move.uid for move in one.places}
        family = Family(one, [read for read in reads if not read.factors and read.move.uid in inside])
        spread = [read for read in family.reads if not _stays(read.move)]
        if spread and len(spread) < len(family.reads) and Family(one, spread).blocks > family.blocks:
            family = Family(one, spread)
        is_grouped = family.reads and family.reads[0].matrix.selection is None and family.blocks > 1
        if (spread or is_grouped) and (best is None or len(family.reads) > len(best.reads)):
            best = family
    return best


def _stays(move: Move) -> bool:
    return move.is_identity and move.source == move.shape


def weights_of(family: Family[Matrix]) -> Array:
    """Return the weights of a convolution as ONNX has them."""
    groups = family.blocks
    rows, columns = family.reads[0].matrix.rows, family.reads[0].matrix.columns
    by_move = {read.move.uid: read.matrix for read in family.reads}
    first, second = (rows, columns // groups) if family.window.operator == "Conv" else (columns, rows // groups)
    found = np.zeros((first, second, prod(family.window.kernel)))
    for place, move in enumerate(family.window.places):
        matrix = by_move.pop(move.uid, None)
        if matrix is not None:
            parts = matrix.array.reshape(groups, rows // groups, groups, columns // groups)
            blocks = np.stack([parts[group, :, group] for group in range(groups)])
            turned = blocks if family.window.operator == "Conv" else blocks.transpose(0, 2, 1)
            found[:, :, place] = turned.reshape(first, second)
    return found.reshape(first, second, *family.window.kernel)


def output_padding(window: Window) -> Shape:
    """Return how many places more than its kernel reaches a transposed convolution has at the end of each axis."""
    spatial = len(window.kernel)
    return tuple(
        after - ((before - 1) * stride + (size - 1) * dilation + 1 - window.pads[axis] - window.pads[axis + spatial])
        for axis, (before, after, size, stride, dilation) in enumerate(
            zip(window.source[1:], window.shape[1:], window.kernel, window.strides, window.dilations, strict=True)
        )
    )
