"""What a kept value costs a target, in multiply-accumulates: products, element-wise work, operators, run-time matrices.

It is what the emitter makes of the value: the same choices (``takes_columns``, ``scales_first``), the same steps, shared alike.
"""

from collections.abc import Hashable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from compile.folding.choice.alike import alike
from compile.folding.choice.probe import Probe, Rows
from compile.folding.linear.expand import Reads
from compile.folding.linear.moves import Move
from compile.folding.linear.network import Network, Value
from compile.folding.linear.windows import Family, families
from compile.folding.nodes.layout import preferred
from targets.folding import Rates

SEGMENTS = 64  # the most parts that a concatenation is made of


class Work(NamedTuple):
    """The parts of a cost; ``shared`` is work that several values ask for and that is done once."""

    macs: float = 0.0
    elements: float = 0.0
    operators: float = 0.0
    shared: "frozenset[Shared]" = frozenset()

    def __add__(self, other: "Work") -> "Work":  # type: ignore[override]
        return Work(
            self.macs + other.macs,
            self.elements + other.elements,
            self.operators + other.operators,
            self.shared | other.shared,
        )

    def priced(self, rates: Rates) -> float:
        """Return the cost in multiply-accumulates."""
        return self.macs + rates.element * self.elements + rates.operator * self.operators


class Shared(NamedTuple):
    """Work by what it is; ``part`` is how many elements each value takes out of it where several share it."""

    key: Hashable
    once: Work
    part: int = 0


def cost_of(network: Network, value: Value, reads: Sequence[Reads[Probe]], rates: Rates, *, has_bias: bool) -> Work:
    """Return what it takes to compute a kept value of what it reads."""
    reads = [read for read in reads if not read.matrix.is_zero]
    if is_norm_affine(network, value, reads):
        return _affine_work(value, reads[0].source)
    if has_bias and _is_batch_norm(network, value, reads):
        return Work(elements=value.positions * value.channels, operators=1)
    work = _bias_work(value, reads, has_bias=has_bias)
    windows, reads = families(network, reads)
    terms = _Terms(network, value, rates)
    for family in windows:
        terms.window(family)
    runtime = _runtime(reads)
    plain = [read for read in reads if not read.factors]
    for read in plain:
        if read.matrix.selection is not None:
            terms.selection(read)
    for group in alike([read for read in plain if read.matrix.selection is None]):
        read, _ = group[0]
        gated = runtime.get((read.source, read.move.uid), [])
        if len(group) == 1 and any(one.outer is not None for one in gated):
            gated.append(read)
        else:
            terms.product(read, len(group) - 1)
    for scaled in runtime.values():
        terms.gated(scaled)
    work += terms.total()
    key = None if windows else _stack_key(value, reads, rates)
    return work if key is None else _stacked(value, work, key)


