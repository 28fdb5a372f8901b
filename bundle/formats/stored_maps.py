"""Predictions and outputs as vectors.npz stores them: fewer pixels, in the types of their kinds (``compact``)."""

import numpy as np

from bundle.tasks.kinds.kind import Kind
from bundle.tasks.spec import Array

PREDICTION_STEP, OUTPUT_STEP = 4, 7  # of which rows and columns pixels are kept


def stretched(pixels: Array, axis: int, size: int) -> Array:
    """Interpolate linearly between every fourth row or column; behind the last one, repeat it."""
    positions = np.arange(size) / PREDICTION_STEP
    before = positions.astype(np.intp)
    after = np.minimum(before + 1, pixels.shape[axis] - 1)
    share = (positions - before).astype(np.float32).reshape(-1, *([1] * (-1 - axis)))
    first, second = (pixels.take(index, axis=axis).astype(np.float32) for index in (before, after))
    return first + share * (second - first)


def kept(kind: Kind, prediction: Array) -> Array:
    """Return the pixels of a prediction ``[…, H, W]`` that are kept: all of a label map, else every fourth row and column."""
    step = 1 if kind.all_pixels else PREDICTION_STEP
    return prediction[..., ::step, ::step]


def kept_output(output: Array) -> Array:
    """Return the pixels of a raw output ``[…, H, W]`` that are kept: every seventh row and column."""
    return output[..., ::OUTPUT_STEP, ::OUTPUT_STEP]
