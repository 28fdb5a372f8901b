"""The weights of ONNX's Resize along one axis (operator specification, opset 19): linear and nearest."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

Array: TypeAlias = npt.NDArray[np.float64]


def resize_weights(before: int, after: int, mode: str, coordinates: str, rounding: str) -> "sparse.csr_array":
    """Return the weights ``[after, before]`` of one axis resized from ``before`` points to ``after``."""
    points = _coordinates(np.arange(after, dtype=np.float64), before, after, coordinates)
    if mode == "nearest":
        index = np.clip(_round(points, rounding), 0, before - 1).astype(np.int64)
        return sparse.csr_array((np.ones(after), (np.arange(after), index)), shape=(after, before))
    points = np.clip(points, 0, before - 1)
    low = np.minimum(np.floor(points).astype(np.int64), before - 1)
    high = np.minimum(low + 1, before - 1)
    share = points - low
    rows = np.concatenate([np.arange(after)] * 2)
    entries = (np.concatenate([1 - share, share]), (rows, np.concatenate([low, high])))
    return sparse.csr_array(sparse.coo_array(entries, shape=(after, before)))


def _coordinates(index: Array, before: int, after: int, kind: str) -> Array:
    if kind == "align_corners":
        return index * (before - 1) / (after - 1) if after > 1 else index * 0.0
    if kind == "asymmetric":
        return index * before / after
    if kind == "pytorch_half_pixel" and after == 1:
        return index * 0.0
    return (index + 0.5) * before / after - 0.5


def _round(points: Array, rounding: str) -> Array:
    if rounding == "floor":
        return np.floor(points)
    if rounding == "ceil":
        return np.ceil(points)
    return np.ceil(points - 0.5) if rounding == "round_prefer_floor" else np.floor(points + 0.5)
