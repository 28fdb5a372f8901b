"""Optical flow: two channels, the motion in pixels, float32 ``[2, H, W]``; NaN in a label is invalid."""

import numpy as np

from bundle.tasks.agreement import Floats
from bundle.tasks.kinds.colours import INVALID_COLOUR, Inks, Palette, Rgb
from bundle.tasks.kinds.kind import Kind
from bundle.tasks.metrics import Direction, Metric
from bundle.tasks.spec import Array, DatasetSpec

STEP, ZERO = 8, 128  # a byte of a label is motion · 8 + 128


class EndPointErrorPx(Metric):
    """The mean distance between the predicted and the true end of a pixel's motion: ``[2]``, sum and valid pixels."""

    name: str = "end_point_error_px"
    title: str = "end-point error"
    unit: str = " px"
    direction: Direction = "lower"

    def _measure(self, prediction: Array, label: Array) -> Floats:
        distance = end_points(prediction, label)
        valid = np.isfinite(distance)
        return np.array([distance[valid].sum(), valid.sum()])


def end_points(first: Array, second: Array) -> Floats:
    """The distance between the ends of two motions ``[2, H, W]``, in pixels."""
    return np.asarray(np.hypot(*(first.astype(np.float64) - second.astype(np.float64))))


class Flow(Kind):
    """Encoded label: uint8 ``[H, W, 3]``: x, y, and 255 where it is valid."""

    tensors = "tests.flow.tensors"
    channels = 2
    axes = (2,)
    label_modes = ("RGB",)
    label_axes = (3,)
    stored = np.float16
    agreement_floor = 0.8
    change_unit = "pixels"
    change_words = (1.0, " px mean change")
    change_scale = (1.0, "1 px or more")
    drawn = "red to the right, green down, black is not labelled"

    def figures(self, channels: int) -> tuple[Metric, ...]:
        return (EndPointErrorPx(),)

    def predict(self, raw: np.ndarray) -> Array:
        return raw

    def decode(self, encoded: Array, spec: DatasetSpec) -> Array:
        motion = (encoded[..., :2].astype(np.float32) - ZERO).transpose(2, 0, 1) / STEP
        return np.where(encoded[..., 2] == 255, motion, np.float32(np.nan))

    def compact(self, prediction: Array) -> Array:
        return prediction.astype(np.float16)

    def agreement(self, reference: Array, prediction: Array) -> float:
        longer = np.maximum(*(np.hypot(*one.astype(np.float64)) for one in (reference, prediction))).sum()
        return float(np.clip(1 - self.change(reference, prediction).sum() / longer, 0, 1)) if longer > 0 else 1.0

    def change(self, reference: Array, prediction: Array) -> Floats:
        return end_points(reference, prediction)

    def inks(self, palette: Palette, values: Array) -> Inks:
        return Inks(high=float(np.nanmax(np.abs(values), initial=1e-6)))

    def span(self, inks: Inks) -> str:
        return f"up to {inks.high:.1f} px."

    def _draw(self, values: Array, inks: Inks) -> Rgb:
        grey = np.full((1, *values.shape[1:]), 0.5)
        unit = np.concatenate([values.astype(np.float64) / inks.high / 2 + 0.5, grey]).transpose(1, 2, 0)
        valid = np.isfinite(unit).all(axis=2, keepdims=True)
        return np.where(valid, (np.where(valid, unit, 0).clip(0, 1) * 255).round(), INVALID_COLOUR).astype(np.uint8)
