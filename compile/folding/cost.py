"""What a kept value costs a target, in multiply-accumulates: products, element-wise work, operators, run-time matrices."""

from collections.abc import Hashable, Sequence
from math import gcd, prod
from typing import NamedTuple

import numpy as np

from compile.folding.expand import Reads
from compile.folding.layout import preferred
from compile.folding.matrices import Array, Matrix, Selection
from compile.folding.network import Network, Value
from compile.folding.windows import Family, families
from targets.folding import Rates


class Probe:
    """A composed matrix as the search knows it: a random row times it, and its entries where it is sparse.

    It remembers what it was composed with: the search takes the same ways again and again.
    """

    def __init__(self, row: Array, structure: Matrix | None, rows: int, blocks: int) -> None:
        self.row, self.structure, self.rows, self.blocks = row, structure, rows, blocks
        self._products: dict[Matrix, Probe] = {}
        self._sums: dict[Probe, Probe] = {}

    def __matmul__(self, other: Matrix) -> "Probe":
        if other not in self._products:
            self._products[other] = self._product(other)
        return self._products[other]

    def __add__(self, other: "Probe") -> "Probe":
        if other not in self._sums:
            self._sums[other] = self._sum(other)
        return self._sums[other]

    def _product(self, other: Matrix) -> "Probe":
        row = other.row(self.row)
        blocks = 1 if self.blocks == 1 else gcd(self.blocks, other.blocks)
        if self.structure is None:
            return Probe(row, None, self.rows, blocks)
        if not other.is_sparse:
            return Probe(row, None, self.structure.live_rows, blocks)
        composed = self.structure @ other
        return Probe(row, composed if composed.is_sparse else None, composed.live_rows, blocks)

    def _sum(self, other: "Probe") -> "Probe":
        both = None
        if self.structure is not None and other.structure is not None:
            both = self.structure + other.structure
        if both is not None and not both.is_sparse:
            both = None
        rows = max(self.rows, other.rows) if both is None else both.live_rows
        return Probe(self.row + other.row, both, rows, gcd(self.blocks, other.blocks))

    @property
    def selection(self) -> Selection | None:
        """The matrix as a selection, if it is one."""
        return None if self.structure is None else self.structure.selection

    @property
    def columns(self) -> int:
        """How many channels it reads."""
        return int(np.count_nonzero(np.abs(self.row) > 1e-14 * np.abs(self.row).max(initial=0)))

    @property
    def is_zero(self) -> bool:
        """Whether nothing is read."""
        return not self.row.any()


class Work(NamedTuple):
    """The parts of a cost; ``shared`` is work that several values ask for and that is done once, by what it is."""

    macs: float = 0.0
    elements: float = 0.0
    operators: float = 0.0
    shared: "frozenset[tuple[Hashable, Work]]" = frozenset()

    def __add__(self, other: "Work") -> "Work":  # type: ignore[override]
        return Work(
            self.macs + other.macs, self.elements + other.elements, self.operators + other.operators,
            self.shared | other.shared,
        )  # fmt: skip

    def priced(self, rates: Rates) -> float:
        """Return the cost in multiply-accumulates."""
        return self.macs + rates.element * self.elements + rates.operator * self.operators


