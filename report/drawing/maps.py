"""Predictions and labels as pictures: every map becomes uint8 RGB ``[height, width, 3]``.

How a task is drawn follows from its activation, so a new row of the task table is drawn without a change here.
Pixels without a value (label 255, normal (0, 0, 0), depth 0) are drawn in colours that no value has.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen
from bundle.tasks.dataset import IGNORE
from bundle.tasks.metrics import angles_deg
from bundle.tasks.table import Activation, Task

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
    """What a drawing needs beside the values: the colours of the classes, and the span of a depth picture in metres."""

    palette: Palette = ()
    near_m: float = 0.0
    far_m: float = 1.0


def ramp(values: NDArray[np.floating]) -> Rgb:
    """Colour ``values`` ``[H, W]``, clipped to 0…1, from viridis' dark blue to its yellow."""
    at = np.clip(values.astype(np.float64), 0.0, 1.0) * (len(VIRIDIS) - 1)
    anchors = np.asarray(VIRIDIS, dtype=np.float64)
    steps = np.arange(len(VIRIDIS))
    return np.stack([np.interp(at, steps, anchors[:, band]) for band in range(3)], axis=-1).round().astype(np.uint8)


def label_map(labels: NDArray[np.generic], inks: Inks) -> Rgb:
    """Colour class indices ``[H, W]`` by ``inks.palette``; 255 becomes grey.

    Raises:
        DatasetError: an index has no colour.
    """
    table = np.full((256, 3), IGNORE_COLOUR, dtype=np.uint8)
    table[: len(inks.palette)] = np.asarray(inks.palette, dtype=np.uint8).reshape(-1, 3)
    known = labels[labels != IGNORE]
    if known.size and int(known.max()) >= len(inks.palette):
        raise DatasetError(
            "a class has no colour",
            expected=f"an index below {len(inks.palette)}",
            got=str(int(known.max())),
            where="a label map",
            fix="give the dataset's spec one palette entry per class",
        )
    return table[labels.astype(np.intp)]


def probability(values: NDArray[np.generic], inks: Inks) -> Rgb:
    """Draw probabilities or {0, 1} labels ``[H, W]`` from black to white."""
    grey = (np.clip(values.astype(np.float64), 0.0, 1.0) * 255.0).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def normals(values: NDArray[np.generic], inks: Inks) -> Rgb:
    """Draw unit normals ``[3, H, W]`` as RGB = (n + 1)·127.5; (0, 0, 0) is invalid and black."""
    floats = values.astype(np.float64)
    picture = ((np.clip(floats, -1.0, 1.0) + 1.0) * 127.5).round().astype(np.uint8).transpose(1, 2, 0)
    picture[~floats.any(axis=0)] = INVALID_COLOUR
    return np.ascontiguousarray(picture)


def depth(values: NDArray[np.generic], inks: Inks) -> Rgb:
    """Draw metres ``[H, W]``: yellow at ``inks.near_m``, dark blue at ``inks.far_m``; 0 is invalid and black."""
    metres = values.astype(np.float64)
    span = max(inks.far_m - inks.near_m, 1e-6)
    picture = ramp((inks.far_m - metres) / span)
    picture[~(metres > 0)] = INVALID_COLOUR
    return picture


DRAWERS: dict[Activation, Callable[[NDArray[np.generic], Inks], Rgb]] = {
    "argmax": label_map,
    "sigmoid": probability,
    "unit": normals,
    "relu": depth,
}


def draw(row: Task, values: NDArray[np.generic], inks: Inks) -> Rgb:
    """Draw a prediction or a label of a task as uint8 RGB ``[H, W, 3]``.

    ``values`` is ``[H, W]``, or ``[3, H, W]`` for normals, as bundle/tasks/postprocess.py and bundle/tasks/dataset.py give it.

    Raises:
        DatasetError: the values do not have the task's number of axes, or a class has no colour.
    """
    axes = 3 if row.activation == "unit" else 2
    if values.ndim != axes:
        raise DatasetError(
            f"this is no map of {row.name}",
            expected=f"{axes} axes",
            got=f"shape {values.shape}",
            where="draw",
            fix="draw one image at a time, after bundle.tasks.postprocess.predict",
        )
    return DRAWERS[row.activation](values, inks)


def depth_span(metres: NDArray[np.generic]) -> tuple[float, float]:
    """Return (near, far): the 1st and 99th percentile of the valid depths, in metres; (0, 1) if there are none."""
    floats = metres.astype(np.float64)
    valid = floats[floats > 0]
    if not valid.size:
        return 0.0, 1.0
    near, far = np.percentile(valid, (1.0, 99.0))
    return float(near), float(far)


CHANGE_SCALE: dict[Activation, tuple[float, str]] = {
    "argmax": (1.0, "another class"),
    "sigmoid": (0.1, "0.1 or more"),
    "unit": (10.0, "10° or more"),
    "relu": (0.1, "0.1 m or more"),
}
"""What the brightest colour of a picture of change means, as a number and in words."""


def change(row: Task, before: NDArray[np.generic], after: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return how far two predictions are apart, ``[H, W]``: 0/1 for classes, else probability, degrees or metres.

    A normal of no direction in ``after`` is 90° off, as in ``bundle.tasks.metrics.angles_deg``.
    """
    if row.activation == "argmax":
        return np.asarray(before != after, dtype=np.float64)
    if row.activation == "unit":
        return angles_deg(after, before)
    return np.asarray(np.abs(before.astype(np.float64) - after.astype(np.float64)), dtype=np.float64)


def draw_change(row: Task, before: NDArray[np.generic], after: NDArray[np.generic]) -> Rgb:
    """Draw ``change`` as uint8 RGB ``[H, W, 3]``, brightest at the task's ``CHANGE_SCALE``."""
    return ramp(change(row, before, after) / CHANGE_SCALE[row.activation][0])
