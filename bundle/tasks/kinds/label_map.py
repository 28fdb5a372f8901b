"""A class per pixel: argmax of the raw output, uint8 ``[H, W]``; 255 in a label counts nowhere."""

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import DatasetError
from bundle.tasks.agreement import AGREEMENT, Floats
from bundle.tasks.kinds.colours import IGNORE_COLOUR, Inks, Rgb
from bundle.tasks.kinds.kind import Kind
from bundle.tasks.metrics import MeanIou, Metric
from bundle.tasks.resize import Size, nearest
from bundle.tasks.spec import IGNORE, Array, DatasetSpec


class LabelMap(Kind):
    """Encoded label: uint8 ``[H, W]``, a class or the spec's ``ignore_index``."""

    tensors = "tdss.kinds.label_map"
    forms = ("logits", "labels")
    channels = None
    dtype = "uint8"
    label_modes = ("L", "P")
    values = ()
    stored = np.uint8
    all_pixels = True
    agreement_floor = 0.8
    unseen = IGNORE
    change_unit = "share of pixels whose class changed"
    change_words = (100.0, "% of pixels changed class")
    change_scale = (1.0, "another class")
    drawn = "grey is not labelled"

    def figures(self, channels: int) -> tuple[Metric, ...]:
        """Return the mean IoU."""
        return (MeanIou(classes=channels, empty_class=self.empty_class),)

    def agreement_metric(self, channels: int) -> Metric:
        """Return the mean IoU of the two label maps; an image of one class counts too."""
        return MeanIou(name=AGREEMENT, title=AGREEMENT, classes=channels)

    def predict(self, raw: NDArray[np.float32]) -> Array:
        """Return the class with the largest value, uint8 ``[H, W]``; a tie keeps the lower class."""
        best, label = raw[0].copy(), np.zeros(raw.shape[1:], np.uint8)
        for index in range(1, raw.shape[0]):  # faster than argmax over the first axis
            better = raw[index] > best
            np.copyto(best, raw[index], where=better)
            label[better] = index
        return label

    def label_values(self, channels: int, spec: DatasetSpec) -> NDArray[np.int64]:
        """Return the classes and the spec's ``ignore_index``."""
        return np.union1d(np.arange(channels), [spec.ignore_index])

    def decode(self, encoded: Array, spec: DatasetSpec) -> Array:
        """Return uint8 ``[H, W]``, 255 = ignore."""
        return np.asarray(np.where(encoded == spec.ignore_index, IGNORE, encoded), dtype=np.uint8)

    def pixels(self, encoded: Array, channels: int, spec: DatasetSpec) -> NDArray[np.int64]:
        """Return how many pixels each class has."""
        return np.bincount(self.decode(encoded, spec).reshape(-1), minlength=IGNORE)[:channels]

    def restored(self, prediction: Array, size: Size) -> Array:
        """Return the classes of the nearest pixels."""
        return nearest(prediction, size)

    def void(self, spec: DatasetSpec) -> int:
        """Return the spec's ``ignore_index``."""
        return spec.ignore_index

    def out_of_range(self, prediction: Array, channels: int) -> tuple[str, str] | None:
        """Return the classes, and the smallest or the largest number if that is no class."""
        ends = int(prediction.min()), int(prediction.max())
        wrong = next((end for end in ends if not 0 <= end < channels), None)
        return None if wrong is None else (f"0 to {channels - 1}", str(wrong))

    def compact(self, prediction: Array) -> Array:
        """Return it as it is."""
        return prediction.astype(np.uint8, copy=False)

    def expand(self, stored: Array) -> Array:
        """Return it as it is."""
        return stored

    def agreement(self, reference: Array, prediction: Array) -> float:
        """Return the share of equal pixels."""
        return float((reference == prediction).mean())

    def change(self, reference: Array, prediction: Array) -> Floats:
        """Return 1 where the class differs, else 0."""
        return np.asarray(reference != prediction, dtype=np.float64)

    def _draw(self, values: Array, inks: Inks) -> Rgb:
        """Colour the classes by ``inks.palette``; 255 becomes grey.

        Raises:
            DatasetError: a class has no colour.
        """
        table = np.full((256, 3), IGNORE_COLOUR, dtype=np.uint8)
        table[: len(inks.palette)] = np.asarray(inks.palette, dtype=np.uint8).reshape(-1, 3)
        known = values[values != IGNORE]
        if known.size and int(known.max()) >= len(inks.palette):
            raise DatasetError(
                "a class has no colour",
                expected=f"an index below {len(inks.palette)}",
                got=str(int(known.max())),
                where="a label map",
                fix="give the dataset's spec one palette entry per class",
            )
        return table[values.astype(np.intp)]
