"""What a value reads once the values between it and the kept ones are eliminated.

For every u → x → v through an eliminated x, ``M_vu += M_vx · M_xu``. The same walk serves the search, which pushes one random
row back instead of multiplying matrices, and the composition, which multiplies them in float64.
"""

from collections.abc import Callable, Collection, Hashable
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np

from compile.folding.linear.matrices import Array, Matrix, Selection, select
from compile.folding.linear.moves import Move
from compile.folding.linear.network import Factor, Network, Term, Value


class Coefficient(Protocol):
    """A composed matrix, or what the search needs to know of it."""

    def __matmul__(self: "C", other: Matrix) -> "C": ...

    def __add__(self: "C", other: "C") -> "C": ...

    def behind(self: "C", factor: Factor) -> "C":
        """Return the coefficient behind this one and a factor, before anything is composed there."""

    def constant(self, bias: Array, rows: int) -> Array:
        """Return it times a constant: ``rows`` numbers."""

    @property
    def fingerprint(self) -> Array:
        """What equal matrices have in common."""

    @property
    def selection(self) -> Selection | None:
        """It as a selection, if it is one."""

    @property
    def blocks(self) -> int:
        """Into how many blocks along its diagonal it falls."""


C = TypeVar("C", bound=Coefficient)


class Outer(NamedTuple, Generic[C]):
    """What follows a composed term: ``matrix · diag(factor)``; equal ``key``, the same of both."""

    key: tuple[int, int, int]
    matrix: C
    factor: Factor


class Reads(NamedTuple, Generic[C]):
    """One composed term: the kept value, and how it is read: ``outer · S · matrix · diag(factor)``."""

    source: int
    move: Move
    factor: Factor | None
    matrix: C
    outer: Outer[C] | None = None

    @property
    def last(self) -> C:
        """The matrix that gives the rows."""
        return self.matrix if self.outer is None else self.outer.matrix

    @property
    def outer_key(self) -> tuple[int, ...]:
        """What follows it, by a key."""
        return () if self.outer is None else self.outer.key

    @property
    def factors(self) -> list[Factor]:
        """The factors on its path."""
        outer = [] if self.outer is None else [self.outer.factor]
        return outer if self.factor is None else [*outer, self.factor]

    def replaced(self, last: C) -> "Reads[C]":
        """Return it with another matrix that gives the rows."""
        return (
            self._replace(matrix=last) if self.outer is None else self._replace(outer=self.outer._replace(matrix=last))
        )


class Blocked(Exception):
    """An eliminated value must be kept: three factors meet on one path, or a constant cannot pass."""

    def __init__(self, value: int, reason: str) -> None:
        super().__init__(reason)
        self.value = value


Passed: TypeAlias = dict[Hashable, list[Reads[C]]]


def expand(
    network: Network, value: Value, start: C, stops: Callable[[int], bool], passed: Passed[C] | None = None
) -> list[Reads[C]]:
    """Return what ``value`` reads of the values that ``stops`` says are there.

    ``passed`` keeps, from one call to the next, what is read in place of a value. It holds for one network.

    Raises:
        Blocked: a value between them cannot be eliminated.
    """
    pending: dict[int, dict[Hashable, Reads[C]]] = {}
    found: list[Reads[C]] = []
    for term in value.terms:
        _collect(pending, Reads(term.source, term.move, term.factor, start @ term.matrix))
    while pending:
        uid = max(pending)
        reads = pending.pop(uid)
        if stops(uid):
            found += reads.values()
        else:
            for read in reads.values():
                for through in _through(network, read) if passed is None else _known(network, read, passed):
                    _collect(pending, through)
    return found


def _known(network: Network, read: Reads[C], passed: Passed[C]) -> list[Reads[C]]:
    outer = None if read.outer is None else read.outer.matrix
    key = (read.source, read.move.uid, read.factor and read.factor.uid, read.matrix, read.outer_key, outer)
    if key not in passed:
        passed[key] = _through(network, read)
    return passed[key]