def cost_of(network: Network, value: Value, reads: Sequence[Reads[Probe]], rates: Rates, *, has_bias: bool) -> Work:
    """Return what it takes to compute a kept value of what it reads."""
    reads = [read for read in reads if not read.matrix.is_zero]
    if is_norm_affine(network, value, reads):
        return _affine_work(value, reads[0].source)
    if has_bias and _is_batch_norm(network, value, reads):
        return Work(elements=value.positions * value.channels, operators=1)
    bias = _bias_work(value, reads, has_bias=has_bias)
    windows, reads = families(network, reads)
    work, summands = bias, len(windows)
    for family in windows:
        work += _window_work(family)
    plain = [read for read in reads if read.factor is None]
    chosen = [read for read in plain if read.matrix.selection is not None]
    for read in chosen:
        work += _selection_work(network, value, read)
    summands += _summands(value, chosen)
    dense = _alike([read for read in plain if read.matrix.selection is None])
    for group in dense:
        work += _product_work(network, value, group, rates)
    summands += len(dense)
    gated: dict[tuple[int, int], list[Reads[Probe]]] = {}
    for read in reads:
        if read.factor is not None:
            gated.setdefault((read.source, read.move.uid), []).append(read)
    for scaled in gated.values():
        work += _gated_work(network, value, scaled, rates)
    summands += len(gated)
    return work + Work(elements=max(0, summands - 1) * value.positions * value.channels)


