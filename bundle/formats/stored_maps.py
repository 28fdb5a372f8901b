"""Predictions and outputs as vectors.npz stores them: fewer pixels, in narrower types."""

import numpy as np

from bundle.tasks.dataset import Array
from bundle.tasks.table import Activation

PREDICTION_STEP, OUTPUT_STEP = 4, 7  # of which rows and columns pixels are kept


def stretched(pixels: Array, axis: int, size: int) -> Array:
    """Interpolate linearly between every fourth row or column; behind the last one, repeat it."""
    positions = np.arange(size) / PREDICTION_STEP
    before = positions.astype(np.intp)
    after = np.minimum(before + 1, pixels.shape[axis] - 1)
    share = (positions - before).astype(np.float32).reshape(-1, *([1] * (-1 - axis)))
    first, second = (pixels.take(index, axis=axis).astype(np.float32) for index in (before, after))
    return first + share * (second - first)


def compact(activation: Activation, prediction: Array) -> Array:
    """Return a prediction in the dtype it is stored in."""
    if activation == "argmax":
        return prediction.astype(np.uint8, copy=False)
    values = prediction.astype(np.float32, copy=False)
    if activation == "sigmoid":
        return np.rint(values * 255).astype(np.uint8)
    if activation == "unit":
        return np.rint(values * 127).astype(np.int8)
    return np.minimum(values, np.finfo(np.float16).max).astype(np.float16)


def expand(activation: Activation, stored: Array) -> Array:
    """Return a compact prediction in the dtype of bundle/tasks/postprocess.py: the inverse of ``compact`` up to rounding."""
    scale = {"sigmoid": np.float32(255), "unit": np.float32(127), "relu": np.float32(1)}
    return stored if activation == "argmax" else stored.astype(np.float32) / scale[activation]


def kept(activation: Activation, prediction: Array) -> Array:
    """Return the pixels of a prediction ``[…, H, W]`` that are kept: all of a label map, else every fourth row and column."""
    step = 1 if activation == "argmax" else PREDICTION_STEP
    return prediction[..., ::step, ::step]


def kept_output(output: Array) -> Array:
    """Return the pixels of a raw output ``[…, H, W]`` that are kept: every seventh row and column."""
    return output[..., ::OUTPUT_STEP, ::OUTPUT_STEP]
