"""Constant maps over channels in float64, sparse where most entries are zero, so that what stays thin is seen as thin."""

from functools import cached_property
from math import gcd
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array: TypeAlias = NDArray[np.float64]
Index: TypeAlias = NDArray[np.int64]

DENSE_FROM = 0.25  # the share of entries that are not zero, from which on a matrix is stored as an array
TINY = 4096  # entries: an array no larger is looked at, whether it selects


class Matrix:
    """A constant ``rows × columns`` map: channels out from channels in; made of entries, or of a selection alone."""

    def __init__(self, entries: "Array | sparse.csr_array | Selection") -> None:
        if isinstance(entries, Selection):
            self.selection: Selection | None = entries
            self.rows, self.columns = entries.index.size, entries.columns
            return
        self.entries = _stored(entries)
        self.rows, self.columns = (int(size) for size in entries.shape)
        self.selection = _as_selection(self.entries)

    @cached_property
    def entries(self) -> "Array | sparse.csr_array":
        """An array, or a sparse one where most entries are zero."""
        selection = self.selection
        if selection is None:
            raise AssertionError("a matrix without entries is a selection")
        filled = np.flatnonzero(selection.index >= 0)
        values = (selection.scale[filled], (filled, selection.index[filled]))
        return sparse.csr_array(values, shape=(self.rows, self.columns))

    @cached_property
    def is_sparse(self) -> bool:
        """Whether most of its entries are zero by construction."""
        return "entries" not in self.__dict__ or not isinstance(self.entries, np.ndarray)

    @property
    def array(self) -> Array:
        """All entries, ``[rows, columns]``."""
        return self.entries if isinstance(self.entries, np.ndarray) else np.asarray(self.entries.toarray())

    @property
    def fingerprint(self) -> Array:
        """All entries in order, to compare."""
        return self.array.reshape(-1)

    @cached_property
    def blocks(self) -> int:
        """Into how many equal blocks along its diagonal it falls."""
        most = gcd(self.rows, self.columns)
        if most == 1 or (isinstance(self.entries, np.ndarray) and self.entries[0, -1] and self.entries[-1, 0]):
            return 1
        rows, columns = self.entries.nonzero()
        for count in range(most, 1, -1):
            if most % count == 0 and np.array_equal(rows * count // self.rows, columns * count // self.columns):
                return count
        return 1

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """Which rows are not zero."""
        if self.selection is not None:
            return self.selection.index >= 0
        if isinstance(self.entries, np.ndarray):
            return np.asarray(self.entries.any(1))
        return np.asarray(np.diff(self.entries.indptr) > 0)

    @cached_property
    def live_rows(self) -> int:
        """How many rows are not zero."""
        return int(self.live.sum())

    @cached_property
    def _turned(self) -> "Array | sparse.csr_array":
        return self.entries.T if isinstance(self.entries, np.ndarray) else sparse.csr_array(self.entries.T)

    def row(self, row: Array) -> Array:
        """Return ``row`` times the matrix."""
        if self.selection is not None:
            return self.selection.row(row)
        return np.asarray(self._turned @ row)

    def taken(self, columns: Index) -> "Matrix":
        """Return the matrix of some of its columns."""
        return Matrix(self.entries[:, columns])

    @cached_property
    def used(self) -> Index:
        """Which columns are not zero."""
        return np.flatnonzero(self.array.any(0))

    def cut(self, start: int, stop: int) -> "Matrix":
        """Return a run of its rows."""
        return Matrix(self.entries[start:stop])

    def __matmul__(self, other: "Matrix") -> "Matrix":
        first, second = self.selection, other.selection
        if first is not None and first.is_identity:
            return other
        if second is not None and second.is_identity:
            return self
        if first is not None and second is not None:
            return Matrix(first.after(second))
        if first is not None and isinstance(other.entries, np.ndarray):
            return Matrix(other.entries[first.index] * first.scale[:, None])
        return Matrix(self.entries @ other.entries)

    def __add__(self, other: "Matrix") -> "Matrix":
        if self.is_sparse and other.is_sparse:
            return Matrix(self.entries + other.entries)
        return Matrix(self.array + other.array)

    def behind(self, _: object) -> "Matrix":
        """Return what stands behind it and a factor, before anything is composed there."""
        return identity(self.columns)

    def constant(self, bias: Array, _: int) -> Array:
        """Return it times a constant."""
        return np.asarray(self.entries @ bias)

    def scaled(self, rows: Array) -> "Matrix":
        """Return the matrix with every row times its factor in ``rows``."""
        if self.is_sparse:
            return Matrix(sparse.csr_array(sparse.diags_array(rows) @ self.entries))
        return Matrix(self.entries * rows[:, None])


class Selection:
    """Row i reads column ``index[i]`` times ``scale[i]``; −1: the row is zero."""

    def __init__(self, index: Index, scale: Array, columns: int) -> None:
        gone = (index < 0) | (scale == 0)
        if gone.any():
            index, scale = np.where(gone, -1, index), np.where(gone, 0.0, scale)
        self.index, self.scale, self.columns = index, scale, columns

    @cached_property
    def _all(self) -> bool:
        return bool((self.index >= 0).all())

    def row(self, row: Array) -> Array:
        """Return ``row`` times the matrix that this is."""
        index, values = self.index, row * self.scale
        if not self._all:
            index, values = index[index >= 0], values[index >= 0]
        return np.asarray(np.bincount(index, values, self.columns), np.float64)

    def after(self, other: "Selection") -> "Selection":
        """Return what selects of ``other``'s rows as one selection."""
        index, scale = other.index[self.index], other.scale[self.index] * self.scale
        return Selection(index if self._all else np.where(self.index >= 0, index, -1), scale, other.columns)

    @cached_property
    def is_injective(self) -> bool:
        """Whether no column is read twice."""
        read = self.index[self.index >= 0]
        return np.unique(read).size == read.size

    @cached_property
    def scales_only(self) -> bool:
        """Whether every channel stays where it is, and some are scaled."""
        return np.array_equal(self.index, np.arange(self.columns)) and not self.is_unscaled

    @cached_property
    def is_unscaled(self) -> bool:
        """Whether every row is there and every coefficient is 1."""
        return bool((self.index >= 0).all() and (self.scale == 1).all())

    @cached_property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.is_unscaled and np.array_equal(self.index, np.arange(self.columns))


def select(index: Index, columns: int, scale: "Array | float" = 1.0) -> Matrix:
    """Return the map whose row i is column ``index[i]`` times its scale; −1 gives a zero row."""
    return Matrix(Selection(index, np.broadcast_to(np.asarray(scale, np.float64), index.shape), columns))


def identity(size: int) -> Matrix:
    """Return the map that changes nothing."""
    return select(np.arange(size), size)


def diagonal(scale: Array) -> Matrix:
    """Return the map that scales every channel."""
    return select(np.arange(scale.size), scale.size, scale)


def _stored(entries: "Array | sparse.csr_array") -> "Array | sparse.csr_array":
    rows, columns = entries.shape
    size = rows * columns
    if isinstance(entries, np.ndarray):
        if size and np.count_nonzero(entries) < DENSE_FROM * size:
            return sparse.csr_array(entries)
        return entries
    kept = sparse.csr_array(entries)
    kept.eliminate_zeros()
    kept.sort_indices()
    return (
        np.asarray(kept.toarray())
        if kept.nnz >= DENSE_FROM * size and min(rows, columns) > 1 and kept.nnz > max(rows, columns)
        else kept
    )


def _as_selection(entries: "Array | sparse.csr_array") -> Selection | None:
    """Return a matrix as a selection with coefficients, if no row has two entries."""
    if isinstance(entries, np.ndarray):
        return _tiny_selection(entries) if entries.size <= TINY else None
    counts = np.diff(entries.indptr)
    if counts.max(initial=0) > 1:
        return None
    index, scale = np.full(counts.size, -1, np.int64), np.zeros(counts.size)
    index[counts > 0], scale[counts > 0] = entries.indices, entries.data
    return Selection(index, scale, int(entries.shape[1]))


def _tiny_selection(array: Array) -> "Selection | None":
    if (np.count_nonzero(array, axis=1) > 1).any():
        return None
    index = np.where(array.any(1), np.abs(array).argmax(1), -1)
    return Selection(index, np.where(index >= 0, array[np.arange(len(array)), index], 0.0), array.shape[1])