class Constants:
    """The constant part of every value, composed over the values that are not kept; their composition is known to be allowed."""

    def __init__(self, network: Network, stops: Callable[[int], bool]) -> None:
        self.network, self.stops = network, stops
        self._known: dict[int, Array] = {}

    def of(self, value: Value) -> Array:
        """Return what is added to each channel; terms with a factor have no constant behind them."""
        if value.uid not in self._known:
            total = value.bias.astype(np.float64)
            for term in value.terms:
                if term.factor is None and not self.stops(term.source):
                    total = total + term.matrix.entries @ self.of(self.network.values[term.source])
            self._known[value.uid] = total
        return self._known[value.uid]


def _collect(pending: dict[int, dict[Hashable, Reads[C]]], read: Reads[C]) -> None:
    alike = pending.setdefault(read.source, {})
    key = (read.move.uid, -1 if read.factor is None else read.factor.uid, read.outer_key)
    known = alike.get(key)
    alike[key] = read if known is None else read._replace(matrix=known.matrix + read.matrix)


def _through(network: Network, read: Reads[C]) -> list[Reads[C]]:
    """Return what is read of the terms of an eliminated value in place of it."""
    inner = network.values[read.source]
    found = [_composed(network, read, term) for term in inner.terms]
    if inner.has_bias and not read.move.keeps_constants:
        raise Blocked(inner.uid, "its constant part does not pass the padding")
    if inner.has_bias and (read.factor is not None or read.outer is not None):
        found.append(_constant(network, read, inner))
    return found


def _constant(network: Network, read: Reads[C], inner: Value) -> Reads[C]:
    """Return the constant part of an eliminated value, times a factor, as a term of the factor's own value."""
    matrix, factor, bias, outer = read.matrix, read.factor, inner.bias, read.outer
    if factor is None and outer is not None:
        bias = matrix.constant(bias, outer.factor.channels.size)
        matrix, factor, outer = outer.matrix, outer.factor, None
    if factor is None:
        raise AssertionError("a constant with no factor before it is no term")
    gate = network.values[factor.value]
    move = network.moves.broadcast(gate.grid, read.move.shape)
    return Reads(gate.uid, move, None, matrix @ select(factor.channels, gate.channels, bias), outer)


def _composed(network: Network, read: Reads[C], term: Term) -> Reads[C]:
    if read.move.is_window or term.move.is_window:
        _require_whole_window(read, term)
    factor, move = term.factor, network.moves.compose(read.move, term.move)
    if read.factor is not None:
        selection = term.matrix.selection
        if factor is not None or selection is None or not selection.is_injective:
            if read.outer is not None:
                raise Blocked(
                    read.source, "three factors of the image stand on one path, or it mixes channels before two"
                )
            outer = Outer((read.source, read.factor.uid, read.move.uid), read.matrix, read.factor)
            return Reads(term.source, move, factor, read.matrix.behind(read.factor) @ term.matrix, outer)
        index = np.full(selection.columns, -1, np.int64)
        rows = np.flatnonzero(selection.index >= 0)
        index[selection.index[rows]] = read.factor.channels[rows]
        factor = network.factor(read.factor.value, index)
    return Reads(term.source, move, factor, read.matrix @ term.matrix, read.outer)


def _require_whole_window(read: Reads[C], term: Term) -> None:
    """A convolution's places stay as they are, and no factor stands before them.

    Raises:
        Blocked: they would not.
    """
    other = term.move if read.move.is_window else read.move
    scaled = read.factor is not None or read.outer is not None or term.factor is not None
    if not (other.is_identity and other.source == other.shape) or scaled:
        raise Blocked(read.source, "a convolution reads it, or makes it, and its positions are moved besides")


def reached(network: Network, value: Value, stops: Callable[[int], bool]) -> tuple[Collection[int], Collection[int]]:
    """Return the eliminated values behind a value, and the linear kept ones at their end."""
    inner, ends = set[int](), set[int]()
    waiting = [term.source for term in value.terms]
    while waiting:
        uid = waiting.pop()
        if uid in inner or uid in ends:
            continue
        if stops(uid):
            ends.add(uid)
        else:
            inner.add(uid)
            waiting += [term.source for term in network.values[uid].terms]
    return inner, ends
