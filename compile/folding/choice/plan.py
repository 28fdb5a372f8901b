"""What to emit for a set of kept values: their composed terms in float64, and which of them are made together."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from compile.folding.choice.alike import alike
from compile.folding.choice.cost import SEGMENTS, stacks
from compile.folding.linear.expand import Constants, Outer, Reads, expand
from compile.folding.linear.matrices import Array, Matrix, identity, select
from compile.folding.linear.moves import Move
from compile.folding.linear.network import Factor, Network, Value
from compile.folding.linear.windows import Family, families
from compile.folding.nodes.layout import preferred
from targets.folding import Rates


class Scaled(NamedTuple):
    """A factor times a number."""

    factor: Factor
    scale: float


class Product(NamedTuple):
    """A constant matrix over a sum of sources that lie alike; with ``gates``, its columns times the sum of these first.

    ``outer`` follows it. ``made``: it is part of a matrix that is made at run time.
    """

    sources: tuple[tuple[int, float], ...]
    move: Move
    matrix: Matrix
    gates: tuple[Scaled, ...] = ()
    outer: Outer[Matrix] | None = None
    made: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """What it has in common with the products that it is stacked with; in this order they stand."""
        return (
            self.sources,
            self.move.uid,
            self.made,
            len(self.gates),
            () if self.outer is None else self.outer.key[::2],
        )

    @property
    def last(self) -> Matrix:
        """The matrix that gives the rows."""
        return self.matrix if self.outer is None else self.outer.matrix


@dataclass
class Made:
    """A run of rows of a value: selections, products and a constant, which are added."""

    rows: int
    picks: list[Reads[Matrix]] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    windows: list[Family[Matrix]] = field(default_factory=list)
    bias: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def affine(self) -> Reads[Matrix] | None:
        """The selection, if all it does is to scale every channel of a source, and a constant part shifts it."""
        if len(self.picks) != 1 or self.products or self.windows or not self.bias.any():
            return None
        [pick] = self.picks
        scales = pick.move.is_identity and pick.move.source == pick.move.shape and pick.matrix.selection is not None
        selection = pick.matrix.selection if scales else None
        return pick if selection is not None and selection.scales_only else None


@dataclass
class Plan:
    """The kept values and how each is made: its runs of rows, which norm applies it, or with which others it is stacked."""

    made: dict[int, list[Made]]
    norms: dict[int, int]
    stacks: dict[int, tuple[int, ...]]


def make_plan(network: Network, kept: Collection[int], rates: Rates) -> Plan:
    """Compose the terms of every kept value and arrange them."""
    stops = _stops(network, kept)
    constants = Constants(network, stops)
    terms = {
        uid: _compose(network, network.values[uid], stops, constants)
        for uid in sorted(kept)
        if not network.values[uid].is_source
    }
    used = _used(network, terms)
    terms = {uid: one for uid, one in terms.items() if uid in used}
    _absorb_scales(network, terms)
    norms = _norms(network, terms)
    made = {uid: _segments(network, *one) for uid, one in terms.items() if uid not in norms.values()}
    return Plan(made, norms, _stacks(network, made, rates))


def _stops(network: Network, kept: Collection[int]) -> Callable[[int], bool]:
    inside = set(kept)
    return lambda uid: uid in inside or network.values[uid].is_source


Composed = tuple[list[Reads[Matrix]], Array]


def _compose(network: Network, value: Value, stops: Callable[[int], bool], constants: Constants) -> Composed:
    reads = expand(network, value, identity(value.channels), stops)
    return [read for read in reads if read.matrix.live_rows and read.last.live_rows], constants.of(value)


def _used(network: Network, terms: dict[int, Composed]) -> set[int]:
    """Return the kept values that an output depends on."""
    waiting = [uid for uid in terms if network.values[uid].read]
    used = set[int]()
    while waiting:
        uid = waiting.pop()
        if uid not in used:
            used.add(uid)
            if uid in terms:
                waiting += [read.source for read in terms[uid][0]]
                waiting += [factor.value for read in terms[uid][0] for factor in read.factors]
    return used


def _absorb_scales(network: Network, terms: dict[int, Composed]) -> None:
    """Let a value be made with the scale that all its readers give its channels, where they agree and only select."""
    readers: dict[int, set[int]] = {}
    for uid, (reads, _) in terms.items():
        for read in reads:
            readers.setdefault(read.source, set()).add(uid)
    gates = {factor.value for reads, _ in terms.values() for read in reads for factor in read.factors}
    for uid in sorted(set(terms) - gates, reverse=True):
        scale = _agreed(network, [terms[one][0] for one in readers.get(uid, ())], uid)
        if (scale == 1).all():
            continue
        reads, bias = terms[uid]
        terms[uid] = ([read.replaced(read.last.scaled(scale)) for read in reads], bias * scale)
        for other in readers[uid]:
            outer, constant = terms[other]
            changed = [_undone(read, scale) if read.source == uid else read for read in outer]
            terms[other] = (changed, constant)


def _undone(read: Reads[Matrix], scale: Array) -> Reads[Matrix]:
    """Return a selection without the scale that its source has now: exactly 1 where it was that."""
    selection = read.matrix.selection
    if selection is None:
        raise AssertionError("a reader that agreed on a scale selects")
    inner = scale[np.maximum(selection.index, 0)]
    rest = np.where(selection.scale == inner, 1.0, selection.scale / inner)
    return read._replace(matrix=select(selection.index, selection.columns, rest))


def _agreed(network: Network, readers: Sequence[list[Reads[Matrix]]], uid: int) -> Array:
    """Return the number that every reader multiplies a channel by; 1 where they differ, or one reads it otherwise."""
    size = network.values[uid].channels
    low, high = np.full(size, np.inf), np.full(size, -np.inf)
    for channels in network.shown(uid):
        low[channels.reshape(-1)], high[channels.reshape(-1)] = 1, 1
    for reads in readers:
        for read in reads:
            if read.source != uid:
                continue
            selection = read.matrix.selection
            if selection is None or read.factors:
                return np.ones(size)
            rows = selection.index >= 0
            np.minimum.at(low, selection.index[rows], selection.scale[rows])
            np.maximum.at(high, selection.index[rows], selection.scale[rows])
    return np.where((low == high) & np.isfinite(low) & (low != 0), low, 1.0)


def _norms(network: Network, terms: dict[int, Composed]) -> dict[int, int]:
    """Return for each norm's core the value that the norm itself makes: its only reader, if that scales and shifts it."""
    found: dict[int, int] = {}
    for core in network.cores.values():
        readers = [uid for uid, (reads, _) in terms.items() if any(read.source == core for read in reads)]
        if len(readers) == 1:
            [uid] = readers
            reads, _ = terms[uid]
            selection = reads[0].matrix.selection
            alone = len(reads) == 1 and not reads[0].factors and reads[0].move.is_identity and selection is not None
            if not alone or selection is None or network.values[uid].axes != network.values[core].axes:
                continue
            if np.array_equal(selection.index, np.arange(selection.columns)):
                found[core] = uid
                network.affine[uid] = (selection.scale, terms[uid][1])
    return found


