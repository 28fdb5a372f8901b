"""A graph as a network of linear maps: values of positions × channels, each a sum of terms over others, or a source.

    v  =  Σ over terms  S · (A · diag(g)) · u   +  b

``A`` maps channels and is constant, ``S`` maps positions, ``g`` is a vector that the image decides, or is not there.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compile.folding.linear.matrices import Array, Index, Matrix
from compile.folding.linear.moves import Move, Moves, Shape

POSITION, CHANNEL = "p", "c"


class Factor(NamedTuple):
    """A vector over a term's source channels: channel ``channels[i]`` of ``value``, which has one position; −1 is zero."""

    uid: int
    value: int
    channels: Index


class Term(NamedTuple):
    """What a value reads of another: its channels times ``factor``, mapped by ``matrix``, its positions by ``move``."""

    source: int
    move: Move
    factor: Factor | None
    matrix: Matrix


class View(NamedTuple):
    """A tensor as part of a value: which axes are positions and which channels, and what it shows of each."""

    value: int
    move: Move
    channels: Index
    axes: str

    @property
    def shape(self) -> Shape:
        """The tensor's shape."""
        positions, channels = iter(self.move.shape), iter(self.channels.shape)
        return tuple(next(positions) if axis == POSITION else next(channels) for axis in self.axes)

    def axis_of(self, axis: int) -> int:
        """Return which of the position or of the channel axes a tensor's axis is."""
        return self.axes[:axis].count(self.axes[axis])


class Window(NamedTuple):
    """How a convolution goes over positions: the move of each place of its kernel, in order."""

    operator: str
    source: Shape
    shape: Shape
    kernel: Shape
    strides: Shape
    dilations: Shape
    pads: Shape
    places: tuple[Move, ...]


@dataclass(eq=False)
class Value:
    """Something to compute. A source has no terms; ``axes`` and ``channel_shape`` are the layout of its tensor."""

    uid: int
    tensor: ir.Value
    axes: str
    grid: Shape
    channel_shape: Shape
    terms: tuple[Term, ...] = ()
    bias: Array = field(default_factory=lambda: np.zeros(0))
    is_source: bool = False
    read: bool = False

    @property
    def positions(self) -> int:
        """How many positions it has."""
        return prod(self.grid)

    @property
    def channels(self) -> int:
        """How many channels it has."""
        return prod(self.channel_shape)

    @cached_property
    def has_bias(self) -> bool:
        """Whether its own constant part is not zero."""
        return bool(self.bias.any())

    @property
    def name(self) -> str:
        """The name of its tensor in the graph it came from."""
        return str(self.tensor.name)