class _Terms:
    """Collects what the terms of a value take, and how they are added."""

    def __init__(self, network: Network, value: Value, rates: Rates) -> None:
        self.network, self.value, self.rates = network, value, rates
        self.work = Work()
        self.summands: list[Rows] = []
        self.later: dict[int, tuple[Move, int, list[Rows]]] = {}

    def total(self) -> Work:
        """Return the work of all terms, of the moves after them, and of their sum."""
        value = self.value
        for move, positions, summands in sorted(self.later.values(), key=lambda one: one[0].broadcasts):
            live = np.logical_or.reduce(summands)
            self.work += _sum_work(summands, positions)
            for _, places in () if self.summands and move.repeats else self.network.moves.chain(move):
                self.work += Work(elements=places * int(np.count_nonzero(live)), operators=1)
            self.summands.append(live)
        return self.work + _sum_work(self.summands, value.positions, filled=True)

    def window(self, family: Family[Probe]) -> None:
        """A convolution: every place of its kernel over the grid that it goes along."""
        window, first = family.window, family.reads[0].matrix
        along = window.shape if window.operator == "Conv" else window.source
        live = np.logical_or.reduce([read.matrix.live for read in family.reads])
        rows = int(np.count_nonzero(live))
        macs = prod(along) * len(window.places) * rows * first.row.size // family.blocks
        self.work += Work(macs=float(macs), operators=1)
        self.summands.append(live)

    def selection(self, read: Reads[Probe]) -> None:
        """Channels, moved and scaled: a scale is free where whoever makes them can apply it."""
        source, matrix, positions = self.network.values[read.source], read.matrix, self.value.positions
        selection = matrix.selection
        self.work += _moved(self.network, read.source, read.move, source.channels)
        free = not source.is_source or read.source in self.network.cores.values()
        if not free and selection is not None and not set(selection.scale.tolist()) <= {0.0, 1.0}:
            self.work += Work(elements=positions * matrix.rows, operators=1)
        self.summands.append(matrix.live)

    def product(self, read: Reads[Probe], more: int) -> None:
        """A product with a source, or the sum of it and ``more`` that enter through the same matrix."""
        source, probe = self.network.values[read.source], read.matrix
        positions = min(source.positions, self.value.positions)
        used, columns = probe.columns, source.channels
        self.work += Work(elements=more * source.positions * source.channels, operators=more)
        if takes_columns(self.rates, positions, probe.rows, used, columns):
            self.work += Work(elements=source.positions * used, operators=1)
            columns = used
        self.work += Work(macs=float(probe.rows * columns * positions), operators=1)
        self._placed(read, probe.live, columns)

    def gated(self, family: Sequence[Reads[Probe]]) -> None:
        """The terms of one source with factors: a product for each distinct matrix, or one with a matrix made at run time."""
        distinct = [group[0][0] for group in alike(family)]
        source = self.network.values[family[0].source]
        positions = min(source.positions, self.value.positions)
        live = np.logical_or.reduce([read.last.live for read in family])
        rows, count = int(np.count_nonzero(live)), len(distinct)
        if any(read.outer is not None for read in family):
            self._made(distinct, positions, rows, source.channels)
        elif all(read.matrix.selection is not None for read in distinct):
            self.work += Work(elements=(2 * count - 1) * positions * rows, operators=2 * count - 1)
        elif scales_first(self.rates, positions, rows, count):
            macs, elements = count * positions * rows * source.channels, count * positions * source.channels
            self.work += Work(
                macs=float(macs), elements=elements + (count - 1) * positions * rows, operators=3 * count - 1
            )
        else:
            size = rows * source.channels
            self.work += Work(macs=float(positions * size), elements=2 * count * size, operators=2 * count + 1)
        self._placed(family[0], live, source.channels)

    def _made(self, distinct: Sequence[Reads[Probe]], positions: int, rows: int, columns: int) -> None:
        """A matrix that is the sum of constant ones, of some times factors, and of products of two such."""
        self.work += Work(macs=float(positions * rows * columns), elements=(len(distinct) - 1) * rows * columns)
        self.work += Work(operators=len(distinct) + 1)
        for read in distinct:
            if read.outer is not None:
                inner = read.outer.matrix.row.size
                self.work += Work(macs=float(rows * inner * columns), elements=rows * inner, operators=2)
                self.work += Work(elements=inner * columns if read.factor is not None else 0, operators=2)
            elif read.factor is not None:
                self.work += Work(elements=rows * columns, operators=2)

    def _placed(self, read: Reads[Probe], live: Rows, columns: int) -> None:
        """Move positions where that leaves fewer of them: before the product, or after it and the sum of all moved alike."""
        source = self.network.values[read.source]
        if source.positions >= self.value.positions:
            self.work += _moved(self.network, read.source, read.move, columns)
            self.summands.append(live)
        else:
            self.later.setdefault(read.move.uid, (read.move, source.positions, []))[2].append(live)


def _moved(network: Network, source: int, move: Move, channels: int) -> Work:
    """Return what it takes to move a source's positions: each step is made once, whoever asks for it."""
    chain = network.moves.chain(move)
    return Work(
        shared=frozenset(
            Shared((source, step, channels), Work(elements=places * channels, operators=1)) for step, places in chain
        )
    )