def _segments(network: Network, reads: list[Reads[Matrix]], bias: Array) -> list[Made]:
    """Cut the rows of a value where other terms begin: a concatenation is made part by part."""
    windows, reads = families(network, reads)
    parts = [*(family.reads for family in windows), *([read] for read in reads)]
    live = np.array([_live_rows(part) for part in parts]) if parts else np.zeros((0, bias.size), bool)
    starts = np.flatnonzero(np.r_[True, (live[:, 1:] != live[:, :-1]).any(axis=0)])
    if len(starts) > SEGMENTS:
        starts = np.zeros(1, np.int64)
    made = []
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), bias.size], strict=True):
        whole = start == 0 and stop == bias.size
        cut = [
            part if whole else [read.replaced(read.last.cut(start, stop)) for read in part]
            for part, rows in zip(parts, live, strict=True)
            if rows[start:stop].any()
        ]
        kernels = [
            Family(family.window, cut.pop(0))
            for family, rows in zip(windows, live, strict=False)
            if rows[start:stop].any()
        ]
        made.append(_arranged([read for [read] in cut], bias[start:stop]))
        made[-1].windows = kernels
    return made


def _live_rows(reads: Sequence[Reads[Matrix]]) -> NDArray[np.bool_]:
    """Return which rows any of the terms gives something to."""
    return np.array(np.logical_or.reduce([read.last.live for read in reads]), bool)


def _arranged(reads: Sequence[Reads[Matrix]], bias: Array) -> Made:
    """Sort terms into selections and products; add the sources, or the gates, of those whose matrices are equal up to a number."""
    made = Made(bias.size, bias=bias)
    rest: list[Reads[Matrix]] = []
    for read in reads:
        selection = read.matrix.selection
        picks = selection is not None and not read.factors and (selection.index >= 0).all()
        (made.picks if picks else rest).append(read)
    made.products = [_product(group) for group in alike(rest)]
    chained = {(one.sources, one.move.uid) for one in made.products if one.outer is not None}
    for number, one in enumerate(made.products):
        if one.gates or (one.sources, one.move.uid) in chained:
            made.products[number] = one._replace(made=True)
    return made


def _product(group: Sequence[tuple[Reads[Matrix], float]]) -> Product:
    """Return the product of terms with one matrix: of the sum of their sources, or with the sum of their factors."""
    first, _ = group[0]
    gates = tuple(Scaled(read.factor, scale) for read, scale in group if read.factor is not None)
    sources = ((first.source, 1.0),) if gates else tuple((read.source, scale) for read, scale in group)
    return Product(sources, first.move, first.matrix, gates, first.outer)


def _stacks(network: Network, made: dict[int, list[Made]], rates: Rates) -> dict[int, tuple[int, ...]]:
    """Return for each thin value those that are rows of the same products: they read the same channels of the same sources."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for uid, segments in made.items():
        value = network.values[uid]
        if (
            len(segments) != 1
            or segments[0].picks
            or segments[0].windows
            or not stacks(value, rates)
            or not segments[0].products
        ):
            continue
        products = segments[0].products
        if any(product.outer is None and product.matrix.selection is not None for product in products):
            continue
        kinds = sorted(product.key for product in products)
        groups.setdefault((value.grid, preferred(value.axes), tuple(kinds)), []).append(uid)
    return {uid: tuple(group) for group in groups.values() if len(group) > 1 for uid in group}