class Network:
    """The values of a graph, which view of which value each tensor is, and which nodes are not linear."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.moves = Moves()
        self.views: dict[ir.Value, View] = {}
        self.opaque: list[ir.Node] = []
        self.notes: dict[str, str] = {}
        self.cores: dict[ir.Node, int] = {}
        self.affine: dict[int, tuple[Array, Array]] = {}
        self.needed: list[ir.Value] = []
        self.parts: dict[tuple[ir.Value, bytes], ir.Value] = {}
        self.known: list[Array] = []  # of each value what its channels are for every image; NaN where the image decides
        self.windows: dict[tuple[Shape, Shape], list[Window]] = {}
        self._factors: dict[tuple[int, bytes], Factor] = {}

    def source(self, tensor: ir.Value, shape: Shape, axes: str) -> View:
        """Add a source: a tensor that no linear map makes."""
        return self._add(Value(len(self.values), tensor, axes, *parts_of(shape, axes), is_source=True))

    def linear(self, tensor: ir.Value, shape: Shape, axes: str, terms: tuple[Term, ...], bias: Array) -> View:
        """Add a value that is a sum of terms."""
        grid, channels = parts_of(shape, axes)
        known = self._known(terms, bias)
        if terms and not np.isnan(known).any():
            terms, bias = (), known
        return self._add(Value(len(self.values), tensor, axes, grid, channels, merged(terms), bias), known)

    def shift(self, value: Value, bias: Array) -> None:
        """Add a constant to a value that was just read."""
        value.bias, self.known[value.uid] = value.bias + bias, self.known[value.uid] + bias

    def read(self, tensor: ir.Value) -> None:
        """Note that a tensor that is a view must be there."""
        self.values[self.views[tensor].value].read = True
        self.needed.append(tensor)

    def factor(self, value: int, index: Index) -> Factor:
        """Return the one factor that reads these channels of a value."""
        key = (value, index.tobytes())
        if key not in self._factors:
            self._factors[key] = Factor(len(self._factors), value, index)
        return self._factors[key]

    def add_window(self, window: Window) -> None:
        """Note that a convolution goes over positions so; the smallest kernels come first."""
        known = self.windows.setdefault((window.source, window.shape), [])
        if window not in known:
            known.append(window)
            known.sort(key=lambda one: len(one.places))

    def windows_of(self, grids: Collection[tuple[Shape, Shape]]) -> list[Window]:
        """Return the windows that lead from one grid to another, of all these pairs."""
        return [one for pair in sorted(grids) for one in self.windows.get(pair, ())]

    def shown(self, uid: int) -> Iterator[Index]:
        """Yield the channels of a value that the tensors show which must be there."""
        views = (self.views.get(tensor) for tensor in self.needed)
        return (view.channels for view in views if view is not None and view.value == uid)

    def readers(self) -> dict[int, list[int]]:
        """Return which values read each value."""
        found: dict[int, list[int]] = {value.uid: [] for value in self.values}
        for value in self.values:
            for term in value.terms:
                if value.uid not in found[term.source]:
                    found[term.source].append(value.uid)
        return found

    def undecided(self, term: Term) -> tuple[Array, NDArray[np.bool_]]:
        """Return what a term reads, channel by channel of its source, and which of it the image decides."""
        read = self.known[term.source]
        if term.factor is not None:
            channels = term.factor.channels
            factor = np.where(channels < 0, 0.0, self.known[term.factor.value][np.maximum(channels, 0)])
            read = np.where((read == 0) | (factor == 0), 0.0, read * factor)
        return read, np.isnan(read)

    def _known(self, terms: tuple[Term, ...], bias: Array) -> Array:
        """Return what a sum of terms is for every image, NaN where the image decides."""
        total = bias.astype(np.float64)
        for term in terms:
            read, undecided = self.undecided(term)
            if undecided.all():
                total = np.where(term.matrix.live, np.nan, total)
                continue
            part = term.matrix.entries @ np.where(undecided, 0.0, read)
            lost = (abs(term.matrix.entries) @ undecided.astype(np.float64)) > 0
            if not term.move.keeps_constants:
                lost |= part != 0
            total = np.where(lost, np.nan, total + part)
        return total

    def _add(self, value: Value, known: Array | None = None) -> View:
        self.values.append(value)
        self.known.append(np.full(value.channels, np.nan) if known is None else known)
        channels = np.arange(value.channels, dtype=np.int64).reshape(value.channel_shape)
        view = View(value.uid, self.moves.identity(value.grid), channels, value.axes)
        self.views[value.tensor] = view
        return view


def merged(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Add the matrices of terms that read the same channels of the same value alike."""
    found: dict[tuple[int, int, int], Term] = {}
    for term in terms:
        key = (term.source, term.move.uid, -1 if term.factor is None else term.factor.uid)
        found[key] = found[key]._replace(matrix=found[key].matrix + term.matrix) if key in found else term
    return tuple(found.values())


def parts_of(shape: Shape, axes: str) -> tuple[Shape, Shape]:
    """Return the position axes and the channel axes of a shape."""
    grid = tuple(size for size, axis in zip(shape, axes, strict=True) if axis == POSITION)
    return grid, tuple(size for size, axis in zip(shape, axes, strict=True) if axis == CHANNEL)
