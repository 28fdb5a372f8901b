"""Linear maps over positions, the same for every channel: where each output position reads, and the steps that compute it.

Two moves with equal weights and shapes are one object, however they were reached. So a roll, a partition into windows and
their inverses cancel, and a half-pixel resize to half the size is the mean of 2×2 places.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Shape: TypeAlias = tuple[int, ...]
Weights: TypeAlias = sparse.csr_array
Chain: TypeAlias = tuple[tuple[int, int], ...]


class Step(NamedTuple):
    """One operator on position axes: its name, its numbers, and the shape it gives.

    Names: reshape; transpose (perm); slice (axis, start, stop, step); gather (axis, places…); expand; mean and sum (axes);
    resize, of the ``kinds`` mode, coordinates and rounding; pad (begins…, ends…); join (axis), whose ``parts`` are steps on
    one input each; window (place in a convolution's kernel).
    """

    name: str
    numbers: tuple[int, ...]
    shape: Shape
    kinds: tuple[str, ...] = ()
    parts: "tuple[tuple[Step, ...], ...]" = ()

    @property
    def effort(self) -> float:
        """A rank among steps that compute the same: how much there is to move."""
        return sum((step.effort for part in self.parts for step in part), EFFORT.get(self.name, 1.0))


EFFORT = {"reshape": 0.1, "resize": 3.0, "window": 100.0}


class Move:
    """A map from positions of shape ``source`` to positions of shape ``shape``, and the least steps known for it."""

    def __init__(self, uid: int, weights: Weights, source: Shape, shape: Shape, steps: tuple[Step, ...]) -> None:
        self.uid, self.weights, self.source, self.shape, self.steps = uid, weights, source, shape, steps

    @property
    def effort(self) -> float:
        """What its steps take, to choose between ways that compute the same."""
        return sum(step.effort for step in self.steps)

    @property
    def is_window(self) -> bool:
        """Whether it is a place of a convolution's kernel, and nothing simpler computes it."""
        return bool(self.steps) and self.steps[0].name == "window"

    @cached_property
    def is_identity(self) -> bool:
        """Whether every position stays where it is; the shape may change."""
        return is_identity(self.weights)

    @cached_property
    def keeps_constants(self) -> bool:
        """Whether a value equal at all positions stays so: every row sums to 1."""
        return bool(np.allclose(self.weights.sum(axis=1), 1.0, rtol=0, atol=1e-12))

    @cached_property
    def is_selection(self) -> bool:
        """Whether every output position is one input position."""
        return bool((np.diff(self.weights.indptr) == 1).all() and (self.weights.data == 1).all())

    @property
    def repeats(self) -> bool:
        """Whether it reads a single position everywhere, and a sum does so by itself."""
        return self.broadcasts and self.steps[-1:] == (Step("expand", (), self.shape),)

    @cached_property
    def broadcasts(self) -> bool:
        """Whether it reads a single position everywhere."""
        return prod(self.source) == 1 and self.is_selection


class Moves:
    """Every move of one network, each once."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, Shape, Shape], Move] = {}
        self._composed: dict[tuple[int, int], Move] = {}
        self._prefixes: dict[tuple[int, Step], int] = {}
        self._chains: dict[int, tuple[tuple[Step, ...], Chain]] = {}

    def get(self, weights: Weights, source: Shape, shape: Shape, steps: tuple[Step, ...]) -> Move:
        """Return the one move with these weights; it keeps the ``steps`` that take least."""
        weights = _canonical(weights)
        key = (_digest(weights), source, shape)
        if is_identity(weights):
            steps = () if source == shape else (Step("reshape", (), shape),)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Move(len(self._known), weights, source, shape, steps)
        elif sum(step.effort for step in steps) < known.effort:
            known.steps = steps
        return known

    def identity(self, shape: Shape, reshaped: Shape | None = None) -> Move:
        """Return the move that changes nothing but the shape."""
        size = prod(shape)
        weights = sparse.csr_array((np.ones(size), np.arange(size), np.arange(size + 1)), shape=(size, size))
        return self.get(weights, shape, shape if reshaped is None else reshaped, ())

    def compose(self, second: Move, first: Move) -> Move:
        """Return the move that is ``first`` and then ``second``."""
        key = (second.uid, first.uid)
        if key not in self._composed:
            steps = first.steps + second.steps
            self._composed[key] = self.get(second.weights @ first.weights, first.source, second.shape, _shorter(steps))
        return self._composed[key]

    def reshape(self, move: Move, shape: Shape) -> Move:
        """Return ``move`` with another shape of the same positions."""
        return move if shape == move.shape else self.compose(self.identity(move.shape, shape), move)

    def chain(self, move: Move) -> Chain:
        """Return for each operator of a move a number, the same for the same operators so far, and how many positions it gives."""
        steps, chain = self._chains.get(move.uid, (None, ()))
        if steps is not move.steps:
            chain = self._chain(move.steps)
            self._chains[move.uid] = move.steps, chain
        return chain

    def _chain(self, steps: tuple[Step, ...]) -> Chain:
        before = -1
        found: list[tuple[int, int]] = []
        for step in steps:
            for part in step.parts:
                found += self._chain(part)
            before = self._prefixes.setdefault((before, step), len(self._prefixes))
            if step.name != "reshape":
                found.append((before, prod(step.shape)))
        return tuple(found)

    def broadcast(self, source: Shape, shape: Shape) -> Move:
        """Return the move that reads a single position everywhere."""
        steps = (Step("reshape", (), (1,) * len(shape)), Step("expand", (), shape))
        return self.index(source, np.zeros(shape, np.int64), steps)

    def index(self, source: Shape, places: NDArray[np.int64], steps: tuple[Step, ...]) -> Move:
        """Return the move whose output position reads the input position in ``places``, an array of the output's shape."""
        flat = places.reshape(-1)
        weights = sparse.csr_array(
            (np.ones(flat.size), flat, np.arange(flat.size + 1)), shape=(flat.size, prod(source))
        )
        return self.get(weights, source, tuple(places.shape), steps)

    def axes(self, source: Shape, factors: Sequence["Weights | None"], steps: tuple[Step, ...]) -> Move:
        """Return the move that maps each axis by its own weights; None leaves an axis as it is."""
        shape = tuple(size if one is None else int(one.shape[0]) for size, one in zip(source, factors, strict=True))
        weights = sparse.csr_array(np.ones((1, 1)))
        for size, one in zip(source, factors, strict=True):
            weights = sparse.csr_array(
                sparse.kron(weights, sparse.eye_array(size) if one is None else one, format="csr")
            )
        return self.get(weights, source, shape, steps)


def places(shape: Shape) -> NDArray[np.int64]:
    """Return the position numbers as an array of the shape."""
    return np.arange(prod(shape), dtype=np.int64).reshape(shape)


def is_identity(weights: Weights) -> bool:
    """Say whether a map reads every position once, in order."""
    rows, columns = weights.shape
    return bool(
        rows == columns == weights.nnz
        and (weights.data == 1).all()
        and np.array_equal(weights.indices, np.arange(rows))
    )


def _shorter(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Drop a reshape that another one follows."""
    following = (*(step.name for step in steps[1:]), "")
    return tuple(step for step, after in zip(steps, following, strict=False) if not step.name == after == "reshape")


def _canonical(weights: Weights) -> Weights:
    kept = sparse.csr_array(weights, copy=True)
    kept.sum_duplicates()
    kept.eliminate_zeros()
    kept.sort_indices()
    return kept


def _digest(weights: Weights) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in (weights.indptr.astype(np.int64), weights.indices.astype(np.int64), np.round(weights.data, 12)):
        digest.update(part.tobytes())
    return digest.digest()
