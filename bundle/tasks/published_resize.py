"""Images and labels at another size, as the published evaluation code resizes them: with OpenCV's rules, in NumPy.

A row of the result is at ``(row + 0.5) · scale − 0.5`` of the source, ``scale`` = source / result, and pixels outside repeat
the border. The cubic kernel is Keys' with a = −0.75. Nothing is smoothed before it is made smaller.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.tasks.resize import Floats, Size
from bundle.tasks.spec import Array, Overshoot

Image: TypeAlias = NDArray[np.uint8]
_A = np.float32(-0.75)


def resize_image(image: Array, size: Size, overshoot: Overshoot) -> Image:
    """Return ``image`` with ``size`` rows and columns by cubic interpolation, which overshoots at sharp edges.

    ``as-published`` cuts the fraction off and keeps the lowest byte, so 256 becomes 0. ``clipped`` rounds and clips.
    """
    return _BYTES[overshoot](cubic(image.astype(np.float64), size))


def resize_label(label: Array, size: Size) -> Array:
    """Return a label at another size: the nearest pixel of numbers, directions by cubic interpolation with length 1."""
    if not np.issubdtype(label.dtype, np.floating):
        return nearest(label, size)
    return unit(cubic(label.astype(np.float64), size))


def unit(vectors: Floats) -> Floats:
    """Return vectors ``[H, W, 3]`` with length 1; a zero vector stays zero."""
    length = np.sqrt((vectors**2).sum(axis=2, keepdims=True))
    return np.asarray(vectors / np.where(length > 0, length, 1.0))


def encode_directions(vectors: Floats) -> Array:
    """Return directions ``[H, W, 3]`` of length 1 as bytes (n + 1) · 127.5; a zero vector becomes (0, 0, 0), invalid."""
    bytes_ = np.rint((vectors + 1) * 127.5)
    return np.where(vectors.any(axis=2, keepdims=True), bytes_, 0).astype(np.uint8)


def nearest(values: Array, size: Size) -> Array:
    """Return ``values`` ``[H, W, ...]`` at another size; each pixel is one of the source."""
    for axis, length in enumerate(size):
        source = values.shape[axis]
        picks = np.floor(np.arange(length) * (1.0 / (length / source))).astype(np.int64)
        values = values.take(np.minimum(picks, source - 1), axis=axis)
    return values


def cubic(values: Floats, size: Size) -> Floats:
    """Return ``values`` ``[H, W, C]`` at another size by cubic interpolation, columns first; nothing is clipped."""
    for axis in (1, 0):
        if values.shape[axis] != size[axis]:
            values = _cubic_along(values, size[axis], axis)
    return values


def _cubic_along(values: Floats, length: int, axis: int) -> Floats:
    source = values.shape[axis]
    at = ((np.arange(length) + 0.5) * (source / length) - 0.5).astype(np.float32)
    below = np.floor(at)
    weights = _weights(at - below)
    taps = below.astype(np.int64)[:, None] + np.arange(-1, 3)
    picked = [values.take(np.clip(tap, 0, source - 1), axis=axis) for tap in taps.T]
    shape = [length if at == axis else 1 for at in range(values.ndim)]
    return np.asarray(sum(part * weight.reshape(shape) for part, weight in zip(picked, weights, strict=True)))


def _weights(fraction: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weights of four neighbours ``[4, n]``, in float32; the last one is what the others leave of 1."""
    one = np.float32(1)
    far, near, other = fraction + one, fraction, one - fraction
    first = ((_A * far - 5 * _A) * far + 8 * _A) * far - 4 * _A
    second = ((_A + 2) * near - (_A + 3)) * near * near + one
    third = ((_A + 2) * other - (_A + 3)) * other * other + one
    return np.stack([first, second, third, one - first - second - third])


def _wrapped(values: Floats) -> Image:
    return np.trunc(values).astype(np.int64).astype(np.uint8)


def _clipped(values: Floats) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


_BYTES: Mapping[Overshoot, Callable[[Floats], Image]] = MappingProxyType(
    {"as-published": _wrapped, "clipped": _clipped}
)
