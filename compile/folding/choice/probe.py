"""A composed matrix as the search knows it: what it does to a random row, and its structure where that is sparse."""

from functools import cached_property
from math import gcd

import numpy as np
from numpy.typing import NDArray

from compile.folding.linear.matrices import Array, Matrix, Selection, identity
from compile.folding.linear.network import Factor

Rows = NDArray[np.bool_]


class Probe:
    """A random row times a composed matrix, which of its rows are not zero, and its entries where it is sparse.

    It remembers what it was composed with: the search takes the same ways again and again.
    """

    def __init__(self, row: Array, structure: Matrix | None, live: Rows, blocks: int) -> None:
        self.row, self.structure, self.live, self.blocks = row, structure, live, blocks
        self._products: dict[Matrix, Probe] = {}
        self._sums: dict[Probe, Probe] = {}
        self._behind: dict[int, Probe] = {}

    def __matmul__(self, other: Matrix) -> "Probe":
        if other not in self._products:
            self._products[other] = self._product(other)
        return self._products[other]

    def __add__(self, other: "Probe") -> "Probe":
        if other not in self._sums:
            self._sums[other] = self._sum(other)
        return self._sums[other]

    def behind(self, factor: Factor) -> "Probe":
        """Return the row times a factor, for which random numbers stand."""
        if factor.uid not in self._behind:
            scale = np.random.default_rng((factor.uid, self.row.size)).standard_normal(self.row.size)
            self._behind[factor.uid] = Probe(self.row * scale, None, self.live, 1)
        return self._behind[factor.uid]

    def constant(self, _: Array, rows: int) -> Array:
        """Return some constant: no more is known than that it is one."""
        return np.ones(rows)

    def _product(self, other: Matrix) -> "Probe":
        row = other.row(self.row)
        blocks = 1 if self.blocks == 1 else gcd(self.blocks, other.blocks)
        if self.structure is None or not other.is_sparse:
            return Probe(row, None, self.live, blocks)
        composed = self.structure @ other
        return Probe(row, composed if composed.is_sparse else None, composed.live, blocks)

    def _sum(self, other: "Probe") -> "Probe":
        both = None
        if self.structure is not None and other.structure is not None:
            both = self.structure + other.structure
        live = self.live | other.live if both is None else both.live
        structure = both if both is not None and both.is_sparse else None
        return Probe(self.row + other.row, structure, live, gcd(self.blocks, other.blocks))

    @property
    def fingerprint(self) -> Array:
        """What equal matrices have in common."""
        return self.row

    @property
    def selection(self) -> Selection | None:
        """The matrix as a selection, if it is one."""
        return None if self.structure is None else self.structure.selection

    @cached_property
    def rows(self) -> int:
        """How many rows are not zero."""
        return int(np.count_nonzero(self.live))

    @cached_property
    def columns(self) -> int:
        """How many channels it reads."""
        return int(np.count_nonzero(np.abs(self.row) > 1e-14 * np.abs(self.row).max(initial=0)))

    @cached_property
    def is_zero(self) -> bool:
        """Whether nothing is read."""
        return not self.row.any()


def probe(size: int, seed: int) -> Probe:
    """Return the probe of a value of ``size`` channels that reads itself."""
    row = np.random.default_rng((seed, size)).standard_normal(size)
    return Probe(row, identity(size), np.ones(size, bool), size)
