"""A probability per pixel: the sigmoid of one channel, float32 ``[H, W]`` in 0…1."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.tasks.kinds.colours import Inks, Rgb
from bundle.tasks.kinds.kind import Kind
from bundle.tasks.metrics import Metric
from bundle.tasks.spec import Array, DatasetSpec

POSITIVE = 0.9  # pixels above this quantile of all predictions are the positives of a pseudo label


class Probability(Kind):
    """Encoded label: uint8 ``[H, W]``, 0 or 255; a mask of one bit is read as that. ``thin``: what is positive is lines of one pixel's width."""

    tensors = "tdss.kinds.probability"
    forms = ("logits", "probability")
    channels = 1
    label_modes = ("L", "1")
    values = ("no", "yes")
    stored = np.uint8
    scale = 255
    agreement_floor = 0.9
    change_unit = "probability"
    change_words = (1.0, " mean change of p")
    change_scale = (0.1, "0.1 or more")

    metrics: tuple[Metric, ...]
    thin: bool = False

    def figures(self, channels: int) -> tuple[Metric, ...]:
        """Return the metrics that the task names."""
        return self.metrics

    def predict(self, raw: NDArray[np.float32]) -> Array:
        """Return the sigmoid, float32 ``[H, W]``, without overflow."""
        values = raw[0]
        small = np.exp(-np.abs(values))
        return np.asarray(np.where(values >= 0, np.float32(1), small) / (1 + small), dtype=np.float32)

    def label_values(self, channels: int, spec: DatasetSpec) -> NDArray[np.int64]:
        """Return 0 and 255."""
        return np.array([0, 255])

    def decode(self, encoded: Array, spec: DatasetSpec) -> Array:
        """Return uint8 ``[H, W]``, 0 or 1."""
        return np.asarray(encoded != 0, dtype=np.uint8)

    def pixels(self, encoded: Array, channels: int, spec: DatasetSpec) -> NDArray[np.int64]:
        """Return how many pixels are negative and positive."""
        return np.bincount(self.decode(encoded, spec).reshape(-1), minlength=2)

    def agreement(self, reference: Array, prediction: Array) -> float:
        """Return 1 − mean |Δp|."""
        return 1.0 - float(self.change(reference, prediction).mean())

    def pseudo_label(self, prediction: Array, predictions: Sequence[Array]) -> Array:
        """Return 0 or 1: the most probable tenth of all pixels is positive."""
        return np.asarray(prediction > np.quantile(np.stack(predictions), POSITIVE), dtype=np.uint8)

    def _draw(self, values: Array, inks: Inks) -> Rgb:
        """Draw from black to white."""
        grey = (np.clip(values.astype(np.float64), 0.0, 1.0) * 255.0).round().astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
