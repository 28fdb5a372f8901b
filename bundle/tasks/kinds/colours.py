"""The colours that every kind draws with."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.frozen import Frozen

Rgb: TypeAlias = NDArray[np.uint8]
Palette: TypeAlias = tuple[tuple[int, int, int], ...]

IGNORE_COLOUR = (160, 160, 160)
INVALID_COLOUR = (0, 0, 0)

VIRIDIS: Palette = (
    (68, 1, 84),
    (72, 24, 106),
    (71, 45, 123),
    (66, 64, 134),
    (59, 82, 139),
    (51, 99, 141),
    (44, 114, 142),
    (38, 130, 142),
    (33, 144, 140),
    (31, 159, 136),
    (39, 173, 129),
    (62, 188, 116),
    (92, 200, 99),
    (130, 211, 77),
    (170, 220, 50),
    (213, 226, 26),
    (253, 231, 37),
)
"""Seventeen even steps of matplotlib's viridis (CC0); linear between them it is within 6 of 255."""


class Inks(Frozen):
    """What a drawing needs beside the values: the colours of the classes, and the span of the values that is coloured."""

    palette: Palette = ()
    low: float = 0.0
    high: float = 1.0


def ramp(values: NDArray[np.floating]) -> Rgb:
    """Colour ``values`` ``[H, W]``, clipped to 0…1, from viridis' dark blue to its yellow."""
    at = np.clip(values.astype(np.float64), 0.0, 1.0) * (len(VIRIDIS) - 1)
    anchors = np.asarray(VIRIDIS, dtype=np.float64)
    steps = np.arange(len(VIRIDIS))
    return np.stack([np.interp(at, steps, anchors[:, band]) for band in range(3)], axis=-1).round().astype(np.uint8)