def _sum_work(summands: Sequence[Rows], positions: int, *, filled: bool = False) -> Work:
    """Return what it takes to add terms: rows that other terms fill are parts of their own, which are concatenated."""
    if len(summands) < 2:
        return Work()
    if all(one is summands[0] or one.all() for one in summands):
        more = len(summands) - 1
        return Work(elements=float(more * positions * summands[0].size), operators=more)
    live = np.array(summands)
    starts = np.flatnonzero(np.r_[True, (live[:, 1:] != live[:, :-1]).any(axis=0)])
    sizes = np.diff(np.r_[starts, live.shape[1]])
    more = np.maximum(live[:, starts].sum(0) - 1, 0)
    joined = filled and len(starts) > 1
    elements = positions * (int((more * sizes).sum()) + (live.shape[1] if joined else 0))
    return Work(elements=float(elements), operators=int(more.sum()) + joined)


def _runtime(reads: Sequence[Reads[Probe]]) -> dict[tuple[int, int], list[Reads[Probe]]]:
    """Group the terms with factors by what they read."""
    found: dict[tuple[int, int], list[Reads[Probe]]] = {}
    for read in reads:
        if read.factors:
            found.setdefault((read.source, read.move.uid), []).append(read)
    return found


def _stack_key(value: Value, reads: Sequence[Reads[Probe]], rates: Rates) -> Hashable | None:
    """Return what thin values have in common that are made as rows of the same products; None for any other value."""
    if (
        not stacks(value, rates)
        or not reads
        or any(read.outer is None and read.matrix.selection is not None for read in reads)
    ):
        return None
    kinds = sorted((read.source, read.move.uid, read.factor is not None, read.outer_key[::2]) for read in reads)
    return value.grid, preferred(value.axes), tuple(kinds)


def stacks(value: Value, rates: Rates) -> bool:
    """Say whether a value is made as rows of the products of others, if it can be."""
    return value.channels < rates.thin or value.positions == 1


def _stacked(value: Value, work: Work, key: Hashable) -> Work:
    """Share the operators of a value with the others of its stack, which is split."""
    whole = Shared(key, Work(operators=work.operators), value.positions * value.channels)
    return work._replace(operators=0.0, shared=work.shared | {whole})


def _is_batch_norm(network: Network, value: Value, reads: Sequence[Reads[Probe]]) -> bool:
    """Say whether a value only scales the channels of a source where they lie second, and shifts them: one operator does."""
    if len(reads) != 1 or reads[0].factors or not reads[0].move.is_identity or preferred(value.axes) == "last":
        return False
    selection = reads[0].matrix.selection
    return network.values[reads[0].source].is_source and selection is not None and selection.scales_only


def _bias_work(value: Value, reads: Sequence[Reads[Probe]], *, has_bias: bool) -> Work:
    """Return what a constant part takes: a product adds it for the price of reading it, to other terms it is added."""
    if not has_bias or any(not read.factors and read.matrix.selection is None for read in reads):
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
    return Work(elements=elements, operators=operators, shared=frozenset({Shared(("core", core), own)}))


def is_norm_affine(network: Network, value: Value, reads: Sequence[Reads[Probe]]) -> bool:
    """Say whether a value is a norm's own gain and shift, which the norm applies for nothing."""
    if len(reads) != 1 or reads[0].source not in network.cores.values() or reads[0].factors:
        return False
    selection = reads[0].matrix.selection
    return (
        selection is not None
        and reads[0].move.is_identity
        and np.array_equal(selection.index, np.arange(value.channels))
    )


def takes_columns(rates: Rates, positions: int, rows: int, used: int, columns: int) -> bool:
    """Say whether to take the channels that a product reads out of its source is less than to read all of them."""
    return positions * rows * (columns - used) > rates.element * positions * used + rates.operator


def scales_first(rates: Rates, positions: int, rows: int, count: int) -> bool:
    """Say whether to scale the channels of a source for each of ``count`` matrices is less than to make one matrix."""
    more = (count - 1) * positions * rows
    return more + rates.element * count * positions <= rates.element * count * rows