def _window_work(family: Family[Probe]) -> Work:
    """Return what a convolution takes: every place of its kernel over the grid that it goes along."""
    window = family.window
    along = window.shape if window.operator == "Conv" else window.source
    rows, columns = max(read.matrix.rows for read in family.reads), family.reads[0].matrix.row.size
    return Work(macs=float(prod(along) * len(window.places) * rows * columns // family.blocks), operators=1)


def _is_batch_norm(network: Network, value: Value, reads: Sequence[Reads[Probe]]) -> bool:
    """Say whether a value only scales the channels of a source where they lie second, and shifts them: one operator does."""
    if (
        len(reads) != 1
        or reads[0].factor is not None
        or not reads[0].move.is_identity
        or preferred(value.axes) == "last"
    ):
        return False
    selection = reads[0].matrix.selection
    return network.values[reads[0].source].is_source and selection is not None and selection.scales_only


def _bias_work(value: Value, reads: Sequence[Reads[Probe]], *, has_bias: bool) -> Work:
    """Return what a constant part takes: a product adds it for the price of reading it, to other terms it is added."""
    if not has_bias or any(read.factor is None and read.matrix.selection is None for read in reads):
        return Work(elements=float(value.channels if has_bias else 0))
    return Work(elements=value.positions * value.channels, operators=1)


def norm_scaled(network: Network, value: Value) -> int | None:
    """Return the norm's core whose gain and shift a value applies."""
    cores = set(network.cores.values())
    return value.terms[0].source if len(value.terms) == 1 and value.terms[0].source in cores else None


def _affine_work(value: Value, core: int) -> Work:
    """A norm applies the gain and shift of one reader for nothing; those of every other reader cost a product and a sum."""
    elements, operators = 2.0 * value.positions * value.channels, 2.0
    own = Work(elements=-elements, operators=-operators)
    return Work(elements=elements, operators=operators, shared=frozenset({(("core", core), own)}))


def is_norm_affine(network: Network, value: Value, reads: Sequence[Reads[Probe]]) -> bool:
    """Say whether a value is a norm's own gain and shift, which the norm applies for nothing."""
    if len(reads) != 1 or reads[0].source not in network.cores.values() or reads[0].factor is not None:
        return False
    selection = reads[0].matrix.selection
    return (
        selection is not None
        and reads[0].move.is_identity
        and np.array_equal(selection.index, np.arange(value.channels))
    )


def _selection_work(network: Network, value: Value, read: Reads[Probe]) -> Work:
    """Return what it takes to move and scale channels: a scale is free where whoever makes them can apply it."""
    selection = read.matrix.selection
    source = network.values[read.source]
    moved = 0 if read.move.is_identity else 1
    free = not source.is_source or read.source in network.cores.values()
    scaled = 0 if selection is None or free or set(selection.scale.tolist()) <= {0.0, 1.0} else 1
    touched = value.positions * read.matrix.rows
    return Work(elements=touched * (moved + scaled), operators=moved + scaled)


def _summands(value: Value, chosen: Sequence[Reads[Probe]]) -> int:
    """Return how many summands the selections make: those that fill different channels are one concatenation."""
    filled = sum(read.matrix.rows for read in chosen)
    return max(1, -(-filled // value.channels)) if chosen else 0


def _alike(reads: Sequence[Reads[Probe]]) -> list[list[Reads[Probe]]]:
    """Group terms whose matrices are equal up to a number and whose sources lie alike: their sources are added first."""
    groups: list[list[Reads[Probe]]] = []
    for read in reads:
        for group in groups:
            if group[0].move is read.move and proportional(group[0].matrix.row, read.matrix.row):
                group.append(read)
                break
        else:
            groups.append([read])
    return groups


def proportional(one: Array, other: Array) -> bool:
    """Say whether two rows are equal up to a number."""
    if one.shape != other.shape:
        return False
    largest = int(np.abs(one).argmax())
    if not other[largest]:
        return False
    ratio = other[largest] / one[largest]
    middle = one.size // 2
    bound = 1e-9 * abs(other[largest])
    return bool(abs(one[middle] * ratio - other[middle]) <= bound and (np.abs(one * ratio - other) <= bound).all())


def _product_work(network: Network, value: Value, group: Sequence[Reads[Probe]], rates: Rates) -> Work:
    read = group[0]
    source, probe = network.values[read.source], read.matrix
    positions = min(source.positions, value.positions)
    used, columns = probe.columns, source.channels
    work = Work(elements=(len(group) - 1) * source.positions * source.channels)
    if takes_columns(rates, positions, probe.rows, used, columns):
        work += Work(elements=positions * used, operators=1)
        columns = used
    work += Work(macs=float(probe.rows * columns * positions))
    return work + _operator(value, read, rates) + _move_work(network, value, read)


def takes_columns(rates: Rates, positions: int, rows: int, used: int, columns: int) -> bool:
    """Say whether to take the channels that a product reads out of its source is less than to read all of them."""
    return positions * rows * (columns - used) > rates.element * positions * used + rates.operator


def _operator(value: Value, read: Reads[Probe], rates: Rates) -> Work:
    """Return the operator of a product: thin ones over the same channels are one, stacked."""
    if read.matrix.rows >= rates.thin:
        return Work(operators=1)
    return Work(shared=frozenset({(("product", read.source, read.move.uid, value.grid), Work(operators=1))}))


def _move_work(network: Network, value: Value, read: Reads[Probe]) -> Work:
    """Return what it takes to move positions before or after a product: on the side whose grid makes the product smaller."""
    if read.move.is_identity:
        return Work()
    source = network.values[read.source]
    if source.positions >= value.positions:
        work = Work(elements=value.positions * source.channels, operators=1)
        return Work(shared=frozenset({((read.source, read.move.uid), work)}))
    return Work(elements=value.positions * read.matrix.rows, operators=1)


def _gated_work(network: Network, value: Value, family: Sequence[Reads[Probe]], rates: Rates) -> Work:
    """Return the least of: a product for each distinct matrix of scaled channels; one product with a matrix made at run time."""
    distinct = _alike(family)
    source = network.values[family[0].source]
    positions = min(source.positions, value.positions)
    sizes = [group[0].matrix.rows * group[0].matrix.columns for group in distinct]
    scaling = Work(
        macs=float(sum(sizes) * positions), elements=sum(source.positions * group[0].matrix.columns for group in distinct),
        operators=2 * len(distinct),
    )  # fmt: skip
    made = Work(macs=float(max(sizes) * positions), elements=sum(sizes), operators=1 + len(distinct))
    if any(group[0].matrix.selection is not None for group in distinct):
        made = Work(
            elements=sum(source.positions * group[0].matrix.rows for group in distinct), operators=len(distinct)
        )
        scaling = made
    return min(scaling, made, key=lambda work: work.priced(rates)) + _move_work(network, value, family[0])


def rows_of(size: int, seed: int) -> Array:
    """Return the random row that stands for a value of ``size`` channels."""
    return np.random.default_rng((seed, size)).standard_normal(size)
