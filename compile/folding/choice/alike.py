"""Terms whose matrices are equal up to a number: Σ a_s · M · x_s = M · Σ a_s · x_s, and the same for factors of one source."""

from collections.abc import Sequence

import numpy as np

from compile.folding.linear.expand import C, Reads
from compile.folding.linear.matrices import Array

EQUAL = 1e-9  # relative


def alike(reads: Sequence[Reads[C]]) -> list[list[tuple[Reads[C], float]]]:
    """Group terms that are made by one product, each with its number times the matrix of the first."""
    groups: list[list[tuple[Reads[C], float]]] = []
    for read in reads:
        for group in groups:
            first = group[0][0]
            scale = ratio(first.matrix.fingerprint, read.matrix.fingerprint) if _fits(first, read) else None
            if scale is not None:
                group.append((read, scale))
                break
        else:
            groups.append([(read, 1.0)])
    return groups


def _fits(one: Reads[C], other: Reads[C]) -> bool:
    """Say whether two terms lie alike: with factors they read one source, and what follows them is one."""
    if one.move is not other.move or one.outer_key != other.outer_key or (one.factor is None) != (other.factor is None):
        return False
    return not one.factors or (one.factor is not None and one.source == other.source)


def ratio(one: Array, other: Array) -> float | None:
    """Return the number that turns one array into the other, None where there is none."""
    if one.shape != other.shape:
        return None
    largest = int(np.abs(one).argmax())
    if not other[largest]:
        return None
    scale, middle = other[largest] / one[largest], one.size // 2
    bound = EQUAL * abs(other[largest])
    equal = abs(one[middle] * scale - other[middle]) <= bound and (np.abs(one * scale - other) <= bound).all()
    return float(scale) if equal else None
