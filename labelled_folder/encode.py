"""Metres as a labelled folder stores them."""

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import DatasetError
from bundle.tasks.spec import Array

_STEPS = np.iinfo(np.uint16).max


def encode_depth(metres: NDArray[np.float64], unit_m: float, *, where: str) -> Array:
    """Return metres as uint16 steps of ``unit_m``; 0 is invalid, and so is what is farther than the last step.

    Raises:
        DatasetError: it is no map, or a distance is negative.
    """
    if metres.ndim != 2 or metres.min(initial=0.0) < 0:
        raise DatasetError(
            "this is no map of distances",
            expected="[height, width] of metres, 0 where there is none",
            got=f"{list(metres.shape)}, {metres.min(initial=0.0):g} to {metres.max(initial=0.0):g}",
            where=where,
            fix="name the layout that the data set has, or unpack it again",
        )
    steps = np.rint(metres / unit_m)
    return np.where(steps <= _STEPS, np.where(metres > 0, np.maximum(steps, 1), 0), 0).astype(np.uint16)
