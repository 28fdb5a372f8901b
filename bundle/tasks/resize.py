"""Arrays of pixels at another size, in NumPy: the nearest pixel, or the mean of the pixels that a new one covers.

A row of the result is at ``(row + 0.5) · scale − 0.5`` of the source, ``scale`` = source / result. Each sum has one order, so
every machine gives the same bytes.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.generic]
Floats: TypeAlias = NDArray[np.float64]
Size: TypeAlias = tuple[int, int]


def nearest(values: Array, size: Size) -> Array:
    """Return ``values`` ``[H, W, ...]`` at another size; each pixel is one of the source."""
    for axis, length in enumerate(size):
        source = values.shape[axis]
        values = values.take((2 * np.arange(length) + 1) * source // (2 * length), axis=axis)
    return values


def smooth(values: Array, size: Size) -> Floats:
    """Return ``values`` ``[H, W, ...]`` at another size: linear between pixels, and over all that a smaller image's pixel covers.

    The kernel is a triangle, as wide as two pixels of the larger image's distance. A kernel that the border cuts keeps sum 1.
    """
    floats = values.astype(np.float64)
    for axis in (1, 0):
        if floats.shape[axis] != size[axis]:
            floats = _smooth_along(floats, size[axis], axis)
    return floats


def _smooth_along(values: Floats, length: int, axis: int) -> Floats:
    source = values.shape[axis]
    scale = source / length
    reach = max(scale, 1.0)
    centre = (np.arange(length) + 0.5) * scale - 0.5
    first = np.floor(centre - reach).astype(np.int64) + 1
    taps = first[:, None] + np.arange(int(np.ceil(2 * reach)))
    weights = np.maximum(0.0, 1.0 - np.abs(taps - centre[:, None]) / reach) * ((taps >= 0) & (taps < source))
    weights /= weights.sum(axis=1, keepdims=True)
    shape = [length if at == axis else 1 for at in range(values.ndim)]
    result = np.zeros([length if at == axis else values.shape[at] for at in range(values.ndim)])
    for tap, weight in zip(np.clip(taps, 0, source - 1).T, weights.T, strict=True):
        result += values.take(tap, axis=axis) * weight.reshape(shape)
    return result
